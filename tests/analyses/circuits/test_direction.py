"""The knob for a task: against plain hooks and another library, on halves that do not mix, and that can fail."""

import math

import pytest
import torch

import workbench
from workbench import functional
from workbench.analyses.circuits import direction, direction_runs
from workbench.analyses.circuits.direction_held import STEPS, held_on_neutral
from workbench.analyses.circuits.direction_steering import steering
from workbench.hooks import reading
from workbench.tasks import Example, Task
from workbench.testing import FAMILIES

HALF = 6


def made(model, n=2 * HALF, metric="logit-diff", two=False, seed=0):
    """Pairs of random prompts that differ in their second token; two answers in all, or others for each pair."""
    draws = torch.Generator().manual_seed(seed)
    examples = []
    for i in range(n):
        clean = torch.randint(3, 90, (6 + i % 2,), generator=draws).tolist()
        clean[-1] = 7  # the last token says nothing
        corrupted = [*clean[:1], (clean[1] + 11) % 90, *clean[2:]]
        answers = [(20,), (30,)][:: 1 if i % 3 else -1] if two else [(20 + i,), (50 + i,)]
        examples.append(
            Example(
                clean=tuple(clean),
                corrupted=tuple(corrupted),
                targets=answers[0],
                foils=answers[1],
                position=0 if len(model.stacks) > 1 else len(clean) - 1,
                texts=(f"clean {i}", f"corrupted {i}"),
            )
        )
    return Task(name="made", model=model.name, metric=metric, examples=tuple(examples), made=n)


@pytest.fixture
def found(monkeypatch):
    """`found(model, task, **options)` runs the analysis on a task made here."""

    def run(model, task, **options):
        monkeypatch.setattr(direction, "task_of", lambda *_, **__: task)
        return workbench.causal_direction(model, "made", **options)

    return run


def plain(model, example, layer, edit):
    """The metric of an example's clean and corrupted prompt with a hook on one block: edit(own state, other's)."""
    block = model.module.get_submodule(model.main.paths[layer])
    at, states, metrics = example.position, [], []

    def keep(_module, _args, output):
        states.append((output[0] if isinstance(output, tuple) else output)[0, at].clone())

    with torch.no_grad():
        for ids in (example.clean, example.corrupted):
            handle = block.register_forward_hook(keep)
            model.module(input_ids=torch.tensor([ids]))
            handle.remove()
        for ids, own, other in ((example.clean, *states), (example.corrupted, *states[::-1])):

            def put(_module, _args, output, own=own, other=other):
                changed = (output[0] if isinstance(output, tuple) else output).clone()
                changed[0, at] = edit(own, other)
                return (changed, *output[1:]) if isinstance(output, tuple) else changed

            handle = block.register_forward_hook(put)
            logits = model.module(input_ids=torch.tensor([ids])).logits[0, at]
            handle.remove()
            metrics.append(float(logits[list(example.targets)].mean() - logits[list(example.foils)].mean()))
    return metrics


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
def test_effects_are_those_of_plain_hooks(family, tiny, found):
    model = tiny(family)
    task = made(model)
    result = found(model, task, layer=0, draws=2, seed=3)
    order = torch.randperm(len(task), generator=torch.Generator().manual_seed(3)).tolist()
    test = [task.examples[i] for i in order[HALF:]]
    u = result.direction
    edits = [
        lambda own, other: own + u * float(u @ (other - own)),
        None,
        None,
        lambda _, other: other,
    ]
    clean, corrupted = torch.tensor([plain(model, e, 0, lambda own, _: own) for e in test]).T
    gap = clean.mean() - corrupted.mean()
    assert (result.clean, result.corrupted) == pytest.approx((clean.mean().item(), corrupted.mean().item()), abs=1e-5)
    for i, edit in enumerate(edits):
        if edit is None:
            continue
        noised, denoised = torch.tensor([plain(model, e, 0, edit) for e in test]).T
        expected = [float((denoised.mean() - corrupted.mean()) / gap), float((clean.mean() - noised.mean()) / gap)]
        assert result.effects[i].tolist() == pytest.approx(expected, abs=1e-3)
        kept, middle = clean > corrupted, (clean + corrupted) / 2
        over = torch.cat([(denoised > middle)[kept], (noised < middle)[kept]]).float().mean()
        assert result.crossed[i].item() == pytest.approx(over.item(), abs=1e-6)
    assert result.exchanged == ("difference-of-means", "random 1", "random 2", "whole vector")
    assert result.with_gap == int((clean > corrupted).sum())


