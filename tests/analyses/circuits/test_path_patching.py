"""Path patching: against plain hooked runs, TransformerLens's direct paths, and what must hold of paths."""

import warnings
from functools import partial
from typing import Any

import pytest
import torch

import workbench
from workbench import editing, reading
from workbench.circuits.split import split
from workbench.testing import tiny_model

CLEAN, CORRUPTED = "abcabcabc", "cbacacaba"
SAME = {"rtol": 1e-6, "atol": 1e-6}  # rotary angles are in single precision


def paths(model, receivers, **options) -> Any:
    return workbench.get("path-patching")(model, CLEAN, CORRUPTED, receivers=receivers, **options)


def parts(model):
    """Sites at which heads and MLPs write."""
    return [f"blocks.{i}.{part}" for i in range(model.n_blocks) for part in ("attn.z", "mlp_out")]


def plain(model, found, receivers, *, frozen_mlps=True, direction="denoise"):
    """Two whole forward passes a sender, everything by edits of sites: none of the numbers of the maps is used."""
    base, other = (CORRUPTED, CLEAN) if direction == "denoise" else (CLEAN, CORRUPTED)
    sites = [*parts(model), "blocks.0.resid_pre"]
    kept = []
    for text in (base, other):
        with torch.no_grad(), reading(model, sites) as values:
            model.module(**model.encode(text))
        kept.append({site: value.clone() for site, value in values.items()})
    row = torch.zeros(model.vocab_size, dtype=torch.double)
    row[model.token_id(found.token)], row[model.token_id(found.foil)] = 1, -1
    answers = []
    for sender in found.senders:
        edits = {site: partial(hold, kept[0][site]) for site in parts(model) if frozen_mlps or site.endswith("z")}
        own = {"m": "mlp_out", "a": "attn.z", "i": "resid_pre"}[sender[0]]
        layer = 0 if sender == "input" else int(sender[1:].partition(".")[0])
        site, head = f"blocks.{layer}.{own}", int(sender.partition(".h")[2]) if ".h" in sender else None
        new = kept[0][site].clone()
        if head is None:
            new = kept[1][site]
        else:
            new[:, :, head] = kept[1][site][:, :, head]
        edits[site] = partial(hold, new)
        wanted = [site for site, _ in receivers]
        edits = {where: edit for where, edit in edits.items() if where not in wanted}
        with torch.no_grad(), editing(model, edits), reading(model, wanted) as values:
            logits = model.module(**model.encode(base)).logits
        if not receivers:
            answers.append(logits[0, -1] @ row)
            continue
        then = {}
        for where, place in receivers:
            before = then.get(where)
            then[where] = partial(put, values[where].clone(), place, before)
        with torch.no_grad(), editing(model, then):
            answers.append(model.module(**model.encode(base)).logits[0, -1] @ row)
    return torch.stack(answers)


def hold(new, value):
    return new


def put(new, place, before, value):
    value = value.clone() if before is None else before(value)
    if place is None:
        return new
    value[:, :, place] = new[:, :, place]
    return value


RECEIVERS = {
    ("a1.h1<q>",): [("blocks.1.attn.q", 1)],
    ("a1.h0<k>", "m1"): [("blocks.1.attn.k", 0), ("blocks.1.mlp_out", None)],
    ("a1.h0<v>", "a1.h1<v>"): [("blocks.1.attn.v", 0), ("blocks.1.attn.v", 1)],
    ("logits",): [],
}


def grouped(names):
    return tuple(
        name.replace("h0<k>", "kv0<k>").replace("h0<v>", "kv0<v>").replace("h1<v>", "kv1<v>") for name in names
    )


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox", "bert"])
@pytest.mark.parametrize("names", RECEIVERS, ids=" ".join)
def test_each_sender_is_two_plain_runs(family, names, double):
    model, _ = double(family)
    found = paths(model, grouped(names) if family == "llama" else names)
    reached = found.n_paths > 0
    expected = plain(model, found, RECEIVERS[names])
    base = found.corrupted
    torch.testing.assert_close(found.value[reached], expected[reached], **SAME)
    assert (found.value[~reached] == base).all() and found.effect[~reached].isnan().all()
    assert found.effect[reached].abs().min() > 0


