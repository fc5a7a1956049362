"""Reading and editing: what an edit does, that it is undone, and that two threads do not see each other's."""

import threading

import pytest
import torch

from workbench.errors import BadInput, MissingSite
from workbench.hooks import editing, reading
from workbench.models.checks import main_output
from workbench.testing import FAMILIES, example_input, tiny_model


@pytest.fixture(scope="module", params=FAMILIES)
def case(request):
    model = tiny_model(request.param)
    return model, model.encode(example_input(request.param))


def run(model, batch):
    with torch.no_grad():
        return main_output(model.module(**batch))


def traces(module):
    """Everything about a module that the workbench could have left changed."""
    hooks = [n for n, m in module.named_modules() if m._forward_hooks or m._forward_pre_hooks or m._backward_hooks]
    configs = [getattr(getattr(m, "config", None), "_attn_implementation", None) for m in module.modules()]
    return hooks, configs, list(module.state_dict()), module.training


def test_reading_every_site_changes_nothing(case):
    model, batch = case
    before, found = run(model, batch), traces(model.module)
    with reading(model, model.sites) as values:
        during = run(model, batch)
    assert set(values) == set(model.sites)
    torch.testing.assert_close(during, before, rtol=0, atol=2e-6)  # eager against fused attention
    assert traces(model.module) == found
    torch.testing.assert_close(run(model, batch), before, rtol=0, atol=0)


def test_shapes_are_those_declared(case):
    model, batch = case
    with reading(model, model.sites) as values:
        run(model, batch)
    for name, site in model.sites.items():
        sizes = dict(zip(site.shape, values[name].shape, strict=True))
        stack = model.stack_of(name).sizes
        if not name.endswith("pos_embed"):
            assert sizes["batch"] == 1
        expected = {
            "head": stack.n_heads,
            "kv_head": stack.n_kv_heads,
            "d_head": stack.d_head,
            "d_model": stack.d_model,
        }
        for axis, size in expected.items():
            assert sizes.get(axis, size) == size, (name, axis)


def test_editing_every_site_changes_the_output_and_is_undone(case):
    model, batch = case
    before, found = run(model, batch), traces(model.module)
    for name, site in model.sites.items():
        assert site.editable
        with editing(model, {name: lambda value: value.flip(-1) * 0.5}):
            assert (run(model, batch) - before).abs().max() > 1e-6, name
        assert traces(model.module) == found
    torch.testing.assert_close(run(model, batch), before, rtol=0, atol=0)


def test_undone_also_on_error(case):
    model, batch = case
    before, found = run(model, batch), traces(model.module)
    site = model.stream("resid_post")[0]

    def fail(_value):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), editing(model, {site: fail}):
        run(model, batch)
    assert traces(model.module) == found
    torch.testing.assert_close(run(model, batch), before, rtol=0, atol=0)


def test_gradients_reach_every_site_and_are_the_derivative(case):
    """The gradient at a site predicts what a small edit there does, by central differences in float64."""
    model, batch = case
    model.module.double()
    batch = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    try:
        with reading(model, model.sites, gradients=True) as values:
            main_output(model.module(**batch)).sin().sum().backward()
        # norms of LLaMA, T5 and Mamba compute in float32 whatever the weights are: small steps drown in rounding there
        size, close = (3e-4, (1e-2, 5e-3)) if model.family in ("llama", "t5", "mamba") else (1e-5, (1e-4, 1e-6))
        for name in model.sites:
            grad = values[name].grad
            assert grad is not None and grad.ne(0).any(), name
            if name.endswith("attn_scores"):
                continue  # masked scores are -1e308 in float64: a step there is no number
            generator = torch.Generator().manual_seed(1)
            step = torch.randn(grad.shape, generator=generator, dtype=torch.float64)
            ends = []
            for sign in (size, -size):
                with editing(model, {name: lambda v, s=sign * step: v + s}):
                    ends.append(run(model, batch).sin().sum())
            slope = (ends[0] - ends[1]) / (2 * size)
            torch.testing.assert_close(
                slope.double(),
                (grad * step).sum().double(),
                rtol=close[0],
                atol=close[1],
                msg=lambda m, n=name: f"{n}: {m}",
            )
    finally:
        model.module.zero_grad()
        model.module.float()


def test_a_read_sees_the_edit_however_they_nest():
    model = tiny_model("gpt2")
    batch = model.encode("abcabc")
    for site in ("blocks.0.attn.z", "blocks.1.mlp_out", "blocks.0.resid_mid", "blocks.1.attn.pattern"):
        zero = {site: torch.zeros_like}
        with reading(model, [site]) as outside, editing(model, zero), reading(model, [site]) as inside:
            run(model, batch)
        assert outside[site].abs().max() == 0 == inside[site].abs().max(), site


def test_edit_of_resid_mid_reaches_the_skip_connection():
    """Setting resid_mid makes resid_post = new + mlp(norm(new)): the skip carries the edit too."""
    model = tiny_model("gpt2")
    batch = model.encode("abcabc")
    new = torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(0))
    block = model.module.transformer.h[1]
    with editing(model, {"blocks.1.resid_mid": lambda _: new}), reading(model, ["blocks.1.resid_post"]) as values:
        run(model, batch)
    with torch.no_grad():
        expected = new + block.mlp(block.ln_2(new))
    torch.testing.assert_close(values["blocks.1.resid_post"], expected, rtol=0, atol=1e-5)


