"""What is dropped or blurred for itself: quality, safety, privacy."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from curation.config.base import ModelConfig, Role, Settings

__all__ = ["WEB_POOL", "PrivacyConfig", "QualityConfig", "QualityHeadConfig", "SafetyConfig"]


WEB_POOL: Literal["web_pool"] = "web_pool"
"""The pool, if any of its datasets is URLs or crawl files rather than images that somebody has."""
Filtered = list[Literal["pool", "seed", "reference", "exclude", "web_pool"]]


class QualityHeadConfig(ModelConfig):
    """An image-quality or aesthetic model: a classifier by name, as for `safety.nsfw`."""

    label: str = "0"
    """The class whose probability is the score; `0` for a model of one output, whose value is the score."""
    min_score: float = 0.0
    """Images with a lower score are dropped."""


class QualityConfig(Settings):
    """Images that teach nothing. None turns a rule off; the measures are kept either way."""

    on: list[Role] = Field(default=["pool"])
    """Collections that it is applied to; an empty list turns it off. Seeds and references are curated already."""
    min_side: int | None = Field(64, ge=1)
    """Shorter side in pixels. Below 64 there are icons, avatars and spacers."""
    max_aspect: float | None = Field(5.0, ge=1.0)
    """Longer side over shorter side. Panoramas reach 4; above are banners, rules and sprites."""
    min_bytes_per_pixel: float | None = Field(0.015, ge=0)
    """Size of the file over its pixels. A JPEG photo has 0.1 to 0.5; one bit in eight pixels leaves no texture."""
    min_jpeg_quality: float | None = Field(10.0, ge=1, le=100)
    """libjpeg quality that the luminance table stands for. At 10, blocks of 8 x 8 pixels are nearly flat."""
    max_uniform: float | None = Field(0.98, ge=0, le=1)
    """Share of pixels within 4 grey levels of the median: blank pages and placeholders."""
    min_entropy: float | None = Field(1.0, ge=0, le=8)
    """Entropy of grey levels in bits: below 1 there are two flat tones, as in plain logos and text."""
    min_sharpness: float | None = Field(10.0, ge=0)
    """Variance of the Laplacian at 256 pixels; sharp photos have hundreds."""
    head: QualityHeadConfig | None = None
    """A model to score images with; none by default."""


class SafetyConfig(Settings):
    """Unsafe images are dropped and faces made unrecognisable, before anything else looks at an image."""

    nsfw: str = "nudenet"
    """`nudenet`, `off`, or a classifier: `hf_hub:<owner>/<repository>`, `timm/<model>` or `local-dir:<folder>`."""
    nsfw_thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=lambda: {
            "ANUS_EXPOSED": 0.25,
            "BUTTOCKS_EXPOSED": 0.3,
            "FEMALE_BREAST_EXPOSED": 0.3,
            "FEMALE_GENITALIA_EXPOSED": 0.45,
            "MALE_GENITALIA_EXPOSED": 0.45,
        }
    )
    """Class -> score from which on an image is dropped; classes that are not named drop nothing. These are NudeNet's;
    a classifier has its own, such as `NSFW`."""
    nsfw_weights: str | None = None
    """A local checkpoint for a classifier, instead of a download."""
    nsfw_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The classifier's expected digest; other weights are refused."""
    nsfw_on: Filtered = Field(default=[WEB_POOL])
    """Collections that unsafe images are dropped from. `web_pool` is the pool, if any of its datasets is URLs or crawl
    files; a run's own config names `pool` or none in its place. Images that somebody has, and seeds, references and
    excludes, are judged where they are named."""
    faces: Literal["blur", "drop", "keep"] = "blur"
    """What becomes of faces: blurred for good, the image dropped, or no face looked for."""
    faces_on: Filtered = Field(default=[WEB_POOL])
    """Collections that faces are treated in, as `nsfw_on`."""
    confirm: bool = True
    """Look again at what a detector reports, and drop or blur only what other networks and views agree to
    (docs/filters.md). Without it each score over a threshold counts: more is caught, and fruit and animals with it."""
    face_threshold: float = Field(0.3, ge=0.05, le=1)
    """Score from which on a box is looked at again, or, without `confirm`, is a face."""
    face_side: int = Field(480, ge=64, le=2048, multiple_of=32)
    """Longer side in pixels at which faces are looked for, or the image's own where it is smaller. The smallest faces
    found are about 10 pixels wide there."""
    face_margin: float = Field(0.35, ge=0, le=2)
    """Added around a face before it is blurred, as a share of the box's longer side: hair, ears, chin."""

    @field_validator("nsfw", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: object) -> object:
        return "off" if value is False else value  # `false` is what one may well write for it

    def judges(self, role: Role) -> bool:
        """Whether unsafe images of collections of this role are dropped; `web_pool` is taken for the pool."""
        return self.nsfw != "off" and _names(self.nsfw_on, role)

    def treats_faces(self, role: Role) -> bool:
        """Whether faces in collections of this role are looked for; `web_pool` is taken for the pool."""
        return self.faces != "keep" and _names(self.faces_on, role)


def _names(collections: Filtered, role: Role) -> bool:
    return role in collections or (role == "pool" and WEB_POOL in collections)


class PrivacyConfig(Settings):
    """What stays on disk of images that were dropped or changed."""

    delete_originals: bool = False
    """Rewrite the run's image store, so that it holds no original of a dropped or blurred image. Files of a local
    dataset are the user's, and are never touched."""