@pytest.mark.parametrize("family", ["gpt2", "neox", "bert"])
def test_mlps_on_the_way_may_answer(family, double):
    """The last layer's MLP stands between layer 1's heads and the logits, and is never a sender there."""
    model, _ = double(family)
    found = paths(model, ("logits",), through_mlps=True, senders=("input", "a0.h1", "a1.h0", "a1.h1"))
    expected = plain(model, found, [], frozen_mlps=False)
    torch.testing.assert_close(found.value, expected, **SAME)
    assert not torch.allclose(found.value, paths(model, ("logits",), senders=found.senders).value)


def test_noising_is_the_other_way_round(double):
    model, _ = double("gpt2")
    found = paths(model, ("a1.h1<q>",), direction="noise")
    reached = found.n_paths > 0
    expected = plain(model, found, RECEIVERS[("a1.h1<q>",)], direction="noise")
    torch.testing.assert_close(found.value[reached], expected[reached], **SAME)
    assert (found.value[~reached] == found.clean).all()


def difference(row, logits):
    return logits[0, -1] @ row


@pytest.mark.parametrize(("family", "slots"), [("gpt2", "qkv"), ("llama", "q")])
def test_agrees_with_the_direct_paths_of_transformer_lens(family, slots, double, bridge_of):
    model, _ = double(family)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens import patching

        bridge = bridge_of(model)
        ids = [model.encode(text)["input_ids"] for text in (CLEAN, CORRUPTED)]
        caches = [bridge.run_with_cache(one)[1] for one in ids]
        for slot in slots:
            for head in range(model.n_heads):
                found = paths(model, (f"a1.h{head}<{slot}>",))
                row = torch.zeros(model.vocab_size, dtype=torch.double)
                row[model.token_id(found.token)], row[model.token_id(found.foil)] = 1, -1
                theirs = patching.get_act_patch_direct_path_all_sources(
                    bridge, ids[1], *caches, partial(difference, row), component=slot, verbose=False
                )[0, :, 1, head]
                ours = torch.stack([found.value[found.senders.index(f"a0.h{i}")] for i in range(model.n_heads)])
                torch.testing.assert_close(ours, theirs.to(ours), rtol=1e-5, atol=1e-5)


def test_all_writes_into_the_logits_together_are_the_other_run(double):
    """Without the final norm's scale the direct effects would add up; the stream they make does exactly."""
    model, _ = double("gpt2")
    with torch.no_grad(), reading(model, [*parts(model), "blocks.1.resid_post"]) as values:
        ends = [(model.module(**model.encode(t)), values["blocks.1.resid_post"].clone())[1] for t in (CLEAN, CORRUPTED)]
    from workbench.analyses.circuits.patch_paths import senders_of
    from workbench.circuits.split import recorded_writes

    wiring = split(model)
    records = [recorded_writes(wiring, model.encode(t), torch.tensor([9])) for t in (CLEAN, CORRUPTED)]
    delta = records[0].writes[:, 0] - records[1].writes[:, 0]
    torch.testing.assert_close(delta.sum(0), (ends[0] - ends[1])[0], **SAME)
    one = senders_of(wiring.graph, range(7), (wiring.n_slots - 1,), delta)
    assert one.paths[:, -1].all() and one.layers.tolist() == [-1, 0, 0, 0, 1, 1, 1]


def test_the_logits_read_the_answers_position_alone(double):
    model, _ = double("gpt2")
    whole = paths(model, ("logits",))
    torch.testing.assert_close(paths(model, ("logits",), positions=(-1,)).value, whole.value, **SAME)
    assert paths(model, ("logits",), positions=(2, 5)).effect.abs().max() < 1e-12


