"""What the provider costs: rows from a warehouse to 8x8, against the same by hand. ``make bench`` runs all of it."""
