"""Datasets in and out: how each form lists its rows, and how shards and their manifest are written."""
