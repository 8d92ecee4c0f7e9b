"""A classifier of a few kilobytes, as timm saves one."""

import json

import pytest


@pytest.fixture(scope="session")
def small_classifier(tmp_path_factory):
    """A folder with `config.json` and random weights of a model with the classes NSFW and SFW."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("classifier")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", pretrained=False, num_classes=2)
        torch.nn.init.normal_(model.get_classifier().weight)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {
        "architecture": "test_resnet",
        "num_classes": 2,
        "label_names": ["NSFW", "SFW"],
        "pretrained_cfg": {
            "input_size": [3, 160, 160],
            "crop_pct": 0.95,
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": 2,
            "first_conv": "conv1.0",
            "classifier": "fc",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder
