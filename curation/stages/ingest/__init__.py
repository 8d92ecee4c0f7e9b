"""From datasets and crawl files to samples: URLs, their dedup, the listing, and the bytes."""
