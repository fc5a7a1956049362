"""The patching lab without a browser: what the map and the table are sent, lists of interventions, and the page."""

import base64
import json
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import workbench
from apps.screens.patching_asked import EXAMPLES, SWEEPS, signature
from apps.screens.patching_list import replay, typed
from apps.views.patch_answers import answers_data
from apps.views.patch_map import MOST_ROWS, largest, map_data, map_of, positions_of
from workbench.interventions import parse, to_json
from workbench.testing import tiny_model

CLEAN, CORRUPTED = "the cat sat. the c", "the cot sat. the c"


def swept(family="llama", **options):
    return workbench.get("activation-patching")(tiny_model(family), "abcabcabc", "abcacabca", **options)


def cells(data: dict) -> np.ndarray:
    effect = np.frombuffer(base64.b64decode(data["numbers"][0]), "<f4")
    return effect.reshape(len(data["rows"]), len(data["columns"][0]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sweep": "heads"},
        {"sweep": "values"},
        {"sweep": "heads", "each_position": True},
        {"layers": (1,), "positions": (7, 5)},
    ],
)
def test_each_cell_of_the_map_is_the_patch_that_it_names(options):
    """The number in a cell is that of its own intervention, looked up in the table by layer, head and position."""
    found = swept(**options)
    frame = found.to_frame()
    data = map_data(found, map_of(found), ("blocks.1.resid_pre@7=patch",), dark=False)
    shown = cells(data)
    assert shown.size == len(frame) == len(data["patches"]) == len(set(data["patches"]))
    for text, effect in zip(data["patches"], shown.ravel(), strict=True):
        one = parse(text)
        assert one.operation == "patch"
        rows = frame[frame["layer"] == int(one.site.split(".")[1])]
        rows = rows[rows["head"] == one.heads[0]] if one.heads else rows
        rows = rows[rows["pos"] == one.positions[0]] if one.positions else rows
        assert len(rows) == 1 and rows["effect"].item() == pytest.approx(float(effect), abs=1e-6)
    tops = [text.split(".")[1] for text in data["patches"][:: shown.shape[1]]]
    assert tops == sorted(tops, reverse=True)  # the last layer is on top
    assert data["most"] == pytest.approx(np.abs(shown).max())


def test_columns_are_the_tokens_of_both_prompts_or_heads():
    stream, heads = map_of(swept()), map_of(swept(sweep="keys"))
    assert stream.columns[0][1:4] == ("a", "b", "c") and stream.columns[1][4:7] == ("a", "c", "a")
    assert stream.differ == tuple(a != b for a, b in zip(*stream.columns, strict=True)) and any(stream.differ)
    assert heads.columns == (("0", "1"),) and heads.column_name == "head"


def test_many_heads_by_position_are_cut_to_those_that_reach_furthest(monkeypatch):
    monkeypatch.setattr("apps.views.patch_map.MOST_ROWS", 3)
    found = swept(sweep="heads", each_position=True)
    shown = map_of(found)
    reach = found.effect.abs().amax(-1).flatten()
    best = {f"{int(i) // 4}.{int(i) % 4}" for i in reach.topk(3).indices}
    assert set(shown.rows) == best and shown.left_out == 5 and MOST_ROWS == 40


def test_undefined_effects_have_a_scale_all_the_same():
    found = workbench.get("activation-patching")(tiny_model("gpt2"), "abc", "abc")
    assert largest(found) == 1.0
    assert np.isnan(cells(map_data(found, map_of(found), (), dark=True))).all()


def test_the_two_answers_stand_first_and_once():
    found = workbench.get("patched-answers")(tiny_model("gpt2"), "abcabc", "cbacba", token="a", foil="b")
    data = answers_data(found)
    assert [row["kind"] for row in data["rows"]] == ["answer", "foil", *[""] * 8]
    assert [row["text"] for row in data["rows"][:2]] == ["a", "b"]
    assert len({row["text"] for row in data["rows"]}) == 10
    assert data["rows"][0]["numbers"] == pytest.approx(found.probabilities[:, 0].tolist())
    chances = [max(row["numbers"]) for row in data["rows"][2:]]
    assert chances == sorted(chances, reverse=True)


def test_lists_are_read_as_lines_and_as_json():
    lines = "blocks.1.attn.z:0@-1\n\n blocks.0.mlp_out=zero \nblocks.0.resid_pre@3,4=patch\n"
    texts = ("blocks.1.attn.z:0@-1=patch", "blocks.0.mlp_out=zero", "blocks.0.resid_pre@3,4=patch")
    assert typed(lines) == texts
    assert typed(to_json(map(parse, texts))) == texts
    assert typed("  ") == ()
    for bad in ("[1]", '{"a": 1}', "block five", '[{"site": "x", "operation": "explode"}]'):
        with pytest.raises(workbench.BadInput):
            typed(bad)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_the_python_lines_make_the_patched_run(direction):
    model = workbench.load("micro")
    patches = ("blocks.1.resid_pre@6=patch", "blocks.1.attn.z:2=patch")
    found = workbench.get("patched-answers")(model, CLEAN, CORRUPTED, patches=patches, direction=direction)
    scope: dict = {}
    exec(replay(found, "micro", (CLEAN, CORRUPTED)), scope)
    row = scope["logits"][0, -1].log_softmax(-1)
    expected = dict(zip(found.answers, found.log_probs[1].tolist(), strict=True))
    for text, log_prob in expected.items():
        assert row[model.token_id(text)].item() == pytest.approx(log_prob, abs=1e-5)


