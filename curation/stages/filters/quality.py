"""Drops images that teach nothing: banners, blank or nearly uniform ones, blurred ones, ones compressed to mush.

Measures come cheapest first, and the first that rules an image out spares it the others: its header, then a small
grey copy of its pixels, then a model where one is named. Each has its own reason and its own threshold.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from curation.config import Config, ModelConfig, QualityConfig
from curation.drops import Dropped, DropReason
from curation.engine.contract import Output, StageSpec
from curation.engine.graph import Site
from curation.engine.locations import PLACE
from curation.errors import ModelError
from curation.imaging.decode import Header, Pixels, identify
from curation.models.detectors.tolerant import run_tolerantly
from curation.run.directory import role_of

if TYPE_CHECKING:
    from curation.models.detectors.classifier import Classifier

__all__ = ["GREY_SIDE", "Measures", "Quality", "judge", "measure_header", "measure_pixels"]

GREY_SIDE = 256
"""Longer side in pixels of the grey copy that pixels are measured on; smaller images stay as they are."""

UNIFORM_RANGE = 4
"""How far from an image's median a grey level may lie to count as the same."""

# The luminance table of the JPEG standard (T.81, annex K.1), which libjpeg scales by its quality setting and cuts off
# at 255: then only its smallest value still tells.
STANDARD_SUM, STANDARD_LEAST, MOST = 3688, 10, 255

COLUMNS = {
    "aspect": pa.float32(),
    "bytes_per_pixel": pa.float32(),
    "jpeg_quality": pa.float32(),
    "uniform": pa.float32(),
    "entropy": pa.float32(),
    "sharpness": pa.float32(),
    "score": pa.float32(),
}


@dataclass(slots=True)
class Measures:
    """What was measured of one image; None where it was not, or cannot be.

    Attributes:
        min_side: shorter side in pixels.
        aspect: longer side over shorter side.
        bytes_per_pixel: size of the file over width x height.
        jpeg_quality: 1 to 100, from the luminance table; None for other formats.
        uniform: share of pixels within 4 grey levels of the median.
        entropy: of the 256 grey levels, in bits, 0 to 8.
        sharpness: variance of the Laplacian of grey levels.
        score: what the model that is named gives it.
    """

    min_side: int | None = None
    aspect: float | None = None
    bytes_per_pixel: float | None = None
    jpeg_quality: float | None = None
    uniform: float | None = None
    entropy: float | None = None
    sharpness: float | None = None
    score: float | None = None


class Quality:
    """The stage `quality`: banners, blank, nearly uniform, blurred and overcompressed images are dropped.

    Args:
        after: the stage whose live rows it takes.
        side: the side that the pass decodes for.

    Raises:
        ModelError: the model's name is unknown, or its weights cannot be had.
    """

    milliseconds = 4

    def __init__(self, settings: QualityConfig, after: str, side: int) -> None:
        self._settings = settings
        self._head = None if settings.head is None else _open_head(settings.head)
        fingerprint = self._head.fingerprint() if self._head else None
        self.spec = StageSpec(
            name="quality",
            version=1,
            after=after,
            reads={"fetch": PLACE},
            adds=pa.schema(list(COLUMNS.items())),
            settings={**settings.model_dump(mode="json"), "side": side, "model": fingerprint},
        )

    @classmethod
    def at(cls, site: Site) -> "Quality":
        return cls(site.config.quality, site.after, site.side)

    @staticmethod
    def is_on(config: Config, path: str) -> bool:
        return role_of(path) in config.quality.on

    @staticmethod
    def decoded_for(config: Config) -> int:
        return GREY_SIDE

    @staticmethod
    def check(config: Config, path: str) -> None:
        """ModelError where the model that the settings name cannot be had."""
        Quality(config.quality, "decode", side=1)

    def setup(self) -> None:
        """Load the model, where one is named; ModelError where it cannot be had or lacks the class asked for."""
        if self._head is None or self._settings.head is None:
            return
        self._head.setup()
        if self._settings.head.label not in self._head.labels:
            raise ModelError(
                f"model {self._settings.head.model}: has no class {self._settings.head.label}; "
                f"set quality.head.label to one of {', '.join(self._head.labels)}"
            )

    def process(self, images: Sequence[Pixels], sources: Sequence[bytes]) -> Output:
        """Measure images, from their pixels as decoded for the pass and from the bytes that they were decoded from."""
        measured = [Measures() for _ in images]
        drops: dict[int, Dropped] = {}
        for at, (image, source) in enumerate(zip(images, sources, strict=True)):
            measure_header(measured[at], source)
            verdict = judge(measured[at], self._settings)
            if verdict is None:
                measure_pixels(measured[at], image)
                verdict = judge(measured[at], self._settings)
            if verdict is not None:
                drops[at] = verdict
        self._score(measured, images, drops)
        columns = {name: pa.array([getattr(row, name) for row in measured], kind) for name, kind in COLUMNS.items()}
        return Output(columns, drops)

    def _score(self, measured: Sequence[Measures], images: Sequence[Pixels], drops: dict[int, Dropped]) -> None:
        """Let the model look at what nothing has ruled out."""
        if self._head is None or self._settings.head is None:
            return
        column = self._head.labels.index(self._settings.head.label)
        rows = [at for at in range(len(images)) if at not in drops]
        head = self._head
        answers, failed = run_tolerantly(lambda batch: list(head.scores(batch)), [images[at] for at in rows])
        drops.update({rows[position]: drop for position, drop in failed.items()})
        for position, scores in answers.items():
            at, score = rows[position], float(scores[column])
            if not math.isfinite(score):
                drops[at] = Dropped(DropReason.NON_FINITE, f"{self._settings.head.model} gave NaN or infinity")
                continue
            measured[at].score = score
            if score < self._settings.head.min_score:
                drops[at] = Dropped(
                    DropReason.LOW_SCORE,
                    f"{self._settings.head.label} {score:.4g}, limit {self._settings.head.min_score:g}",
                )


