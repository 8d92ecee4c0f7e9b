"""Crawl files (WARC, ARC, and lists of them) as records."""
