"""Which images are chosen."""
