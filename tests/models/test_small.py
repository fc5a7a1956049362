"""The small transformer of the studies: by hand, in a folder, behind the common interface."""

import itertools
from pathlib import Path

import pytest
import torch

import workbench
from workbench.models.loading import checkpoints
from workbench.models.small import SmallConfig, SmallTransformer, save_small, word_tokenizer

WORDS = (*map(str, range(7)), "+", "=")
KINDS = list(itertools.product((None, "layer"), (32, 0), (False, True)))


def made(norm: str | None = None, d_mlp: int = 32, tied: bool = False, **sizes) -> SmallTransformer:
    torch.manual_seed(0)
    sizes = {"n_layers": 2, "n_ctx": 5, "d_model": 16, "n_heads": 2, "d_head": 8, **sizes}
    module = SmallTransformer(SmallConfig(vocab_size=len(WORDS) + 1, norm=norm, d_mlp=d_mlp, tied=tied, **sizes))
    with torch.no_grad():
        for weight in module.parameters():  # biases of zero and norms of one would hide mistakes
            weight.add_(0.1 * torch.randn_like(weight))
    return module.eval()


def by_hand(module: SmallTransformer, ids: list[int]) -> torch.Tensor:
    """(pos, vocab) logits, a position and a head at a time."""
    w = {name: value.double() for name, value in module.state_dict().items()}
    config, n = module.config, len(ids)

    def normed(x: torch.Tensor, name: str) -> torch.Tensor:
        if config.norm is None:
            return x
        x = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    stream = [w["embed.weight"][t] + w["pos_embed.weight"][i] for i, t in enumerate(ids)]
    for layer in range(config.n_layers):
        at = f"blocks.{layer}."
        read = [normed(x, f"{at}ln1") for x in stream]
        for i in range(n):
            out = []
            for head in range(config.n_heads):
                own = slice(head * config.d_head, (head + 1) * config.d_head)
                q = w[f"{at}attn.W_Q.weight"][own] @ read[i]
                seen = range(i + 1 if config.causal else n)
                scores = torch.stack([q @ (w[f"{at}attn.W_K.weight"][own] @ read[j]) for j in seen])
                scores = scores / config.d_head**0.5
                values = torch.stack([w[f"{at}attn.W_V.weight"][own] @ read[j] for j in seen])
                weights = scores.softmax(0) if config.attention == "softmax" else scores.clamp(min=0) / len(seen)
                out.append(weights @ values)
            stream[i] = stream[i] + w[f"{at}attn.W_O.weight"] @ torch.cat(out)
        if config.d_mlp:
            for i in range(n):
                x = w[f"{at}mlp.W_in.weight"] @ normed(stream[i], f"{at}ln2") + w[f"{at}mlp.W_in.bias"]
                stream[i] = stream[i] + w[f"{at}mlp.W_out.weight"] @ x.clamp(min=0) + w[f"{at}mlp.W_out.bias"]
    return torch.stack([w["unembed.weight"] @ normed(x, "ln_final") for x in stream])


