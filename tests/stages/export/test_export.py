"""The images of shards: upright, and otherwise as they came."""

import io
import json
import tarfile

import numpy as np
from PIL import Image

from curation.config import ImageConfig
from curation.imaging.decode import decode
from pipelines.curate import curate


def test_images_of_every_orientation_are_exported_upright(configure, dataset, tmp_path, photo, encoded):
    """Tag 9 stands for none that means anything."""
    originals = {}
    for turn in range(1, 10):
        exif = Image.Exif()
        exif[0x0112] = turn
        originals[f"{turn}.jpg"] = encoded(photo(turn), exif=exif.tobytes())
        (tmp_path / "seeds").mkdir(exist_ok=True)
        (tmp_path / "seeds" / f"{turn}.jpg").write_bytes(originals[f"{turn}.jpg"])
    seeds = [{"name": "seeds", "data": str(tmp_path / "seeds"), "as_is": True, "retrieve": None}]
    curate(configure(seeds=seeds, references=[]), str(tmp_path / "run"))
    exported = {}
    for shard in sorted((tmp_path / "run" / "shards").glob("*.tar")):
        with tarfile.open(shard) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        for name, text in members.items():
            if name.endswith(".json"):
                fields = json.loads(text)
                exported[fields["path"]] = fields, members[name.replace(".json", ".jpg")]
    assert exported.keys() == originals.keys()
    for name, (fields, jpeg) in exported.items():
        image, turned = Image.open(io.BytesIO(jpeg)), name[0] in "2345678"
        assert image.size == (fields["width"], fields["height"])
        assert (0x0112 in image.getexif()) == (not turned)
        assert (fields["width"], fields["height"]) == ((80, 96) if name[0] in "5678" else (96, 80))
        shown = [decode(data, ImageConfig()).astype(int) for data in (jpeg, originals[name])]
        assert np.abs(shown[0] - shown[1]).mean() < 3
        assert turned or jpeg == originals[name]
