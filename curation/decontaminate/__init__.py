"""Writes a dataset again without some of its images, in the form that it has: a folder, WebDataset tars, or Parquet."""
