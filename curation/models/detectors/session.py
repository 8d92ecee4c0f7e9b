"""onnxruntime sessions that use the threads they are given, and the GPU where there is one."""

from pathlib import Path
from typing import Any

import numpy as np

from curation.arrays import Float32Array
from curation.errors import ModelError, cause_of
from curation.models.detectors.onnx_graph import with_free_shapes

__all__ = ["OnnxModel", "open_session"]

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
CPU_BATCH, GPU_BATCH = 4, 32
ERRORS_ONLY = 3


def open_session(model: bytes, threads: int) -> Any:
    """An onnxruntime session of a serialised model, on the GPU where this build of it finds one."""
    import onnxruntime  # takes half a second, and runs without detectors need none of it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    # Threads that wait by spinning take the cores from the threads that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
    return onnxruntime.InferenceSession(model, options, providers=providers)


class OnnxModel:
    """An ONNX model with one float32 input of shape (batch, 3, height, width), all but the channels free.

    Attributes:
        batch: images to give it at once. On a CPU larger batches only fall out of its caches: measured on one
            core, NudeNet takes 32 ms an image one by one, 34 ms by 8 and 60 ms by 32.
    """

    def __init__(self, path: Path, threads: int) -> None:
        """Load the model.

        Raises:
            ModelError: the file is no ONNX model, or not one of this shape.
        """
        try:
            model = with_free_shapes(path.read_bytes(), ("batch", 3, "height", "width"))
            self._session = open_session(model, threads)
            (self._input,) = (value.name for value in self._session.get_inputs())
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        except Exception as error:  # onnxruntime has an exception class for each of its status codes
            cause = cause_of(error, 160)
            raise ModelError(f"{path}: is no ONNX model of one image input ({cause}); get the file again") from error
        self.on_gpu = self._session.get_providers()[0] != "CPUExecutionProvider"
        self.batch = GPU_BATCH if self.on_gpu else CPU_BATCH

    def run(self, images: Float32Array) -> list[Float32Array]:
        """All outputs for (N, 3, H, W) float32 images, in chunks of `batch`."""
        chunks = range(0, len(images), self.batch)
        outputs = [self._session.run(None, {self._input: images[at : at + self.batch]}) for at in chunks]
        return [np.concatenate(arrays) for arrays in zip(*outputs, strict=True)]
