"""The certificate as a page: each reference image beside its copies and the nearest images that were kept, and each
image of the dataset beside its copies.

Long lists are cut, and the page says how many entries they have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from curation import __version__
from curation.config import dump_yaml
from curation.decontaminate.certificate import (
    Certificate,
    Finding,
    Group,
    ImageName,
    Neighbour,
    ReferenceImage,
)
from curation.decontaminate.suspects import Suspect
from curation.imaging.matching import Match
from curation.report.page import Figure, render
from curation.report.pictures import Place, outline
from curation.report.thumbnails import Thumbnails

__all__ = ["page_of", "page_pairs"]

SHOWN_LEAKS = 300
"""Reference images with copies that are shown."""
SHOWN_MISSES = 60
"""Reference images without copies that are shown, those with the nearest image first."""
SHOWN_GROUPS = 300
"""Groups of copies within the dataset that are shown, and as many of those with several labels."""
DRAWN_FROM = 1.9
"""`Match.score` from which on it is drawn how one image lies in another."""
SHOWN_COPIES = 6
"""Copies shown of one image."""
SHOWN_NEAREST = 3
"""Kept images shown of one reference image."""
LISTED = 5_000
"""Rows of a table of names."""
TITLES = {"decontaminate": "Decontamination certificate", "dedup": "Copies within a dataset"}
IN_ORDER = "the first in the order of the dataset"
ACTIONS = {
    "write": "The dataset was written again without the removed images.",
    "list": "Nothing was written: the removed images are listed only.",
    "in-place": "Shards that held removed images were rewritten in place; all others were left unchanged.",
}
LEAST = "those with the least similar copies"
Rows = list[tuple[Any, ...]]
Shown = tuple[ImageName, str, str]
"""An image, its verdict and its caption."""


@dataclass(frozen=True, slots=True)
class _Section:
    """Pairs or rows of a table: all there are, and those that are shown."""

    count: int
    shown: Sequence[Any]
    which: str
    """Which ones are shown where they are not all."""


def _section(items: Sequence[Any], most: int, row: Callable[[Any], Any], which: str) -> _Section:
    return _Section(len(items), [row(item) for item in items[:most]], which)


def page_pairs(certificate: Certificate) -> dict[Place, list[Place]]:
    """The images that the page shows, and those shown with each: of references first, then of the dataset."""
    pairs: dict[Place, list[Place]] = {}
    for at in [*_leaks(certificate)[:SHOWN_LEAKS], *_misses(certificate)[:SHOWN_MISSES]]:
        reference = certificate.reference_images[at]
        copies = certificate.removed_by_reference.get(at, [])[:SHOWN_COPIES]
        others = [item.image for item in copies] + [item.image for item in _kept(reference)]
        pairs[reference.image.place] = [image.place for image in others]
    conflicts, agreeing = _groups(certificate)
    for group in [*conflicts[:SHOWN_GROUPS], *agreeing[:SHOWN_GROUPS]]:
        pairs[group.kept.place] = [item.image.place for item in _least_similar(group)[:SHOWN_COPIES]]
    return pairs


def page_of(certificate: Certificate, pictures: Thumbnails) -> str:
    """The page as HTML.

    Args:
        pictures: of the images that `page_pairs` names; what is missing is shown as "(not readable)".
    """
    figures = _Figures(certificate, pictures)
    leaks, misses = _leaks(certificate), _misses(certificate)
    conflicts, agreeing = _groups(certificate)
    labelled = [row for at, group in enumerate(conflicts, 1) for row in _labelled(at, group)]
    blind = [item for item in certificate.reference_images if item.unreadable]
    return render(
        "certificate.html",
        title=TITLES[certificate.job],
        certificate=certificate,
        action=ACTIONS[certificate.clean["action"]],
        passed_over=[f"{count:,} {what}" for what, count in certificate.dataset["passed_over"].items() if count],
        blind=sum(item.unreadable for item in certificate.reference_sets),
        counts=_counts(certificate),
        conflicts=_section(conflicts, SHOWN_GROUPS, figures.group, LEAST),
        labelled=_section(labelled, LISTED, tuple, "the first"),
        agreeing=_section(agreeing, SHOWN_GROUPS, figures.group, LEAST),
        copies_kept=_section(certificate.copies_kept, LISTED, _stays, IN_ORDER),
        leaks=_section(leaks, SHOWN_LEAKS, figures.pair, "those with the most similar copies"),
        misses=_section(misses, SHOWN_MISSES, figures.pair, "those that come nearest"),
        removed=_section(certificate.removed, LISTED, partial(_removed, certificate), IN_ORDER),
        blind_references=_section(blind, LISTED, _blind, "the first in their order"),
        suspects=_section(certificate.suspects, LISTED, _suspect, "the first in the order of the fingerprints"),
        unreadable=_section(certificate.unreadable, LISTED, _unreadable, IN_ORDER),
        contents=_contents(certificate),
        settings=dump_yaml(dict(certificate.settings)),
    )


class _Figures:
    """Reference images beside others, with captions and the outline of the one in the other."""

    def __init__(self, certificate: Certificate, pictures: Thumbnails) -> None:
        self._certificate = certificate
        self._pictures = pictures

    def pair(self, at: int) -> tuple[list[Figure], str]:
        """Reference image number `at` beside its copies and the nearest kept images, and how many more there are."""
        reference = self._certificate.reference_images[at]
        copies = self._certificate.removed_by_reference.get(at, [])
        more = f"and {len(copies) - SHOWN_COPIES:,} more copies" if len(copies) > SHOWN_COPIES else ""
        others = [(item.image, "removed", _copy_words(item)) for item in copies[:SHOWN_COPIES]]
        others += [(item.image, "kept", f"kept, {item.similarity:.3f}") for item in _kept(reference)]
        return self._beside((reference.image, "", f"reference, {reference.set}"), others), more

    def group(self, group: Group) -> tuple[list[Figure], str]:
        """An image that is kept beside its copies, the least similar first, and how many more there are."""
        copies = _least_similar(group)
        more = f"and {len(copies) - SHOWN_COPIES:,} more copies" if len(copies) > SHOWN_COPIES else ""
        others = [
            (item.image, "kept" if item.kept else "removed", f"{_copy_words(item)}{_label_words(item.image)}")
            for item in copies[:SHOWN_COPIES]
        ]
        return self._beside((group.kept, "kept", f"kept{_label_words(group.kept)}"), others), more

    def _beside(self, first: Shown, others: Sequence[Shown]) -> list[Figure]:
        """An image and others, with the outline of the one in each other."""
        geometry = [self._geometry(first[0], image) for image, _, _ in others]
        inside = tuple(outline(item, inverse=True) for item in geometry if item)
        image, verdict, caption = first
        figures = [self._figure(image, caption, verdict, inside)]
        for (image, verdict, caption), item in zip(others, geometry, strict=True):
            outlines = (outline(item),) if item else ()
            figures.append(self._figure(image, f"{caption}{_geometry_words(item)}", verdict, outlines))
        return figures

    def _geometry(self, first: ImageName, image: ImageName) -> Match | None:
        """How the one lies in the other, where enough agrees to draw it."""
        result = self._pictures.matches.get((first.place, image.place))
        return result if result is not None and result.score >= DRAWN_FROM else None

    def _figure(self, image: ImageName, caption: str, verdict: str, outlines: tuple[str, ...]) -> Figure:
        jpeg = self._pictures.thumbnails.get(image.place)
        return Figure(jpeg, image.name, caption, verdict, outlines, missing="(not readable)")


def _copy_words(item: Finding) -> str:
    similarity = "" if item.similarity is None else f", {item.similarity:.3f}"
    return f"{'kept' if item.kept else 'removed'}{similarity}{', in a chain' if item.link == 'chain' else ''}"


def _label_words(image: ImageName) -> str:
    return "" if image.label is None else f", label {image.label}"


def _geometry_words(match: Match | None) -> str:
    if match is None:
        return ""
    return f", {match.inliers} matched points{', mirrored' if match.mirrored else ''}"


def _counts(certificate: Certificate) -> Rows:
    counts = certificate.counts
    own = counts["removed_as_copies"] - counts.get("removed_as_copies_of_references", counts["removed_as_copies"])
    removed = f"{own:,} as copies of images that are kept" if certificate.job == "dedup" else ""
    if certificate.reference_sets:
        leaks = f"{counts['removed_as_copies'] - own:,} as copies of reference images"
        removed = f"{removed}, {leaks}" if removed else leaks
    if mates := counts["removed_with_their_sample"]:
        removed += f", {mates:,} with the WebDataset sample that held one"
    unreadable = (
        f"no image that could be compared: {counts['unreadable_kept']:,} kept, {counts['unreadable_removed']:,} removed"
    )
    return [
        ("read", counts["read"], "= kept + removed + unreadable"),
        ("kept", counts["kept"], ""),
        ("removed", counts["removed"], removed),
        ("unreadable", counts["unreadable"], unreadable),
    ]


def _removed(certificate: Certificate, item: Finding) -> tuple[Any, ...]:
    fields = certificate.finding(item)
    why = f"{fields['reference_set']}: {fields['reference']}" if "reference" in fields else item.detail
    why = item.copy_of.name if item.copy_of else why
    points = item.inliers if (item.inliers or -1) >= 0 else ""
    image, link = item.image, item.link or ""
    return image.name, item.reason, why, fields.get("similarity", ""), link, points, image.sha256


def _suspect(item: Suspect) -> tuple[Any, ...]:
    points = "" if item.inliers is None else item.inliers
    which, verdict = f"{item.set}: {item.fingerprint}", "kept" if item.kept else "removed for another reason"
    return item.image.name, which, item.link, f"{item.similarity:.3f}", points, verdict, item.image.sha256


def _stays(item: Finding) -> tuple[Any, ...]:
    assert item.copy_of is not None, "a copy that stays is one of an image of the dataset"
    return item.image.name, item.copy_of.name, item.detail, item.image.sha256


def _labelled(at: int, group: Group) -> Rows:
    """The images of a group, with the number and label of each."""
    return [
        (at, image.name, image.label or "", "kept" if kept else "removed", image.sha256) for image, kept in group.images
    ]


def _unreadable(item: Finding) -> tuple[Any, ...]:
    return item.image.name, "kept" if item.kept else "removed", item.reason, item.detail, item.image.sha256


def _blind(item: ReferenceImage) -> tuple[Any, ...]:
    return item.set, item.image.name, item.unreadable, item.image.sha256


def _contents(certificate: Certificate) -> Rows:
    """Versions, and hashes of weights and datasets."""
    return [
        ("lvd", __version__),
        ("copy descriptor", certificate.model["name"]),
        ("its fingerprint", certificate.model["fingerprint"]),
        ("dataset", certificate.dataset["sha256"]),
        ("clean dataset", certificate.clean["sha256"]),
        *((f"reference set {item.name}", item.sha256) for item in certificate.reference_sets),
        *((f"fingerprints {item.name}", item.sha256) for item in certificate.fingerprint_sets),
    ]


def _leaks(certificate: Certificate) -> list[int]:
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


def _groups(certificate: Certificate) -> tuple[list[Group], list[Group]]:
    """The groups with several labels, and the others, those with the least similar copies first."""
    groups = sorted(certificate.groups, key=lambda group: _similarity(_least_similar(group)[0]))
    return [group for group in groups if len(group.labels) > 1], [group for group in groups if len(group.labels) < 2]


def _least_similar(group: Group) -> list[Finding]:
    return sorted(group.copies, key=_similarity)


def _similarity(item: Finding) -> float:
    """To the image that is kept; where it is not known, the least."""
    return -1.0 if item.similarity is None else item.similarity


def _kept(reference: ReferenceImage) -> Sequence[Neighbour]:
    return [match for match in reference.nearest if not match.removed][:SHOWN_NEAREST]