def test_a_head_is_all_of_its_slots():
    model = tiny_model("llama")
    found = paths(model, ("a1.h3", "m1"))
    assert found.receivers == ("a1.h3<q>", "a1.kv1<k>", "a1.kv1<v>", "m1")
    assert found.n_paths.tolist() == [4] * 6 + [1] * 4 + [0]


def test_a_sender_asked_for_twice_is_one():
    model = tiny_model("gpt2")
    twice = paths(model, ("logits", "logits", "m1"), senders=("m0", "a0.h1", "m0"))
    assert twice.senders == ("m0", "a0.h1") and twice.receivers == ("logits", "m1")
    assert len(twice.to_frame()) == 2


def test_names_that_are_no_receivers():
    with pytest.raises(workbench.UnknownName) as told:
        paths(tiny_model("gpt2"), ("a9.h0",))
    known = str(told.value).partition("Known: ")[2].rstrip(".").split(", ")
    assert len(known) == len(set(known)) and {"logits", "m0", "a1.h1", "a1.h1<k>"} <= set(known)
    model = tiny_model("llama")
    for slot in "kv":
        with pytest.raises(workbench.BadInput, match=f"2 query heads .* share keys and values.*'a1.kv1<{slot}>'"):
            paths(model, (f"a1.h3<{slot}>",))
    for unknown in ("a1.h4<k>", "a2.h0<k>", "a1.h3<z>"):
        with pytest.raises(workbench.UnknownName):
            paths(model, (unknown,))


def test_logits_beside_other_receivers(double):
    """Both roads at once: the receiver's own change, and the write itself."""
    model, _ = double("gpt2")
    both = paths(model, ("m1", "logits"), senders=("m0",))
    with torch.no_grad(), reading(model, [*parts(model), "blocks.1.resid_mid"]) as values:
        rows = [
            (model.module(**model.encode(t)), {k: v.clone() for k, v in values.items()})[1] for t in (CLEAN, CORRUPTED)
        ]
    delta = rows[0]["blocks.0.mlp_out"] - rows[1]["blocks.0.mlp_out"]
    norm, mlp = model.norms(1)["norm2"], model.mlp_map(1)
    new = mlp(norm(rows[1]["blocks.1.resid_mid"] + delta))
    state = rows[1]["blocks.1.resid_mid"] + new + delta
    logits = model.readout(state)[0, -1]
    expected = logits[model.token_id(both.token)] - logits[model.token_id(both.foil)]
    torch.testing.assert_close(both.value[0], expected.detach(), **SAME)
    with pytest.raises(workbench.BadInput, match="one after the other"):
        paths(tiny_model("bert"), ("m1", "logits"))


def test_the_trained_model_induces_through_its_previous_token_head():
    """Keys of layer 1 are written by a previous-token head of layer 0: the known circuit of such models."""
    model = workbench.load("micro")
    clean, corrupted = "xqzvbt xqz", "xkzvbt xqz"
    found = workbench.get("path-patching")(
        model, clean, corrupted, receivers=tuple(f"a1.h{h}<k>" for h in range(4)), token="v", direction="noise"
    )
    best = found.senders[found.effect.nan_to_num(-9).argmax()]
    assert best.startswith("a0")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"receivers": ("a9.h0",)}, "a9.h0"),
        ({"receivers": ("input",)}, "input"),
        ({"receivers": ()}, "at least one receiver"),
        ({"receivers": ("logits",), "senders": ("logits",)}, "logits"),
        ({"receivers": ("logits",), "positions": (77,)}, "no position 77"),
    ],
)
def test_what_cannot_be_asked(options, says):
    with pytest.raises(workbench.WorkbenchError, match=says):
        workbench.get("path-patching")(tiny_model("gpt2"), CLEAN, CORRUPTED, **options)


def test_prompts_that_do_the_same_have_no_effect():
    found = workbench.get("path-patching")(tiny_model("gpt2"), CLEAN, CLEAN)
    assert found.effect.isnan().all() and (found.to_frame()["paths"] == 0).all()
