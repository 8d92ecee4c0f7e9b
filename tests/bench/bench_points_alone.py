"""What a rule can tell that is given points of a reference image and no pixels, as a fingerprint would hold them.

    python -m tests.bench.bench_points_alone DATA choosing|judging [--images 600] [--planted 80]

prints for several rules, each so many distinct matched points under one affine transform, spread over so many of 4 x 4
cells of both images, how many planted copies it links (by edit), and how many pairs of different photographs: those of
each image with the eight that its copy descriptor puts nearest, less what the careful look takes for copies. The rule
is chosen on the choosing half and judged on the other.
"""

import argparse
import itertools
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from curation.config import CopyConfig, ImageConfig
from curation.drops import Dropped
from curation.imaging.decode import decode_image
from curation.imaging.local_features import Features, extract
from curation.imaging.matching import points_alone
from curation.imaging.pictures import compare, picture_of
from curation.models import open_embedder
from curation.report.planted import PLANTED, SIDE, planted_copies
from curation.run.parts import random_for
from curation.search.arrays import nearest_others
from tests.bench.halves import choosing, judging

LIMITS = ImageConfig(min_side=1)
INLIERS = (12, 16, 20, 25, 30, 40)
CELLS = (2, 4, 6)
RATIOS = (0.0, 0.5)
NEAR, ABOVE = 8, 0.25
SURE = 0.95


def features_of(data):
    """Features of an encoded image's picture, to 16 bits; None where it does not decode."""
    picture = picture_of(data, LIMITS)
    return None if isinstance(picture, Dropped) else Features.from_bytes(extract(*picture).to_bytes())


def measured(files, planted):
    """Of each planted copy and its source by edit, and of each pair of different photographs, what points say."""
    rng = np.random.default_rng(0)
    cv2.setNumThreads(1)
    data = [path.read_bytes() for path in files]
    features = [features_of(item) for item in data]
    good = [at for at, item in enumerate(features) if item is not None]
    copies = defaultdict(list)
    for at in rng.permutation(good)[:planted].tolist():
        image = decode_image(data[at], LIMITS, SIDE)
        for edit, copy in planted_copies(image, random_for(0, "bench", str(files[at]))):
            its = features_of(copy)
            copies[edit].append((0, 0, 0.0) if its is None else points_alone(features[at], its))
    model = open_embedder(CopyConfig())
    model.setup()
    decoded = [np.asarray(decode_image(data[at], LIMITS, model.side)) for at in good]
    vectors = np.concatenate([model.embed(decoded[start : start + 64]) for start in range(0, len(decoded), 64)])
    one, other, _, similar = nearest_others(vectors.astype(np.float16), NEAR)
    pairs = {tuple(sorted((good[a], good[b]))) for a, b, s in zip(one, other, similar, strict=True) if s > ABOVE}
    different, same = [], 0
    for a, b in sorted(pairs):
        sides = [lambda at=at: picture_of(data[at], LIMITS, features[at].frame)[0] for at in (a, b)]
        seen = points_alone(features[a], features[b])
        if seen[0] >= min(INLIERS) and compare(features[a], features[b], *sides).probability >= SURE:
            same += 1
        else:
            different.append((*seen, str(files[a]), str(files[b])))
    return copies, different, same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("half", choices=("choosing", "judging"))
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--planted", type=int, default=80)
    arguments = parser.parse_args()
    files = (choosing if arguments.half == "choosing" else judging)(arguments.data)
    files = [files[at] for at in np.random.default_rng(1).permutation(len(files))[: arguments.images].tolist()]
    copies, different, same = measured(sorted(files), arguments.planted)
    print(
        f"{len(files)} images; {len(different)} pairs of different photographs, {same} more the look takes for copies"
    )
    print("inliers cells ratio  false  " + " ".join(f"{edit[:9]:>9}" for edit in PLANTED))
    for inliers, cells, ratio in itertools.product(INLIERS, CELLS, RATIOS):
        rule = [lambda seen, limits=(inliers, cells, ratio): all(a >= b for a, b in zip(seen, limits, strict=False))]
        found = [sum(map(rule[0], copies[edit])) for edit in PLANTED]
        false = [item for item in different if rule[0](item[:3])]
        shares = " ".join(
            f"{count / max(1, len(copies[edit])):>9.2f}" for count, edit in zip(found, PLANTED, strict=True)
        )
        print(f"{inliers:>7} {cells:>5} {ratio:>5} {len(false):>6}  {shares}")
    for item in sorted(different, reverse=True)[:8]:
        print(item)


if __name__ == "__main__":
    Image.MAX_IMAGE_PIXELS = None
    main()
