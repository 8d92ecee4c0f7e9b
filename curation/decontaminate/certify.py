"""Makes the certificate of a dataset from a run's files, in the order of the dataset."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from curation.arrays import Int64Array
from curation.decontaminate.certificate import (
    Action,
    Certificate,
    Finding,
    ImageName,
    Job,
    Neighbour,
    ReferenceImage,
    ReferenceSet,
)
from curation.decontaminate.hashing import hash_of
from curation.decontaminate.rows import mask_of, ordered_rows
from curation.decontaminate.source import Source, open_source
from curation.decontaminate.suspects import CELLS, INLIERS, FingerprintSet, Hit, Suspect, SuspectList
from curation.decontaminate.verdicts import VERDICTS, Unreadable
from curation.drops import DropReason
from curation.formats.dataset import Kind
from curation.report.limits import limits_of
from curation.report.notes import measured_recall
from curation.run.directory import Run
from curation.run.parts import Collection
from curation.stages.knn.knn import COPY_KNN

__all__ = ["make_certificate"]


def make_certificate(
    run: Run,
    clean: Collection,
    source: Source,
    action: Action,
    unreadable: Unreadable,
    passed_over: Mapping[str, int],
    *,
    job: Job = "decontaminate",
    lists: Sequence[SuspectList] = (),
    hits: Sequence[Hit] = (),
) -> Certificate:
    """Certify a run whose verdicts are settled."""
    images = _Images(run.pool, clean, source)
    sets = [_References(run, name.name, images) for name in run.config.references]
    numbers: dict[tuple[str | None, bytes], int] = {}
    listed: list[ReferenceImage] = []
    for item in sets:
        for id_, reference in item.images():
            numbers.setdefault((reference.set, id_), len(listed))
            numbers.setdefault((None, id_), len(listed))  # where a run does not name the set
            listed.append(reference)
    removed, unread, copies_kept = images.findings(numbers)
    certificate = Certificate(
        dataset={
            "data": source.data,
            "kind": source.kind.value,
            "files": len(source.files),
            "images": len(images.table),
            "sha256": images.sha256(),
            "passed_over": dict(passed_over),
        },
        clean={
            "action": action,
            "images": int(images.live.sum()),
            "sha256": images.sha256(only_live=True),
            "files": None if source.kind is Kind.FOLDER else images.files(),
        },
        counts=_counts(images, unread),
        reference_sets=[item.summary(listed, removed) for item in sets],
        removed=removed,
        unreadable=unread,
        reference_images=listed,
        settings={"unreadable": unreadable, **_settings(run)},
        model=_model(run),
        limits=[*limits_of(run.config), *_of_search(run), *_of_fingerprints(lists)],
        copies_kept=copies_kept,
        job=job,
        fingerprint_sets=[_fingerprint_set(item) for item in lists],
        suspects=[images.suspect(hit, lists[hit.set].name) for hit in hits],
    )
    if job == "dedup":
        certificate = replace(certificate, counts={**certificate.counts, **_of_copies(certificate)})
    return certificate


COPIES_OF = (DropReason.REFERENCE_LEAK, DropReason.COPY, DropReason.HASH_DUPLICATE)
COPIED = ("similarity", "link", "inliers", "mirrored", "agreement", "probability")
TOLD = [
    *("live", "drop_reason", "drop_detail", "unreadable", "detail", "reason", "representative", "reference"),
    *("kept_part", "kept_row", "stays", "transform", *COPIED),
]


class _Images:
    """The dataset's images in their order, and what became of each."""

    def __init__(self, pool: Collection, clean: Collection, source: Source) -> None:
        self._source = source
        self._parts = clean.parts(VERDICTS.name)
        self._pieces = [clean.read(VERDICTS.name, part) for part in self._parts]
        self.table = pa.concat_tables(self._pieces)
        self.live = mask_of(self.table["live"])
        self._name = _names_of(source)
        self._where = _positions(self.table, pool)

    def image(self, at: int) -> ImageName:
        names = ["tar", "path", "label", "row", "sha256", "pool_part", "pool_row"]
        row = self.table.slice(at, 1).select(names).to_pylist()[0]
        place = ("pool", row["pool_part"], row["pool_row"])
        return ImageName(self._name(row), _hex(row["sha256"]), place, row["label"])

    def at(self, part: int, row: int) -> int:
        return int(self._where[part][row])

    def findings(
        self, numbers: Mapping[tuple[str | None, bytes], int]
    ) -> tuple[list[Finding], list[Finding], list[Finding]]:
        """What is removed, what could not be compared, and copies that stay, each in the order of the dataset."""
        removed: list[Finding] = []
        unreadable: list[Finding] = []
        copies_kept: list[Finding] = []
        told = ~self.live | mask_of(self.table["unreadable"].is_valid()) | mask_of(self.table["stays"].is_valid())
        for at in np.flatnonzero(told).tolist():
            row = self.table.slice(at, 1).select(TOLD).to_pylist()[0]
            image = self.image(at)
            if row["unreadable"]:
                unreadable.append(Finding(image, row["live"], row["unreadable"], row["detail"] or ""))
            elif row["drop_reason"] == DropReason.SAMPLE_REMOVED:
                removed.append(Finding(image, False, row["drop_reason"], row["drop_detail"] or ""))
            elif row["drop_reason"] == DropReason.REFERENCE_LEAK:
                number = numbers[row["reference"], row["representative"]]
                removed.append(Finding(image, False, row["drop_reason"], "", number, **_evidence(row)))
            else:
                kept = self.image(self.at(row["kept_part"], row["kept_row"]))
                copy = Finding(image, row["live"], row["reason"], row["stays"] or "", copy_of=kept, **_evidence(row))
                (copies_kept if row["live"] else removed).append(copy)
        return removed, unreadable, copies_kept

    def suspect(self, hit: Hit, name: str) -> Suspect:
        """What a hit of the file of fingerprints with a name says of an image."""
        at = self.at(hit.part, hit.row)
        which = hit.number if hit.fingerprint is None else hit.fingerprint
        return Suspect(self.image(at), bool(self.live[at]), name, which, hit.similarity, hit.link, hit.inliers)

    def files(self) -> list[dict[str, Any]]:
        """The shards or Parquet files: name, images before and after."""
        return [
            {"name": self._source.names[part], "images": len(piece), "kept": int(mask_of(piece["live"]).sum())}
            for part, piece in zip(self._parts, self._pieces, strict=True)
        ]

    def sha256(self, *, only_live: bool = False) -> str:
        return _digest(self.table.filter(self.table["live"]) if only_live else self.table, self._name)