def test_positions_of_patches():
    assert positions_of(
        ("blocks.0.resid_pre@3,-1=patch", "blocks.0.attn.z:1=patch", "blocks.0.mlp_out@99=patch"), 10
    ) == {3, 9}


def test_examples_are_pairs_of_equal_words():
    for clean, corrupted in EXAMPLES:
        assert clean != corrupted and len(clean.split()) == len(corrupted.split())


def test_every_sweep_has_a_name():
    (sweep,) = (p for p in workbench.get("activation-patching").params if p.name == "sweep")
    assert set(SWEEPS) == set(sweep.choices)


@pytest.fixture
def at(at) -> Callable[..., AppTest]:
    """`at(**options)` is the page after its first run."""
    return partial(at, "patching")


def said(app: AppTest) -> str:
    return " ".join(block.value for block in (*app.info, *app.caption, *app.markdown))


def test_without_another_prompt_the_page_says_what_to_do(at):
    app = at(prompt=CLEAN)
    assert not app.exception and not app.error
    assert "Type the other prompt" in said(app)
    (begin,) = (button for button in app.button if button.label == "Begin with the first prompt")
    begin.click().run()
    assert "Both prompts are the same" in said(app)


def test_prompts_of_different_lengths_are_a_sentence(at):
    app = at(prompt=CLEAN, corrupted=CLEAN + "at")
    assert not app.exception
    assert len(app.error) == 1 and "19 and 21 tokens" in app.error[0].value.replace("\\", "")


def test_nothing_is_swept_unasked_and_a_link_sweeps_what_it_says(at):
    asked = {"prompt": CLEAN, "corrupted": CORRUPTED}
    app = at(**asked)
    assert not app.exception and not app.error
    assert "Up to 38 patches" in said(app).replace("\\", "")
    (run,) = (button for button in app.button if button.label == "Run")
    run.click().run()
    assert not app.exception and not app.error and "Click a cell" in said(app)
    mark = app.query_params["ran"]
    again = at(**asked, ran=mark[0] if isinstance(mark, list) else mark)
    assert "Click a cell" in said(again)
    assert "Click a cell" not in said(at(**asked, direction="noise", ran=mark[0] if isinstance(mark, list) else mark))


def test_patches_of_the_address_are_applied_and_what_is_none_leaves_it(at):
    app = at(prompt=CLEAN, corrupted=CORRUPTED, patches="blocks.1.resid_pre@6 blocks.0.attn.z:1@-1", data="yes")
    assert not app.exception and not app.error
    assert [metric.label for metric in app.metric] == ["clean", "patched", "corrupted"]
    labels = [button.label.replace("\\", "") for button in app.button]
    assert {"blocks.1.resid_pre@6", "blocks.0.attn.z:1@-1", "Clear"} <= set(labels)
    assert any(json.loads(block.value)[0]["operation"] == "patch" for block in app.code if block.value.startswith("["))
    odd = at(prompt=CLEAN, corrupted=CORRUPTED, patches="blocks.7.mlp_out")
    assert not odd.exception and not odd.error and [m.label for m in odd.metric][1] == "difference"


def test_patches_of_a_link_that_are_none_of_the_models_are_named_and_the_others_stay(at):
    app = at(prompt=CLEAN, corrupted=CORRUPTED, patches="blocks.7.mlp_out blocks.1.resid_pre@6 nonsense=<b>")
    assert not app.exception and not app.error and "patched" in [m.label for m in app.metric]
    assert app.query_params["patches"] in (one := "blocks.1.resid_pre@6=patch", [one])
    first, second = (warning.value.replace("\\", "") for warning in app.warning[-2:])
    assert first.startswith("blocks.7.mlp_out is left out: ") and "has no such site" in first
    assert second.startswith("nonsense=<b> is left out: ")
    (away,) = (button for button in app.button if button.label.replace("\\", "") == "blocks.1.resid_pre@6")
    away.click().run()
    assert not any("left out" in warning.value for warning in app.warning)


def test_a_patch_that_does_not_fit_the_prompts_is_a_sentence_with_the_way_out(at):
    app = at(prompt=CLEAN, corrupted=CORRUPTED, patches="blocks.1.resid_pre@40")
    assert not app.exception and "asks for position 40" in app.error[0].value.replace("\\", "")
    (away,) = (button for button in app.button if button.label == "Take the patches away")
    away.click().run()
    assert not app.error and "patches" not in app.query_params


def test_the_signature_tells_runs_apart():
    one = {"prompt": "a", "corrupted": "b", "sweep": "heads"}
    assert signature(one, "micro") == signature(dict(reversed(one.items())), "micro")
    assert len({signature(one, "micro"), signature(one, "other"), signature({**one, "sweep": "keys"}, "micro")}) == 3
