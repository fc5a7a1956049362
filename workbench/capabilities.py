"""What a model may be able to do, in words, and a model that can: the vocabulary of `needs` and `capabilities`."""

from collections.abc import Iterable

CAPABILITIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "text": ("a text input", ("smollm2-135m", "tiny:gpt2")),
    "image": ("an image input", ("dinov2-small", "tiny:vit")),
    "audio": ("an audio input", ("tiny:whisper", "tiny:ast")),
    "pattern": ("attention patterns", ("smollm2-135m", "tiny:gpt2")),
    "qk": ("queries and keys", ("smollm2-135m", "tiny:gpt2")),
    "z": ("values mixed by each head", ("smollm2-135m", "tiny:gpt2")),
    "resid": ("a residual stream", ("smollm2-135m", "tiny:gpt2")),
    "attn_out": ("a separate attention output", ("smollm2-135m", "tiny:gpt2")),
    "mlp_out": ("a separate MLP output", ("smollm2-135m", "tiny:gpt2")),
    "mlp": ("MLP neurons", ("smollm2-135m", "tiny:gpt2")),
    "readout": ("a trained language-model head", ("smollm2-135m", "tiny:gpt2")),
    "direct-logits": ("a readout that is one norm and one linear map", ("smollm2-135m", "tiny:gpt2")),
    "logits": ("a trained head that answers: of a language model or a classifier", ("smollm2-135m", "tiny:gpt2")),
    "norms": ("norms and output maps known as numbers", ("smollm2-135m", "tiny:gpt2")),
    "decomposition": ("blocks and a head whose every map is known", ("smollm2-135m", "tiny:gpt2")),
    "qk-maps": ("maps to queries, keys and values known as numbers", ("smollm2-135m", "tiny:gpt2")),
    "causal": ("causal attention", ("smollm2-135m", "tiny:gpt2")),
    "one-stack": ("one stack of blocks, a decoder or an encoder", ("smollm2-135m", "tiny:gpt2")),
    "gradients": ("gradients at its sites", ("smollm2-135m", "tiny:gpt2")),
}
"""Capability -> (what it is, models known to have it)."""


def lacking(who: str, model: str, missing: Iterable[str]) -> str:
    """The sentence that says what `model` lacks for `who`, and where to find it."""
    missing = sorted(missing)
    what = _listed([CAPABILITIES[m][0] if m in CAPABILITIES else m for m in missing])
    candidates = [CAPABILITIES[m][1] for m in missing if m in CAPABILITIES]
    common = [name for name in candidates[0] if all(name in c for c in candidates)] if candidates else []
    hint = f" Try {' or '.join(common)}." if common else ""
    return f"{who} needs {what}, which {model} does not have.{hint}"


def _listed(things: list[str]) -> str:
    """Things in a row with "and" before the last; semicolons between more than two that have commas of their own."""
    if len(things) < 3:
        return " and ".join(things)
    between = ";" if any("," in thing for thing in things) else ","
    return f"{between} ".join(things[:-1]) + f"{between} and {things[-1]}"
