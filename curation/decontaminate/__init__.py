"""Writes a dataset again without copies, in its own form: a folder, WebDataset tars, or Parquet files."""
