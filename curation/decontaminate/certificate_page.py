"""The certificate as one page that needs nothing else: no script, no file beside it, no request.

Names come from strangers' datasets: each is escaped, and characters that do not print, or that turn the direction of
writing, are shown as such. What is too much for a page is cut off, and the page says how much that is.
"""

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

from curation.decontaminate.certificate import Certificate, Finding, ImageName, Match, ReferenceImage
from curation.report.pictures import drawing, outline, shown
from curation.report.thumbnails import Geometry, Place, Thumbnails

__all__ = ["page_of", "page_pairs"]

SHOWN_FOUND = 300
"""Reference images with copies that are shown."""
SHOWN_MISSES = 60
"""Reference images without copies that are shown, those with the nearest image first."""
SHOWN_COPIES = 6
"""Copies shown of one reference image."""
SHOWN_NEAREST = 3
"""Kept images shown of one reference image."""
LISTED = 5_000
"""Rows of a table of names."""
DRAWN_SCORE = 1.9
"""Score of `Geometry` from which on the outline of one image in the other is drawn: copies have more."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --gone: #c0392b; --kept: #1e8449 }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
table { border-collapse: collapse; margin: .6rem 0 } td, th { padding: .2rem .8rem .2rem 0; text-align: left;
vertical-align: top; overflow-wrap: anywhere } th { border-bottom: 1px solid var(--line) } .n { text-align: right }
.pair { display: flex; flex-wrap: wrap; gap: 10px; border-top: 1px solid var(--line); padding: 10px 0 }
figure { margin: 0; width: 140px } figcaption { font-size: 12px; overflow-wrap: anywhere }
.frame { height: 132px; display: flex; align-items: center; justify-content: center; background: var(--soft) }
.gone .frame { outline: 2px solid var(--gone) } .kept .frame { outline: 2px solid var(--kept) }
polygon { fill: none; stroke: #ff2d95; stroke-width: 2; vector-effect: non-scaling-stroke }
.gone b { color: var(--gone) } .kept b { color: var(--kept) } code, pre { font-size: 12px; overflow-wrap: anywhere }
.warn { border-left: 4px solid var(--gone); padding-left: .8rem }
"""
ACTIONS = {
    "write": "The dataset was written again without the removed images.",
    "list": "Nothing was written: the removed images are listed only.",
    "in-place": "Shards that held removed images were rewritten where they lie; all others were left as they were.",
}


def page_pairs(certificate: Certificate) -> dict[Place, list[Place]]:
    """The reference images that the page shows, and what it shows with each."""
    pairs = {}
    for at in [*_found(certificate)[:SHOWN_FOUND], *_misses(certificate)[:SHOWN_MISSES]]:
        copies = certificate.removed_by_reference.get(at, [])[:SHOWN_COPIES]
        reference = certificate.reference_images[at]
        pairs[reference.image.place] = [
            *(item.image.place for item in copies),
            *(match.image.place for match in _kept(reference)),
        ]
    return pairs


