"""Reads a run and reports on it; changes nothing."""
