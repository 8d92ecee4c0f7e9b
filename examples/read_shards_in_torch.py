"""Read WebDataset shards in a torch loop: shuffled, by several workers, stopped and gone on with."""

import io
import tarfile
import tempfile
from pathlib import Path

import skimage.data
import torch
from PIL import Image
from torch.utils.data import DataLoader

from curation import Sample, ShardDataset, decode_image


def make_shards(folder: Path) -> None:
    """Four tars of sixteen crops; `lvd curate` writes such shards, and a manifest beside them."""
    photo = Image.fromarray(skimage.data.astronaut())
    for shard in range(4):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for number in range(16):
                buffer = io.BytesIO()
                photo.crop((30 * number, 100 * shard, 30 * number + 60, 100 * shard + 60)).save(buffer, "JPEG")
                for ending, data in (("jpg", buffer.getvalue()), ("txt", f"crop {number} of row {shard}".encode())):
                    member = tarfile.TarInfo(f"{number:04d}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def to_tensor(sample: Sample) -> tuple[torch.Tensor, str]:
    """What a worker makes of a sample."""
    return torch.from_numpy(decode_image(sample.data).copy()).permute(2, 0, 1), sample.caption or ""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_shards(Path(folder))
        dataset = ShardDataset(f"{folder}/{{0..3}}.tar", transform=to_tensor, seed=0, batch_size=8)
        loader = DataLoader(dataset, batch_size=8, num_workers=1)
        for epoch in range(2):
            dataset.set_epoch(epoch)
            captions = [caption for _, batch in loader for caption in batch]
            print(f"epoch {epoch}: {len(captions)} samples, the first is {captions[0]!r}")

        dataset.set_epoch(1, position=40)  # as after five batches
        images, rest = next(iter(loader))
        print(f"after five batches: {tuple(images.shape)} {images.dtype}")
        print(f"the samples are those of the sixth batch: {list(rest) == captions[40:48]}")


if __name__ == "__main__":
    main()
