"""The steps of a run, one per file. `contract` says what a step is, `execute` runs one over a part."""
