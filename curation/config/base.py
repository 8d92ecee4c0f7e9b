"""What all settings are made of: strict models, and the kinds of values that several of them have."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ModelConfig", "Name", "Role", "Settings", "Similarity", "Weight"]

Similarity = Annotated[float, Field(ge=-1.0, le=1.0)]
Weight = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
Role = Literal["pool", "seed", "reference", "exclude"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class Settings(BaseModel):
    """Base of all settings: unknown keys and wrong types are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class ModelConfig(Settings):
    """A model by name, and the weights it must have."""

    model: str
    """`timm/<name>` for any timm model, `lvd/pretrain` for a checkpoint of `lvd pretrain` (`weights`),
    `lvd/lite0-in1k` for EfficientNet-Lite0, `lvd/lite0-copy` or `sscd/disc_mixup` for copies (docs/copy-descriptor.md),
    `classical/hog-colour-<n>x<n>` for the classical descriptor."""
    weights: str | None = None
    """A local checkpoint (safetensors, or a torch file that `weights_only=True` accepts) instead of a download."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The weights' expected digest; other weights are refused."""
    batch: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Images in one forward pass. `auto`: 8 on a CPU, where more are slower; on a GPU 256, halved each time that memory
    runs out. It changes vectors by rounding at most, and nothing is redone for it."""