class _References:
    """One reference set of a run."""

    def __init__(self, run: Run, name: str, dataset: _Images) -> None:
        self._collection = run.references(name)
        self._set = name
        self._dataset = dataset
        self._source = open_source(next(item.data for item in run.config.references if item.name == name))
        self._name = _names_of(self._source)
        self._table = ordered_rows(self._collection)

    def images(self) -> Iterator[tuple[bytes, ReferenceImage]]:
        """Id and image, in the order of the set."""
        nearest = {
            part: self._collection.read("reference_knn", part) for part in self._collection.parts("reference_knn")
        }
        for row in self._table.to_pylist():
            part, at = row["pool_part"], row["pool_row"]  # of this collection, whatever it is
            image = ImageName(self._name(row), _hex(row["sha256"]), (self._collection.path, part, at))
            matches = () if row["unreadable"] else tuple(self._matches(nearest[part].slice(at, 1).to_pylist()[0]))
            yield row["id"], ReferenceImage(self._set, image, row["unreadable"], matches)

    def _matches(self, result: Mapping[str, Any]) -> Iterator[Neighbour]:
        places = zip(result["neighbour_part"], result["neighbour_row"], result["neighbour_similarity"], strict=True)
        for part, row, similarity in places:
            at = self._dataset.at(part, row)
            yield Neighbour(self._dataset.image(at), similarity, not self._dataset.live[at])

    def summary(self, listed: Sequence[ReferenceImage], removed: Sequence[Finding]) -> ReferenceSet:
        leaks = [item.reference for item in removed if item.reference is not None]
        mine = [number for number in leaks if listed[number].set == self._set]
        return ReferenceSet(
            self._set,
            self._source.data,
            self._source.kind.value,
            len(self._table),
            len(self._table) - self._table["unreadable"].null_count,
            len(set(mine)),
            len(mine),
            _digest(self._table, self._name),
        )


def _names_of(source: Source) -> Callable[[Mapping[str, Any]], str]:
    """How the image of a row is called within its dataset."""
    if source.kind is Kind.FOLDER:
        return lambda row: str(row["path"])
    files = dict(zip(source.files, source.names, strict=True))
    return lambda row: f"{files[row['tar']]}/{row['path'] if source.kind is Kind.TARS else row['row']}"


