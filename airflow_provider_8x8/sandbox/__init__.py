"""A local 8x8 to try everything on, without an account and without an SMS."""
