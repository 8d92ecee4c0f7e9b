"""Weights files: where they are found, and the proof that they are the right ones.

A local file is used as it is. A published one comes through the Hugging Face hub or a plain URL, as timm itself gets
it, and is cached where timm caches it; safetensors are preferred to pickles.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from timm.models._hub import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME, download_cached_file
from timm.models._pretrained import PretrainedCfg

from curation.config import ModelConfig
from curation.errors import ModelError, cause_of
from curation.models.digest import sha256_of

__all__ = ["find_weights", "verified_weights"]

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".ckpt")


def verified_weights(settings: ModelConfig, published: PretrainedCfg) -> tuple[Path, str]:
    """The weights file and its sha256, checked against the pin where there is one.

    Raises:
        ModelError: the file cannot be had, or its sha256 is not the pinned one.
    """
    path = find_weights(settings, published)
    digest = sha256_of(path)
    if settings.sha256 is not None and digest != settings.sha256:
        raise ModelError(
            f"model {settings.model}: {path} has sha256 {digest}, but {settings.sha256} is pinned; "
            "get the right file, or change the sha256 setting if these weights are meant"
        )
    return path, digest


def find_weights(settings: ModelConfig, published: PretrainedCfg) -> Path:
    """The local file with the weights, downloaded on first use.

    Raises:
        ModelError: the file is missing or of a kind that is not read, nothing is published under the name, or the
            download failed.
    """
    if settings.weights is not None:
        path = Path(settings.weights)
        if not path.is_file():
            raise ModelError(f"model {settings.model}: weights {path} is no file; give the path of a checkpoint file")
    elif published.hf_hub_id:
        path = _from_hub(settings.model, published.hf_hub_id, published.hf_hub_filename)
    elif published.url:
        path = _from_url(settings.model, published.url)
    else:
        raise ModelError(
            f"model {settings.model}: has no published weights; give a local checkpoint with the weights setting, "
            "or name a variant that has some, as in timm/resnet50.a1_in1k"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise ModelError(
            f"model {settings.model}: weights {path} are of no kind that is read here ({', '.join(SUFFIXES)}); "
            "save the state dict as safetensors and give it with the weights setting"
        )
    return path


def _from_hub(model: str, hub_id: str, filename: str | None) -> Path:
    repository, _, revision = hub_id.partition("@")
    names = [filename] if filename else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    for name in names:
        cached = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    for name in names:
        try:
            with _quiet("huggingface_hub.utils._http"):
                return Path(hf_hub_download(repository, name, revision=revision or None))
        except (EntryNotFoundError, OSError, ValueError) as error:
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            raise _no_download(model, f"https://huggingface.co/{repository}", error) from error
    raise ModelError(
        f"model {model}: https://huggingface.co/{repository} has neither of {', '.join(names)}; "
        "give a local checkpoint with the weights setting"
    )


def _from_url(model: str, url: str | tuple[str, str]) -> Path:
    address = url if isinstance(url, str) else url[0]
    if urlsplit(address).path.endswith(".npz"):
        raise ModelError(
            f"model {model}: is published only as a JAX archive ({address}), which is not read; "
            "convert it to safetensors with timm and give it with the weights setting"
        )
    try:
        return Path(download_cached_file(url))
    except (OSError, RuntimeError) as error:
        raise _no_download(model, address, error) from error


def _no_download(model: str, where: str, error: Exception) -> ModelError:
    return ModelError(
        f"model {model}: its weights could not be downloaded from {where} ({cause_of(error, 160)}); connect to the "
        "network, or download them elsewhere and give the file with the weights setting"
    )


@contextmanager
def _quiet(logger_name: str) -> Iterator[None]:
    """No word of a library's retries: what became of them is in our one line."""
    logger = logging.getLogger(logger_name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
