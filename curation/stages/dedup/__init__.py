"""Copies: hashes, descriptors' neighbours, geometry, and the decision."""
