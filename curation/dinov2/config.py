"""The settings of a pretraining run: strict models, YAML in, every mistake one line that names the valid keys.

Defaults are the published short recipe (ViT-L/16, arXiv 2304.07193 and its released configuration). Epochs are counted
in optimizer steps (`optim.epoch_length`), not in passes over the data, as the published schedules are.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, model_validator

from curation.config import load_settings, overridden, parse_settings
from curation.config.base import Settings, Weight

__all__ = [
    "AugmentConfig",
    "CheckpointConfig",
    "CropConfig",
    "DataConfig",
    "EvaluateConfig",
    "HeadConfig",
    "LogConfig",
    "LossConfig",
    "MaskConfig",
    "ModelConfig",
    "OptimConfig",
    "PretrainConfig",
    "SourceConfig",
    "StartConfig",
    "TeacherConfig",
    "load_pretrain_config",
    "parse_pretrain_config",
]

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Range = Annotated[tuple[Fraction, Fraction], Strict(False)]
"""YAML has lists alone."""


class ModelConfig(Settings):
    """The backbone."""

    arch: Literal["vits", "vitb", "vitl", "vith", "vitg"] = "vitl"
    """Small 384x12, base 768x12, large 1024x24, huge 1280x32, giant 1536x40 (width x depth)."""
    width: Count | None = None
    """Replaces the architecture's width; with `depth` and `heads` for models of other sizes."""
    depth: Count | None = None
    heads: Count | None = None
    patch: Count = 16
    """Side of a patch in pixels."""
    ffn: Literal["mlp", "swiglu"] = "mlp"
    registers: Annotated[int, Field(ge=0)] = 0
    """Register tokens (arXiv 2309.16588); released models have 0 or 4."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Stochastic depth: share of images for which a residual branch is left out."""
    drop_path_uniform: bool = True
    """The same rate in every block; otherwise it rises linearly from 0."""
    layerscale: Annotated[float, Field(ge=0)] = 1e-5
    """Initial value of the residual branches' scale; 0 for none."""
    antialias: bool = False
    """Antialias when position embeddings are interpolated (released models with registers do)."""
    offset: Annotated[float, Field(ge=0)] = 0.1
    """Added to the grid size when position embeddings are interpolated (0 in released models with registers)."""


class CropConfig(Settings):
    """The views of an image: two global crops, and some local ones that only the student sees."""

    global_size: Count = 224
    global_scale: Range = (0.32, 1.0)
    """Share of the image's area."""
    local_size: Count = 96
    local_scale: Range = (0.05, 0.32)
    local_count: Annotated[int, Field(ge=0)] = 8


class AugmentConfig(Settings):
    """How else the views differ. Defaults are the published recipe's; views that differ less are easier to match, which
    small runs need."""

    flip: Fraction = 0.5
    """Probability of a mirrored view: 0 where left and right mean something, as in digits."""
    jitter: Fraction = 0.8
    """Probability of changed brightness, contrast, saturation and hue."""
    grey: Fraction = 0.2
    """Probability of a view without colour."""
    blur: Fraction = 1.0
    """Multiplies the blur probabilities of `recipe`."""
    solarise: Fraction = 0.2
    """Probability of inverted bright pixels, in the second global view alone."""
    device: Literal["cpu", "model"] = "cpu"
    """Where views are made: `cpu` by the workers of `data`; `model` where the model is, for the whole batch at once,
    and workers only decode. The views are the same but for rounding, and but for images so large that they are
    reduced first."""


class HeadConfig(Settings):
    """A projection head."""

    prototypes: Count = 65_536
    hidden: Count = 2048
    bottleneck: Count = 256
    layers: Count = 3


class LossConfig(Settings):
    """What is minimised."""

    dino_weight: Annotated[float, Field(ge=0)] = 1.0
    ibot_weight: Annotated[float, Field(ge=0)] = 1.0
    koleo_weight: Annotated[float, Field(ge=0)] = 0.1
    koleo_all_ranks: bool = False
    """Seek nearest neighbours in the batches of all ranks."""
    koleo_group: Annotated[int, Field(ge=0)] = 0
    """Seek nearest neighbours in blocks of this many images; 0 for the whole batch."""
    centering: Literal["centering", "sinkhorn_knopp"] = "centering"
    sinkhorn_iterations: Count = 3
    student_temperature: Positive = 0.1
    center_momentum: Fraction = 0.9


