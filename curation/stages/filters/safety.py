"""Drops unsafe images and blurs faces, before any other stage looks at an image.

Both detectors work on the pixels of the one decode that all stages share, and what they report is looked at again
(`nsfw`, `faces`). Only an image that shows a face is decoded
again, at full size, blurred there, and encoded anew: the pass stores those bytes, and everything after this
stage, in this pass or a later one, sees them in place of the original.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

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
from curation.models.detectors.nsfw import open_nsfw
from curation.models.detectors.nudenet import NudeNet
from curation.models.detectors.tolerant import run_tolerantly
from curation.models.lite0.network import Lite0
from curation.run.directory import role_of
from curation.stages.filters.faces import Face, FaceFinder
from curation.stages.filters.nsfw import Alarm, NsfwConfirmation
from curation.stages.filters.web import with_roles

__all__ = ["Safety", "is_active", "safety_side"]

FACE = pa.struct(
    [
        *((name, pa.float32()) for name in ("x", "y", "width", "height", "score", "second")),
        ("verdict", pa.string()),
        ("shows", pa.string()),
    ]
)
SCORE = pa.struct([("label", pa.string()), ("score", pa.float32())])
SCHEMA = pa.schema(
    [
        ("nsfw", pa.list_(SCORE)),
        ("nsfw_veto", pa.string()),
        ("faces", pa.list_(FACE)),
        ("blurred", pa.int32()),
        *STORED,
    ]
)


class Safety:
    """The stage `safety`: unsafe images are dropped and faces blurred; all that follows sees the blurred images.

    Columns: `nsfw`, the score of each class that has a threshold; `nsfw_veto`, why a score over its threshold was not
    taken for nudity; `faces`, all boxes in pixels of the full image, each with the score of its second look and the
    verdict; `blurred`, how many of them were blurred; and where the blurred image is (`places.STORED`).

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
        network = Lite0(threads)
        self._nsfw = open_nsfw(settings, threads) if settings.judges(role) else None
        self._confirmation = None
        if settings.confirm and isinstance(self._nsfw, NudeNet):
            self._confirmation = NsfwConfirmation(self._nsfw, settings.nsfw_thresholds, network)
        self._faces = FaceFinder(settings, network, threads) if settings.treats_faces(role) else None
        self.spec = StageSpec(
            name="safety",
            version=2,
            after=after,
            reads={"fetch": PLACE},
            adds=SCHEMA,
            settings={"nsfw": self._nsfw_settings(), "faces": self._face_settings(), "side": side},
        )

    def _nsfw_settings(self) -> dict[str, object] | None:
        if self._nsfw is None:
            return None
        model, thresholds = self._nsfw.fingerprint(), self._settings.nsfw_thresholds
        confirmation = self._confirmation.fingerprint() if self._confirmation else None
        return {"model": model, "thresholds": thresholds, "confirmation": confirmation}

    def _face_settings(self) -> dict[str, object] | None:
        if self._faces is None:
            return None
        settings = self._settings
        return {
            "models": self._faces.fingerprint(),
            "what": settings.faces,
            "threshold": settings.face_threshold,
            "margin": settings.face_margin,
        }

    @classmethod
    def at(cls, site: Site) -> "Safety":
        config = site.config
        role = role_of(site.path)
        return cls(with_roles(config).safety, config.image, role, site.after, site.side, config.runner.threads)

    @staticmethod
    def is_on(config: Config, path: str) -> bool:
        return is_active(with_roles(config).safety, role_of(path))

    @staticmethod
    def decoded_for(config: Config) -> int:
        return safety_side(with_roles(config).safety)

    @staticmethod
    def leaves(part: int) -> str:
        return changed_tar(part)

    @staticmethod
    def check(config: Config, path: str) -> None:
        """ModelError where a model cannot be had."""
        Safety(with_roles(config).safety, config.image, role_of(path), "decode", side=1)

    def setup(self) -> None:
        """Load the models.

        Raises:
            ModelError: weights cannot be had, or a threshold is for a class that the model has not.
        """
        if self._nsfw is not None:
            self._nsfw.setup()
            _check_thresholds(self._settings, self._nsfw.labels)
        if self._confirmation is not None:
            self._confirmation.setup()
        if self._faces is not None:
            self._faces.setup()

    def process(self, images: Sequence[Pixels], sources: Sequence[bytes]) -> Output:
        """Judge images by their pixels as decoded for the pass; `sources` are the bytes they were decoded from."""
        drops: dict[int, Dropped] = {}
        rows = range(len(images))
        scores = self._score(images, drops)
        vetoes = self._judge(images, scores, drops)
        faces = self._find_faces(images, [at for at in rows if at not in drops], sources, drops)
        changed = self._blur(sources, faces, drops) if self._settings.faces == "blur" else {}
        columns = {
            "nsfw": pa.array([_scores(scores.get(at)) for at in rows], SCHEMA.field("nsfw").type),
            "nsfw_veto": pa.array([vetoes.get(at) for at in rows], pa.string()),
            "faces": pa.array(
                [[_fields(face) for face in faces[at]] if at in faces else None for at in rows],
                SCHEMA.field("faces").type,
            ),
            "blurred": pa.array([len(_certain(faces[at])) if at in changed else 0 for at in rows], pa.int32()),
        }
        return Output(columns, drops, changed)

    def _nsfw_scores(self, images: Sequence[Pixels]) -> list[Float32Array]:
        assert self._nsfw is not None
        return list(self._nsfw.scores(images))

    def _score(self, images: Sequence[Pixels], drops: dict[int, Dropped]) -> dict[int, dict[str, float]]:
        """The scores of the classes that have a threshold."""
        if self._nsfw is None:
            return {}
        thresholds = self._settings.nsfw_thresholds
        columns = [self._nsfw.labels.index(label) for label in thresholds]
        scores = {}
        answers, failed = run_tolerantly(self._nsfw_scores, images)
        drops.update(failed)
        for at, row in answers.items():
            if not np.isfinite(row).all():
                drops[at] = Dropped(DropReason.NON_FINITE, f"{self._settings.nsfw} gave NaN or infinity")
                continue
            scores[at] = dict(zip(thresholds, (float(row[column]) for column in columns), strict=True))
        return scores

    def _judge(
        self, images: Sequence[Pixels], scores: Mapping[int, dict[str, float]], drops: dict[int, Dropped]
    ) -> dict[int, str]:
        """Drop what is over a threshold and holds at a second look; returns why others do not, by row."""
        thresholds, vetoes = self._settings.nsfw_thresholds, {}
        alarmed = {
            at: {label: score for label, score in mine.items() if score >= thresholds[label]}
            for at, mine in scores.items()
        }
        alarmed = {at: over for at, over in alarmed.items() if over}
        for at, alarm in self._looked_at_again(images, alarmed, drops).items():
            if alarm.veto is not None:
                vetoes[at] = alarm.veto
                continue
            worst = max(alarmed[at], key=lambda label: alarmed[at][label])
            detail = f"{worst} {alarmed[at][worst]:.3f}, threshold {thresholds[worst]:g}"
            drops[at] = Dropped(DropReason.NSFW, "; ".join([detail, *([alarm.evidence] if alarm.evidence else [])]))
        return vetoes

    def _looked_at_again(
        self, images: Sequence[Pixels], alarmed: Mapping[int, dict[str, float]], drops: dict[int, Dropped]
    ) -> dict[int, Alarm]:
        if self._confirmation is None:
            return dict.fromkeys(alarmed, Alarm("", None))
        alarms = {}
        for at, over in alarmed.items():  # one by one: they are few, and one that a model cannot take costs no other
            answers, failed = run_tolerantly(partial(self._confirmation.look, over=[over]), [images[at]])
            drops.update(dict.fromkeys([at], failed[0]) if failed else {})
            alarms.update(dict.fromkeys([at], answers[0]) if answers else {})
        return alarms

    def _find_faces(
        self, images: Sequence[Pixels], rows: Sequence[int], sources: Sequence[bytes], drops: dict[int, Dropped]
    ) -> dict[int, list[Face]]:
        if self._faces is None:
            return {}
        answers, failed = run_tolerantly(self._faces.find, [images[at] for at in rows])
        drops.update({rows[position]: drop for position, drop in failed.items()})
        faces = {}
        for position, result in answers.items():
            at = rows[position]
            faces[at] = _at_full_size(result, images[at], sources[at])
            certain = _certain(result)
            if certain and self._settings.faces == "drop":
                best = certain[0].box
                drops[at] = Dropped(DropReason.FACE, f"{len(certain)} found, the first with score {best.score:.3f}")
        return faces

    def _blur(
        self, sources: Sequence[bytes], faces: Mapping[int, list[Face]], drops: dict[int, Dropped]
    ) -> dict[int, bytes]:
        changed = {}
        for at, result in faces.items():
            certain = [face.box for face in _certain(result)]
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
    return settings.judges(role) or settings.treats_faces(role)


