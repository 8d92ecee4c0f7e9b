"""Nearest neighbours in the pool, for the stages that need them."""