def test_the_direction_is_found_on_the_first_half_alone(tiny, found):
    model, task = tiny("llama"), made(tiny("llama"))
    one = found(model, task, layer=1)
    order = torch.randperm(len(task), generator=torch.Generator().manual_seed(0)).tolist()
    examples, others = list(task.examples), made(model, seed=5).examples
    for i in order[HALF:]:
        examples[i] = others[i]
    two = found(model, Task(name="made", model="", metric="logit-diff", examples=tuple(examples), made=12), layer=1)
    assert torch.equal(one.direction, two.direction)
    assert (one.effects - two.effects).abs().max() > 1e-3
    ups, downs = [], []
    for i in order[:HALF]:
        for ids, into in ((task.examples[i].clean, ups), (task.examples[i].corrupted, downs)):
            with torch.no_grad(), reading(model, "blocks.1.resid_post") as values:
                model.module(input_ids=torch.tensor([ids]))
            into.append(values["blocks.1.resid_post"][0, -1])
    difference = torch.stack(ups).mean(0) - torch.stack(downs).mean(0)
    torch.testing.assert_close(one.direction, difference / difference.norm(), rtol=0, atol=1e-5)
    assert (one.train, one.pairs, one.projections.shape) == (HALF, HALF, (2, HALF))


def test_the_best_layer_is_that_of_the_first_half(tiny, found):
    model, task = tiny("gpt2"), made(tiny("gpt2"), seed=6)  # the other half would choose another
    scan = found(model, task)
    each = [found(model, task, layer=layer) for layer in range(model.n_blocks)]
    for layer, one in enumerate(each):
        torch.testing.assert_close(scan.profile[layer], one.effects[[0, -1]], rtol=0, atol=1e-6)
        assert scan.profile_separation[layer].item() == pytest.approx(one.separations[0].item(), abs=1e-6)
    swapped = torch.randperm(len(task), generator=torch.Generator().manual_seed(0)).tolist()
    train = Task(
        name="", model="", metric="logit-diff", examples=tuple(task.examples[i] for i in swapped[:HALF]), made=HALF
    )
    runs = direction_runs.run_pairs(model, train, [True] * HALF)
    carried = [direction._effects(runs, i, [direction._difference(runs, i)])[0].mean().item() for i in range(2)]
    assert scan.layer == carried.index(max(carried))
    assert scan.layer != int(scan.profile[:, 0].mean(-1).argmax())
    assert scan.profile_frame()["layer"].tolist() == [0, 0, 1, 1]


def test_the_whole_vector_after_the_last_block_is_everything(tiny, found):
    for family in ("llama", "t5", "mamba", "bert"):
        model = tiny(family)
        result = found(model, made(model), layer=model.n_blocks - 1, draws=3)
        torch.testing.assert_close(result.effects[-1], torch.ones(2), rtol=0, atol=1e-4)
        assert result.crossed[-1] == 1


def test_two_answers_are_the_sides(tiny, found):
    model = tiny("llama")
    task = made(model, n=24, two=True)
    names, positive = direction_runs.sides_of(model, task)
    assert names == tuple(model.token_text(number) for number in (30, 20))
    assert positive == tuple(i % 3 == 0 for i in range(24))
    result = found(model, task, layer=1)
    assert result.sides == names
    up, down = (result.projections[i][result.positive] for i in (0, 1))
    others = result.projections[1][~result.positive], result.projections[0][~result.positive]
    assert result.separations[0].item() == pytest.approx(
        functional.separation(torch.cat([up, others[0]]), torch.cat([down, others[1]])).item(), abs=1e-6
    )
    assert direction_runs.sides_of(model, made(model))[0] == ("clean", "corrupted")
    unsigned = made(model, two=True, metric="log-prob")
    assert direction_runs.sides_of(model, unsigned) == (("clean", "corrupted"), (True,) * 12)


