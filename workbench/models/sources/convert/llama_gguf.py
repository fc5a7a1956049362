"""A GGUF file of a LLaMA model with a byte-level tokenizer, dequantised exactly to float32."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from workbench import progress
from workbench.errors import BadFile
from workbench.models.sources.convert import gguf
from workbench.models.sources.convert.safetensors_file import Promise, write
from workbench.models.sources.convert.tokenizer_files import byte_level_bpe

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""llama.cpp's names to transformers'."""


def convert(members: Path, out: Path) -> dict[str, Any]:
    """Write config, weights and tokenizer; one tensor in memory at a time."""
    file = gguf.read(members / "model.gguf")
    if file.metadata.get("general.architecture") != "llama":
        raise BadFile(f"The GGUF file holds a {file.metadata.get('general.architecture')!r} model, not a LLaMA.")
    config = _config(file)
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}

    def promise(done: int, name: str) -> Promise:
        def make() -> np.ndarray:
            progress.report("converting", done, len(file.shapes))
            tensor = file.tensor(name)
            part = name.split(".")[-2]
            return unpermuted(tensor, heads[part]) if part in heads else tensor

        return Promise(file.shapes[name], np.dtype("float32"), make)

    write(out / "model.safetensors", {llama_name(n): promise(i, n) for i, n in enumerate(file.shapes)})
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    byte_level_bpe(file.metadata, out)
    kinds = sorted({gguf.TYPE_NAMES[kind] for kind, _ in file.places.values()} - {"F32"})
    return {"quantisation": f"{' and '.join(kinds)} weights, dequantised", "stored_dtype": "float32"}


def _config(file: gguf.GGUF) -> dict[str, Any]:
    meta = file.metadata
    epsilon = meta["llama.attention.layer_norm_rms_epsilon"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": meta["llama.embedding_length"],
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": meta["llama.attention.head_count"],
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "max_position_embeddings": meta["llama.context_length"],
        "vocab_size": file.shapes["token_embd.weight"][0],
        "rms_norm_eps": float(f"{epsilon:.6g}"),  # 1e-5 was stored in single precision
        "rope_theta": meta["llama.rope.freq_base"],
        "tie_word_embeddings": "output.weight" not in file.shapes,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
        "dtype": "float32",
    }


def llama_name(name: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`."""
    *block, part, kind = name.split(".")
    return f"model.layers.{block[1]}.{NAMES[part]}.{kind}" if block else f"{NAMES[part]}.{kind}"


def unpermuted(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Undo llama.cpp's order of rotary pairs: it interleaves what transformers keeps in two halves of a head."""
    rows, cols = weight.shape
    return weight.reshape(n_heads, rows // n_heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)
