"""The character tokenizer, the attention-only module and the committed checkpoint."""

import contextlib
import subprocess
import sys

import pytest
import torch

from workbench.errors import BadFile, BadInput, BadWeights
from workbench.models.micro import AttentionOnly, AttentionOnlyConfig, CharacterTokenizer, load_micro, save_micro
from workbench.models.micro.checkpoint import INDUCTION

PRINTABLE = "".join(map(chr, range(32, 127)))


def test_the_ids_are_the_documented_ones():
    tokenizer = CharacterTokenizer()
    assert len(tokenizer) == tokenizer.vocab_size == len(tokenizer.get_vocab()) == 98
    assert tokenizer("A\n~ ")["input_ids"] == [0, 2 + ord("A") - 32, 97, 96, 2]
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 96, 97]) == ["<bos>", "\ufffd", " ", "~", "\n"]
    assert tokenizer.convert_tokens_to_ids(["<bos>", "é", "A"]) == [0, 1, 35]


def test_text_comes_back_and_other_characters_become_unknown():
    tokenizer = CharacterTokenizer()
    text = PRINTABLE + "\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert tokenizer.decode(tokenizer.encode("né\t", add_special_tokens=False)) == "n\ufffd\ufffd"
    assert tokenizer("<bos>", add_special_tokens=False)["input_ids"] == [2 + ord(c) - 32 for c in "<bos>"]


@pytest.mark.parametrize(
    ("side", "row", "mask"), [("right", [0, 67, 0, 0], [1, 1, 0, 0]), ("left", [0, 0, 0, 67], [0, 0, 1, 1])]
)
def test_padding_has_mask_zero(side, row, mask):
    batch = CharacterTokenizer(padding_side=side)(["a", "abc"], return_tensors="pt", padding=True)
    assert batch["input_ids"].dtype == torch.long
    assert batch["input_ids"].tolist() == [row, [0, 67, 68, 69]]
    assert batch["attention_mask"].tolist() == [mask, [1, 1, 1, 1]]


def test_truncation_and_options():
    tokenizer = CharacterTokenizer()
    assert tokenizer("abc", truncation=True, max_length=2)["input_ids"] == [0, 67]
    assert tokenizer(["a"], padding="max_length", max_length=3)["attention_mask"] == [[1, 1, 0]]
    assert tokenizer("", return_tensors="pt")["input_ids"].tolist() == [[0]]


def test_bad_input_is_a_sentence():
    tokenizer = CharacterTokenizer()
    with pytest.raises(BadInput, match="padding=True"):
        tokenizer(["a", "abc"], return_tensors="pt")
    with pytest.raises(BadInput, match="ids run from 0 to 97"):
        tokenizer.convert_ids_to_tokens(98)
    with pytest.raises(BadInput, match="text or a list of texts"):
        tokenizer(3)  # pyright: ignore[reportArgumentType]


