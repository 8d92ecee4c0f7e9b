"""One file per job, readable from top to bottom, and the command line over them."""
