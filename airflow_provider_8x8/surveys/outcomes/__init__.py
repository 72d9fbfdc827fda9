"""What became of each row: in the report, in the counts."""