def test_the_tokenizer_does_not_import_torch():
    code = (
        "import sys; from workbench.models.micro import CharacterTokenizer; "
        "CharacterTokenizer()('a'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def small():
    torch.manual_seed(0)
    return AttentionOnly(AttentionOnlyConfig(n_heads=3, d_model=12, d_head=5, n_ctx=20)).eval()


def _plain_forward(model, ids):
    """The same model as loops over heads and positions in double precision, from its weights alone."""
    weights = {name: value.double() for name, value in model.state_dict().items()}
    config = model.config

    def norm(x, name):
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    resid = weights["embed.weight"][ids] + weights["pos_embed.weight"][: len(ids)]
    for layer in range(config.n_layers):
        x = norm(resid, f"blocks.{layer}.ln1")
        added = torch.zeros_like(resid)
        for head in range(config.n_heads):
            rows = slice(head * config.d_head, (head + 1) * config.d_head)
            q, k, v = (x @ weights[f"blocks.{layer}.attn.W_{name}.weight"][rows].T for name in "QKV")
            for query in range(len(ids)):
                seen = ((k[: query + 1] @ q[query]) / config.d_head**0.5).softmax(0)
                added[query] += weights[f"blocks.{layer}.attn.W_O.weight"][:, rows] @ (seen @ v[: query + 1])
        resid = resid + added
    return norm(resid, "ln_final") @ weights["unembed.weight"].T


def test_the_model_is_what_its_weights_say(small):
    ids = torch.randint(0, 98, (1, 9), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(small(ids).logits[0].double(), _plain_forward(small, ids[0]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(small, side):
    tokenizer = CharacterTokenizer(padding_side=side)
    batch = tokenizer(["abc", "a longer one"], return_tensors="pt", padding=True)
    both = small(**batch).logits
    assert both.isfinite().all()
    for row, text in enumerate(["abc", "a longer one"]):
        alone = small(**tokenizer(text, return_tensors="pt")).logits[0]
        torch.testing.assert_close(both[row][batch["attention_mask"][row].bool()], alone, atol=1e-6, rtol=1e-5)


def test_every_step_can_be_read_and_replaced(small):
    ids = torch.randint(0, 98, (2, 7), generator=torch.Generator().manual_seed(1))
    shapes = {"attn.hook_q": (2, 7, 3, 5), "attn.hook_k": (2, 7, 3, 5), "attn.hook_v": (2, 7, 3, 5)}
    shapes |= {"attn.hook_attn_scores": (2, 3, 7, 7), "attn.hook_pattern": (2, 3, 7, 7), "attn.hook_z": (2, 7, 3, 5)}
    shapes |= {"hook_resid_pre": (2, 7, 12), "ln1": (2, 7, 12), "hook_attn_out": (2, 7, 12), "": (2, 7, 12)}
    names = {f"blocks.{i}.{part}".rstrip("."): shape for i in (0, 1) for part, shape in shapes.items()}
    names |= {"embed": (2, 7, 12), "pos_embed": (2, 7, 12), "ln_final": (2, 7, 12), "unembed": (2, 7, 98)}
    clean = small(ids).logits
    for name, shape in names.items():
        seen = []
        module = small.get_submodule(name)
        with module.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out.shape)):
            small(ids)
        with module.register_forward_hook(lambda _m, _i, out: out * torch.linspace(1, 2, out.shape[-1])):
            changed = small(ids).logits
        assert seen == [shape], name
        assert (changed - clean).abs().max() > 1e-4, name
    torch.testing.assert_close(small(ids).logits, clean, atol=0, rtol=0)


def test_too_long_or_empty_is_a_sentence(small):
    with pytest.raises(BadInput, match="21 tokens are more than the 20"):
        small(torch.zeros(1, 21, dtype=torch.long))
    with pytest.raises(BadInput, match="at least one position"):
        small(torch.zeros(1, 0, dtype=torch.long))


def test_a_checkpoint_comes_back_rounded_to_half(small, tmp_path):
    path = save_micro(small, tmp_path / "model.safetensors", {"step": 3})
    again, tokenizer = load_micro(path)
    assert (again.config, again.provenance, tokenizer.model_max_length) == (small.config, {"step": 3}, 20)
    assert not again.training
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, small.state_dict()[name].half().float(), atol=0, rtol=0)


def test_a_damaged_checkpoint_is_refused(small, tmp_path):
    path = save_micro(small, tmp_path / "model.safetensors", {})
    good = path.read_bytes()
    for place in range(0, len(good), max(1, len(good) // 40)):
        for bad in (good[:place], good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :]):
            path.write_bytes(bad)
            with contextlib.suppress(BadFile, BadWeights):  # a flipped weight bit can still be a weight
                load_micro(path)
    path.write_bytes(good[:-10])
    with pytest.raises(BadFile, match="cannot be read"):
        load_micro(path)
    with pytest.raises(BadFile, match="cannot be read"):
        load_micro(tmp_path / "nothing.safetensors")
    with torch.no_grad():
        small.unembed.weight[0, 0] = torch.nan
    with pytest.raises(BadWeights, match="unembed.weight"):
        load_micro(save_micro(small, path, {}))


@pytest.fixture(scope="module")
def micro():
    return load_micro()


def test_the_committed_model_is_small_and_says_where_it_comes_from(micro):
    model, _ = micro
    assert INDUCTION.stat().st_size < 300_000
    assert model.config.n_layers == 2
    assert model.config.n_ctx >= 256
    assert model.provenance["script"] == "case_studies/induction/train.py"


@pytest.mark.parametrize(
    ("prompt", "rest"),
    [
        ("The cat sat. The cat s", "at"),
        ("one two three; one two thr", "ee"),
        ("def f(x):\n    return x\ndef f(x):\n    ret", "urn x"),
        ("Mary had a little lamb. Mary had a lit", "tle"),
    ],
)
def test_typed_text_that_repeats_is_completed(micro, prompt, rest):
    model, tokenizer = micro
    text = prompt
    for _ in rest:
        best = model(**tokenizer(text, return_tensors="pt")).logits[0, -1].argmax()
        text += tokenizer.decode(best)
    assert text == prompt + rest


def test_random_characters_are_copied_at_every_position(micro):
    model, _ = micro
    order = torch.rand(4, 95, generator=torch.Generator().manual_seed(7)).argsort(-1)[:, :40] + 2
    ids = torch.cat([torch.zeros(4, 1, dtype=torch.long), order.repeat(1, 13)], dim=1)[:, : model.config.n_ctx]
    loss = torch.nn.functional.cross_entropy(model(ids).logits[:, 41:-1].transpose(1, 2), ids[:, 42:], reduction="none")
    assert loss.mean() < 0.3
    assert loss[:, -40:].mean() < 0.3
