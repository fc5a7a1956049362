"""Neurons over a variable and over pairs: planted waves, numpy's transform, the dead; and what is left without some."""

import numpy as np
import pytest
import torch

import workbench
from tests.analyses.fourier.adding_models import random_adder
from workbench import functional
from workbench.analyses.fourier.neuron_spectrum import _spectra
from workbench.functional import pruning_order
from workbench.hooks import editing
from workbench.testing import tiny_model

N = 8


def held_by_hand(model, n, template="{a} {b} ="):
    """The neurons at the end of each prompt, prompt by prompt, from the modules' own weights."""
    rows = []
    for a in range(n):
        for b in range(n):
            kept = []
            hook = model.module.blocks[0].mlp.act.register_forward_hook(lambda m, i, o, kept=kept: kept.append(o))
            model.module(**model.encode(template.format(a=a, b=b)))
            hook.remove()
            rows.append(kept[0][0, -1].detach().double().numpy())
    return np.stack(rows).reshape(n, n, -1)


def one_frequency(table, k):
    """The share of the variance that a least-squares fit of the polynomial of frequency k has."""
    n = len(table)
    a, b = (2 * np.pi * k * x.ravel() / n for x in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    waves = [f(a) for f in (np.cos, np.sin)] + [f(b) for f in (np.cos, np.sin)]
    waves += [f(a) * g(b) for f in (np.cos, np.sin) for g in (np.cos, np.sin)]
    centred = table.ravel() - table.mean()
    design = np.stack(waves, 1)
    fitted = design @ np.linalg.lstsq(design, centred, rcond=None)[0]
    return (fitted**2).sum() / (centred**2).sum()


def ratio(values, transform):
    sizes = np.abs(transform(values - values.mean()))
    return (sizes**4).sum() / (sizes**2).sum() ** 2


def test_every_neuron_over_pairs_equals_a_fit_by_hand():
    model = random_adder(N)
    result = workbench.neuron_spectrum(model, "0-7", threshold=0.3, seed=4)
    table = held_by_hand(model, N)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(4)).numpy()
    frame = result.to_frame()
    living = table.std((0, 1)) > 1e-6
    assert 10 < living.sum() < table.shape[-1]  # some never fire
    assert frame["alive"].tolist() == living.astype(int).tolist()
    for neuron in living.nonzero()[0]:
        one = table[..., neuron]
        shares = [one_frequency(one, k) for k in range(1, N // 2 + 1)]
        row = frame.iloc[int(neuron)]
        np.testing.assert_allclose(result.power[int(neuron), 1:].numpy(), shares, atol=1e-5)
        assert row["share"] == pytest.approx(max(shares), abs=1e-5)
        assert row["frequency"] == 1 + int(np.argmax(shares))
        assert row["period"] == pytest.approx(N / row["frequency"])
        mixed = one[order][:, order]
        assert row["shuffled"] == pytest.approx(max(one_frequency(mixed, k) for k in range(1, N // 2 + 1)), abs=1e-5)
        for column, transform in (("ipr", np.fft.rfft), ("ipr_twice", np.fft.fft)):
            sides = [ratio(one.mean(axis), transform) for axis in (0, 1)]
            assert row[column] == pytest.approx(np.mean(sides), abs=1e-5)
    assert frame.loc[frame["alive"] == 0, ["share", "shuffled", "ipr", "period"]].isna().all().all()
    assert (frame.loc[frame["alive"] == 0, ["frequency", "ipr_of"]] == 0).all().all()
    assert result.counts == ((result.share > 0.3).sum(), living.sum() - (result.share > 0.3).sum(), (~living).sum())


def test_planted_neurons_are_found_with_their_frequency():
    n = 13
    a, b = torch.meshgrid(*[torch.arange(n, dtype=torch.float64)] * 2, indexing="ij")

    def wave(k, x):
        return torch.cos(2 * torch.pi * k * x / n + 0.7)

    noise = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    neurons = [
        5 + wave(3, a) + wave(3, b),  # a degree-1 polynomial of frequency 3
        wave(4, a) * wave(4, b),  # a product alone: each side is constant
        wave(2, a + b),
        noise,
        wave(1, a) + wave(5, b),  # two frequencies: half of it each
        torch.full((n, n), 2.0, dtype=torch.float64),  # on, and the same everywhere
        torch.zeros(n, n, dtype=torch.float64),
    ]
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    power, shuffled, ipr, ipr_twice, ipr_of, _, dead = _spectra(torch.stack(neurons, -1), order)
    best = power[1:].max(0)
    assert best.values[:3].tolist() == pytest.approx([1, 1, 1])
    assert (best.indices[:3] + 1).tolist() == [3, 4, 2]
    assert best.values[4].item() == pytest.approx(0.5)
    assert best.values[3] < 0.4
    assert (shuffled[:3] < 0.9).all()
    assert dead.tolist() == [False] * 5 + [True] * 2
    assert power[:, 5:].isnan().all()
    assert ipr[0].item() == pytest.approx(1)
    assert ipr_twice[0].item() == pytest.approx(0.5)
    assert ipr_of.tolist() == [2, 0, 0, 2, 2, 0, 0]
    assert ipr[1:3].isnan().all()


def test_over_single_values_shares_are_of_numpys_transform():
    model = random_adder(N)
    result = workbench.neuron_spectrum(model, "0-7", template="3 {} =")
    table = held_by_hand(model, N, "{a} {b} =")[3]  # (value, neuron)
    living = table.std(0) > 1e-6
    power = np.abs(np.fft.fft(table - table.mean(0), axis=0)) ** 2
    folded = np.stack([power[k] + (power[-k] if 2 * k != N else 0) for k in range(1, N // 2 + 1)])[:, living]
    np.testing.assert_allclose(result.power[torch.tensor(living), 1:].T.numpy(), folded / folded.sum(0), atol=1e-5)
    assert result.over == "values"
    assert result.dead.tolist() == (~living).tolist()
    assert result.figure(of="shares").data
    assert result.frequency_frame()["neurons"].sum() == living.sum()


# ---- pruning ---------------------------------------------------------------------------------------------------------


def test_the_dead_are_removed_first_in_any_order():
    scores = torch.tensor([0.5, torch.nan, 0.1, 0.9, torch.nan, 0.1])
    assert pruning_order(scores).tolist() == [1, 4, 2, 5, 0, 3]
    assert pruning_order(scores, "highest").tolist() == [1, 4, 3, 0, 2, 5]
    drawn = [pruning_order(scores, "random", seed=seed).tolist() for seed in range(30)]
    assert all(order[:2] == [1, 4] and sorted(order) == list(range(6)) for order in drawn)
    assert len({tuple(order) for order in drawn}) > 10
    assert {order[2] for order in drawn} == {0, 2, 3, 5}


def by_hand(model, n, removed):
    """Accuracy and loss on all pairs with some columns of the output map at zero."""
    weight = model.module.blocks[0].mlp.W_out.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight[:, removed] = 0
        right, losses = [], []
        for a in range(n):
            for b in range(n):
                logits = model.logits(model.encode(f"{a} {b} ="))[0, -1, :n].double()
                right.append(float(logits.argmax() == (a + b) % n))
                losses.append(-logits.log_softmax(-1)[(a + b) % n].item())
        weight.copy_(before)
    return np.array(right), np.array(losses)


@pytest.mark.parametrize("score", ["norm", "ipr", "share"])
def test_pruned_curves_are_those_of_a_model_without_these_weights(score):
    n = 6
    model = random_adder(n)
    result = workbench.neuron_pruning(
        model, variable="0-5", score=score, shares=(0.0, 0.3, 0.7, 1.0), draws=1, train_share=0.5, seed=2
    )
    spectrum = workbench.neuron_spectrum(model, "0-5")
    norms = torch.from_numpy(np.linalg.norm(held_by_hand(model, n).reshape(n * n, -1), axis=0))
    scores = norms.masked_fill(norms < 1e-8, torch.nan) if score == "norm" else getattr(spectrum, score)
    torch.testing.assert_close(result.scores, scores.double(), equal_nan=True, rtol=1e-5, atol=1e-6)
    assert result.removed.tolist() == [0, round(0.3 * 24), round(0.7 * 24), 24]
    train = functional.train_pairs(n, 0.5, 0).flatten().numpy()
    frame = result.to_frame()
    for order in ("lowest", "highest"):
        chosen = pruning_order(result.scores, order)
        for share, count in zip(result.shares, result.removed.tolist(), strict=True):
            right, losses = by_hand(model, n, chosen[:count])
            for part, mask in (("all", slice(None)), ("train", train), ("test", ~train)):
                row = frame[(frame["order"] == order) & (frame["share"] == share) & (frame["part"] == part)].iloc[0]
                assert row["accuracy"] == pytest.approx(right[mask].mean())
                assert row["loss"] == pytest.approx(losses[mask].mean(), rel=1e-5)
                assert row["examples"] == len(losses[mask])
    assert result.orders == ("lowest", "highest", "random")
    assert len(result.mean_frame("test")) == 12
    assert result.figure(part="train", of="loss").data


@pytest.mark.parametrize("task", ["induction", "greater-than"])
def test_a_task_is_measured_where_it_is_answered(task):
    """Also one with several right answers."""
    model = tiny_model("gpt2")
    result = workbench.neuron_pruning(model, task=task, examples=5, anyway=True, shares=(0.0, 0.5), draws=0)
    drawn = workbench.task(task, model, examples=5, anyway=True)
    removed = pruning_order(result.scores)[: int(result.removed[1])]
    assert result.of == drawn.name
    for at, chosen in enumerate((removed[:0], removed)):
        right, losses = [], []
        edits = {"blocks.1.mlp.post": lambda x, chosen=chosen: x.index_fill(-1, chosen, 0)}
        for example in drawn.examples:
            with editing(model, edits):
                logits = model.logits(model.encode(torch.tensor([example.clean])))[0, example.position].double()
            targets, foils = list(example.targets), list(example.foils)
            if task == "greater-than":  # by summed probability
                chances = logits.softmax(-1)
                ahead = chances[targets].sum() - chances[foils].sum()
            else:
                ahead = logits[targets].mean() - logits[foils].mean()
            right.append(float(ahead > 0))
            losses.append(-logits.softmax(-1)[list(example.targets)].sum().log().item())
        assert result.accuracy[0, at, 0].item() == pytest.approx(np.mean(right))
        assert result.loss[0, at, 0].item() == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "a task, or a variable"),
        ({"task": "induction", "score": "ipr"}, "name one"),
        ({"variable": "0-5", "shares": ()}, "at least one"),
        ({"variable": "0-5", "template": "{} ="}, "once each"),
    ],
)
def test_what_cannot_be_pruned_is_a_sentence(options, says):
    with pytest.raises(workbench.BadInput, match=says):
        workbench.neuron_pruning(random_adder(6), **options)


def test_each_sentence_says_what_dead_is():
    model = random_adder(6)
    assert "dead: they hold the same at all prompts." in workbench.neuron_spectrum(model, "0-5").brief()[0]
    for score, dead in (("norm", "(zero at all prompts)"), ("share", "(of no spectrum over the variable)")):
        found = workbench.neuron_pruning(model, variable="0-5", score=score, shares=(0.5,), draws=0)
        assert f"{found.dead} of them dead {dead}, removed by {score}" in found.brief()[0]
