"""Small datasets for the tests."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def picture(number: int, size: int = 40) -> Image.Image:
    """A smooth picture that `number` determines."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return coarse.resize((size, size), Image.Resampling.BICUBIC)


def jpeg(number: int, size: int = 40) -> bytes:
    """The picture as JPEG."""
    buffer = io.BytesIO()
    picture(number, size).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_tar(path: Path, contents: list[bytes]) -> None:
    """A shard with one image and one json file per entry."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, content in enumerate(contents):
            for suffix, data in (("jpg", content), ("json", b'{"id": "x"}')):
                member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def write_shards(folder: Path, shards: list[list[bytes]], **changes: Any) -> Path:
    """A shards folder with its manifest; `changes` replace entries of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, contents in enumerate(shards):
        name = f"shard-{number:06d}.tar"
        write_tar(folder / name, contents)
        lines.append({"name": name, "samples": len(contents), "bytes": (folder / name).stat().st_size})
    manifest = {"format": "lvd-shards/1", "shards": lines, "samples": sum(map(len, shards))} | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def shards(folder: Path, sizes: list[int]) -> Path:
    """Shards of distinct pictures."""
    numbers = iter(range(sum(sizes)))
    return write_shards(folder, [[jpeg(next(numbers)) for _ in range(size)] for size in sizes])


def write_parquet(path: Path, contents: list[bytes | None], *, struct: bool = False) -> Path:
    """A Parquet file with a column `image`, three rows to a group."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.binary()
    values = [{"bytes": c, "path": "x"} for c in contents] if struct else contents
    pq.write_table(pa.table({"image": pa.array(values, kind)}), path, row_group_size=3)
    return path
