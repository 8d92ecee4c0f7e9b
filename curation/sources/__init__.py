"""What a dataset argument can be, and how its rows are listed: one kind per file."""
