"""Frees the shapes that an ONNX file was exported with, by editing its protobuf bytes.

CenterFace was exported for batches of ten 32 x 32 images, with every weight listed as an input. onnxruntime takes
the first at its word and refuses other sizes, and the second as leave for callers to replace weights, so that it
cannot fold batch normalisation into convolutions. The `onnx` package could change both; the few messages involved are
read and written here instead.
"""

from collections.abc import Iterator, Sequence

from curation.errors import ModelError

__all__ = ["with_free_shapes"]

# Field numbers of onnx.proto.
GRAPH = 7  # ModelProto
INITIALIZER, INPUT, OUTPUT, VALUE_INFO = 5, 11, 12, 13  # GraphProto
TENSOR_NAME = 8  # TensorProto
VALUE_NAME, VALUE_TYPE = 1, 2  # ValueInfoProto
TENSOR_TYPE, ELEMENT, SHAPE, DIMENSION, SIZE, AXIS_NAME = 1, 1, 2, 1, 1, 2  # TypeProto and what is in it
FLOAT32 = 1

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
Field = tuple[int, bytes, bytes]


def with_free_shapes(model: bytes, axes: Sequence[str | int]) -> bytes:
    """The same model with inputs of the given axes, outputs of any shape, and no weight among its inputs.

    Args:
        model: a serialised ModelProto whose inputs and outputs are float32.
        axes: name or size of each axis of every input, as in `("batch", 3, "height", "width")`.

    Raises:
        ModelError: the bytes are no protobuf message.
    """
    return b"".join(
        _bytes_field(GRAPH, _freed(value, axes)) if number == GRAPH else raw for number, value, raw in _fields(model)
    )


def _freed(graph: bytes, axes: Sequence[str | int]) -> bytes:
    fields = list(_fields(graph))
    weights = {_name(value, TENSOR_NAME) for number, value, _ in fields if number == INITIALIZER}
    out = []
    for number, value, raw in fields:
        if number == VALUE_INFO or (number == INPUT and _name(value, VALUE_NAME) in weights):
            continue
        if number == INPUT:
            raw = _bytes_field(INPUT, _value_info(_name(value, VALUE_NAME), _shape(axes)))
        elif number == OUTPUT:
            raw = _bytes_field(OUTPUT, _value_info(_name(value, VALUE_NAME), b""))
        out.append(raw)
    return b"".join(out)


def _value_info(name: bytes, shape: bytes) -> bytes:
    """A ValueInfoProto for a float32 tensor."""
    tensor = _varint(ELEMENT << 3 | VARINT) + _varint(FLOAT32) + shape
    return _bytes_field(VALUE_NAME, name) + _bytes_field(VALUE_TYPE, _bytes_field(TENSOR_TYPE, tensor))


def _shape(axes: Sequence[str | int]) -> bytes:
    dimensions = (
        _bytes_field(AXIS_NAME, axis.encode()) if isinstance(axis, str) else _varint(SIZE << 3 | VARINT) + _varint(axis)
        for axis in axes
    )
    return _bytes_field(SHAPE, b"".join(_bytes_field(DIMENSION, dimension) for dimension in dimensions))


def _name(message: bytes, number: int) -> bytes:
    return next((value for result, value, _ in _fields(message) if result == number), b"")


def _fields(message: bytes) -> Iterator[Field]:
    """The fields of a message: number, payload (empty but for fields of bytes), and the field as it stands."""
    at = 0
    while at < len(message):
        key, start = _read_varint(message, at)
        wire = key & 7
        if wire == VARINT:
            start = end = _read_varint(message, start)[1]
        elif wire == BYTES:
            length, start = _read_varint(message, start)
            end = start + length
        elif wire in (FIXED64, FIXED32):
            start = end = start + (8 if wire == FIXED64 else 4)
        else:
            raise ModelError(f"ONNX model: wire type {wire} at byte {at} is none; the file is damaged, get it again")
        if end > len(message):
            raise ModelError(f"ONNX model: ends inside the field at byte {at}; the file is damaged, get it again")
        yield key >> 3, message[start:end], message[at:end]
        at = end


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer, and where the next byte is."""
    value = 0
    for index in range(at, min(at + 10, len(message))):
        value |= (message[index] & 127) << 7 * (index - at)
        if message[index] < 128:
            return value, index + 1
    raise ModelError(f"ONNX model: no integer at byte {at}; the file is damaged, get it again")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes_field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(payload)) + payload