def safety_side(settings: SafetyConfig) -> int:
    """The shorter side that the pass must decode for, so that no detector is given less than it asks for.

    Raises:
        ModelError: a model is unknown, or what is published of it cannot be had.
    """
    nsfw = open_nsfw(settings, threads=1) if settings.nsfw_on else None
    faces = settings.face_side if settings.faces != "keep" and settings.faces_on else 1
    return max(1 if nsfw is None else nsfw.side, faces)


def _check_thresholds(settings: SafetyConfig, labels: Sequence[str]) -> None:
    """Refuse thresholds for classes that the model has not, and a model without any threshold; ModelError."""
    unknown = sorted(set(settings.nsfw_thresholds) - set(labels))
    if unknown or not settings.nsfw_thresholds:
        what = f"has no class {unknown[0]}" if unknown else "has no threshold, so it would drop nothing"
        raise ModelError(
            f"model {settings.nsfw}: {what}; give safety.nsfw_thresholds for some of its classes, {', '.join(labels)}"
        )


def _certain(faces: Sequence[Face]) -> list[Face]:
    return [face for face in faces if face.is_face]


def _at_full_size(faces: Sequence[Face], image: Pixels, source: bytes) -> list[Face]:
    """Boxes on an image decoded at some scale, in pixels of the whole image."""
    if not faces:
        return []
    header = identify(source)
    assert isinstance(header, Header), "it decoded"
    height, width = image.shape[:2]
    across, down = header.width / width, header.height / height
    return [replace(face, box=face.box.scaled(across, down)) for face in faces]


def _scores(scores: Mapping[str, float] | None) -> list[dict[str, object]] | None:
    return None if scores is None else [{"label": label, "score": score} for label, score in scores.items()]


def _fields(face: Face) -> dict[str, object]:
    place = {name: getattr(face.box, name) for name in ("x", "y", "width", "height", "score")}
    shows = None if face.shows is None else str(face.shows)
    return {**place, "second": face.second, "verdict": face.verdict, "shows": shows}