def test_das_makes_each_prompt_answer_as_its_partner(tiny, found):
    model, task = tiny("llama"), made(tiny("llama"), n=16, two=True)
    result = found(model, task, layer=1, method="das", steps=25, lr=0.05)
    plain_start = found(model, task, layer=1).direction
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0)).tolist()
    train = [task.examples[i] for i in order[:8]]

    def squares(u):
        own = torch.tensor([plain(model, e, 1, lambda own, _: own) for e in train])
        changed = [plain(model, e, 1, lambda own, other: own + u * float(u @ (other - own))) for e in train]
        gap = own[:, 0].mean() - own[:, 1].mean()
        return float(((torch.tensor(changed) - own.flip(1)) / gap).square().mean())

    assert result.exchanged[:2] == ("das", "difference-of-means")
    assert result.losses.shape == (26,)
    assert result.losses[0].item() == pytest.approx(squares(plain_start), rel=1e-3)
    assert result.losses.min().item() == pytest.approx(squares(result.direction), rel=1e-3)
    assert result.losses.min() < 0.7 * result.losses[0]
    assert result.direction.norm().item() == pytest.approx(1, abs=1e-6)
    assert (result.values.diff() > 0).all()  # from the mean of the negative side to that of the positive
    assert all(p.grad is None for p in model.module.parameters())


def test_interchange_is_that_of_transformer_lens(tiny, bridge_of):
    from transformer_lens.tools.analysis.interchange import (
        SubspaceInterchange,
        collect_activations,
        intervened_logits,
        mean_difference_basis,
    )

    model = tiny("gpt2")
    bridge = bridge_of(model)
    task = made(model, n=4)
    task = Task(name="", model="", metric="logit-diff", examples=task.examples[::2], made=2)  # of one length
    (runs,) = direction_runs.run_pairs(model, task, [True] * 2)
    at, u = runs.pair.position, functional.random_directions(16, 1, seed=2).T
    clean, corrupted = runs.pair.clean["input_ids"], runs.pair.corrupted["input_ids"]

    def last(ids):
        return bridge(ids)[torch.arange(len(ids)), at]

    with torch.no_grad():
        source = collect_activations(bridge, "blocks.0.hook_out", clean, last, positions=at)
        theirs = intervened_logits(
            bridge, "blocks.0.hook_out", SubspaceInterchange(u), corrupted, source, last, positions=at
        )
        own, other = runs.sides[1].states(0), runs.sides[0].states(0)
        ours = runs.sides[1].logits(0, functional.interchange(own, other, u)[None])
    torch.testing.assert_close(source, other, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    basis = mean_difference_basis(torch.cat([other, own]), [1, 1, 0, 0])[:, 0]
    assert abs(float(basis @ functional.difference_of_means(other, own))) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("whisper", "vit", "dinov2", "clip", "ast")])
def test_steering_holds_the_value_and_restores_exactly(model):
    assert model.reads == "text" and {"resid", "logits"} <= model.capabilities
    batch = model.encode("abcabc => ab" if len(model.stacks) > 1 else "abcabcabc")
    site, u = model.stream("resid_post")[1], functional.random_directions(model.d_model, 1, seed=0)[0]

    def run():
        with torch.no_grad(), reading(model, site) as values:
            return model.logits(batch), values[site]

    before, stream = run()
    with steering(model, site, u, 3.5):
        changed, held = run()
        with steering(model, site, u, 3.5):
            torch.testing.assert_close(run()[1], held, rtol=0, atol=1e-5)
    torch.testing.assert_close(held @ u, torch.full(held.shape[:-1], 3.5), rtol=0, atol=1e-5)
    across = torch.eye(len(u)) - u[:, None] * u
    torch.testing.assert_close(held @ across, stream @ across, rtol=0, atol=1e-5)
    with pytest.raises(RuntimeError, match="on purpose"), steering(model, site, u, 1.0):
        raise RuntimeError("on purpose")
    with steering(model, site, u, -2.0, position=-1):
        last = run()[1]
    assert torch.equal(last[:, :-1], stream[:, :-1])
    assert not torch.equal(last[:, -1], stream[:, -1])
    after, again = run()
    assert torch.equal(after, before)
    assert torch.equal(again, stream)
    assert not torch.equal(changed, before)


