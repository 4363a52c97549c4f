"""Further outputs for a net in an ONNX file.

OpenCV's dnn module returns only those results that the file names as outputs. The names of inner results can be added
to the list of outputs without a package for ONNX: the list is a repeated field of the file's graph, and a repeated
field may be continued at the end.

Source:
    The ONNX protocol buffer definition (onnx/onnx.proto): `ModelProto.graph` is field 7, `GraphProto.output` field 12,
    `ValueInfoProto` has the name (1) and the type (2).
"""

from collections.abc import Sequence

_GRAPH, _OUTPUT = 7, 12
_BYTES = 2  # wire type of a field that says how long it is
_FLOAT = b"\x08\x01"  # element type, field 1: float32


def with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    """Return the model with further outputs, four-dimensional float32 results of its graph.

    Args:
        model: contents of an ONNX file.
        names: of the results.

    Raises:
        ValueError: `model` is no ONNX file, or has no graph.
    """
    more = b"".join(_field(_OUTPUT, _value(name)) for name in names)
    parts, start, graphs = [], 0, 0
    while start < len(model):
        key, at = _number(model, start)
        if key & 7 == 0:
            _, end = _number(model, at)
            parts.append(model[start:end])
        elif key & 7 == _BYTES:
            size, at = _number(model, at)
            end = at + size
            if end > len(model):
                raise ValueError("not an ONNX file: a field is longer than the file")
            is_graph = key >> 3 == _GRAPH
            graphs += is_graph
            parts.append(_field(key >> 3, model[at:end] + more) if is_graph else model[start:end])
        else:
            raise ValueError("not an ONNX file: unknown kind of field")
        start = end
    if graphs != 1:
        raise ValueError("not an ONNX file: it has no graph")
    return b"".join(parts)


def _value(name: str) -> bytes:
    """Return the description of a four-dimensional float32 result; nobody reads the sizes of its dimensions."""
    shape = _field(2, b"".join(_field(1, b"\x08\x01") for _ in range(4)))
    return _field(1, name.encode()) + _field(2, _field(1, _FLOAT + shape))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def _number(model: bytes, start: int) -> tuple[int, int]:
    """Return the number that is written at `start` in groups of seven bits, and where it ends."""
    number = shift = 0
    for at in range(start, min(start + 10, len(model))):
        number |= (model[at] & 127) << shift
        if model[at] < 128:
            return number, at + 1
        shift += 7
    raise ValueError("not an ONNX file: it ends within a number")
