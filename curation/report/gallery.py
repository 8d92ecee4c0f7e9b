"""A page of the images around a filter's threshold: what it drops, and what it narrowly does not.

Thumbnails are made from the images as they are stored, faces blurred. Those of the NSFW filter are blurred as well,
beyond recognition, unless asked for otherwise.
"""

import html
import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from curation.arrays import Int64Array
from curation.config import ImageConfig
from curation.drops import Dropped
from curation.engine.locations import PLACE, read_samples
from curation.errors import RunError
from curation.imaging.decode import decode_image, encode_jpeg, read_image
from curation.report.pictures import data_uri
from curation.report.thresholds import Scores, plot_scores
from curation.run.directory import Run

__all__ = ["write_gallery"]

SHOWN = 12
"""Images on each side of the threshold."""
NO_LIMITS = ImageConfig(min_side=1)  # the run has judged them already
SIDE = 112
BLURRED_SIDE = 6
STYLE = """
body { font: 14px system-ui, sans-serif; margin: 2rem auto; max-width: 74rem; padding: 0 1rem; color: #222 }
figure { display: inline-block; margin: 4px; width: 112px; vertical-align: top }
figcaption { font-size: 11px; color: #555; overflow-wrap: anywhere }
h2 { margin: 2rem 0 .3rem } h3 { font-weight: normal; margin: .8rem 0 .2rem } pre { font-size: 12px }
"""


def write_gallery(run: Run, scores: Sequence[Scores], name: str, *, collection: str = "pool", blur: bool) -> str:
    """Write `report/thresholds-<name>.html` with histograms and thumbnails; returns where it is.

    Args:
        scores: as `read_scores` gives them.
        blur: make thumbnails unrecognisable.
    """
    body = "".join(_section(run, item, collection, blur) for item in scores)
    title = f"thresholds of {name}"
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>"
        f'<img alt="histograms" src="{data_uri(_plot(scores), "png")}">{body}</html>'
    )
    file = f"report/thresholds-{name}.html"
    run.store.write_bytes(file, page.encode())
    return run.store.url(file)


def _section(run: Run, scores: Scores, collection: str, blur: bool) -> str:
    if scores.limit is None:
        return ""
    order = np.argsort(np.abs(scores.values - scores.limit), kind="stable")
    over = scores.values[order] >= scores.limit
    dropped, kept = order[over if scores.above else ~over], order[~over if scores.above else over]
    groups = (("narrowly dropped", dropped), ("narrowly kept", kept))
    parts = [f"<h2>{html.escape(scores.name)}, threshold {scores.limit:g}</h2>"]
    for heading, chosen in groups:
        figures = list(_figures(run, scores, chosen[:SHOWN], collection, blur))
        parts.append(f"<h3>{heading}: {len(chosen):,} images, the nearest first</h3>")
        parts.extend(figures or ["<p>none</p>"])
    return "".join(parts)


def _figures(run: Run, scores: Scores, chosen: Int64Array, collection: str, blur: bool) -> Iterator[str]:
    where = run.collection(collection)
    parts = np.unique(scores.places[chosen, 0]).tolist()
    samples = {part: read_samples(where, part, ["id", *PLACE]) for part in parts}
    for at in chosen.tolist():
        part, row = scores.places[at].tolist()
        fields = samples[part].slice(row, 1).to_pylist()[0]
        picture = "(no longer stored)"
        try:
            image = decode_image(read_image(run.store, where.path, *(fields[name] for name in PLACE)), NO_LIMITS, SIDE)
        except RunError:
            image = None
        if image is not None and not isinstance(image, Dropped):
            picture = f'<img alt="" src="{data_uri(_thumbnail(image, blur), "jpeg")}">'
        key = html.escape(fields["id"].hex())
        yield f"<figure>{picture}<figcaption>{scores.values[at]:.3g}<br>{key}</figcaption></figure>"


def _thumbnail(image: Image.Image, blur: bool) -> bytes:
    size = (BLURRED_SIDE, BLURRED_SIDE) if blur else (SIDE, SIDE)
    image.thumbnail(size, Image.Resampling.BOX)
    if blur:
        image = image.resize((SIDE, max(1, SIDE * image.height // image.width)), Image.Resampling.BILINEAR)
    return encode_jpeg(image, 80)


def _plot(scores: Sequence[Scores]) -> bytes:
    buffer = io.BytesIO()
    plot_scores(scores, buffer)
    return buffer.getvalue()
