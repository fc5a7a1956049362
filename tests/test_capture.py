"""Capture in memory: padding changes nothing, rows keep their order, and what does not fit is refused beforehand."""

import math

import pytest
import torch
from torch.testing import assert_close

import workbench
from workbench import BadInput, MissingSite, Stopped, reading, reporting
from workbench.activations import Activations, choosing, estimate, estimating
from workbench.capture import capture
from workbench.testing import FAMILIES, example_input, tiny_model

TEXTS = ["abcab", "x", "hello you", "abc"]


def inputs_for(model):
    if model.reads != "text":
        return [example_input(model.name.removeprefix("tiny:"))] * 3
    return [f"{text} => {text[::-1]}" for text in TEXTS] if model.main.side == "target" else TEXTS


def alone(model, one, site):
    with torch.no_grad(), reading(model, [site]) as values:
        model.module(**model.encode(one))
        return values[site][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_in_a_padded_batch_each_input_is_as_alone(family):
    model = tiny_model(family)
    inputs = inputs_for(model)
    found = capture(model, inputs, "*", batch_size=3)
    assert set(found.sites) == set(model.sites)
    for number, one in enumerate(inputs):
        with torch.no_grad(), reading(model, model.sites) as values:
            model.module(**model.encode(one))
        for site in model.sites:
            assert_close(found.of_input(site, number), values[site][0], msg=lambda m, s=site: f"{s}: {m}")


@pytest.mark.parametrize("family", ["gpt2", "t5", "vit", "clip"])
def test_the_estimate_is_exact(family):
    model = tiny_model(family)
    inputs = inputs_for(model)
    guess, found = estimate(model, inputs, "*"), capture(model, inputs, "*")
    parts = {s: v if isinstance(v, tuple) else (v,) for s, v in found.values.items()}
    assert guess.by_site == {s: sum(p.element_size() * math.prod(p.shape) for p in v) for s, v in parts.items()}
    assert guess.bytes == sum(guess.by_site.values()) == found.nbytes
    assert guess.rows == {side: len(table) for side, table in found.tables.items()}


def test_rows_say_whose_they_are():
    model = tiny_model("gpt2")
    found = capture(model, TEXTS, ["blocks.1.resid_post", "blocks.0.attn.pattern"], batch_size=2)
    frame = found.to_frame()
    lengths = [model.encode(text)["input_ids"].shape[1] for text in TEXTS]
    assert frame["input"].tolist() == [n for n, length in enumerate(lengths) for _ in range(length)]
    assert frame["position"].tolist() == [p for length in lengths for p in range(length)]
    assert frame["token_id"].tolist() == [i for text in TEXTS for i in model.encode(text)["input_ids"][0].tolist()]
    assert frame["label"].tolist() == [text for one in TEXTS for text in model.labels(model.encode(one))]
    assert len(found) == len(frame) == len(found.site("blocks.1.resid_post"))
    assert [p.shape for p in found.site("blocks.0.attn.pattern")] == [(2, n, n) for n in lengths]


def test_encoder_and_decoder_have_rows_of_their_own():
    model = tiny_model("bart")
    inputs = ["abcde => xy", "ab => xyz"]
    found = capture(model, inputs, ["encoder_blocks.0.resid_post", "decoder_blocks.0.cross_attn.pattern"])
    assert set(found.tables) == {"input", "target"}
    sides = [(len(model.labels(b)), len(model.labels(b, side="target"))) for b in map(model.encode, inputs)]
    assert sides[0] != sides[1]
    assert found.rows("target").input.tolist() == [0] * sides[0][1] + [1] * sides[1][1]
    assert [p.shape[1:] for p in found.site("decoder_blocks.0.cross_attn.pattern")] == [(t, s) for s, t in sides]


def test_sorting_by_length_changes_the_batches_and_not_the_rows():
    model = tiny_model("gpt2")
    seen = []
    with model.module.register_forward_pre_hook(
        lambda _m, _a, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    ):
        plain = capture(model, TEXTS, "blocks.*.resid_post", batch_size=2)
        half = len(seen)
        by_length = capture(model, TEXTS, "blocks.*.resid_post", batch_size=2, sort_by_length=True)
    assert seen[1:half] != seen[half + 1 :]  # the first of each is the look at the shortest input
    assert by_length.to_frame().equals(plain.to_frame())
    assert_close(by_length.values, plain.values)


def test_images_of_different_sizes_do_not_share_a_batch():
    model = tiny_model("dinov2")
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(3, size, size, generator=generator) for size in (16, 24, 16)]
    found = capture(model, pictures, ["blocks.1.resid_post", "blocks.0.attn.pattern"])
    for number, picture in enumerate(pictures):
        for site in found.sites:
            assert_close(found.of_input(site, number), alone(model, picture, site))


