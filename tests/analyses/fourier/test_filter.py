"""Filtered answers: a planted division of labour, plain hooks with scipy's null space, and what must change nothing."""

import math

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import torch

import workbench
from tests.analyses.fourier.planted_filter_model import LOW, OFF, PERIOD, N, planted
from workbench import functional
from workbench.analyses.fourier import filter as fourier
from workbench.analyses.fourier.filter_conditions import conditions_of
from workbench.analyses.fourier.filter_runs import Asked, answer_rows, answered
from workbench.tasks import Example, Task

BANDS = {"low removed": list(LOW), "high removed": list(range(LOW[-1] + 1, N // 2 + 1))}


@pytest.fixture(scope="module")
def comb():
    return planted()


@pytest.fixture(scope="module")
def found(comb):
    """Every value but the last, which the hump would put beyond the end."""
    asked = torch.arange(N - OFF)
    tokens = torch.stack([asked, torch.full_like(asked, N)], 1)
    return workbench.filtered_answers(comb, tokens, asked, ids=torch.arange(N), bands=BANDS, draws=4)


def cell(found, part, band, filtered="filter", layer=-1):
    frame = found.to_frame()
    rows = frame[(frame["part"] == part) & (frame["band"] == band) & (frame["filter"] == filtered)]
    return rows[rows["layer"] == layer]


def test_the_planted_parts_come_apart_and_random_controls_do_not(found):
    frame = found.summary_frame().set_index(["part", "band"])
    assert (frame["without"] == 1).all()
    expected = {("attn_out", "low removed"): 1, ("attn_out", "high removed"): 0, ("mlp_out", "high removed"): 1}
    for place, accuracy in expected.items():
        assert frame.loc[place, "filtered"] == accuracy, place
    assert frame.loc[("mlp_out", "low removed"), "filtered"] < 0.2
    for control in ("random_band", "random_subspace"):
        by_filter = [
            frame.loc[(part, "low removed"), "filtered"] - frame.loc[(part, "high removed"), "filtered"]
            for part in ("attn_out", "mlp_out")
        ]
        by_chance = [
            frame.loc[(part, "low removed"), control] - frame.loc[(part, "high removed"), control]
            for part in ("attn_out", "mlp_out")
        ]
        assert by_filter[0] - by_filter[1] > 1.7
        assert abs(by_chance[0] - by_chance[1]) < 0.6, control
    assert (found.ranks == torch.tensor([0, *[10] * 9, *[49] * 9])).all()


def test_errors_are_whole_tens_without_low_frequencies_and_small_without_high_ones(found):
    tens, small = (cell(found, "both", band).iloc[0] for band in BANDS)
    assert (tens["multiples_of_10"], small["multiples_of_10"]) == (1, 0)
    assert tens["mean_error"] >= PERIOD
    assert (small["near"], small["mean_error"], small["accuracy"]) == (1, OFF, 0)
    assert cell(found, "attn_out", "low removed").iloc[0]["errors"] == 0
    assert cell(found, "attn_out", "low removed")["near"].isna().all()


def test_which_answers_change_is_told_by_example(found):
    changes = found.changes_frame()
    small = changes[(changes["part"] == "both") & (changes["band"] == "high removed")]
    assert small["prompt"].tolist() == [f"{i}=" for i in range(12)]
    assert small["after"].tolist() == [str(i + OFF) for i in range(12)]
    assert small["before"].tolist() == small["right"].tolist() == [str(i) for i in range(12)]
    assert small["changed"].all()
    assert not changes[(changes["part"] == "attn_out") & (changes["band"] == "low removed")]["changed"].any()


def test_the_probabilities_are_those_of_the_waves_that_are_left(comb, found):
    """Closed form: without the high frequencies the logits are the hump alone."""
    away = np.arange(N)[None, :] - np.arange(N - OFF)[:, None]
    hump = sum(np.cos(2 * np.pi * k * (away - OFF) / N) for k in LOW)
    comb_of = sum(np.cos(2 * np.pi * k * away / N) for k in range(6, 31, 6))
    left, whole = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (hump, hump + comb_of))
    row = cell(found, "both", "high removed").iloc[0]
    right = np.arange(N - OFF)
    assert row["loss"] == pytest.approx(-np.log(left[right, right]).mean(), abs=1e-5)
    assert row["total_variation"] == pytest.approx(np.abs(left - whole).sum(-1).mean() / 2, abs=1e-5)
    others = np.log(np.exp(hump).sum(-1) + 2)  # the two tokens that are no value have the logit 0
    assert row["vocab_loss"] == pytest.approx((others - hump[right, right]).mean(), abs=1e-5)
    plain = cell(found, "both", "none", "none").iloc[0]
    assert plain["loss"] == pytest.approx(-np.log(whole[right, right]).mean(), abs=1e-5)
    assert (plain["total_variation"], plain["changed"], plain["rank"]) == (0, 0, 0)


def made(model, answers, n=6, seed=0):
    """Random prompts of two lengths with answers in turn."""
    draws = torch.Generator().manual_seed(seed)
    examples = []
    for i in range(n):
        clean = torch.randint(3, 90, (5 + i % 2,), generator=draws).tolist()
        corrupted = [(clean[0] + 11) % 90, *clean[1:]]
        targets = answers[i % len(answers)]
        examples.append(
            Example(
                clean=tuple(clean),
                corrupted=tuple(corrupted),
                targets=targets,
                foils=(1,),
                position=0 if len(model.stacks) > 1 else len(clean) - 1,
                texts=(f"clean {i}", f"corrupted {i}"),
            )
        )
    return Task(name="made", model=model.name, metric="logit-diff", examples=tuple(examples), made=n)


@pytest.fixture
def asking(monkeypatch):
    """`asking(model, task, **options)` runs the analysis on a task made here, over the tokens 40 to 59."""

    def run(model, task, **options):
        monkeypatch.setattr(fourier.tasks, "task", lambda *_, **__: task)
        return workbench.fourier_filter(model, "ids:40-59", "made", **options)

    return run


def by_hooks(model, example, ids, frequencies, parts, layers, everywhere=False):
    """Logits of the values, by plain hooks on GPT-2's modules and scipy's null space of B F W."""
    x, head = np.arange(len(ids)), model.module
    waves = [f(2 * np.pi * k * x / len(ids)) for k in frequencies for f in (np.cos, np.sin)]
    waves = np.array([wave for wave in waves if np.abs(wave).max() > 1e-9])
    gain = head.transformer.ln_f.weight.detach().numpy()
    rows = head.lm_head.weight.detach().numpy()[ids] * gain
    null = scipy.linalg.null_space(waves @ (rows - rows.mean(1, keepdims=True)))
    projector = torch.from_numpy(null @ null.T).double()

    def hook(_module, _args, output):
        value = output[0] if isinstance(output, tuple) else output
        if everywhere:
            value[:] = value @ projector
        else:
            value[0, -1] = value[0, -1] @ projector

    blocks = [head.transformer.h[i] for i in layers]
    handles = [getattr(block, part).register_forward_hook(hook) for block in blocks for part in parts]
    with torch.no_grad():
        logits = head(torch.tensor([example.clean])).logits[0, -1]
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize(
    ("options", "modules", "layers"),
    [
        ({"parts": ("mlp_out",)}, ("mlp",), (0, 1)),
        ({"parts": ("attn_out",), "layers": (1,)}, ("attn",), (1,)),
        ({"parts": ("both",), "everywhere": True}, ("attn", "mlp"), (0, 1)),
    ],
    ids=["mlp", "attention of layer 1", "both, everywhere"],
)
def test_equals_plain_hooks_with_an_explicit_null_space(double, asking, options, modules, layers):
    model, _ = double("gpt2")
    ids = list(range(40, 60))
    task = made(model, [(i,) for i in (41, 52, 40, 59)])
    result = asking(model, task, remove=("low", "band"), cut=3, frequencies=(2, 9, 10), draws=0, **options)
    assert result.frequencies == ((), (1, 2, 3), (2, 9, 10))
    everywhere = options.get("everywhere", False)
    order = [0, 2, 4, 1, 3, 5]  # batches are of one length
    for i, frequencies in enumerate(result.frequencies):
        some = [by_hooks(model, task.examples[e], ids, frequencies or (0,), modules, layers if i else (), everywhere)
                for e in order]  # fmt: skip
        logits = torch.stack(some)
        right = torch.tensor([task.examples[e].targets[0] for e in order])
        own, values = logits[torch.arange(6), right], logits[:, ids]
        assert result.predicted[0, i].tolist() == values.argmax(-1).tolist()
        assert result.loss[0, i].item() == pytest.approx((values.logsumexp(-1) - own).mean().item(), abs=1e-6)
        assert result.vocab_loss[0, i].item() == pytest.approx((logits.logsumexp(-1) - own).mean().item(), abs=1e-6)
        assert result.vocab_accuracy[0, i].item() == pytest.approx((logits.argmax(-1) == right).double().mean().item())
    assert result.right.tolist() == [task.examples[e].targets[0] - 40 for e in order]


def asked_of(model, n=3):
    tokens = torch.randint(3, 90, (n, 5), generator=torch.Generator().manual_seed(0))
    return [Asked(batch=model.encode(tokens), position=torch.full((n,), 4), right=torch.arange(n))]


def test_nothing_removed_changes_not_one_bit(tiny):
    model, ids = tiny("llama"), torch.arange(40, 60)
    sites = model.stream("attn_out") + model.stream("mlp_out")
    nothing = functional.subspace_filter(torch.zeros(0, model.d_model))
    plain, same = answered(model, asked_of(model), ids), answered(model, asked_of(model), ids, sites, nothing)
    assert torch.equal(plain.logits, same.logits)
    assert torch.equal(plain.all_logits, same.all_logits)


def test_everything_removed_ablates_what_the_values_read_of_the_last_write(double):
    """Without all components the last MLP adds nothing to the values' logits, as if it had written nothing there."""
    model, _ = double("gpt2")
    ids, last = torch.arange(40, 50), model.stream("mlp_out")[-1]
    everything = functional.band_stop(answer_rows(model, ids), functional.fourier_basis(10, torch.float64), range(6))
    assert everything.rank == 10
    asked = asked_of(model)[0]
    middle, norm = model.stream("resid_mid")[-1], model.final_norm
    with workbench.reading(model, [middle, last]) as values, workbench.editing(model, {last: everything.kept}):
        logits = model.logits(asked.batch)[:, -1]
    stream = values[middle][:, -1]
    size = functional.norm_scale(stream + values[last][:, -1], centred=norm.centred, eps=norm.eps)
    normed = functional.frozen_norm(stream, size, centred=norm.centred, weight=norm.weight) + norm.bias
    alone = normed @ model.unembed.weight[ids].T
    torch.testing.assert_close(logits[:, ids], alone, rtol=0, atol=1e-12)
    zero = functional.subspace_filter(torch.eye(model.d_model, dtype=torch.float64))
    found = answered(model, [asked], ids, [last], zero)
    with workbench.editing(model, {last: torch.zeros_like}):
        torch.testing.assert_close(found.logits, model.logits(asked.batch)[:, -1, ids], rtol=0, atol=0)


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_what_the_rows_read_is_what_the_model_adds_up_to_its_divisor(double, family):
    """Where only the final norm's divisor is between: a write orthogonal to the rows leaves the logits' proportions."""
    model, _ = double(family)
    ids = torch.arange(40, 44)
    rows = answer_rows(model, ids)
    draws = torch.Generator().manual_seed(0)
    stream, write = torch.randn(2, model.d_model, generator=draws, dtype=torch.float64)
    silent = functional.subspace_filter(rows).kept(write)
    norm = model.final_norm
    scales = [functional.norm_scale(x, centred=norm.centred, eps=norm.eps) for x in (stream, stream + silent)]
    with torch.no_grad():
        nothing = model.readout(torch.zeros(1, model.d_model, dtype=torch.float64))[0, ids]  # the biases
        one, other = ((model.readout(x[None])[0, ids] - nothing) * scale
                      for x, scale in zip((stream, stream + silent), scales, strict=True))  # fmt: skip
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10 if family == "gpt2" else 1e-5)  # some norms are float32
    assert (rows @ write).abs().max() > 1e-3


def test_each_layer_by_itself(asking, tiny):
    model = tiny("gpt2")
    task = made(model, [(41,), (52,)])
    layered = asking(model, task, each_layer=True, draws=1, remove=("high",), cut=4, frequencies=())
    assert list(zip(layered.parts, layered.layers.tolist(), strict=True)) == [
        (part, layer) for part in ("attn_out", "mlp_out", "both") for layer in (0, 1)
    ]
    alone = asking(model, task, layers=(1,), parts=("mlp_out",), draws=1, remove=("high",), cut=4)
    torch.testing.assert_close(layered.loss[3], alone.loss[0], rtol=0, atol=0)
    figure = layered.figure()
    assert {trace.name for trace in figure.data} == {"nothing", "high removed", "random band for high removed"}
    assert [a.text for a in figure.layout.annotations] == ["attn_out", "mlp_out", "both"]
    assert tuple(figure.layout.yaxis.range) == (0, 1.04)
    assert layered.figure(measure="loss").layout.yaxis.range is None
    assert list(layered.figure(measure="near").data[0].y) == layered.near[:2, 0].tolist()


def test_examples_without_a_value_are_left_out_and_counted(asking, tiny):
    model = tiny("gpt2")
    task = made(model, [(41,), (7,), (52, 53)], n=9)
    result = asking(model, task, draws=0, cut=3)
    assert (result.n_examples, result.left_out, result.right.tolist()) == (3, 6, [1, 1, 1])
    assert "6 of 9 examples were left out" in result.brief()[0]
    assert result.prompts == ("clean 0", "clean 6", "clean 3"), "in the order of the answers"
    with pytest.raises(workbench.BadInput, match="No answer of 6 examples of made is a value of ids:40-59"):
        asking(model, made(model, [(7,), (8,)]))


def test_the_names_of_frames_and_what_their_rows_are(found):
    frame = found.to_frame()
    assert len(frame) == 3 * 19
    assert frame[frame["filter"] == "none"]["rank"].eq(0).all()
    assert (frame["left"] == 3 * N + 2 - frame["rank"]).all()
    summary = found.summary_frame("loss")
    row = summary[(summary["part"] == "mlp_out") & (summary["band"] == "low removed")].iloc[0]
    draws = cell(found, "mlp_out", "low removed", "random band")["loss"]
    assert len(draws) == row["draws"] == 4
    assert (row["random_band"], row["random_band_low"], row["random_band_high"]) == pytest.approx(
        (draws.mean(), draws.min(), draws.max()), abs=1e-6
    )
    removed = found.conditions_frame().query("filter == 'filter' and band == 'low removed'")
    assert removed["frequency"].tolist() == [1, 2, 3, 4, 5]
    assert removed["period"].tolist() == [60, 30, 20, 15, 12]
    controls = found.conditions_frame().query("filter == 'random band' and band == 'low removed'")
    assert controls.groupby("draw")["frequency"].nunique().eq(5).all()
    text, table = found.brief()
    assert "accuracy 1.00 among 60 values of values (the right one first) over" in text
    pd.testing.assert_frame_equal(table, found.summary_frame())
    figure = found.figure()
    bars = {(trace.name, trace.xaxis): list(trace.y) for trace in figure.data if trace.type == "bar"}
    assert bars[("the band", "x2")] == pytest.approx(summary_of(found, "mlp_out"))
    points = [trace for trace in figure.data if trace.type == "scatter"]
    assert {trace.name for trace in points} == {"random band", "random subspace"}
    assert all(len(trace.y) == 8 for trace in points)


def summary_of(found, part):
    frame = found.summary_frame()
    return frame[frame["part"] == part]["filtered"].tolist()


def test_without_draws_controls_are_nan_and_counted(asking, tiny):
    summary = asking(tiny("gpt2"), made(tiny("gpt2"), [(41,)]), draws=0, cut=3).summary_frame()
    assert summary["draws"].eq(0).all()
    assert summary[["random_band", "random_band_low", "random_subspace_high"]].isna().all().all()


def test_no_control_is_the_band_it_is_held_against(comb):
    """Of four frequencies with a cos and a sin, two can be drawn in six ways; of all there are, in one."""
    for frequencies, same in (((1, 2), False), ((1, 2, 3, 4, 5, 6, 7), True)):
        found = conditions_of(
            torch.eye(20, dtype=torch.float64)[: 10 if not same else 16],
            {"x": frequencies}, readable=20, draws=30, seed=0, rounding=1e-7,
        )  # fmt: skip
        drawn = {one.frequencies for one in found if one.kind == "random band"}
        assert drawn == {frequencies} if same else len(drawn) == 5 and frequencies not in drawn
        assert {one.filter.rank for one in found[1:]} == {2 * len(frequencies)}


def test_one_pass_for_each_filter_and_one_without(comb):
    passes = []
    handle = comb.module.register_forward_hook(lambda *_: passes.append(1))
    tokens = torch.tensor([[3, N], [4, N]])
    workbench.filtered_answers(
        comb, tokens, tokens[:, 0], ids=torch.arange(N), bands={"low": [1]}, parts=("both",), draws=0
    )
    handle.remove()
    assert len(passes) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"remove": ("band",)}, "Say which frequencies"),
        ({"remove": ()}, "Say what to remove"),
        ({"frequencies": (3,)}, "frequencies are those of a band"),
        ({"remove": ("band",), "frequencies": (11,)}, "20 values have the frequencies 1 to 10.*down to 2"),
        ({"cut": 10}, "none that are high"),
        ({"cut": 11, "remove": ("low",)}, "none that are high"),
        ({"remove": ("band",), "frequencies": tuple(range(1, 11))}, "removes everything"),
        ({"remove": ("all-but",), "frequencies": (3,)}, "removes everything"),
    ],
)
def test_a_filter_that_leaves_all_or_nothing_is_a_sentence(asking, tiny, options, says):
    with pytest.raises(workbench.BadInput, match=says):
        asking(tiny("gpt2"), made(tiny("gpt2"), [(41,)]), **options)