def _open_head(settings: ModelConfig) -> "Classifier":
    from curation.models.detectors.classifier import Classifier  # torch and timm take seconds to import

    return Classifier(settings)


def judge(measures: Measures, settings: QualityConfig) -> Dropped | None:
    """The first rule that an image breaks, of those whose measure was taken; None where it breaks none."""
    at_least = (
        (measures.min_side, settings.min_side, DropReason.LOW_RESOLUTION, "shorter side"),
        (measures.bytes_per_pixel, settings.min_bytes_per_pixel, DropReason.OVERCOMPRESSED, "bytes per pixel"),
        (measures.jpeg_quality, settings.min_jpeg_quality, DropReason.OVERCOMPRESSED, "JPEG quality"),
        (measures.entropy, settings.min_entropy, DropReason.LOW_ENTROPY, "entropy"),
        (measures.sharpness, settings.min_sharpness, DropReason.BLURRY, "variance of Laplacian"),
    )
    at_most = (
        (measures.aspect, settings.max_aspect, DropReason.EXTREME_ASPECT, "aspect ratio"),
        (measures.uniform, settings.max_uniform, DropReason.BLANK, "share of one grey level"),
    )
    for value, limit, reason, name in at_most:
        if value is not None and limit is not None and value > limit:
            return Dropped(reason, f"{name} {value:.4g}, limit {limit:g}")
    for value, limit, reason, name in at_least:
        if value is not None and limit is not None and value < limit:
            return Dropped(reason, f"{name} {value:.4g}, limit {limit:g}")
    return None


def measure_header(measures: Measures, source: bytes) -> None:
    """Fill in what the header and the file's size tell."""
    header = identify(source)
    if not isinstance(header, Header):
        return  # the decoder is the judge of that
    measures.min_side = min(header.width, header.height)
    measures.aspect = max(header.width, header.height) / max(1, measures.min_side)
    measures.bytes_per_pixel = len(source) / (header.width * header.height)
    if header.format in ("JPEG", "MPO"):
        measures.jpeg_quality = _jpeg_quality(source)


def measure_pixels(measures: Measures, image: Pixels) -> None:
    """Fill in what the pixels tell, on a grey copy of at most 256 pixels."""
    grey = np.asarray(_grey(image))
    counts = np.bincount(grey.ravel(), minlength=256)
    median = int(np.searchsorted(np.cumsum(counts), (grey.size + 1) // 2))
    near = counts[max(0, median - UNIFORM_RANGE) : median + UNIFORM_RANGE + 1]
    shares = counts[counts > 0] / grey.size
    measures.uniform = float(near.sum() / grey.size)
    measures.entropy = max(0.0, float(-(shares * np.log2(shares)).sum()))
    measures.sharpness = _laplacian_variance(grey.astype(np.int16))


def _grey(image: Pixels) -> Image.Image:
    grey = Image.fromarray(image).convert("L")
    scale = GREY_SIDE / max(grey.size)
    if scale >= 1.0:
        return grey
    return grey.resize((max(1, round(grey.width * scale)), max(1, round(grey.height * scale))), Image.Resampling.BOX)


def _laplacian_variance(grey: npt.NDArray[np.int16]) -> float | None:
    """Of 4-neighbour Laplacians inside the image; None where there is no inside."""
    if min(grey.shape) < 3:
        return None
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(laplacian.astype(np.float32).var())


def _jpeg_quality(source: bytes) -> float | None:
    """The quality setting at which libjpeg's luminance table is this file's; None where there is no table."""
    try:
        with Image.open(io.BytesIO(source), formats=("JPEG",)) as image:
            tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
            table = tables[min(tables)]
            cut_off = max(table) >= MOST
            scale = 100.0 * (min(table) / STANDARD_LEAST if cut_off else sum(table) / STANDARD_SUM)
    except Exception:  # hostile bytes: the decoder is the judge of them
        return None
    quality = 100.0 - scale / 2.0 if scale <= 100.0 else 5000.0 / scale
    return min(100.0, max(1.0, quality))
