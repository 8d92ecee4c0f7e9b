"""The certificate of a decontaminated dataset: what was compared, what was removed and why.

It holds no dates or times, so the same images and settings give the same certificate.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

from curation import __version__
from curation.decontaminate.write import read_note
from curation.drops import DropReason
from curation.run.parts import Collection
from curation.run.store import Store

__all__ = [
    "Action",
    "Certificate",
    "Finding",
    "ImageName",
    "Neighbour",
    "ReferenceImage",
    "ReferenceSet",
    "write_certificate",
]

FORMAT = "lvd-certificate/1"
Action = Literal["write", "list", "in-place"]
"""What becomes of the dataset: written again without copies, left alone, or its shards rewritten in place."""
Place = tuple[str, int, int]
"""Collection, part and row: where a run has an image."""


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image: its name within its dataset, the SHA-256 of its bytes (empty where it has none), its place."""

    name: str
    sha256: str
    place: Place


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A dataset image that is among the most similar to a reference image."""

    image: ImageName
    similarity: float
    removed: bool


@dataclass(frozen=True, slots=True)
class ReferenceImage:
    """An image of a reference set, and the dataset images that it resembles most.

    Attributes:
        unreadable: why it could not be compared with anything, or None.
    """

    set: str
    image: ImageName
    unreadable: str | None
    nearest: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A dataset image that is not kept, or that could not be compared.

    Attributes:
        reference: of a copy, the number of the reference image that it leads to, in `Certificate.reference_images`.
        link: how it leads there: by similarity alone ("similar", "sure"), "verified" by geometry, or in a "chain" over
            other images; None where the run does not say.
        inliers, mirrored: of a geometric verification of the two images.
    """

    image: ImageName
    kept: bool
    reason: str
    detail: str
    reference: int | None = None
    similarity: float | None = None
    link: str | None = None
    inliers: int | None = None
    mirrored: bool | None = None


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """One reference set in numbers.

    Attributes:
        with_copies: its images that at least one dataset image is a copy of; "found" in the JSON.
        removed: dataset images that were removed as copies of its images.
        sha256: of its images and their names, as for the dataset.
    """

    name: str
    data: str
    kind: str
    images: int
    unreadable: int
    with_copies: int
    removed: int
    sha256: str


@dataclass(frozen=True)
class Certificate:
    """The whole certificate; `to_dict` is the JSON."""

    dataset: Mapping[str, Any]
    clean: Mapping[str, Any]
    counts: Mapping[str, int]
    reference_sets: Sequence[ReferenceSet]
    removed: Sequence[Finding]
    unreadable: Sequence[Finding]
    reference_images: Sequence[ReferenceImage]
    settings: Mapping[str, Any]
    model: Mapping[str, Any]
    limits: Sequence[str]

    @cached_property
    def removed_by_reference(self) -> Mapping[int, list[Finding]]:
        """The copies of each reference image, by its number, the most similar first."""
        result: dict[int, list[Finding]] = {}
        for item in self.removed:
            if item.reference is not None:
                result.setdefault(item.reference, []).append(item)
        return {at: sorted(items, key=lambda item: -(item.similarity or 0)) for at, items in result.items()}

    def with_written(self, clean: Collection) -> "Certificate":
        """With what was written: name, size and SHA-256 of each file of a dataset of shards or Parquet files."""
        if self.clean["files"] is None or self.clean["action"] == "list":
            return self
        files = []
        for part, file in enumerate(self.clean["files"]):
            note = read_note(clean, part)
            assert note is not None, f"{file['name']} was not written"
            files.append({**file, "bytes": note["bytes"], "sha256": note["sha256"]})
        return replace(self, clean={**self.clean, "files": files})

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "lvd": __version__,
            "dataset": dict(self.dataset),
            "clean": dict(self.clean),
            "counts": dict(self.counts),
            "reference_sets": [self._reference_set(item) for item in self.reference_sets],
            "settings": dict(self.settings),
            "model": dict(self.model),
            "limits": list(self.limits),
            "removed": [self.finding(item) for item in self.removed],
            "unreadable": [self.finding(item) for item in self.unreadable],
            "reference_images": [self._reference(at) for at in range(len(self.reference_images))],
        }

    def finding(self, item: Finding) -> dict[str, Any]:
        """One image that is not kept, or could not be compared, as JSON."""
        fields: dict[str, Any] = {"name": item.image.name, "sha256": item.image.sha256, "reason": item.reason}
        if item.detail:
            fields["detail"] = item.detail
        if item.reference is not None:
            reference = self.reference_images[item.reference]
            fields["reference_set"] = reference.set
            fields["reference"] = reference.image.name
            fields["similarity"] = _rounded(item.similarity)
            geometry = {"link": item.link, "inliers": item.inliers, "mirrored": item.mirrored}
            fields |= {name: value for name, value in geometry.items() if value is not None}
        if item.reason not in (DropReason.REFERENCE_LEAK, DropReason.SAMPLE_REMOVED):
            fields["kept"] = item.kept
        return fields

    def _reference_set(self, item: ReferenceSet) -> dict[str, Any]:
        fields = asdict(item)
        return {"found" if name == "with_copies" else name: value for name, value in fields.items()}

    def _reference(self, at: int) -> dict[str, Any]:
        item = self.reference_images[at]
        fields: dict[str, Any] = {"set": item.set, "name": item.image.name, "sha256": item.image.sha256}
        if item.unreadable:
            fields["unreadable"] = item.unreadable
        fields["removed"] = [copy.image.name for copy in self.removed_by_reference.get(at, ())]
        fields["nearest"] = [
            {
                "name": match.image.name,
                "sha256": match.image.sha256,
                "similarity": _rounded(match.similarity),
                "removed": match.removed,
            }
            for match in item.nearest
        ]
        return fields


def write_certificate(store: Store, certificate: Certificate) -> None:
    """Write `certificate.json`, and `removed.jsonl` with one line for each image that is not kept."""
    gone = [*certificate.removed, *(item for item in certificate.unreadable if not item.kept)]
    lines = (json.dumps(certificate.finding(item), ensure_ascii=False) for item in gone)
    store.write_bytes("removed.jsonl", "".join(f"{line}\n" for line in lines).encode())
    text = json.dumps(certificate.to_dict(), indent=1, ensure_ascii=False)
    store.write_bytes("certificate.json", text.encode() + b"\n")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