def test_prompts_that_cannot_be_asked_are_a_sentence(comb, tiny, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # said also where nothing checks shapes
    tokens, right, ids = torch.tensor([[3, N]]), torch.tensor([3]), torch.arange(N)
    bands = {"low": [1]}
    for change, says in (
        ({"right": torch.tensor([N])}, "no value"),
        ({"ids": ids[:2]}, "three or more"),
        ({"ids": torch.zeros(5, dtype=torch.long)}, "different values"),
        ({"tokens": tokens[0]}, "token ids"),
        ({"tokens": tokens[:0], "right": right[:0]}, "token ids"),
        ({"position": 2}, "no position 2"),
        ({"values": [*range(N - 1), 99]}, "evenly spaced"),
        ({"values": [0]}, "1 values for 60"),
        ({"bands": {"x": [31]}}, "no frequency 31"),
        ({"bands": {"x": []}}, "removes nothing"),
        ({"bands": {}}, "Say what to remove"),
        ({"layers": (1,)}, "layers 0 to 0"),
        ({"parts": ("mlp",)}, "no part 'mlp' to filter; parts are attn_out, mlp_out, both"),
        ({"draws": -1}, "draws must be a whole number of at least 0, not -1"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"near": -1}, "near must be a number of at least 0, not -1"),
        ({"steps": (10, 0)}, "Each of steps must be a number above 0, not 0"),
        ({"ids": [3, 4, 5]}, "ids is a tensor of whole numbers.*not list"),
        ({"bands": [1, 2]}, "bands gives each name its frequencies.*not list"),
        ({"values": [*range(N - 1), math.nan]}, "Values are finite numbers, evenly spaced; one of these is nan"),
    ):
        asked = {"tokens": tokens, "right": right, "ids": ids, "bands": bands, **change}
        with pytest.raises(workbench.BadInput, match=says):
            workbench.filtered_answers(comb, **asked)
    with pytest.raises(workbench.MissingCapability, match="not one norm and one linear map"):
        workbench.filtered_answers(tiny("bert"), tokens, right, ids=ids, bands=bands)
    with pytest.raises(workbench.MissingCapability, match="no mlp_out"):
        workbench.filtered_answers(tiny("micro"), tokens, right, ids=ids, bands=bands, parts=("mlp_out",))


def test_values_have_the_spacing_that_errors_are_counted_in(comb):
    asked = torch.arange(N - OFF)
    tokens = torch.stack([asked, torch.full_like(asked, N)], 1)
    found = workbench.filtered_answers(
        comb, tokens, asked, ids=torch.arange(N), bands=BANDS, draws=0, values=[5.0 * i for i in range(N)],
        steps=(50, 7), near=10.5,
    )  # fmt: skip
    tens, small = (cell(found, "both", band).iloc[0] for band in BANDS)
    assert tens["multiples_of_50"] == 1
    assert (small["mean_error"], small["near"]) == (5 * OFF, 1)
    assert found.conditions_frame()["period"].max() == 5 * N
    assert not math.isnan(small["multiples_of_7"])