def _digest(table: pa.Table, name: Callable[[Mapping[str, Any]], str]) -> str:
    """SHA-256 over a line for each image, in order: the SHA-256 of its bytes, two spaces, its name."""
    digest = hashlib.sha256()
    for batch in table.select(["tar", "path", "row", "sha256"]).to_batches(max_chunksize=65_536):
        for row in batch.to_pylist():
            digest.update(f"{_hex(row['sha256'])}  {name(row)}\n".encode())
    return digest.hexdigest()


def _positions(table: pa.Table, pool: Collection) -> dict[int, Int64Array]:
    """Part -> (rows,) where each of its rows is in the table."""
    parts, rows = (table[name].to_numpy() for name in ("pool_part", "pool_row"))
    where = {}
    for part in pool.parts("list"):
        mine = np.flatnonzero(parts == part)
        places = np.empty(len(mine), dtype=np.int64)
        places[rows[mine]] = mine
        where[part] = places
    return where


def _counts(images: _Images, unreadable: Sequence[Finding]) -> dict[str, int]:
    """Images: read = kept + removed + unreadable, whatever becomes of the unreadable."""
    reasons = Counter(images.table.filter(images.table["unreadable"].is_null())["drop_reason"].to_pylist())
    kept = reasons.pop(None, 0)
    counts = {
        "read": len(images.table),
        "kept": kept,
        "removed": sum(reasons.values()),
        "unreadable": len(unreadable),
        "removed_as_copies": sum(reasons[reason.value] for reason in COPIES_OF),
        "removed_with_their_sample": reasons[DropReason.SAMPLE_REMOVED.value],
        "unreadable_kept": sum(item.kept for item in unreadable),
        "unreadable_removed": sum(not item.kept for item in unreadable),
    }
    assert counts["read"] == counts["kept"] + counts["removed"] + counts["unreadable"], counts
    assert int(images.live.sum()) == counts["kept"] + counts["unreadable_kept"], counts
    return counts


def _of_copies(certificate: Certificate) -> dict[str, int]:
    """What the counts of dedup say besides: of the copies that are removed, those of reference images."""
    leaks = sum(item.reference is not None for item in certificate.removed)
    return {
        "removed_as_copies_of_references": leaks,
        "groups_of_copies": len(certificate.groups),
        "copies_kept": len(certificate.copies_kept),
        "label_conflicts": len(certificate.label_conflicts),
    }


def _evidence(row: Mapping[str, Any]) -> dict[str, Any]:
    transform = row["transform"] and tuple(row["transform"])
    return {**{name: row[name] for name in COPIED}, "transform": transform}


def _of_search(run: Run) -> list[str]:
    """How good the search was, where it was not exact."""
    references = [run.references(item.name) for item in run.config.references]
    recall = measured_recall([run.pool, *references], COPY_KNN)
    if recall is None:
        return []
    return [
        f"The nearest images were searched with an index. Of {recall.images:,} images that were searched exactly as "
        f"well, it found {recall.share:.2%} of the true neighbours."
    ]


def _fingerprint_set(item: SuspectList) -> FingerprintSet:
    return FingerprintSet(item.name, item.data, len(item.file), hash_of(item.data)[1])


def _of_fingerprints(lists: Sequence[SuspectList]) -> list[str]:
    """What a comparison with fingerprints is worth, where there are any."""
    if not lists:
        return []
    return [
        "Fingerprints hold no picture, so what they find is listed as suspects and never removed: images of equal "
        f"bytes, and those with {INLIERS} or more matched points in {CELLS} or more of 16 cells. Points alone also "
        "match in two prints of one motif, or two moments of one scene. Whoever has the images can tell. Copies that "
        "are blurred, or a small part of another image, are often missed."
    ]


def _settings(run: Run) -> dict[str, Any]:
    recipe = run.config.recipe()
    return {name: recipe[name] for name in ("seed", "parts", "image", "hash", "copy_descriptors", "dedup")}


def _model(run: Run) -> dict[str, Any]:
    from curation.models import open_embedder

    return {
        "name": run.config.copy_descriptors.model,
        "fingerprint": open_embedder(run.config.copy_descriptors).fingerprint(),
    }


def _hex(value: bytes | None) -> str:
    return value.hex() if value else ""
