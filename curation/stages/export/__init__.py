"""The shards."""