def test_values_held_are_those_of_steering(tiny, found):
    model, task = tiny("llama"), made(tiny("llama"), n=24, two=True)
    result = found(model, task, layer=0)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0)).tolist()
    halves = [[task.examples[i] for i in part] for part in (order[:12], order[12:])]
    sums = {True: [], False: []}
    for example in halves[1]:
        sign = 1 if example.targets == (30,) else -1
        for clean, ids in ((True, example.clean), (False, example.corrupted)):
            with steering(model, "blocks.0.resid_post", result.direction, float(result.values[5]), position=-1):
                logits = model.logits({"input_ids": torch.tensor([ids])})[0, -1]
            sums[clean == (sign > 0)].append(float(logits[30] - logits[20]))
    assert result.steered[:, 5].tolist() == pytest.approx(
        [sum(sums[key]) / len(sums[key]) for key in (True, False)], abs=1e-4
    )
    kl = held_on_neutral(model, 0, result.direction, result.values)
    sentence = workbench.interventions.neutral_sentences()[2]
    batch = model.encode(sentence)
    before = model.logits(batch)[0, -1]
    with steering(model, "blocks.0.resid_post", result.direction, float(result.values[0]), position=-1):
        after = model.logits(batch)[0, -1]
    assert kl[2, 0].item() == pytest.approx(functional.kl_divergence(before, after).item(), abs=1e-5)
    with steering(model, "blocks.0.resid_post", result.direction, 50.0, position=-1):
        far = functional.kl_divergence(before, model.logits(batch)[0, -1]).item()
    assert far > 0.01
    (found_far,) = held_on_neutral(model, 0, result.direction, torch.tensor([50.0]))[2].tolist()
    assert found_far == pytest.approx(far, rel=1e-4)
    assert result.kl.tolist() == pytest.approx(kl.mean(0).tolist(), abs=1e-6)
    assert result.neutral == len(workbench.interventions.neutral_sentences())
    train = direction_runs.run_pairs(
        model, Task(name="", model="", metric="logit-diff", examples=tuple(halves[0]), made=12),
        [e.targets == (30,) for e in halves[0]],
    )  # fmt: skip
    up, down = (states @ result.direction for states in direction_runs.both_sides(train, 0))
    assert result.values[[STEPS.index(0.0), STEPS.index(1.0)]].tolist() == pytest.approx(
        [down.mean().item(), up.mean().item()], abs=1e-5
    )
    frame = result.steering_frame()
    assert len(frame) == 2 * len(STEPS)
    assert frame["prompts"].unique().tolist() == list(result.sides)


def test_without_a_gap_no_share_is_defined(tiny, found):
    model = tiny("llama")
    task = made(model)
    equal = tuple(
        Example(**{**vars(e), "corrupted": e.clean}) for e in task.examples
    )  # nothing is different in the corrupted prompts
    same = Task(name="made", model="", metric="logit-diff", examples=equal, made=12)
    result = found(model, same, layer=0, method="random")
    assert result.effects.isnan().all()
    assert (result.counted, result.with_gap) == (0, 0)
    assert result.crossed.isnan().all()
    for method in ("difference-of-means", "das"):
        with pytest.raises(workbench.BadInput, match="same state"):
            found(model, same, layer=0, method=method)
    with pytest.raises(workbench.BadInput, match="two at least"):
        found(model, made(model, n=3))
    one_sided = made(model, n=4, two=True)
    with pytest.raises(workbench.BadInput, match="two at least"):
        found(model, Task(name="", model="", metric="logit-diff", examples=one_sided.examples[:0], made=9))


@pytest.mark.parametrize(
    ("site", "direction_of", "value", "says"),
    [
        ("blocks.0.attn.z", lambda d: torch.eye(d)[0], 1.0, "batch, pos, d_model"),
        ("blocks.0.resid_post", lambda d: torch.eye(d)[:5, 0], 1.0, "16 dimensions"),
        ("blocks.0.resid_post", lambda d: torch.ones(d), 1.0, "orthonormal"),
        ("blocks.0.resid_post", lambda d: torch.eye(d)[0], math.nan, "finite"),
    ],
)
def test_what_cannot_be_held_is_a_sentence(site, direction_of, value, says, tiny):
    with pytest.raises(workbench.BadInput, match=says), steering(tiny("gpt2"), site, direction_of(16), value):
        pass
    with (
        pytest.raises(workbench.BadInput, match="no position 40"),
        steering(tiny("gpt2"), "blocks.0.resid_post", torch.eye(16)[0], 1.0, position=40),
    ):
        tiny("gpt2").logits(tiny("gpt2").encode("abc"))
