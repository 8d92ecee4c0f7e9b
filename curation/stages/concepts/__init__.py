"""What images show: embeddings, examples to exclude, semantic duplicates, clusters and their hierarchy."""
