"""Drops unsafe images and blurs faces, before any other stage looks at an image.

Both detectors work on the pixels of the one decode that all stages share. Only an image that shows a face is decoded
again, at full size, blurred there, and encoded anew: the pass stores those bytes, and everything after this
stage, in this pass or a later one, sees them in place of the original.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from curation.arrays import Float32Array
from curation.config import Config, ImageConfig, Role, SafetyConfig
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec
from curation.engine.graph import Site
from curation.engine.locations import PLACE, STORED, changed_tar
from curation.errors import ModelError
from curation.imaging.blur import blur, encode_like, region_around
from curation.imaging.decode import Header, Pixels, decode, identify
from curation.models.detectors.boxes import Box
from curation.models.detectors.centerface import CenterFace
from curation.models.detectors.nsfw import open_nsfw
from curation.models.detectors.tolerant import run_tolerantly
from curation.run.directory import role_of

__all__ = ["FACE_FLOOR", "Safety", "is_active", "safety_side"]

FACE_FLOOR = 0.05
"""Boxes with a lower score are not kept. Those under the threshold are, to see what another threshold would do."""

FACE = pa.struct([(name, pa.float32()) for name in ("x", "y", "width", "height", "score")])
SCORE = pa.struct([("label", pa.string()), ("score", pa.float32())])
SCHEMA = pa.schema([("nsfw", pa.list_(SCORE)), ("faces", pa.list_(FACE)), ("blurred", pa.int32()), *STORED])


class Safety:
    """The stage `safety`: unsafe images are dropped and faces blurred; all that follows sees the blurred images.

    Columns: `nsfw`, the score of each class that has a threshold; `faces`, all boxes in pixels of the full image;
    `blurred`, how many of them were blurred; and where the blurred image is (`places.STORED`).

    Args:
        role: of the collection, which decides what is done to it.
        after: the stage whose live rows it takes.
        side: the side that the pass decodes for.
        threads: threads of one forward pass.

    Raises:
        ModelError: a model is unknown, or its weights cannot be had.
    """

    milliseconds = 35

    def __init__(
        self, settings: SafetyConfig, limits: ImageConfig, role: Role, after: str, side: int, threads: int = 1
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._nsfw = open_nsfw(settings, threads) if role in settings.nsfw_on else None
        finds_faces = _looks_for_faces(settings, role)
        self._faces = CenterFace(settings.face_side, FACE_FLOOR, threads) if finds_faces else None
        nsfw = {"model": self._nsfw.fingerprint(), "thresholds": settings.nsfw_thresholds} if self._nsfw else None
        faces = (
            {
                "model": self._faces.fingerprint(),
                "what": settings.faces,
                "threshold": settings.face_threshold,
                "margin": settings.face_margin,
            }
            if self._faces
            else None
        )
        self.spec = StageSpec(
            name="safety",
            version=1,
            after=after,
            reads={"fetch": PLACE},
            adds=SCHEMA,
            settings={"nsfw": nsfw, "faces": faces, "side": side},
        )

    @classmethod
    def at(cls, site: Site) -> "Safety":
        config = site.config
        role = role_of(site.path)
        return cls(config.safety, config.image, role, site.after, site.side, config.runner.threads)

    @staticmethod
    def is_on(config: Config, path: str) -> bool:
        return is_active(config.safety, role_of(path))

    @staticmethod
    def decoded_for(config: Config) -> int:
        return safety_side(config.safety)

    @staticmethod
    def leaves(part: int) -> str:
        return changed_tar(part)

    @staticmethod
    def check(config: Config, path: str) -> None:
        """ModelError where a model cannot be had."""
        Safety(config.safety, config.image, role_of(path), "decode", side=1)

    def setup(self) -> None:
        """Load the models.

        Raises:
            ModelError: weights cannot be had, or a threshold is for a class that the model has not.
        """
        if self._nsfw is not None:
            self._nsfw.setup()
            _check_thresholds(self._settings, self._nsfw.labels)
        if self._faces is not None:
            self._faces.setup()

    def process(self, images: Sequence[Pixels], sources: Sequence[bytes]) -> Output:
        """Judge images by their pixels as decoded for the pass; `sources` are the bytes they were decoded from."""
        drops: dict[int, Dropped] = {}
        scores = self._score(images, drops)
        left = [at for at in range(len(images)) if at not in drops]
        faces = self._find_faces(images, left, sources, drops)
        changed = self._blur(sources, faces, drops) if self._settings.faces == "blur" else {}
        result = [faces.get(at) for at in range(len(images))]
        columns = {
            "nsfw": pa.array([scores.get(at) for at in range(len(images))], SCHEMA.field("nsfw").type),
            "faces": pa.array(
                [None if boxes is None else [_fields(box) for box in boxes] for boxes in result],
                SCHEMA.field("faces").type,
            ),
            "blurred": pa.array(
                [len(self._certain(boxes or [])) if at in changed else 0 for at, boxes in enumerate(result)], pa.int32()
            ),
        }
        return Output(columns, drops, changed)

    def _nsfw_scores(self, images: Sequence[Pixels]) -> list[Float32Array]:
        assert self._nsfw is not None
        return list(self._nsfw.scores(images))

    def _score(self, images: Sequence[Pixels], drops: dict[int, Dropped]) -> dict[int, list[dict[str, object]]]:
        if self._nsfw is None:
            return {}
        thresholds = self._settings.nsfw_thresholds
        columns = [self._nsfw.labels.index(label) for label in thresholds]
        scores = {}
        answers, failed = run_tolerantly(self._nsfw_scores, images)
        drops.update(failed)
        for at, row in answers.items():
            mine = dict(zip(thresholds, (float(row[column]) for column in columns), strict=True))
            if not np.isfinite(row).all():
                drops[at] = Dropped(DropReason.NON_FINITE, f"{self._settings.nsfw} gave NaN or infinity")
                continue
            scores[at] = [{"label": label, "score": score} for label, score in mine.items()]
            over = {label: score for label, score in mine.items() if score >= thresholds[label]}
            if over:
                worst = max(over, key=lambda label: over[label])
                drops[at] = Dropped(DropReason.NSFW, f"{worst} {over[worst]:.3f}, threshold {thresholds[worst]:g}")
        return scores

    def _find_faces(
        self, images: Sequence[Pixels], rows: Sequence[int], sources: Sequence[bytes], drops: dict[int, Dropped]
    ) -> dict[int, list[Box]]:
        if self._faces is None:
            return {}
        answers, failed = run_tolerantly(self._faces.detect, [images[at] for at in rows])
        drops.update({rows[position]: drop for position, drop in failed.items()})
        faces = {}
        for position, boxes in answers.items():
            at = rows[position]
            faces[at] = _at_full_size(boxes, images[at], sources[at])
            certain = self._certain(boxes)
            if certain and self._settings.faces == "drop":
                drops[at] = Dropped(
                    DropReason.FACE, f"{len(certain)} found, the first with score {certain[0].score:.3f}"
                )
        return faces

    def _certain(self, boxes: Sequence[Box]) -> list[Box]:
        return [box for box in boxes if box.score >= self._settings.face_threshold]

    def _blur(
        self, sources: Sequence[bytes], faces: Mapping[int, list[Box]], drops: dict[int, Dropped]
    ) -> dict[int, bytes]:
        changed = {}
        for at, boxes in faces.items():
            certain = self._certain(boxes)
            if at in drops or not certain:
                continue
            image = decode(sources[at], self._limits)
            if isinstance(image, Dropped):
                drops[at] = image  # it decoded at a smaller scale, and does not at full size
                continue
            height, width = image.shape[:2]
            margin = self._settings.face_margin
            around = [region_around((box.x, box.y, box.width, box.height), margin, width, height) for box in certain]
            places = [place for place in around if place is not None]
            if places:
                seed = hashlib.sha256(sources[at]).digest()
                changed[at] = encode_like(blur(image, places, seed), sources[at])
        return changed


def is_active(settings: SafetyConfig, role: Role) -> bool:
    """Whether there is anything for the stage to do to collections of this role."""
    return (settings.nsfw != "off" and role in settings.nsfw_on) or _looks_for_faces(settings, role)


def safety_side(settings: SafetyConfig) -> int:
    """The shorter side that the pass must decode for, so that no detector is given less than it asks for.

    Raises:
        ModelError: a model is unknown, or what is published of it cannot be had.
    """
    nsfw = open_nsfw(settings, threads=1) if settings.nsfw_on else None
    faces = settings.face_side if settings.faces != "keep" and settings.faces_on else 1
    return max(1 if nsfw is None else nsfw.side, faces)


def _looks_for_faces(settings: SafetyConfig, role: Role) -> bool:
    return settings.faces != "keep" and role in settings.faces_on


def _check_thresholds(settings: SafetyConfig, labels: Sequence[str]) -> None:
    """Refuse thresholds for classes that the model has not, and a model without any threshold; ModelError."""
    unknown = sorted(set(settings.nsfw_thresholds) - set(labels))
    if unknown or not settings.nsfw_thresholds:
        what = f"has no class {unknown[0]}" if unknown else "has no threshold, so it would drop nothing"
        raise ModelError(
            f"model {settings.nsfw}: {what}; give safety.nsfw_thresholds for some of its classes, {', '.join(labels)}"
        )


def _at_full_size(boxes: Sequence[Box], image: Pixels, source: bytes) -> list[Box]:
    """Boxes on an image decoded at some scale, in pixels of the whole image."""
    if not boxes:
        return []
    header = identify(source)
    assert isinstance(header, Header), "it decoded"
    height, width = image.shape[:2]
    return [box.scaled(header.width / width, header.height / height) for box in boxes]


def _fields(box: Box) -> dict[str, float]:
    return {name: getattr(box, name) for name in ("x", "y", "width", "height", "score")}