def page_of(certificate: Certificate, exhibits: Thumbnails) -> str:
    """The whole page."""
    pictures = _Pictures(exhibits)
    parts = [
        f"<h1>Decontamination certificate</h1><p>{shown(certificate.dataset['data'])}, compared with ",
        shown(", ".join(item.data for item in certificate.reference_sets)),
        f".</p><p>{ACTIONS[certificate.clean['action']]}</p>",
        *_summary(certificate),
        *_found_section(certificate, pictures),
        *_misses_section(certificate, pictures),
        *_removed_section(certificate),
        *_unreadable_section(certificate),
        *_settings_section(certificate),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width"><title>Decontamination certificate</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


class _Pictures:
    """Figures of images, with what is said of them and the outline of the one in the other."""

    def __init__(self, exhibits: Thumbnails) -> None:
        self._exhibits = exhibits

    def row(self, reference: ReferenceImage, others: Sequence[tuple[ImageName, str, str]]) -> str:
        """A reference image, and beside it images with a kind and a caption each."""
        result = [self._exhibits.matches.get((reference.image.place, image.place)) for image, _, _ in others]
        inside = [outline(match, inverse=True) for match in result if match and _is_drawn(match)]
        figures = [self._figure(reference.image, "", f"reference, {reference.set}", inside)]
        for (image, kind, caption), match in zip(others, result, strict=True):
            outlines = [outline(match)] if match and _is_drawn(match) else []
            figures.append(self._figure(image, kind, f"{caption}{_geometry_words(match)}", outlines))
        return "".join(figures)

    def _figure(self, image: ImageName, kind: str, caption: str, outlines: Sequence[str]) -> str:
        jpeg = self._exhibits.thumbnails.get(image.place)
        picture = drawing(jpeg, outlines) if jpeg else "<span>(not readable)</span>"
        text = f"<b>{html.escape(caption)}</b><br>{shown(image.name)}"
        return f'<figure class="{kind}"><div class="frame">{picture}</div><figcaption>{text}</figcaption></figure>'


def _is_drawn(match: Geometry) -> bool:
    """Whether enough agrees for an outline to mean something."""
    return match.score >= DRAWN_SCORE


def _geometry_words(match: Geometry | None) -> str:
    if match is None or not _is_drawn(match):
        return ""
    return f", {match.inliers} matched points{', mirrored' if match.mirrored else ''}"


def _summary(certificate: Certificate) -> Iterator[str]:
    counts = certificate.counts
    yield "<h2>Counts</h2>"
    yield _table(
        ("images", "number", ""),
        [
            ("read", counts["read"], "= kept + removed + unreadable"),
            ("kept", counts["kept"], ""),
            ("removed", counts["removed"], _removed_words(counts)),
            ("unreadable", counts["unreadable"], _unreadable_words(counts)),
        ],
    )
    rows = [
        (item.name, item.images, item.unreadable, item.found, item.removed, item.data)
        for item in certificate.reference_sets
    ]
    yield "<h2>Reference sets</h2>"
    yield _table(("set", "images", "unreadable", "found in the dataset", "dataset images removed", "where"), rows)
    if blind := sum(item.unreadable for item in certificate.reference_sets):
        yield (
            f'<p class="warn">{blind:,} reference image(s) could not be read. Nothing is certified about copies of '
            "them; they are listed below.</p>"
        )
    passed = [f"{count:,} {what}" for what, count in certificate.dataset["passed_over"].items() if count]
    if passed:
        yield (
            f"<p>Passed over in the folder, neither compared nor carried: {', '.join(passed)} "
            "(hidden entries, symbolic links, special files).</p>"
        )
    yield "<h2>What this comparison can and cannot see</h2><ul>"
    yield from (f"<li>{shown(sentence)}</li>" for sentence in certificate.limits)
    yield "</ul>"


def _removed_words(counts: Any) -> str:
    words = f"{counts['removed_as_copies']:,} as copies of reference images"
    if mates := counts["removed_with_their_sample"]:
        words += f", {mates:,} with the WebDataset sample that held one"
    return words


def _unreadable_words(counts: Any) -> str:
    return (
        f"no image that could be compared: {counts['unreadable_kept']:,} kept, {counts['unreadable_removed']:,} removed"
    )


def _found_section(certificate: Certificate, pictures: _Pictures) -> Iterator[str]:
    result = _found(certificate)
    yield f"<h2>Reference images with copies in the dataset: {len(result):,}</h2>"
    yield _cut(len(result), SHOWN_FOUND, "those with the most similar copies")
    for at in result[:SHOWN_FOUND]:
        reference = certificate.reference_images[at]
        copies = certificate.removed_by_reference[at]
        others = [(item.image, "gone", _copy_words(item)) for item in copies[:SHOWN_COPIES]]
        others += [(item.image, "kept", _kept_words(item)) for item in _kept(reference)]
        more = f"<p>and {len(copies) - SHOWN_COPIES:,} more copies</p>" if len(copies) > SHOWN_COPIES else ""
        yield f'<div class="pair">{pictures.row(reference, others)}{more}</div>'


def _misses_section(certificate: Certificate, pictures: _Pictures) -> Iterator[str]:
    misses = _misses(certificate)
    yield f"<h2>Reference images of which no copy was found: {len(misses):,}</h2>"
    yield "<p>With the dataset images that come nearest. These were kept.</p>"
    yield _cut(len(misses), SHOWN_MISSES, "those that come nearest")
    for at in misses[:SHOWN_MISSES]:
        reference = certificate.reference_images[at]
        others = [(match.image, "kept", _kept_words(match)) for match in _kept(reference)]
        yield f'<div class="pair">{pictures.row(reference, others)}</div>'


def _removed_section(certificate: Certificate) -> Iterator[str]:
    yield f"<h2>Removed images: {len(certificate.removed):,}</h2>"
    yield _cut(len(certificate.removed), LISTED, "the first in the order of the dataset")
    rows = []
    for item in certificate.removed[:LISTED]:
        fields = certificate.finding(item)
        why = f"{fields['reference_set']}: {fields['reference']}" if "reference" in fields else item.detail
        how = (fields.get("similarity", ""), item.link or "", item.inliers if (item.inliers or -1) >= 0 else "")
        rows.append((item.image.name, item.reason, why, *how, item.image.sha256))
    yield _table(("image", "reason", "because of", "similarity", "link", "matched points", "SHA-256"), rows)


def _unreadable_section(certificate: Certificate) -> Iterator[str]:
    references = [item for item in certificate.reference_images if item.unreadable]
    if references:
        yield f"<h2>Reference images that could not be read: {len(references):,}</h2>"
        yield _cut(len(references), LISTED, "the first in their order")
        rows = [(item.set, item.image.name, item.unreadable, item.image.sha256) for item in references[:LISTED]]
        yield _table(("set", "image", "reason", "SHA-256"), rows)
    yield f"<h2>Dataset files that could not be read as images: {len(certificate.unreadable):,}</h2>"
    yield _cut(len(certificate.unreadable), LISTED, "the first in the order of the dataset")
    files = [
        (item.image.name, "kept" if item.kept else "removed", item.reason, item.detail, item.image.sha256)
        for item in certificate.unreadable[:LISTED]
    ]
    yield _table(("file", "", "reason", "detail", "SHA-256"), files)


def _settings_section(certificate: Certificate) -> Iterator[str]:
    fields = certificate.to_dict()
    rows = [
        ("lvd", fields["lvd"]),
        ("copy descriptor", certificate.model["name"]),
        ("its fingerprint", certificate.model["fingerprint"]),
        ("dataset", certificate.dataset["sha256"]),
        ("clean dataset", certificate.clean["sha256"]),
        *((f"reference set {item.name}", item.sha256) for item in certificate.reference_sets),
    ]
    yield "<h2>Versions, weights and contents</h2>"
    yield _table(("of", "version or SHA-256"), rows)
    yield (
        "<p>The hash of a dataset is the SHA-256 of one line for each of its images, in its order: the SHA-256 of the "
        "image's bytes, two spaces, its name.</p><h2>Settings</h2>"
    )
    settings = yaml.safe_dump(dict(certificate.settings), sort_keys=False, allow_unicode=True)
    yield f"<pre>{shown(settings, lines=True)}</pre>"


def _found(certificate: Certificate) -> list[int]:
    """Numbers of the reference images with copies, those with the most similar first."""
    best = {at: items[0].similarity or 0.0 for at, items in certificate.removed_by_reference.items()}
    return sorted(best, key=lambda at: (-best[at], at))


def _misses(certificate: Certificate) -> list[int]:
    """Numbers of the reference images without copies, those with the nearest image first."""
    best = {
        at: item.nearest[0].similarity if item.nearest else -1.0
        for at, item in enumerate(certificate.reference_images)
        if at not in certificate.removed_by_reference and not item.unreadable
    }
    return sorted(best, key=lambda at: (-best[at], at))


def _kept(reference: ReferenceImage) -> Sequence[Match]:
    return [match for match in reference.nearest if not match.removed][:SHOWN_NEAREST]


def _copy_words(item: Finding) -> str:
    return f"removed, {item.similarity:.3f}{', in a chain' if item.link == 'chain' else ''}"


def _kept_words(match: Match) -> str:
    return f"{'removed' if match.removed else 'kept'}, {match.similarity:.3f}"


def _cut(count: int, shown: int, which: str) -> str:
    return f"<p>Shown: {shown:,} of {count:,}, {which}; certificate.json has all.</p>" if count > shown else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = []
    for row in rows:
        cells = (
            f'<td class="n">{value:,}</td>' if isinstance(value, int) else f"<td>{shown(value)}</td>" for value in row
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(f"<th>{shown(name)}</th>" for name in header)
    return f"<table><tr>{heads}</tr>{''.join(lines)}</table>" if lines else "<p>none</p>"
