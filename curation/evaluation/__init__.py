"""What features are worth: features in, numbers out. Knows no trainer and no stage."""
