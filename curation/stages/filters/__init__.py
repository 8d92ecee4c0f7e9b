"""What is not worth keeping, or not safe to: decode, quality, safety."""
