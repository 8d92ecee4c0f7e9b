"""The certificate of a dataset that was written again: what was compared, what was removed and why.

It holds no dates or times, so the same images and settings give the same certificate.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

from curation import __version__
from curation.decontaminate.image_name import ImageName, Place
from curation.decontaminate.suspects import FingerprintSet, Suspect
from curation.decontaminate.write import read_note
from curation.drops import DropReason
from curation.report.detection import DetectionPower
from curation.run.parts import Collection
from curation.run.store import Store

__all__ = [
    "FILES",
    "SUSPECTS",
    "Action",
    "Certificate",
    "Finding",
    "Group",
    "ImageName",
    "Job",
    "Neighbour",
    "ReferenceImage",
    "ReferenceSet",
    "write_certificate",
]

Job = Literal["decontaminate", "dedup"]
"""What was asked for: no copy of a reference image, or one of each image (and no such copy)."""
FORMATS: Mapping[Job, str] = {"decontaminate": "lvd-certificate/1", "dedup": "lvd-dedup/1"}
FILES: Mapping[Job, str] = {"decontaminate": "certificate", "dedup": "dedup"}
"""What the page and the JSON are called."""
SUSPECTS = "suspects.jsonl"
"""The file with what may be a copy of a fingerprinted image."""
Action = Literal["write", "list", "in-place"]
"""What becomes of the dataset: written again without copies, left alone, or its shards rewritten in place."""
UNSAID = (DropReason.REFERENCE_LEAK, DropReason.SAMPLE_REMOVED)
"""Reasons of images that never stay, which need not be said of each."""


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
        link: how it leads there: "verified" by evidence, by equal "bytes", "similar" alone, or in a "chain" over other
            images; None where the run does not say.
        inliers, mirrored, agreement, probability, transform: the evidence, of the two images.
        copy_of: of a copy within the dataset, the image that is kept.
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
    agreement: float | None = None
    probability: float | None = None
    transform: tuple[float, ...] | None = None
    copy_of: ImageName | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """An image that is kept, and its copies within the dataset, in the order of the dataset."""

    kept: ImageName
    copies: tuple[Finding, ...]

    @property
    def labels(self) -> list[str]:
        """The labels that its images have, each once."""
        return sorted({image.label for image, _ in self.images if image.label is not None})

    @property
    def images(self) -> list[tuple[ImageName, bool]]:
        """Each image, and whether it is kept."""
        return [(self.kept, True), *((item.image, item.kept) for item in self.copies)]


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
    """The whole certificate; `to_dict` is the JSON.

    Attributes:
        removed: images that are removed as copies, or with the sample that holds one.
        copies_kept: copies within the dataset that stay, since more would go with them.
        detection_power: what became of copies that were planted; None where none were.
        suspects: images that may be copies of fingerprinted ones, in the order of the fingerprints.
    """

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
    copies_kept: Sequence[Finding] = ()
    job: Job = "decontaminate"
    detection_power: DetectionPower | None = None
    fingerprint_sets: Sequence[FingerprintSet] = ()
    suspects: Sequence[Suspect] = ()

    @property
    def page(self) -> str:
        """The name of the file with the page."""
        return f"{FILES[self.job]}.html"

    @property
    def json(self) -> str:
        """The name of the file with all of it."""
        return f"{FILES[self.job]}.json"

    @cached_property
    def groups(self) -> Sequence[Group]:
        """The groups of copies within the dataset."""
        kept: dict[Place, ImageName] = {}
        copies: dict[Place, list[Finding]] = {}
        for item in (*self.removed, *self.copies_kept):
            if item.copy_of is not None:
                kept.setdefault(item.copy_of.place, item.copy_of)
                copies.setdefault(item.copy_of.place, []).append(item)
        return [Group(kept[place], tuple(items)) for place, items in copies.items()]

    @cached_property
    def label_conflicts(self) -> Sequence[Group]:
        """The groups whose images have more than one label."""
        return [group for group in self.groups if len(group.labels) > 1]

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
            "format": FORMATS[self.job],
            "lvd": __version__,
            "dataset": dict(self.dataset),
            "clean": dict(self.clean),
            "counts": dict(self.counts),
            "reference_sets": [self._reference_set(item) for item in self.reference_sets],
            "settings": dict(self.settings),
            "model": dict(self.model),
            "limits": list(self.limits),
            "detection_power": self.detection_power and self.detection_power.to_dict(),
            **(self._of_suspects() if self.fingerprint_sets else {}),
            "removed": [self.finding(item) for item in self.removed],
            **(self._of_copies() if self.job == "dedup" else {}),
            "unreadable": [self.finding(item) for item in self.unreadable],
            "reference_images": [self._reference(at) for at in range(len(self.reference_images))],
        }

    def finding(self, item: Finding) -> dict[str, Any]:
        """One image that is not kept, or could not be compared, as JSON."""
        fields: dict[str, Any] = {"name": item.image.name, "sha256": item.image.sha256, "reason": item.reason}
        if item.detail:
            fields["detail"] = item.detail
        if self.job == "dedup" and item.image.label is not None:
            fields["label"] = item.image.label
        if item.reference is not None:
            reference = self.reference_images[item.reference]
            fields |= {"reference_set": reference.set, "reference": reference.image.name, **_evidence(item)}
        if item.copy_of is not None:
            fields |= {"copy_of": item.copy_of.name, **_evidence(item)}
        if item.reason in UNSAID or item.copy_of is not None:  # the list says it
            return fields
        return {**fields, "kept": item.kept}

    def _of_suspects(self) -> dict[str, Any]:
        return {
            "fingerprint_sets": [asdict(item) for item in self.fingerprint_sets],
            "suspects": [item.to_dict() for item in self.suspects],
        }

    def _of_copies(self) -> dict[str, Any]:
        return {
            "copies_kept": [self.finding(item) for item in self.copies_kept],
            "label_conflicts": [
                {
                    "labels": group.labels,
                    "images": [
                        {"name": image.name, "sha256": image.sha256, "label": image.label, "kept": is_kept}
                        for image, is_kept in group.images
                    ],
                }
                for group in self.label_conflicts
            ],
        }

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
    """Write the JSON, `removed.jsonl` with one line for each image that is not kept, and `suspects.jsonl` where there
    are fingerprints."""
    if certificate.fingerprint_sets:
        suspects = (json.dumps(item.to_dict(), ensure_ascii=False) for item in certificate.suspects)
        store.write_bytes(SUSPECTS, "".join(f"{line}\n" for line in suspects).encode())
    else:
        store.remove(SUSPECTS)  # of an earlier call
    gone = [*certificate.removed, *(item for item in certificate.unreadable if not item.kept)]
    lines = (json.dumps(certificate.finding(item), ensure_ascii=False) for item in gone)
    store.write_bytes("removed.jsonl", "".join(f"{line}\n" for line in lines).encode())
    text = json.dumps(certificate.to_dict(), indent=1, ensure_ascii=False)
    store.write_bytes(certificate.json, text.encode() + b"\n")


def _evidence(item: Finding) -> dict[str, Any]:
    """What speaks for a copy, as JSON; what is not known is left out."""
    fields = {
        "similarity": _rounded(item.similarity),
        "link": item.link,
        "probability": _rounded(item.probability),
        "inliers": item.inliers,
        "agreement": _rounded(item.agreement),
        "mirrored": item.mirrored,
        "transform": item.transform and [_rounded(value) for value in item.transform],
    }
    return {name: value for name, value in fields.items() if value is not None}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4) + 0.0  # no -0.0
