"""The readers of foreign weight files: exact against the formats' own libraries, and safe on damaged bytes."""

import contextlib
import json
import struct
from pathlib import Path

import gguf as reference
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.numpy import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from workbench.errors import BadFile
from workbench.models.sources.convert import gguf, llama_gguf, onnx
from workbench.models.sources.convert.safetensors_file import Promise, write
from workbench.models.sources.convert.tokenizer_files import smiles

TOKENS = ["<unk>", "<s>", "a", "b", "ab", "Ġ", "1", "2"]


def gguf_file(path: Path, quantised: reference.GGMLQuantizationType) -> dict[str, np.ndarray]:
    """A tiny LLaMA in GGUF as llama.cpp's converter writes it; gives transformers' weights after quantisation."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(TOKENS), num_key_value_heads=2, tie_word_embeddings=True, **sizes)
    state = {k: v.numpy() for k, v in LlamaForCausalLM(config).state_dict().items() if k != "lm_head.weight"}
    writer = reference.GGUFWriter(str(path), "llama")
    for name, value in {"embedding_length": 64, "feed_forward_length": 96, "block_count": 2, "vocab_size": 8}.items():
        writer.add_uint32(f"llama.{name}", value)
    writer.add_context_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500.0)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 1, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    for add, token in (("bos", 1), ("eos", 1), ("unk", 0), ("pad", 0)):
        getattr(writer, f"add_{add}_token_id")(token)
    backward = {new: old for old, new in llama_gguf.NAMES.items()}
    expected = {}
    for name, weight in state.items():
        kind = quantised if weight.ndim == 2 else reference.GGMLQuantizationType.F32
        whole = name.removesuffix(".weight")
        _, _, block, inner = whole.split(".", 3) if ".layers." in name else ("", "", "", whole)
        theirs = (f"blk.{block}." if block else "") + backward[inner] + ".weight"
        heads = {"self_attn.q_proj": 4, "self_attn.k_proj": 2}.get(inner)
        if heads:  # as llama.cpp's convert_hf_to_gguf.py permutes them
            rows, cols = weight.shape
            weight = weight.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)
        blocks = reference.quantize(weight, kind)
        writer.add_tensor(theirs, blocks, raw_dtype=kind)
        weight = reference.dequantize(blocks, kind)
        if heads:
            weight = weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)
        expected[name] = weight
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_1"])
def test_gguf_weights_are_exactly_those_of_the_formats_own_library(tmp_path: Path, kind: str) -> None:
    expected = gguf_file(tmp_path / "model.gguf", reference.GGMLQuantizationType[kind])
    out = tmp_path / "out"
    out.mkdir()
    facts = llama_gguf.convert(tmp_path, out)
    found = load_file(out / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert np.array_equal(found[name], weight), name
    assert facts["stored_dtype"] == "float32"
    model = LlamaForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not model[1]["missing_keys"]
    assert (model[0].config.rms_norm_eps, model[0].config.rope_parameters["rope_theta"]) == (1e-5, 500.0)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.tokenize("ab 12<s>") == ["ab", "Ġ", "1", "2", "<s>"]
    assert tokenizer.decode(tokenizer("ab 12").input_ids) == "ab 12"


def test_a_gguf_type_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    writer = reference.GGUFWriter(str(tmp_path / "model.gguf"), "llama")
    writer.add_tensor("x", np.zeros((1, 18), np.uint8), raw_dtype=reference.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BadFile, match="The tensor x has GGUF type 2"):
        gguf.read(tmp_path / "model.gguf")


@pytest.fixture(scope="module")
def sound_gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    gguf_file(path, reference.GGMLQuantizationType.Q8_0)
    return path.read_bytes()


def read_all(path: Path) -> None:
    file = gguf.read(path)
    for name in file.shapes:
        file.tensor(name)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_gguf_gives_only_our_own_error(sound_gguf: bytes, tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(sound_gguf[: data.draw(st.sampled_from([0, 3, 20, 100, 700, 2000, len(sound_gguf)]))])
    for at in data.draw(st.lists(st.integers(0, 1500), max_size=3)):
        if at < len(damaged):
            damaged[at] = data.draw(st.integers(0, 255))
    (tmp_path / "model.gguf").write_bytes(damaged)
    with contextlib.suppress(BadFile):
        read_all(tmp_path / "model.gguf")


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field, as the wire format has it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def initialiser(name: str, array: np.ndarray, *, packed: bool = True, kind: int = 1) -> bytes:
    dims = field(1, b"".join(map(varint, array.shape))) if packed else b"".join(field(1, n) for n in array.shape)
    return field(5, dims + field(2, kind) + field(8, name.encode()) + field(9, array.astype("<f4").tobytes()))


def node(kind: str, inputs: list[str], outputs: list[str]) -> bytes:
    names = b"".join(field(1, n.encode()) for n in inputs) + b"".join(field(2, n.encode()) for n in outputs)
    return field(1, names + field(4, kind.encode()))


RNG = np.random.default_rng(0)
WEIGHT, BIAS, OTHER = (RNG.standard_normal(s).astype(np.float32) for s in ((3, 5), (5,), (2, 2)))
SOUND_ONNX = field(1, 8) + field(
    7,
    initialiser("layer.0.dense.bias", BIAS)
    + initialiser("onnx::MatMul_7", WEIGHT, packed=False)
    + initialiser("norm.scale", OTHER)
    + initialiser("half", OTHER, kind=10)
    + node("MatMul", ["x", "onnx::MatMul_7"], ["y"])
    + node("Add", ["layer.0.dense.bias", "y"], ["z"])
    + node("MatMul", ["z", "z"], ["w"]),
)


def test_onnx_weights_get_back_their_names(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(SOUND_ONNX)
    found = onnx.weights(tmp_path / "model.onnx")
    assert set(found) == {"layer.0.dense.bias", "layer.0.dense.weight", "onnx::MatMul_7", "norm.scale"}
    assert np.array_equal(found["layer.0.dense.weight"], WEIGHT.T)
    assert np.array_equal(found["layer.0.dense.bias"], BIAS)
    assert np.array_equal(found["norm.scale"], OTHER)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_onnx_gives_only_our_own_error(tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(SOUND_ONNX[: data.draw(st.integers(0, len(SOUND_ONNX)))])
    for at in data.draw(st.lists(st.integers(0, len(SOUND_ONNX)), max_size=3)):
        if at < len(damaged):
            damaged[at] = data.draw(st.integers(0, 255))
    (tmp_path / "model.onnx").write_bytes(damaged)
    with contextlib.suppress(BadFile):
        onnx.weights(tmp_path / "model.onnx")


def test_safetensors_written_tensor_by_tensor_read_back(tmp_path: Path) -> None:
    arrays = {"a": WEIGHT, "b.c": np.arange(3), "d": WEIGHT.T.astype(np.float16), "e": np.float32(2).reshape(())}
    promises = {name: Promise(a.shape, a.dtype, lambda a=a: a) for name, a in arrays.items()}
    write(tmp_path / "x.safetensors", promises)
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], a) and found[name].dtype == a.dtype for name, a in arrays.items())
    (length,) = struct.unpack("<Q", (tmp_path / "x.safetensors").read_bytes()[:8])
    assert length % 8 == 0
    with pytest.raises(ValueError, match=r"a is float32\(3, 5\), not float32\(5, 3\)"):
        write(tmp_path / "y.safetensors", {"a": Promise((5, 3), np.dtype("float32"), lambda: WEIGHT)})


def test_smiles_are_cut_into_atoms_bonds_and_rings(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "C", "c", "Cl", "Br", "(", ")", "=", "O", ">>", "1", "[nH]"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    smiles(tmp_path / "vocab.txt", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "albert"}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("CC(=O)Cl>>c1[nH]Br%") == [*"CC(=O)", "Cl", ">>", "c", "1", "[nH]", "Br"]
    assert tokenizer("CS").input_ids == [2, 5, 1, 3]  # S is not in this vocabulary
    assert tokenizer.mask_token_id == 4
