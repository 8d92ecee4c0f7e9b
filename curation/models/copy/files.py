"""Weights files of copy descriptors: read without running what they hold, and compared key by key."""

import warnings
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from curation.errors import ModelError, cause_of

__all__ = ["read_script", "read_weights"]

Network = TypeVar("Network", bound=nn.Module)


def read_weights(model: str, path: Path, network: Network) -> Network:
    """The network with the file's weights, in float32 whatever they are stored in.

    Args:
        model: its name, for messages.

    Raises:
        ModelError: the file is damaged, holds code, or its keys or shapes are not the network's.
    """
    state, wanted = _state_dict(model, path), network.state_dict()
    kinds = {
        "missing": sorted(wanted.keys() - state.keys()),
        "unknown": sorted(state.keys() - wanted.keys()),
        "of another shape": [key for key in wanted if key in state and state[key].shape != wanted[key].shape],
    }
    misfits = [f"{len(keys)} {kind} such as {keys[0]}" for kind, keys in kinds.items() if keys]
    if misfits:
        raise ModelError(
            f"model {model}: {path} is no checkpoint of this model ({'; '.join(misfits)}); give one that is"
        )
    network.load_state_dict(state)
    return network


def read_script(model: str, path: Path) -> nn.Module | None:
    """The program of a TorchScript file (`*.torchscript.pt`), or None where the file is none by its name.

    Raises:
        ModelError: it is damaged or something else.
    """
    if ".torchscript" not in path.name:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # torch advises torch.export instead, which SSCD is not
            script = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"model {model}: {path} is no TorchScript ({cause_of(error)}); get the file again") from error
    assert isinstance(script, nn.Module)
    return script


def _state_dict(model: str, path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            with warnings.catch_warnings(action="ignore"):  # torch warns of odd pickles before it refuses them
                state = torch.load(path, weights_only=True, map_location="cpu")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"model {model}: {path} is damaged ({cause_of(error)}); get the file again") from error
    except Exception as error:  # a hostile file can make the readers raise nearly anything
        raise ModelError(
            f"model {model}: {path} holds more than tensors or is damaged, and is not loaded; get it as safetensors"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"model {model}: {path} holds no state dict; give a checkpoint of this model")
    return {str(key): value.float() if value.is_floating_point() else value for key, value in state.items()}
