"""Settings, and what is said of wrong ones."""

from pathlib import Path

import pytest

from curation.dinov2.config import PretrainConfig, load_pretrain_config, parse_pretrain_config
from curation.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "pretrain").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path: Path) -> None:
    load_pretrain_config(path)


def test_the_short_recipe_is_the_default() -> None:
    short = load_pretrain_config(next(path for path in CONFIGS if path.stem == "vitl16_short"))
    plain = PretrainConfig()
    for section in ("model", "crops", "dino_head", "ibot_head", "loss", "mask", "teacher", "optim"):
        assert getattr(short, section) == getattr(plain, section), section


def test_overrides_reach_nested_settings_and_are_typed() -> None:
    config = parse_pretrain_config(
        {}, ["optim.base_lr=1e-3", "model.arch=vits", "log.tensorboard=true", "data.workers=0"]
    )
    assert (config.optim.base_lr, config.model.arch, config.log.tensorboard, config.data.workers) == (
        1e-3,
        "vits",
        True,
        0,
    )


def test_an_override_can_open_a_section_that_the_file_leaves_out() -> None:
    config = parse_pretrain_config({"ibot_head": None}, ["ibot_head.prototypes=100"])
    assert config.ibot_head is not None
    assert config.ibot_head.prototypes == 100


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"optm": {}}, "optm: unknown key; valid keys here: out, seed, recipe, device, "),
        ({"optim": {"lr": 1}}, "optim.lr: unknown key; valid keys here: epochs, epoch_length, batch_size, "),
        ({"ibot_head": {"protos": 1}}, "ibot_head.protos: unknown key; valid keys here: prototypes, hidden, "),
        (
            {"data": {"sources": [{"url": "x", "path": "y"}]}},
            "data.sources.0.url: unknown key; valid keys here: path, weight, by_source, weights, column",
        ),
        ({"optim": {"batch_size": 0}}, "optim.batch_size: input should be greater than or equal to 1 (got 0)"),
        ({"optim": {"batch_size": "8"}}, "optim.batch_size: input should be a valid integer (got '8')"),
        (
            {"model": {"arch": "vitx"}},
            "model.arch: input should be 'vits', 'vitb', 'vitl', 'vith' or 'vitg' (got 'vitx",
        ),
        ({"crops": {"local_size": 100}}, "crops.local_size (100) must be a multiple of model.patch (16)"),
        ({"optim": {"accumulate": 3}}, "optim.batch_size (64) must be a multiple of optim.accumulate (3)"),
        ({"optim": {"epochs": 1}}, "optim.warmup_epochs must not exceed optim.epochs"),
        ({"loss": {"dino_weight": 0, "ibot_weight": 0}}, "loss.dino_weight and loss.ibot_weight must not both be 0"),
        ({"augment": {"device": "cuda"}}, "augment.device: input should be 'cpu' or 'model' (got 'cuda')"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0 (got -1)"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_that_names_key_and_rule(raw: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_pretrain_config(raw, name="run.yaml")
    assert str(caught.value).startswith(f"run.yaml: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["optim.base_lr", "=3", "seed.x=1", "seed={"])
def test_an_override_that_cannot_be_meant_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_pretrain_config({"seed": 3}, [override])


@pytest.mark.parametrize("text", ["- a\n", "a: [", "\x00"])
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"run\.yaml: "):
        load_pretrain_config(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_pretrain_config(tmp_path / "nowhere.yaml")


def test_a_config_survives_being_written_as_plain_data() -> None:
    config = parse_pretrain_config({"ibot_head": {"prototypes": 5}, "data": {"sources": [{"path": "x"}]}})
    assert parse_pretrain_config(config.model_dump(mode="json")) == config
