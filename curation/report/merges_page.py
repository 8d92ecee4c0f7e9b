"""A page of what dedup would merge: sizes of components, pairs around each threshold, and the largest components.

Of each pair that is shown geometry says its word, whether the run looked at it or not.
"""

import html
import io
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from curation.imaging.matching import Match, match
from curation.report.merges import SIZES, Group, Merges, Rule, between, merges_text
from curation.report.pictures import data_uri, drawing, outline
from curation.report.thumbnails import look_at
from curation.run.directory import Run

__all__ = ["write_merges_page"]

SHOWN_PAIRS = 6
"""On each side of a threshold."""
SHOWN_MEMBERS = 11
"""Of one component."""
KEPT_LOOKS = 256
STYLE = """
body { font: 14px system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #222 }
figure { display: inline-block; margin: 4px; width: 132px; vertical-align: top }
figcaption { font-size: 11px; color: #555; overflow-wrap: anywhere }
.pair { display: inline-block; border: 1px solid #ccc; border-radius: 4px; margin: 4px; padding: 4px; width: 284px;
vertical-align: top } .pair p { margin: 0 0 2px; font-size: 12px } .copy { border-color: #1e8449 }
.other { border-color: #c0392b } polygon { fill: none; stroke: #ff2d95; stroke-width: 2;
vector-effect: non-scaling-stroke } h2 { margin: 2rem 0 .3rem } h3 { font-weight: normal; margin: .8rem 0 .2rem }
pre { font-size: 12px }
"""


def write_merges_page(run: Run, merges: Merges) -> str:
    """Write `report/thresholds-dedup.html`; returns where it is."""
    pictures = _Pictures(run, merges)
    sections = [pictures.section(rule) for rule in merges.rules if rule.threshold is not None]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>thresholds of dedup</title>'
        f"<style>{STYLE}</style><h1>thresholds of dedup</h1><pre>{html.escape(merges_text(merges))}</pre>"
        f'<img alt="sizes of components" src="{data_uri(_plot(merges.rules), "png")}">'
        f"{''.join(sections)}{pictures.groups()}</html>"
    )
    file = "report/thresholds-dedup.html"
    run.store.write_bytes(file, page.encode())
    return run.store.url(file)


class _Pictures:
    """Images of the pool as figures, each looked at once."""

    def __init__(self, run: Run, merges: Merges) -> None:
        self._merges = merges
        images = merges.evidence.images
        self._look = lru_cache(maxsize=KEPT_LOOKS)(
            lambda at: look_at(run, (run.pool.path, int(images.part[at]), int(images.row[at])))
        )

    def section(self, rule: Rule) -> str:
        """The pairs nearest to a threshold, linked and not."""
        pairs, threshold = self._merges.pairs, rule.threshold
        assert threshold is not None
        linked = int((pairs.similarity > threshold).sum())
        mark = f", {rule.mark}" if rule.mark else ""
        parts = [f"<h2>similarity {threshold:g}{html.escape(mark)}</h2>"]
        above, below = np.arange(linked)[::-1], np.arange(linked, len(pairs.similarity))
        for heading, chosen in (("narrowly linked", above), ("narrowly not linked", below)):
            shown = list(self._pairs(chosen))
            parts.append(f"<h3>{heading}, the nearest first, each image once</h3>{''.join(shown) or '<p>none</p>'}")
        return "".join(parts)

    def _pairs(self, order: np.ndarray) -> Iterator[str]:
        seen: set[int] = set()
        left = SHOWN_PAIRS
        for at in order.tolist():
            one, other = self._merges.pairs.places[at].tolist()
            if left and not seen & {one, other}:
                seen |= {one, other}
                left -= 1
                yield self._pair(one, other, float(self._merges.pairs.similarity[at]))

    def _pair(self, one: int, other: int, similarity: float) -> str:
        first, second = self._look(one), self._look(other)
        result = match(first[1], second[1]) if first and second else None
        is_copy = result is not None and result.score >= self._merges.settings.score
        lines = ([outline(result, inverse=True)], [outline(result)]) if result is not None and is_copy else ([], [])
        figures = "".join(self._figure(at, drawn) for at, drawn in zip((one, other), lines, strict=True))
        kind = "" if result is None else "copy" if is_copy else "other"
        return f'<div class="pair {kind}"><p>{similarity:.3f}; {_words(result, is_copy)}</p>{figures}</div>'

    def groups(self) -> str:
        """The largest components by the rule that is set: what is kept, then what is least like it."""
        shown = [self._group(group) for group in self._merges.groups]
        return f"<h2>largest components as set</h2>{''.join(shown) or '<p>none</p>'}"

    def _group(self, group: Group) -> str:
        figures = [self._figure(group.kept, [], "kept<br>")]
        for at, similarity in zip(group.dropped[:SHOWN_MEMBERS].tolist(), group.similarity.tolist(), strict=False):
            figures.append(self._figure(at, [], f"{similarity:.3f}<br>"))
        return (
            f"<h3>{len(group.dropped) + 1:,} images, the least similar to the kept one first; the two least alike of "
            f"all have {group.least:.3f}</h3>{''.join(figures)}"
        )

    def _figure(self, at: int, outlines: Sequence[str], caption: str = "") -> str:
        seen = self._look(at)
        picture = drawing(seen[0], outlines) if seen else "(no longer stored)"
        key = html.escape(self._merges.evidence.ids[at].hex())
        return f"<figure>{picture}<figcaption>{caption}{key}</figcaption></figure>"


def _words(result: Match | None, is_copy: bool) -> str:
    if result is None:
        return "not looked at"
    mirrored = ", mirrored" if result.mirrored else ""
    verdict = "a copy" if is_copy else "no copy"
    return f"geometry: {verdict}, score {result.score:.2f}, {result.inliers} matched points{mirrored}"


def _plot(rules: Sequence[Rule]) -> bytes:
    """Histograms of the sizes of components, one under the other, counts on a logarithmic scale, as PNG."""
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(8, 1.5 * len(rules)), layout="constrained")
    names = [name for name, _, _ in SIZES]
    for axes, rule in zip(figure.subplots(len(rules), 1, squeeze=False, sharex=True)[:, 0], rules, strict=True):
        axes.bar(names, [between(rule.sizes, low, high) for _, low, high in SIZES], color="#5a7d9a")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_title(f"{rule.name}: {rule.copies:,} would be dropped", fontsize=10, loc="left")
        axes.set_ylabel("components")
    figure.supxlabel("images in a component", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