def test_albert_tells_the_calls_of_its_shared_layer_apart():
    model = tiny_model("albert")
    batch = model.encode("abcabc")
    with reading(model, ["blocks.0.attn.z", "blocks.1.attn.z"]) as plain:
        run(model, batch)
    with editing(model, {"blocks.1.attn.z": torch.zeros_like}), reading(model, list(plain)) as edited:
        run(model, batch)
    torch.testing.assert_close(edited["blocks.0.attn.z"], plain["blocks.0.attn.z"], rtol=0, atol=0)
    assert plain["blocks.1.attn.z"].abs().max() > 0 == edited["blocks.1.attn.z"].abs().max()


def test_fused_projection_edits_only_the_named_part():
    model = tiny_model("neox")
    batch = model.encode("abcabc")
    sites = ["blocks.0.attn.q", "blocks.0.attn.k", "blocks.0.attn.v"]
    with reading(model, sites) as plain:
        run(model, batch)
    with editing(model, {"blocks.0.attn.q": torch.zeros_like}), reading(model, sites) as edited:
        run(model, batch)
    assert edited["blocks.0.attn.q"].abs().max() == 0
    for site in sites[1:]:
        torch.testing.assert_close(edited[site], plain[site], rtol=0, atol=0)


def test_two_threads_one_ablating_both_right():
    model = tiny_model("gpt2")
    batch = model.encode("abcabcab")
    site = "blocks.0.attn_out"
    with editing(model, {site: torch.zeros_like}):
        ablated = run(model, batch)
    plain = model.logits(batch)
    wrong: list[str] = []

    def ablate():
        for _ in range(60):
            with editing(model, {site: torch.zeros_like}):
                if not torch.equal(run(model, batch), ablated):
                    wrong.append("ablating")

    def look():
        for _ in range(60):
            with torch.no_grad(), reading(model, ["blocks.1.resid_post"]):
                out = main_output(model.module(**batch))
            if not torch.allclose(out, plain, atol=1e-6) or not torch.allclose(model.logits(batch), plain, atol=1e-6):
                wrong.append("reading")

    threads = [threading.Thread(target=work) for work in (ablate, look, ablate, look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_says_what_is_wrong():
    model = tiny_model("gpt2")
    unknown = pytest.raises(MissingSite, match=r"no such site.*Did you mean 'blocks.0.attn.pattern'")
    with unknown, reading(model, ["blocks.0.attn.patern"]):
        pass
    with pytest.raises(MissingSite, match="No value of 'embed'"), reading(model, ["embed"]) as values:
        values["embed"]
    misshapen = pytest.raises(BadInput, match=r"must give a tensor of shape \(1, 4, 16\), not \(4, 16\)")
    with misshapen, editing(model, {"embed": lambda value: value[0]}):
        run(model, model.encode("abc"))


def test_popping_a_value_that_is_not_there_says_why():
    model = tiny_model("gpt2")
    with reading(model, ["embed"]) as values:
        run(model, model.encode("ab"))
    for ask in (lambda: values["ln_final"], lambda: values.pop("ln_final")):
        with pytest.raises(MissingSite, match="No value of 'ln_final'"):
            ask()
    assert values.pop("ln_final", None) is None
    assert values.pop("embed").shape[0] == 1 and not values


def test_one_site_may_be_named_by_itself():
    model = tiny_model("gpt2")
    with reading(model, "blocks.0.attn_out") as values:
        run(model, model.encode("ab"))
    assert list(values) == ["blocks.0.attn_out"]


def test_an_edit_that_cannot_be_called_is_a_sentence():
    with pytest.raises(BadInput, match=r"The edit of 'embed' must be a function of a tensor, not int"):  # noqa: SIM117
        with editing(tiny_model("gpt2"), {"embed": 5}):
            pass


@pytest.mark.parametrize("part", ["k", "v"])
def test_keys_and_values_may_be_given_to_each_query_head(part):
    """Query heads 0 and 1 share a kv head; of its keys (or values) one of them gets others."""
    model = tiny_model("llama")
    batch, site = model.encode("abcabcabc"), f"blocks.0.attn.{part}"
    plain = model.logits(batch)
    with editing(model, {site: lambda x: x.repeat_interleave(2, 2)}):
        torch.testing.assert_close(model.logits(batch), plain)

    def second(x):
        each = x.repeat_interleave(2, 2)
        each[:, :, 1] = 0
        return each

    with editing(model, {site: second}), reading(model, "blocks.0.attn.z") as changed:
        model.module(**batch)
    with reading(model, "blocks.0.attn.z") as usual:
        model.module(**batch)
    differs = (changed["blocks.0.attn.z"] - usual["blocks.0.attn.z"]).abs().amax((0, 1, 3)) > 1e-6
    assert differs.tolist() == [False, True, False, False]
    with pytest.raises(BadInput, match="must give a tensor of shape"), editing(model, {site: lambda x: x[:, :, :1]}):
        model.module(**batch)