class MaskConfig(Settings):
    """Which patches the student does not see."""

    probability: Fraction = 0.5
    """Share of global crops that are masked."""
    ratio: Range = (0.1, 0.5)
    """Share of patches masked in a masked crop, spread evenly over the crops of a batch."""


class TeacherConfig(Settings):
    """The moving average of the student, and how sharp its targets are."""

    momentum: Fraction = 0.992
    final_momentum: Fraction = 1.0
    temperature: Positive = 0.07
    warmup_temperature: Positive = 0.04
    warmup_epochs: Annotated[float, Field(ge=0)] = 30


class OptimConfig(Settings):
    """AdamW and its schedules."""

    epochs: Positive = 100
    epoch_length: Count = 1250
    """Optimizer steps in an epoch."""
    batch_size: Count = 64
    """Images per rank and optimizer step."""
    accumulate: Count = 1
    """Pieces that a rank's batch is computed in; changes memory, not the result."""
    base_lr: Positive = 4e-3
    """Learning rate at 1,024 images per step; the used one is base_lr x sqrt(images per step of all ranks / 1024)."""
    min_lr: Annotated[float, Field(ge=0)] = 1e-6
    warmup_epochs: Annotated[float, Field(ge=0)] = 10
    weight_decay: Annotated[float, Field(ge=0)] = 0.04
    weight_decay_end: Annotated[float, Field(ge=0)] = 0.4
    clip: Annotated[float, Field(ge=0)] = 3.0
    """Gradient norm that backbone and heads are each clipped to; 0 for no clipping."""
    freeze_last_layer_epochs: Annotated[float, Field(ge=0)] = 1
    patch_embed_lr: Positive = 0.2
    """Learning rate of the patch embedding, as a multiple of its layer's."""
    layerwise_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """A block's learning rate as a multiple of the next one's."""
    betas: Range = (0.9, 0.999)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return round(self.epochs * self.epoch_length)

    @property
    def warmup_steps(self) -> int:
        """Steps until the learning rate is at its peak."""
        return round(self.warmup_epochs * self.epoch_length)


class SourceConfig(Settings):
    """One dataset."""

    path: str
    """A `shards` folder with its manifest.json, WebDataset tars of others (a folder or a brace pattern), a folder of
    images, or Parquet files with image bytes; local or any fsspec URL."""
    weight: Weight = 1.0
    """Relative to the other datasets' weights."""
    by_source: bool = True
    """Shards whose manifest weights their sources (`selection.weights` of `lvd curate`) are read as one stream of
    images for each source; together they have the dataset's weight. False for one stream of all shards, any images
    alike."""
    weights: dict[str, Weight] = Field(default_factory=dict)
    """Weights of such sources by name, instead of the manifest's."""
    column: str | None = None
    """Parquet only: the column with image bytes (or a struct with `bytes`), where it has no usual name."""

    @model_validator(mode="after")
    def _weights_need_sources(self) -> Self:
        if self.weights and not self.by_source:
            raise ValueError("weights are those of sources, which by_source: false mixes; leave one of them out")
        return self


class DataConfig(Settings):
    """What is trained on."""

    sources: Annotated[tuple[SourceConfig, ...], Strict(False)] = ()
    mixing: Literal["sample", "batch"] = "sample"
    """`sample`: each image of a batch comes from a source drawn by weight; `batch`: each whole batch does. A source is
    a dataset, or one of those that its manifest weights."""
    window: Count = 4
    """Shards that are open at once; samples are shuffled among them, shards among all."""
    workers: Annotated[int, Field(ge=0)] = 8
    """Processes of each rank that decode and augment (`augment.device: cpu`), shared out among sources by weight, at
    least one for each; 0 for the training process."""
    max_pixels: Count = 64_000_000
    """Width x height above which an image counts as broken, judged before decoding."""
    max_broken: Fraction = 0.01
    """Share of images that may be broken before the run stops (but never for fewer than 10)."""
    cache: str | None = None
    """Folder for copies of remote shards; None for the system's temporary folder."""