def test_token_ids_and_left_padded_encodings_are_read_too():
    model = tiny_model("llama")
    ids = model.encode("abc")["input_ids"][0]
    left = {
        "input_ids": torch.cat([torch.zeros(2, dtype=torch.int64), ids])[None],
        "attention_mask": torch.tensor([[0, 0] + [1] * len(ids)]),
        "position_ids": torch.tensor([[0, 0, *range(len(ids))]]),
    }
    (site,) = capture(model, [ids], "blocks.1.resid_post").values.values()
    found = capture(model, [left], ["blocks.1.resid_post", "blocks.0.attn.pattern"])
    assert_close(found.site("blocks.1.resid_post"), site)
    assert found.rows().token.tolist() == ids.tolist()
    assert_close(found.site("blocks.0.attn.pattern")[0], alone(model, "abc", "blocks.0.attn.pattern"))


def last_logits(output, batch):
    """Sum of the logits at each input's last token."""
    last = batch["attention_mask"].sum(1) - 1
    return output.logits[torch.arange(len(last)), last].sum()


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_gradients_are_those_of_each_input_alone(family):
    model = tiny_model(family)
    sites = ["embed", "blocks.0.attn.pattern", "blocks.0.resid_post"]
    found = capture(model, TEXTS, sites, gradients_of=last_logits, batch_size=3)
    for number, text in enumerate(TEXTS):
        batch = model.encode(text)
        with reading(model, sites, gradients=True) as values:
            last_logits(model.module(**batch), batch).backward()
        for site in sites:
            grad = values[site].grad
            assert grad.abs().max() > 0
            assert_close(found.of_input(f"{site}.grad", number), grad[0])
        model.module.zero_grad()
    assert not any(value.requires_grad for value in found.values.values() if not isinstance(value, tuple))


def test_gradients_leave_no_trace_on_the_weights():
    model = tiny_model("gpt2")
    capture(model, TEXTS, "blocks.0.resid_post", gradients_of=last_logits)
    assert all(p.grad is None for p in model.module.parameters())
    with pytest.raises(BadInput, match="one number"):
        capture(model, TEXTS, "embed", gradients_of=lambda output, batch: output.logits)


def test_a_smaller_type_halves_the_bytes_and_never_makes_infinity():
    model = tiny_model("gpt2")
    full, half = (capture(model, TEXTS, "blocks.1.resid_post", dtype=d) for d in (None, torch.bfloat16))
    assert 2 * half.nbytes == full.nbytes == 2 * estimate(model, TEXTS, "blocks.1.resid_post", dtype="bfloat16").bytes
    assert_close(half.site("blocks.1.resid_post"), full.site("blocks.1.resid_post").bfloat16(), rtol=0, atol=0)
    with torch.no_grad():
        model.module.transformer.wte.weight.mul_(1e6)
    with pytest.raises(BadInput, match="too large for float16"):
        capture(model, TEXTS, "embed", dtype="float16")
    with pytest.raises(BadInput, match="no type 'int3'"):
        capture(model, TEXTS, "embed", dtype="int3")


