"""What a campaign remembers: entries, who holds which row, and the places where they are kept."""
