"""From crawl files to URLs, and from URLs to bytes.

links.py       every image URL of a WARC, ARC or WAT file
rules.py       URLs that are not asked for
archived.py    pictures that a crawl file already holds, taken without a request
fetch.py       URLs to bytes: polite, bounded, never hanging, never private
"""
