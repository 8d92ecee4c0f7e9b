"""A run on disk: files on any filesystem, aligned parts, artifacts, and the directory that holds them."""
