"""Which classes a copy descriptor is measured on, and so must not be trained on.

    python -m tests.bench.copy_split PHOTOS

prints `--leave-out CLASS` for each of them. PHOTOS holds one folder of images
for each class: every fourth class, of the names in order, is measured on; BACKGROUND_Google and the two folders of the
same faces are trained on, whatever their place.
"""

import sys
from pathlib import Path

ALWAYS_TRAINED_ON = ("caltech101__BACKGROUND_Google", "caltech101__Faces", "caltech101__Faces_easy")
EVERY = 4


def held_out_classes(photos: Path) -> list[str]:
    """The names of the class folders that are left out of training, in order."""
    names = sorted(folder.name for folder in photos.iterdir() if folder.is_dir())
    return [name for index, name in enumerate(names) if index % EVERY == 0 and name not in ALWAYS_TRAINED_ON]


if __name__ == "__main__":
    print(" ".join(f"--leave-out {name}" for name in held_out_classes(Path(sys.argv[1]))))
