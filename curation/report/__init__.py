"""What a run can say of itself, read from its files alone."""