@pytest.mark.parametrize(("norm", "d_mlp", "tied"), KINDS)
def test_is_the_transformer_written_out(norm: str | None, d_mlp: int, tied: bool):
    module = made(norm, d_mlp, tied).double()
    with torch.no_grad():
        logits = module(torch.tensor([[3, 7, 4, 8]])).logits[0]
    torch.testing.assert_close(logits, by_hand(module, [3, 7, 4, 8]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("attention", ["softmax", "relu"])
@pytest.mark.parametrize("causal", [True, False])
def test_other_attention_is_the_transformer_written_out(attention: str, causal: bool):
    module = made("layer", attention=attention, causal=causal).double()
    with torch.no_grad():
        logits = module(torch.tensor([[3, 7, 4, 8]])).logits[0]
    torch.testing.assert_close(logits, by_hand(module, [3, 7, 4, 8]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("norm", [None, "layer"])
@pytest.mark.parametrize("d_mlp", [32, 0])
@pytest.mark.parametrize("causal", [True, False])
def test_relu_attention_is_said_and_keeps_every_capability(norm: str | None, d_mlp: int, causal: bool, tmp_path: Path):
    plain, relu = (made(norm, d_mlp, attention=kind, causal=causal) for kind in ("softmax", "relu"))
    models = []
    for name, module in (("plain", plain), ("relu", relu)):
        save_small(module, word_tokenizer(WORDS), tmp_path / name)
        models.append(workbench.load(tmp_path / name))
    assert models[0].capabilities == models[1].capabilities
    assert ("causal" in models[1].capabilities) == causal
    rows = {check.name: check for check in workbench.check(models[1])}
    assert rows["blocks.attn rows sum to one"].passed is None
    assert "no softmax" in rows["blocks.attn rows sum to one"].detail
    assert [check for check in rows.values() if check.passed is False] == []


@pytest.mark.parametrize(("norm", "d_mlp", "tied"), KINDS)
def test_a_folder_gives_the_same_logits_and_passes_its_checks(norm: str | None, d_mlp: int, tied: bool, tmp_path: Path):
    module, tokenizer = made(norm, d_mlp, tied), word_tokenizer(WORDS)
    save_small(module, tokenizer, tmp_path, provenance={"step": 7})
    model = workbench.load(tmp_path)
    batch = model.encode("3 + 4 =")
    assert batch["input_ids"].tolist() == [[3, 7, 4, 8]]
    assert model.labels(batch) == ("3", "+", "4", "=")
    with torch.no_grad():
        assert torch.equal(model.module(**batch).logits, module(**batch).logits)
    assert [check for check in workbench.check(model) if check.passed is False] == []
    assert ("decomposition" in model.capabilities) == (norm is not None)
    assert ("mlp" in model.capabilities) == (d_mlp > 0)
    assert model.module.config.provenance == {"step": 7}


def test_checkpoints_of_a_training_are_subfolders(tmp_path: Path):
    for step in (10, 2000):
        save_small(made(), word_tokenizer(WORDS), tmp_path / f"checkpoint-{step}", dtype=torch.float16)
    assert dict(checkpoints(tmp_path)) == {10: "checkpoint-10", 2000: "checkpoint-2000"}
    model = workbench.load(tmp_path, checkpoint="2000")
    assert model.dtype == torch.float32
    assert torch.equal(model.module.embed.weight, made().embed.weight.half().float())


def test_padding_changes_no_answer():
    module = made("layer")
    long, short = [3, 7, 4, 8, 1], [5, 8]
    ids = torch.tensor([long, [*short, 0, 0, 0]])
    mask = torch.tensor([[1] * 5, [1, 1, 0, 0, 0]])
    left = (ids.flip(1)[1:], mask.flip(1)[1:])
    with torch.no_grad():
        alone = module(torch.tensor([short])).logits[0]
        torch.testing.assert_close(module(ids, mask).logits[1, :2], alone)
        torch.testing.assert_close(module(left[0].clone()[:, [0, 1, 2, 4, 3]], left[1]).logits[0, 3:], alone)


def test_bad_sizes_and_input_are_sentences():
    with pytest.raises(workbench.BadInput, match="act must be one of 'relu'"):
        SmallTransformer(SmallConfig(act="cube"))
    with pytest.raises(workbench.BadInput, match="attention must be one of 'softmax', 'relu', not 'linear'"):
        SmallTransformer(SmallConfig(attention="linear"))
    with pytest.raises(workbench.BadInput, match="n_heads must be a whole number of at least 1, not 0"):
        SmallTransformer(SmallConfig(n_heads=0))
    with pytest.raises(workbench.BadInput, match="d_mlp must be a whole number of at least 0, not -1"):
        SmallTransformer(SmallConfig(d_mlp=-1))
    with pytest.raises(workbench.BadInput, match="6 tokens are more than the 5"):
        made()(torch.zeros(1, 6, dtype=torch.long))
    with pytest.raises(workbench.BadInput, match="without spaces"):
        word_tokenizer(["a", "a"])
    with pytest.raises(workbench.BadInput, match="without spaces"):
        word_tokenizer(["a b"])
    with pytest.raises(workbench.BadInput, match="are texts"):
        word_tokenizer([1, 2])


def test_what_cannot_be_saved_leaves_the_folder_as_it_was(tmp_path: Path):
    with pytest.raises(workbench.BadInput, match="Nothing was written"):
        save_small(made(), word_tokenizer(WORDS), tmp_path, provenance={"loss": torch.tensor(1.0)})
    with pytest.raises(workbench.BadInput, match="not NoneType"):
        save_small(made(), None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_words_that_are_not_known_have_an_id_of_their_own():
    tokenizer = word_tokenizer(WORDS)
    assert tokenizer("3 many + \n 6")["input_ids"] == [3, len(WORDS), 7, 6]
    assert tokenizer.decode([3, 7, 4]) == "3 + 4"
