"""Reads the float32 weights of an ONNX file under the names they had before they were exported.

An own reader of the few protobuf fields that matter (onnx.proto3: ModelProto.graph 7; GraphProto.node 1,
.initializer 5; NodeProto.input 1, .output 2, .op_type 4; TensorProto.dims 1, .data_type 2, .name 8, .raw_data 9),
so that no runtime is needed and nothing in the file is executed.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.errors import BadFile

FLOAT = 1
Value = int | memoryview


@dataclass(frozen=True)
class Node:
    """One operation: its kind and the names of the tensors it takes and gives."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def weights(path: Path) -> dict[str, np.ndarray]:
    """Every float32 initialiser by name; the anonymous weight of a MatMul is named after the bias added next.

    A linear layer is exported as MatMul with a transposed, nameless weight and an Add with `NAME.bias`: the weight
    comes back as `NAME.weight`, transposed to (out, in). Arrays are views of the memory-mapped file.
    """
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        graph = next(value for field, value in _fields(data) if field == 7)
        tensors, nodes = {}, []
        for field, value in _fields(_bytes(graph)):
            if field == 5:
                tensors.update(_tensor(_bytes(value)))
            elif field == 1:
                nodes.append(_node(_bytes(value)))
    except (StopIteration, IndexError, ValueError, UnicodeDecodeError, TypeError) as error:
        raise BadFile(f"{path.name} is not a readable ONNX file: {error or 'no graph in it'}.") from error
    biases = {name: other for node in nodes if node.kind == "Add" for name, other in _with_bias(node, tensors)}
    for node in nodes:
        if node.kind == "MatMul" and node.inputs[1] in tensors and node.outputs[0] in biases:
            tensors[biases[node.outputs[0]].removesuffix("bias") + "weight"] = tensors[node.inputs[1]].T
    return tensors


def _with_bias(node: Node, tensors: dict[str, np.ndarray]) -> Iterator[tuple[str, str]]:
    for summand, bias in (node.inputs, node.inputs[::-1]):
        if bias in tensors and bias.endswith(".bias"):
            yield summand, bias


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """(field number, value) of one message: integers as int, everything else as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if key & 7 == 2:
            length, at = _varint(data, at)
        else:
            length = {1: 8, 5: 4}.get(key & 7, 0)
        if not length and key & 7 != 2 or at + length > len(data):
            raise ValueError("it is cut short or damaged")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message should")
    return value


def _tensor(data: memoryview) -> dict[str, np.ndarray]:
    shape, kind, name, raw = [], 0, "", None
    for field, value in _fields(data):
        if field == 1 and isinstance(value, int):
            shape.append(value)
        elif field == 1:  # packed
            at, packed = 0, _bytes(value)
            while at < len(packed):
                dim, at = _varint(packed, at)
                shape.append(dim)
        elif field == 2 and isinstance(value, int):
            kind = value
        elif field == 8:
            name = bytes(_bytes(value)).decode()
        elif field == 9:
            raw = _bytes(value)
    if kind != FLOAT or raw is None:
        return {}
    return {name: np.frombuffer(raw, "<f4").reshape(shape)}


def _node(data: memoryview) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
    for field, value in _fields(data):
        if field in texts:
            texts[field].append(bytes(_bytes(value)).decode())
    return Node(kind="".join(texts[4]), inputs=tuple(texts[1]), outputs=tuple(texts[2]))
