"""Writes a dataset again without the images that leak, in its own form: a folder, WebDataset tars, or Parquet files."""
