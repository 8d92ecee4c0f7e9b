"""The demo: a small web, its server, the run over it, and the check of what came out.

photographs.py  crops of the photographs that are installed     variants.py   copies and breakage
pictures.py     crops shared out: pool, seeds, references       planting.py   pictures behind URLs
pages.py        HTML that shows them        warc.py             the crawl files
lookalikes.py   different pictures that look alike
site.py         what is answered            server.py           who answers
truth.py        what was planted            web.py              all of these together
outcomes.py     what became of each URL     check.py, show.py   the two side by side
pretraining.py  a few steps of DINOv2 on the shards
run.py          `demo`
"""
