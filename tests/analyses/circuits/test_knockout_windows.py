"""Attention knockout by windows and groups: against plain masked runs, against knockout token by token, and names."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import workbench
from workbench.analyses.circuits.token_groups import group
from workbench.testing import example_input, tiny_model

PROMPT = "abcabcabc"


def cut(model, prompt=PROMPT, **options) -> Any:
    return workbench.get("knockout-windows")(model, prompt, **options)


def masked(model, layers, queries, keys, *, prefix="blocks", short="attn"):
    """The logits of one whole run in which those weights are left out and rows shared anew, written plainly."""

    def edit(pattern):
        new = pattern.clone()
        for q in queries:
            row = new[:, :, q].clone()
            row[..., list(keys)] = 0
            left = row.sum(-1, keepdim=True)
            itself = torch.zeros_like(row)
            if left.max() == 0 and short != "cross_attn":
                itself[..., q] = 1
            new[:, :, q] = torch.where(left > 0, row / left.clamp(min=1e-30), itself)
        return new

    prompt = example_input(model.family) if model.family in ("t5",) else PROMPT
    with workbench.editing(model, {f"{prefix}.{i}.{short}.pattern": edit for i in layers}):
        return model.logits(model.encode(prompt))[0]


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "albert"])
def test_each_cell_is_one_plain_masked_run(family, double):
    model, _ = double(family)
    found = cut(model, window=1, queries=("answer", "2-5"), keys=("first", "4-6", "c"))
    base = model.logits(model.encode(PROMPT))[0, -1].log_softmax(-1)
    for window in range(2):
        for pair in range(6):
            row = masked(model, [window], found.query_positions[pair], found.key_positions[pair])[-1]
            expected = row.log_softmax(-1)[model.token_id(found.token)]
            assert found.log_prob[window, pair].item() == pytest.approx(expected.item(), abs=1e-6)
            assert found.fall[window, pair].item() == pytest.approx((base.max() - expected).item(), abs=1e-6)
            assert found.answers[window][pair] == model.token_text(int(row.argmax()))
    assert found.fall[0].abs().min() > 1e-6
    assert found.fall[1, 3:].abs().max() < 1e-12  # in the last layer only the answer's own row counts


def test_the_encoder_and_cross_attention_of_an_encoder_decoder(double):
    model, prompt = double("t5")
    for prefix, short in (("encoder_blocks", "attn"), ("decoder_blocks", "cross_attn")):
        found = cut(
            model, prompt, attention=f"{prefix}.{short}", window=1, queries=("last",), keys=("first", "others", "all")
        )
        for window in range(2):
            for pair in range(3):
                queries, keys = found.query_positions[pair], found.key_positions[pair]
                row = masked(model, [window], queries, keys, prefix=prefix, short=short)[-1]
                expected = row.log_softmax(-1)[model.token_id(found.token)].item()
                assert found.log_prob[window, pair].item() == pytest.approx(expected, abs=1e-6), (short, pair)
    assert len(found.tokens) != len(found.key_tokens)


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_all_layers_and_queries_are_the_knockout_of_single_tokens(family):
    model = tiny_model(family)
    tokens = tuple(map(str, range(10)))
    found = cut(model, queries=("all",), keys=tokens, window=50)
    single = workbench.get("attention-knockout")(model, PROMPT)
    assert found.fall.shape == (1, 10) and found.last.tolist() == [1]
    torch.testing.assert_close(found.fall[0], single.scores[-1].flatten(), rtol=1e-4, atol=1e-5)


def test_with_a_foil_falls_are_of_the_difference():
    model = tiny_model("gpt2")
    found = cut(model, window=2, queries=("answer",), keys=("others",), token="a", foil="b")
    row = masked(model, [0, 1], found.query_positions[0], found.key_positions[0])[-1]
    base = model.logits(model.encode(PROMPT))[0, -1]
    a, b = model.token_id("a"), model.token_id("b")
    assert found.fall[0, 0].item() == pytest.approx(((base[a] - base[b]) - (row[a] - row[b])).item(), abs=1e-5)
    assert found.logit[0, 0].item() == pytest.approx((row[a] - row[b]).item(), abs=1e-5)
    assert "less that of" in found.target


@pytest.mark.parametrize("foil", [None, "b"])
def test_the_sentence_gives_the_number_that_it_names(foil):
    model = tiny_model("gpt2")
    found = cut(model, window=2, token="a", foil=foil)
    row = model.logits(model.encode(PROMPT))[0, -1].double()
    if foil is None:
        value, name = row.log_softmax(-1)[model.token_id("a")].item(), "log-probability of 'a' at position 9"
        assert value < 0
    else:
        value, name = (row[model.token_id("a")] - row[model.token_id("b")]).item(), "logit of 'a' less that of 'b'"
    said = found.brief()[0]
    number = float(said.partition(": ")[2].partition(", top")[0])
    assert said.startswith(name) and number == pytest.approx(value, abs=6e-4)
    assert (found.base - found.fall[0, 0]).item() == pytest.approx(
        (found.log_prob if foil is None else found.logit)[0, 0].item(), abs=1e-5
    )


def test_what_the_mask_hides_is_undefined_and_counted():
    found = cut(tiny_model("gpt2"), queries=("first", "answer"), keys=("answer", "first"), window=1)
    assert found.n_edges.tolist() == [[0, 1, 1, 1]] * 2
    assert found.fall.isnan().tolist() == [[True, False, False, False]] * 2
    assert found.fall[0, 1].abs() < 1e-6  # the first token sees itself alone, and keeps itself
    assert cut(tiny_model("bert"), queries=("first",), keys=("answer",)).n_edges.tolist() == [[2]]


def test_windows_and_strides():
    model = workbench.load("tiny:llama")
    assert cut(model, window=1).first.tolist() == [0, 1]
    assert cut(model, window=1, stride=2).first.tolist() == [0]
    assert (cut(model, window=9).first.tolist(), cut(model, window=9).last.tolist()) == ([0], [1])


def test_the_trained_model_needs_its_induction_attention():
    """After the second "b" of a repeated word the answer is copied from behind the first: nowhere else will do."""
    model = workbench.load("micro")
    prompt = "the cat sat. the c"
    found = cut(model, prompt, queries=("answer",), keys=("6", "others"), window=1)
    assert found.tokens[6] == "a" and found.token == "a"
    assert found.fall[1, 0] > 1 and found.fall[1, 0] > 5 * found.fall[0, 0].abs()
    assert found.changed[1, 0] and found.base_answer == "a"


LABELS = ("<s>", "The", " red", " cat", " and", " the", " red", " dog")


@pytest.mark.parametrize(
    ("name", "positions"),
    [
        ("all", tuple(range(8))), ("first", (0,)), ("last", (7,)), ("answer", (5,)), ("others", (1, 2, 3, 4, 6, 7)),
        ("3", (3,)), ("-1", (7,)), ("2-4", (2, 3, 4)), ("1, 4-5,-1", (1, 4, 5, 7)), (" red", (2, 6)), ("red", (2, 6)),
        ("red cat", (2, 3)), ("d d", (6, 7)), ("e r", (1, 2, 5, 6)), ("patches", tuple(range(8))),
    ],
)  # fmt: skip
def test_groups_by_name(name, positions):
    assert group(name, LABELS, 5) == positions


def test_patches_of_an_image_leave_out_what_is_no_patch():
    assert group("patches", ("CLS", "REG 0", "0,0", "0,1"), 0) == (2, 3)
    found = cut(tiny_model("vit"), "example", queries=("first",), keys=("patches", "first"))
    assert found.key_positions == ((1, 2, 3, 4), (0,)) and found.fall.abs().min() > 0


def test_cells_say_the_fall_and_the_new_answer():
    found = cut(tiny_model("gpt2"), "abcabcabc", window=2)
    (trace,) = found.figure().data
    for pair, row in enumerate(trace.text):
        for window, written in enumerate(row):
            new, fall = found.answers[window][pair], found.fall[window, pair].item()
            number, _, answer = written.partition("→")
            assert number == "–" if fall != fall else float(number) == pytest.approx(fall, abs=0.0501)
            assert bool(answer) == (new != found.base_answer and fall == fall)
    many = replace(found, first=torch.arange(13), last=torch.arange(13), answers=found.answers * 13, **{
        name: getattr(found, name).expand(13, -1) for name in ("fall", "log_prob", "logit", "n_edges")
    })  # fmt: skip
    assert not any(written[0].isdigit() for row in many.figure().data[0].text for written in row)


@pytest.mark.parametrize("name", ["8", "2-9", "4-2", "blue", "", "  "])
def test_what_is_no_group(name):
    with pytest.raises(workbench.BadInput, match="red" if not name.strip()[:1].isdigit() else "0 to 7"):
        group(name, LABELS, 5)


def test_no_group_at_all_is_a_sentence():
    with pytest.raises(workbench.BadInput, match="at least one group"):
        cut(tiny_model("gpt2"), queries=())
    encoder = cut(tiny_model("t5"), example_input("t5"), attention="encoder_blocks.attn", queries=("answer",))
    short = cut(tiny_model("gpt2"), "a")
    for found in (encoder, short):
        assert (found.n_edges == 0).any() and found.fall[found.n_edges == 0].isnan().all()
