"""The bundled DINOv2 trainer: an island that knows the shards' manifest and nothing else of the pipeline."""
