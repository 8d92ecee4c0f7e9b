"""Detection power: copies are planted of a sample of a run's own images, and looked for by the run's own rule.

A planted copy is described as the run describes an image, compared with what the run would compare it with, and linked
where the run would link it. So what is counted holds for this dataset at these settings, whatever a benchmark says.
Nothing of it enters the run's stages; the result is kept in `report/detection.json`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scipy.special import betaincinv

from curation.engine.progress import Progress
from curation.errors import ArgumentError
from curation.report.planted import PLANTED, PLANTED_VERSION
from curation.report.trial import Outcome, Trial
from curation.run.directory import Run
from curation.run.parts import digest_of
from curation.stages.dedup.comparing import VERSIONS

__all__ = ["PLANT", "DetectionPower", "EditPower", "check_plant", "detection_text", "measure_detection"]

VERSION = 1
"""Raised whenever the same copies would be judged otherwise."""
PLANT = 60
"""Images that copies are planted of."""
FILE = "report/detection.json"
SURE = 0.95
"""What an interval or a bound covers."""
Of = Literal["pool", "references"]


@dataclass(frozen=True, slots=True)
class EditPower:
    """How many copies by one edit were found."""

    edit: str
    what: str
    copies: int
    found: int

    @property
    def interval(self) -> tuple[float, float]:
        """The share that would be found of all images, with 95 % certainty (Clopper and Pearson 1934)."""
        rest = (1 - SURE) / 2
        low = betaincinv(self.found, self.copies - self.found + 1, rest) if self.found else 0.0
        missed = self.copies - self.found
        return float(low), float(betaincinv(self.found + 1, missed, 1 - rest)) if missed else 1.0


@dataclass(frozen=True, slots=True)
class DetectionPower:
    """What became of planted copies.

    Attributes:
        of: what copies were planted of: images of the pool, or reference images.
        images: how many of them.
        edits: by edit, how many copies were found: linked to their source, or to an image that the run takes for the
            same.
        false_links: of each copy that was linked to an image which is nothing of the kind, its source, the edit, and
            that image, by id.
    """

    of: Of
    images: int
    edits: Sequence[EditPower]
    false_links: Sequence[tuple[str, str, str]]

    @property
    def copies(self) -> int:
        return sum(edit.copies for edit in self.edits)

    @property
    def found(self) -> int:
        return sum(edit.found for edit in self.edits)

    @property
    def false_copies(self) -> int:
        """Copies that were linked to something else."""
        return len({(source, edit) for source, edit, _ in self.false_links})

    @property
    def false_images(self) -> int:
        """Images any of whose copies was."""
        return len({source for source, _, _ in self.false_links})

    @property
    def false_bound(self) -> float:
        """The share of all images that may have such copies, at most, with 95 % certainty. Images are counted and not
        copies, since what is wrong of one copy of an image is often wrong of the others."""
        rest = self.images - self.false_images
        return float(betaincinv(self.false_images + 1, rest, SURE)) if rest else 1.0

    @property
    def sentence(self) -> str:
        """What it means, for those who have to judge the result."""
        whose = "reference images" if self.of == "references" else "images of the dataset"
        first = (
            f"Of {self.copies:,} copies planted of {self.images:,} {whose}, {self.found:,} were found "
            f"({self.found / self.copies:.1%}); edits and their strengths were drawn at random, heavy ones among them."
        )
        if not self.false_copies:
            return (
                f"{first} None was linked to another image: with 95 % certainty, that happens to copies of "
                f"{self.false_bound:.1%} of the images at most."
            )
        return (
            f"{first} {self.false_copies:,} were linked to another image than their own, of {self.false_images:,} "
            f"of the images; with 95 % certainty, to copies of {self.false_bound:.1%} of the images at most."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "planted_of": self.of,
            "images": self.images,
            "copies": self.copies,
            "found": self.found,
            "edits": [
                {**asdict(edit), "interval": [round(bound, 4) for bound in edit.interval]} for edit in self.edits
            ],
            "false_links": {
                "copies": self.false_copies,
                "images": self.false_images,
                "images_at_most": round(self.false_bound, 4),
                "links": [{"source": one, "edit": edit, "linked_to": other} for one, edit, other in self.false_links],
            },
            "meaning": self.sentence,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "DetectionPower":
        """What `to_dict` wrote."""
        edits = [EditPower(*(item[name] for name in ("edit", "what", "copies", "found"))) for item in fields["edits"]]
        links = [(item["source"], item["edit"], item["linked_to"]) for item in fields["false_links"]["links"]]
        return cls(fields["planted_of"], fields["images"], edits, links)


def check_plant(plant: int) -> None:
    """Raises ArgumentError where so many images cannot be meant."""
    if plant < 0:
        raise ArgumentError("plant", plant, "should be 0 or more; 0 plants no copies")


def measure_detection(run: Run, plant: int, report: Progress, *, readable: bool = True) -> DetectionPower | None:
    """Plant copies and look for them, or read what an earlier call has found.

    In a run that removes copies within its pool they are planted of images of the pool, else of reference images. It
    takes about 0.1 s CPU for a copy.

    Args:
        run: finished up to `dedup`, or to what that reads.
        plant: images to plant copies of, drawn by the run's seed; 0 for none.
        readable: whether the run's images are still what they were.

    Returns:
        None where nothing was planted.
    """
    of: Of = "pool" if run.config.dedup.self_.enabled else "references"
    digest = _digest(run, plant, of)
    if not plant or ((stored := _stored(run)).get("digest") != digest and not readable):
        return None
    if stored.get("digest") == digest:
        return DetectionPower.from_dict(stored["power"]) if stored["power"] else None
    outcomes = Trial(run, of == "pool").outcomes(plant, report)
    power = _power(of, outcomes) if outcomes else None
    text = json.dumps({"digest": digest, "power": power and power.to_dict()}, indent=1)
    run.store.write_bytes(FILE, text.encode() + b"\n")
    return power


def _power(of: Of, outcomes: Sequence[Outcome]) -> DetectionPower:
    edits = []
    for name, (_, what) in PLANTED.items():
        mine = [outcome for outcome in outcomes if outcome.edit == name]
        edits.append(EditPower(name, what, len(mine), sum(outcome.found for outcome in mine)))
    wrong = [(outcome.source, outcome.edit, other) for outcome in outcomes for other in outcome.false]
    return DetectionPower(of, len({outcome.source for outcome in outcomes}), edits, wrong)


def _digest(run: Run, plant: int, of: Of) -> str:
    """Of all that the result depends on."""
    config = run.config
    collections = [run.pool, *(run.references(item.name) for item in config.references)]
    states = [one.state(stage) for one in collections for stage in ("copy_descriptors", "copy_knn", "verify_copies")]
    settings = [config.seed, config.dedup.model_dump(mode="json"), config.image.model_dump(mode="json")]
    return digest_of([VERSION, PLANTED_VERSION, VERSIONS, plant, of, settings, states])


def _stored(run: Run) -> dict[str, Any]:
    """What an earlier call has stored; nothing where it cannot be read."""
    if not run.store.exists(FILE):
        return {}
    try:
        values = json.loads(run.store.read_bytes(FILE))
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def detection_text(power: DetectionPower | None) -> str:
    """A table of the copies that were found, for the terminal."""
    if power is None:
        return "detection power: not measured"
    lines = [f"detection power: {power.sentence}", "  edit         copies    found    share     95 % interval"]
    for edit in power.edits:
        low, high = edit.interval
        share = f"{edit.found / edit.copies:.1%}" if edit.copies else "-"
        bounds = f"{low:.1%} to {high:.1%}" if edit.copies else ""
        lines.append(f"  {edit.edit:<11} {edit.copies:>7,} {edit.found:>8,} {share:>8}  {bounds:>16}  {edit.what}")
    return "\n".join(lines)
