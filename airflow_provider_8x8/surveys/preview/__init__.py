"""What a campaign would send, and what that would cost, before anything is sent."""
