"""Images: THE decoder of the pipeline and the trainer, metadata, encoding anew, blurring, and local features."""