class CheckpointConfig(Settings):
    """When the state is saved."""

    every: Count = 1250
    """Steps between checkpoints."""
    keep: Count = 3
    """Newest checkpoints kept."""
    milestone: Annotated[int, Field(ge=0)] = 0
    """Checkpoints at multiples of this step are kept for good; 0 for none."""


class LogConfig(Settings):
    """What is written while training."""

    every: Count = 10
    """Steps between lines of log.jsonl."""
    health_every: Annotated[int, Field(ge=0)] = 100
    """Steps between health checks (prototype use, effective rank); 0 for none."""
    tensorboard: bool = False
    wandb: str | None = None
    """Name of the Weights & Biases project, if one is wanted."""


class EvaluateConfig(Settings):
    """The check of the teacher's features by nearest neighbours, while training and in `lvd evaluate`."""

    data: str | None = None
    """Folder whose sub-folders are labels; None for no check."""
    every: Annotated[int, Field(ge=0)] = 12_500
    """Steps between checks; the last step is always followed by one. 0 for none."""
    neighbours: Count = 20
    temperature: Positive = 0.07
    image_size: Count = 224
    """Side of the centre crop; the shorter side is resized to 256/224 of it."""
    batch_size: Count = 64


class StartConfig(Settings):
    """Continued pretraining from a released backbone, which comes without heads."""

    backbone: str | None = None
    """Weights to start from: official (`*.pth`), timm (safetensors or torch) or a checkpoint of this trainer."""
    head_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which only the heads learn: fresh heads would wreck a good backbone."""
    guard_drop: Fraction = 0.05
    """kNN accuracy may fall this far below the start's before the run stops (needs `evaluate.data`)."""


class PretrainConfig(Settings):
    """A whole run."""

    out: str = "runs/pretrain"
    """Run directory: checkpoints, log.jsonl, the resolved config."""
    seed: Annotated[int, Field(ge=0)] = 0
    recipe: Literal["official", "paper"] = "official"
    """Where code and paper differ: the official code blurs crops with probability 0, .9, .5 (global 1, global 2, local)
    because its blur inverts its argument, and released weights were trained so; the paper's are 1, .1, .5."""
    device: str = "auto"
    """`auto` for a GPU where there is one, or any torch device."""
    precision: Literal["fp32", "bf16"] = "bf16"
    compile: bool = False
    """Compile the transformer blocks with torch.compile."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    crops: CropConfig = Field(default_factory=CropConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    dino_head: HeadConfig = Field(default_factory=HeadConfig)
    ibot_head: HeadConfig | None = None
    """A head of its own for patches; None ties it to the DINO head."""
    loss: LossConfig = Field(default_factory=LossConfig)
    mask: MaskConfig = Field(default_factory=MaskConfig)
    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    optim: OptimConfig = Field(default_factory=OptimConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    log: LogConfig = Field(default_factory=LogConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    start: StartConfig = Field(default_factory=StartConfig)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, size in (("global", self.crops.global_size), ("local", self.crops.local_size)):
            if size % self.model.patch:
                raise ValueError(f"crops.{name}_size ({size}) must be a multiple of model.patch ({self.model.patch})")
        if self.optim.batch_size % self.optim.accumulate:
            raise ValueError(
                f"optim.batch_size ({self.optim.batch_size}) must be a multiple of optim.accumulate "
                f"({self.optim.accumulate})"
            )
        if self.optim.warmup_epochs > self.optim.epochs:
            raise ValueError(f"optim.warmup_epochs must not exceed optim.epochs ({self.optim.epochs:g})")
        if self.loss.dino_weight == 0 and self.loss.ibot_weight == 0:
            raise ValueError("loss.dino_weight and loss.ibot_weight must not both be 0")
        return self


def load_pretrain_config(path: str | Path, overrides: Iterable[str] = ()) -> PretrainConfig:
    """Read a YAML file, or a config that lvd ships, and apply `a.b=value` overrides; ConfigError as `load_settings`."""
    return load_settings(PretrainConfig, path, overrides, job="pretrain")


def parse_pretrain_config(
    raw: Mapping[str, Any], overrides: Iterable[str] = (), *, name: str = "config"
) -> PretrainConfig:
    """Check settings given as plain data, after overrides; `name` is what errors call them.

    Raises:
        ConfigError: a key is unknown or a value is not allowed.
    """
    return parse_settings(PretrainConfig, overridden(raw, overrides), name)
