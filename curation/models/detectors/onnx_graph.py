"""Frees the shapes that an ONNX file was exported with.

CenterFace was exported for batches of ten 32 x 32 images, with every weight listed as an input. onnxruntime takes
the first at its word and refuses other sizes, and the second as leave for callers to replace weights, so that it
cannot fold batch normalisation into convolutions.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from curation.errors import ModelError

__all__ = ["with_free_shapes"]

MAX_BYTES = 2**31 - 1
"""The largest message that protobuf takes."""


def with_free_shapes(model: bytes, axes: Sequence[str | int]) -> bytes:
    """The same model with inputs of the given axes, outputs of any shape, and no weight among its inputs.

    Args:
        model: a serialised ModelProto whose inputs and outputs are float32.
        axes: name or size of each axis of every input, as in `("batch", 3, "height", "width")`.

    Raises:
        ModelError: the bytes are no ONNX model, or its weights lie in other files: a model is verified by its own
            bytes, and may not read any others.
    """
    proto = _parsed(model)
    graph = proto.graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in weights]
    outputs = [value.name for value in graph.output]
    for values in (graph.input, graph.output, graph.value_info):
        del values[:]
    value = onnx.helper.make_tensor_value_info
    graph.input.extend(value(name, onnx.TensorProto.FLOAT, axes) for name in inputs)
    graph.output.extend(value(name, onnx.TensorProto.FLOAT, None) for name in outputs)
    return bytes(proto.SerializeToString(deterministic=True))


def _parsed(model: bytes) -> onnx.ModelProto:
    if len(model) > MAX_BYTES:
        raise ModelError(f"ONNX model: has {len(model):,} bytes, of which {MAX_BYTES:,} can be read; use a smaller one")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(model)
    except DecodeError as error:
        raise ModelError("ONNX model: its bytes are cut off or no model; the file is damaged, get it again") from error
    for message in _messages(proto):
        if isinstance(message, onnx.TensorProto) and onnx.external_data_helper.uses_external_data(message):
            raise ModelError(f"ONNX model: the weight {message.name!r} lies in another file; use a model of one file")
    return proto


def _messages(message: Any) -> Iterator[Any]:
    """A message and all within it: weights lie in graphs, in attributes of nodes and in the graphs of branches."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner)
