"""An analysis is declared by its signature: what is read off it, what is refused, and in which words."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch

import workbench
from workbench import BadInput, BrokenPlugin, MissingCapability, MissingSite, UnknownName, plots, registry
from workbench.capabilities import CAPABILITIES, lacking
from workbench.index import Entry, Index
from workbench.registry import AttentionName, Head, Layer, Position, Prompt, Seed, Sites, Token, Within, analysis
from workbench.testing import tiny_model


@dataclass(frozen=True, eq=False, kw_only=True)
class Seen(workbench.Result, kind="test-seen"):
    values: tuple[Any, ...] = ()

    def to_frame(self):
        return pd.DataFrame({"value": [str(v) for v in self.values]})

    def figure(self):
        return plots.bars(self.to_frame().assign(n=1), x="value", y="n")


def declared(model, prompt: Annotated[Prompt, "Read this"], *,
    n: Annotated[int, Within(1, 5), "How many"] = 2,
    rate: Annotated[float, Within(0, 1), "How fast"] = 0.5,
    flag: Annotated[bool, "Whether"] = False,
    name: Annotated[str, "A name"] = "x",
    mode: Annotated[Literal["a", "b"], "Which"] = "a",
    modes: Annotated[tuple[Literal["a", "b"], ...], "Which ones"] = (),
    token: Annotated[Token, "A token"] = None,
    sites: Annotated[Sites, "Places"] = (),
    attention: Annotated[AttentionName, "Which attention"] = None,
    layer: Annotated[Layer | None, "A layer"] = None,
    layers: Annotated[tuple[Layer, ...], "Layers"] = (),
    head: Annotated[Head, "A head"] = 0,
    position: Annotated[Position, "A position"] = -1,
    seed: Annotated[Seed, "Of chance"] = 0,
) -> Seen:  # fmt: skip
    """What was given.

    And more about it.
    """
    given = (n, rate, flag, name, mode, modes, token, sites, attention, layer, layers, head, position, seed)
    return Seen(values=given)


@pytest.fixture
def given(monkeypatch):
    monkeypatch.setattr(registry, "ANALYSES", dict(registry.ANALYSES))
    return analysis("test-declared", needs={"text"})(declared)


NAMES = tuple(declared.__annotations__)[:-1]


def test_reads_the_declaration_off_the_signature(given):
    params = {p.name: p for p in given.params}
    assert tuple(params) == NAMES
    assert [p.kind for p in given.params] == [
        *("prompt", "int", "float", "bool", "str", "choice", "choice", "token", "sites"),
        *("attention", "layer", "layer", "head", "position", "seed"),
    ]
    assert (params["n"].type, params["n"].default, params["n"].help) == (int, 2, "How many")
    assert (params["n"].within.low, params["n"].within.high) == (1, 5)
    assert params["mode"].choices == params["modes"].choices == ("a", "b")
    assert (params["modes"].type, params["modes"].item) == (tuple, str)
    assert (params["layers"].type, params["layers"].item) == (tuple, int)
    assert [p.name for p in given.params if p.required] == ["prompt"]
    assert [p.name for p in given.params if p.optional] == ["token", "attention", "layer"]
    assert (given.title, given.summary) == ("Test declared", "What was given.")
    assert given.__doc__ == declared.__doc__
    assert given.prompt is params["prompt"]


def test_the_registered_object_stays_callable_and_stamps(given, tiny):
    result = given(tiny("gpt2"), "ab", n=3, layer=-1, sites=["embed"], seed=7)
    assert result.values == (3, 0.5, False, "x", "a", (), None, ("embed",), None, 1, (), 0, -1, 7)
    meta = result.meta
    assert (meta["analysis"], meta["model"], meta["family"], meta["seed"]) == ("test-declared", "tiny:gpt2", "gpt2", 7)
    assert meta["params"]["layer"] == 1
    assert meta["params"]["sites"] == ("embed",)
    assert set(meta) == {
        *("analysis", "params", "model", "model id", "revision", "family", "dtype", "attention implementation"),
        *("numeric regime", "versions", "seed", "created"),
    }
    assert set(meta["versions"]) == {"workbench", "torch", "transformers", "python"}
    assert meta["numeric regime"].startswith("float32 on cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n must be a whole number from 1 to 5, not 0."),
        ({"n": 6}, "n must be a whole number from 1 to 5, not 6."),
        ({"n": 2.0}, "n must be a whole number from 1 to 5, not 2.0."),
        ({"n": True}, "n must be a whole number from 1 to 5, not True."),
        ({"n": "3"}, "n must be a whole number from 1 to 5, not '3'."),
        ({"n": None}, "n must be a whole number from 1 to 5, not None."),
        ({"rate": float("nan")}, "rate must be a number from 0 to 1, not nan."),
        ({"rate": "fast"}, "rate must be a number from 0 to 1, not 'fast'."),
        ({"flag": 1}, "flag must be true or false, not 1."),
        ({"name": 3}, "name must be text, not 3."),
        ({"mode": "c"}, "mode must be one of 'a', 'b', not 'c'."),
        ({"modes": ("a", "c")}, "modes must be a list, each one of 'a', 'b'; one of its values is 'c'."),
        ({"layers": (0, 1.5)}, "layers must be a list, each a whole number; one of its values is 1.5."),
        ({"token": 4}, "token must be text, or nothing, not 4."),
        ({"layers": 1}, "layers must be a list, each a whole number, not 1."),
        ({"layer": 2}, "layer must be from 0 to 1 for tiny:gpt2, not 2."),
        ({"layers": (0, -3)}, "layers must be from 0 to 1 for tiny:gpt2, not -3."),
        ({"head": 2}, "head must be from 0 to 1 for tiny:gpt2, not 2."),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295, not -1."),
        ({"prompt": None}, "prompt is missing: say what the model should read."),
        ({"name": "x" * 200, "n": "y" * 200}, "n must be a whole number from 1 to 5, not '" + "y" * 76 + "...."),
    ],
)
def test_refuses_in_a_sentence(given, tiny, change, message):
    with pytest.raises(BadInput) as caught:
        given(tiny("gpt2"), **{"prompt": "ab", **change})
    assert str(caught.value) == message


def test_refuses_what_the_model_does_not_have(given, tiny):
    with pytest.raises(MissingSite, match=r"tiny:gpt2 .*blocks.0.attn.patern.*Did you mean 'blocks.0.attn.pattern'"):
        given(tiny("gpt2"), "ab", sites=["blocks.0.attn.patern"])
    with pytest.raises(UnknownName, match=r"blocks.attn"):
        given(tiny("gpt2"), "ab", attention="decoder_blocks.cross_attn")


def test_refuses_unknown_and_missing_arguments(given, tiny):
    with pytest.raises(BadInput, match=r"unexpected keyword argument 'k'. It takes prompt, n"):
        given(tiny("gpt2"), "ab", k=1)
    with pytest.raises(BadInput, match="missing a required argument: 'prompt'"):
        given(tiny("gpt2"))


def test_numbers_of_other_libraries_are_numbers(given, tiny):
    result = given(tiny("gpt2"), "ab", n=np.int64(3), rate=torch.tensor(1), layers=[np.int32(0)])
    assert result.values[:2] == (3, 1.0)
    assert [type(v) for v in result.values[:2]] == [int, float]


def test_a_model_that_lacks_something_gets_a_sentence(tiny, monkeypatch):
    monkeypatch.setattr(registry, "ANALYSES", {})
    needy = analysis("test-needy", needs={"readout", "causal"}, title="Needy")(declared)
    assert needy.missing(tiny("vit")) == {"causal"} | ({"readout"} - tiny("vit").capabilities)
    with pytest.raises(MissingCapability, match=r"Needy \(test-needy\) needs causal attention.*which .* does not have"):
        needy(tiny("dinov2"), "example")
    assert "Try smollm2-135m or tiny:gpt2." in needy.why_not(tiny("dinov2"))
    assert needy.why_not(tiny("gpt2")) == ""


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_capability_names_tiny_models_that_have_it(capability, tiny):
    examples = [name for name in CAPABILITIES[capability][1] if name.startswith("tiny:")]
    assert examples
    assert all(capability in tiny(name.removeprefix("tiny:")).capabilities for name in examples)


def test_every_capability_of_a_model_is_in_the_vocabulary(model):
    assert model.capabilities <= set(CAPABILITIES)


def test_declarations_that_cannot_be_offered_are_refused(monkeypatch):
    monkeypatch.setattr(registry, "ANALYSES", {})
    with pytest.raises(UnknownName, match=r"No capability called 'txt'. Did you mean 'text'"):
        analysis("test-bad", needs={"txt"})

    def taken(model, out: str):
        pass

    with pytest.raises(TypeError, match="'out' is taken by the command line"):
        analysis("test-bad", needs=set())(taken)

    def open_ended(model, **options):
        pass

    with pytest.raises(TypeError, match="name each parameter"):
        analysis("test-bad", needs=set())(open_ended)
    assert registry.ANALYSES == {}


def test_a_name_is_given_once_but_a_cell_may_be_run_again(given):
    assert analysis("test-declared", needs={"text"})(declared) is registry.ANALYSES["test-declared"]

    def other(model):
        pass

    with pytest.raises(ValueError, match="already is an analysis called 'test-declared'"):
        analysis("test-declared", needs=set())(other)


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'logit-lens'"):
        workbench.get("logit-lense")


def test_a_module_that_fails_is_named_and_the_others_go_on(monkeypatch, tmp_path):
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('no luck')\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = Entry("test-broken", "broken", "broken_plugin", "Nothing.", "Broken", "strangers")
    analyses = {"test-broken": entry, "logit-lens": registry.index().analyses["logit-lens"]}
    monkeypatch.setattr(registry, "index", lambda: Index(analyses, {}, ()))
    with pytest.raises(BrokenPlugin, match=r"'test-broken' cannot be used: broken_plugin fails with .*no luck"):
        registry.get("test-broken")
    sentences = registry.load_all()
    assert len(sentences) == 1
    assert "logit-lens" in registry.ANALYSES


def test_python_line_is_what_one_would_type(given):
    line = given.as_python("tiny:gpt2", {"prompt": "it's", "n": 2, "layers": (1,), "mode": "b"}, revision="v1")
    assert line == (
        "import workbench\n"
        "result = workbench.get('test-declared')(workbench.load('tiny:gpt2', revision='v1'), \"it's\", mode='b', "
        "layers=(1,))"
    )
    lens = workbench.get("logit-lens")
    assert lens.as_python("micro", {"prompt": "ab"}).endswith("workbench.logit_lens(workbench.load('micro'), 'ab')")


def test_python_line_holds_token_ids(given):
    scope: dict = {}
    line = workbench.get("logit-lens").as_python("tiny:gpt2", {"prompt": torch.tensor([[5, 6]])})
    exec(line, scope)
    assert set(scope["result"].to_frame()["pos"]) == {0, 1}


def test_what_a_line_cannot_hold_is_refused(given):
    with pytest.raises(BadInput, match="prompt is a ndarray"):
        given.as_python("tiny:gpt2", {"prompt": np.ones(3)})
    with pytest.raises(BadInput, match="command line cannot hold"):
        given.as_command("tiny:gpt2", {"prompt": ["a", "b"]})
    with pytest.raises(BadInput, match="no parameter called 'k'"):
        given.as_python("tiny:gpt2", {"k": 1})


def test_command_line_survives_the_shell(given):
    values = {"prompt": "-x $HOME 'q'", "flag": True, "layers": (0, 1), "position": -2, "name": "a b"}
    words = shlex.split(given.as_command("tiny:gpt2", values, revision="v1"))
    assert words == [
        *("workbench", "run", "test-declared", "--model", "tiny:gpt2", "--revision", "v1"),
        *("--flag", "--name", "a b", "--layers=0", "--layers=1", "--position=-2", "--", "-x $HOME 'q'"),
    ]


def test_what_is_in_memory_is_stamped_by_its_digest(given, tiny):
    from workbench.provenance import plain

    picture = plain(np.zeros((2, 2)))
    assert picture["shape"] == (2, 2)
    assert len(picture["sha256"]) == 64
    assert plain(np.zeros((2, 2))) == picture != plain(np.ones((2, 2)))
    assert plain(torch.tensor([[1, 2]])) == ((1, 2),)
    assert plain(Path("a") / "b") == "a/b"


@pytest.mark.parametrize("first", ["smollm2-135m", None, torch.nn.Linear(1, 1)])
def test_what_is_not_a_model_is_a_sentence(given, first):
    with pytest.raises(BadInput, match=r"test-declared takes a model: load or adapt it first"):
        given(first, "ab")


def test_dropout_is_off_while_an_analysis_runs_and_each_part_is_left_as_it_was():
    model = tiny_model("gpt2")
    quiet = workbench.logit_lens(model, "abcabc")
    for module in model.module.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    model.module.train()
    model.module.get_submodule("lm_head").eval()
    with torch.inference_mode():
        found = workbench.logit_lens(model, "abcabc")
    assert torch.equal(found.entropy, quiet.entropy)
    assert model.module.training
    assert not model.module.get_submodule("lm_head").training


@pytest.mark.parametrize(
    ("missing", "what"),
    [
        ({"qk"}, "queries and keys"),
        ({"causal", "qk"}, "causal attention and queries and keys"),
        ({"causal", "pattern", "mlp"}, "causal attention, MLP neurons, and attention patterns"),
        (
            {"causal", "one-stack", "pattern"},
            "causal attention; one stack of blocks, a decoder or an encoder; and attention patterns",
        ),
    ],
)
def test_what_is_lacking_is_a_readable_list(missing, what):
    assert lacking("x", "tiny:vit", missing).startswith(f"x needs {what}, which tiny:vit does not have.")