def test_more_than_memory_holds_is_refused_with_the_number_and_the_way_out(monkeypatch):
    model = tiny_model("gpt2")
    needed = estimate(model, TEXTS, "embed").bytes
    monkeypatch.setattr(estimating, "available_memory", lambda: needed - 1)
    with pytest.raises(BadInput, match=rf"needs {estimating.readable(needed)} .*store='FOLDER'"):
        capture(model, TEXTS, "embed")
    monkeypatch.setattr(estimating, "available_memory", lambda: needed)
    assert capture(model, TEXTS, "embed").nbytes == needed


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2e12, "2.0 TB"), (3e16, "30000.0 TB")]
)
def test_bytes_are_readable(count, text):
    assert estimating.readable(count) == text


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([], "no inputs"),
        ("abc", "list of inputs"),
        (["ab", ""], "Input 1 cannot be used"),
        (["ab", "a" * 65], "Input 1"),
    ],
)
def test_bad_inputs_are_named_before_anything_runs(inputs, says):
    model = tiny_model("gpt2")
    with pytest.raises(BadInput, match=says):
        capture(model, inputs, "embed")


def test_bad_options_are_refused():
    model = tiny_model("gpt2")
    with pytest.raises(BadInput, match="batch_size must be a whole number of at least 1"):
        capture(model, TEXTS, "embed", batch_size=0)
    with pytest.raises(BadInput, match="batch of 2"):
        capture(model, [torch.ones(2, 3, dtype=torch.int64)], "embed")
    with pytest.raises(MissingSite, match=r"no site 'blocks\.\*\.mixer'.*resid_post"):
        capture(model, TEXTS, ["embed", "blocks.*.mixer"])
    with pytest.raises(BadInput, match="at least one site"):
        capture(model, TEXTS, [])
    found = capture(model, TEXTS, "embed")
    for wrong in (lambda: found.site("ln_final"), lambda: found.of_input("ln_final", 0)):
        with pytest.raises(MissingSite, match="'ln_final' was not captured"):
            wrong()
    with pytest.raises(BadInput, match="no input number 4"):
        found.of_input("embed", 4)


def test_patterns_name_sites_in_the_models_order():
    model = tiny_model("gpt2")
    wanted = ("blocks.0.resid_post", "blocks.1.attn.k", "blocks.1.attn.q", "blocks.1.resid_post")
    assert set(choosing.matching(model, ["blocks.*.resid_post", "blocks.1.attn.[qk]"])) == set(wanted)
    assert choosing.matching(model, reversed(wanted)) == tuple(s for s in model.sites if s in wanted)


def test_it_reports_progress_and_stops_when_asked():
    model = tiny_model("gpt2")
    reports = []

    def listen(label, done, total):
        reports.append((label, done, total))
        if (label, done) == ("capturing", 1):
            raise Stopped("enough")

    with reporting(listen), pytest.raises(Stopped):
        capture(model, TEXTS, "embed", batch_size=2)
    assert [r for r in reports if r[0] != "layers"] == [
        *(("encoding", n, 4) for n in range(5)),
        *(("capturing", n, 2) for n in range(2)),
    ]


def test_it_is_public():
    assert workbench.capture is capture
    assert isinstance(workbench.capture(tiny_model("gpt2"), ["abc"], "embed"), Activations)


def test_a_batch_size_that_is_no_whole_number_is_a_sentence():
    for size in (2.5, "2", True, None):
        with pytest.raises(BadInput, match="batch_size must be a whole number of at least 1, not"):
            capture(tiny_model("gpt2"), TEXTS, "embed", batch_size=size)


def test_shows_itself_in_a_line_and_as_a_table():
    found = capture(tiny_model("gpt2"), TEXTS, ["embed", "blocks.0.attn.pattern"])
    n_rows = sum(len(text) + 1 for text in TEXTS)  # each has a BOS
    line = repr(found)
    assert line.startswith(f"Activations({len(TEXTS)} inputs, {n_rows} rows, 2 sites, ") and len(line) < 200
    assert "embed" in line and "tensor" not in line
    table = found._repr_html_()
    assert "<table" in table and f"({n_rows}, 16)" in table and "blocks.0.attn.pattern" in table
    assert "tensor(" not in table
