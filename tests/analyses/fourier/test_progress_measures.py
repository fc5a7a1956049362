"""Progress measures against plain numpy on a random model, and on logits that are made of known frequencies."""

import math

import numpy as np
import pytest
import torch

import workbench
from tests.analyses.fourier.adding_models import answering, ideal, random_adder
from workbench.analyses.fourier.given import check_load
from workbench.analyses.fourier.measured import MEASURES

N = 7


def logits_by_hand(model, n, texts="{a} {b} ="):
    """The logits of the numbers at the end of each prompt, prompt by prompt."""
    table = np.zeros((n, n, n))
    for a in range(n):
        for b in range(n):
            batch = model.encode(texts.format(a=a, b=b))
            table[a, b] = model.logits(batch)[0, -1, :n].double().numpy()
    return table


def log_softmax(table):
    table = table - table.max(-1, keepdims=True)
    return table - np.log(np.exp(table).sum(-1, keepdims=True))


def loss(table, answers, mask):
    chances = np.take_along_axis(log_softmax(table), answers[..., None], -1)[..., 0]
    return -chances[mask].mean()


def sum_part(table, frequencies):
    """What a least-squares fit of cos and sin of w (a + b) gives."""
    n = len(table)
    a, b = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    waves = [f(2 * np.pi * k * (a + b) / n).ravel() for k in frequencies for f in (np.cos, np.sin)]
    design = np.stack(waves, 1)
    found, *_ = np.linalg.lstsq(design, table.reshape(n * n, -1), rcond=None)
    return (design @ found).reshape(table.shape)


def gini(values):
    return np.abs(values[:, None] - values).mean() / (2 * values.mean())


def component_norms(rows):
    n = len(rows)
    x = np.arange(n)
    waves = [f(2 * np.pi * k * x / n) for k in range(1, n // 2 + 1) for f in (np.cos, np.sin)][: n - 1]
    return np.array([np.linalg.norm((wave / np.linalg.norm(wave)) @ rows) for wave in waves])


@pytest.mark.parametrize("norm", [None, "layer"])
def test_every_measure_equals_the_plain_computation(norm):
    model = random_adder(N, norm=norm)
    key, train = (1, 3), workbench.functional.train_pairs(N, 0.4, 5).numpy()
    result = workbench.progress_measures(
        model, "0-6", frequencies=(3, 1), train_share=0.4, train_seed=5, draws=2, seed=3
    )
    table = logits_by_hand(model, N)
    a, b = np.meshgrid(np.arange(N), np.arange(N), indexing="ij")
    answers, everything = (a + b) % N, np.ones((N, N), bool)
    kept = sum_part(table, key) + table.mean((0, 1))
    centred = table - table.mean(-1, keepdims=True)
    centred = centred - centred.mean((0, 1))
    total = (centred**2).sum()
    right = table.argmax(-1) == answers
    expected = {
        "loss": loss(table, answers, everything),
        "train_loss": loss(table, answers, train),
        "test_loss": loss(table, answers, ~train),
        "accuracy": right.mean(),
        "train_accuracy": right[train].mean(),
        "test_accuracy": right[~train].mean(),
        "restricted_loss": loss(kept, answers, everything),
        "restricted_test_loss": loss(kept, answers, ~train),
        "excluded_loss": loss(table - sum_part(table, key), answers, train),
        "explained": (sum_part(centred, key) ** 2).sum() / total,
        "sum_explained": (sum_part(centred, (1, 2, 3)) ** 2).sum() / total,
    }
    module = model.module
    embedding = module.embed.weight[:N].detach().double().numpy()
    writes = module.blocks[0].mlp.W_out.weight.detach().double().numpy()  # (d_model, neuron)
    if norm:
        writes = (writes - writes.mean(0)) * module.ln_final.weight.detach().double().numpy()[:, None]
    to_logits = module.unembed.weight[:N].detach().double().numpy() @ writes
    expected["embedding_gini"] = gini(component_norms(embedding))
    expected["neuron_logit_gini"] = gini(component_norms(to_logits))
    expected["squared_weights"] = sum((p.detach().double() ** 2).sum().item() for p in module.parameters())
    for name, value in expected.items():
        assert result.value(name) == pytest.approx(value, rel=1e-5), name
    assert result.key == key
    assert result.chosen
    assert result.random.shape == (0, 2)  # one other frequency is not two
    frame = result.to_frame().set_index("measure")
    assert list(frame.index) == list(MEASURES)
    assert set(frame.index[frame["counted"] == 0]) == {
        "random_restricted_loss", "random_excluded_loss", "random_explained",
    }  # fmt: skip


def test_pairs_of_frequencies_are_the_power_of_numpys_transform():
    model = random_adder(N)
    result = workbench.progress_measures(model, "0-6")
    table = logits_by_hand(model, N)
    table = table - table.mean(-1, keepdims=True)
    power = (np.abs(np.fft.fft2(table - table.mean((0, 1)), axes=(0, 1))) ** 2).sum(-1)
    folded = np.zeros((N // 2 + 1, N // 2 + 1))
    for k in range(N):
        for m in range(N):
            folded[min(k, N - k), min(m, N - m)] += power[k, m]
    np.testing.assert_allclose(result.pairs.numpy(), folded / power.sum(), atol=1e-6)
    assert result.pairs.sum().item() == pytest.approx(1)


def test_ideal_logits_are_all_key_and_nothing_else():
    n, key = 11, (2, 5)
    result = workbench.progress_measures(answering(ideal(n, key)), "0-10", draws=4)
    assert result.key == key
    assert not result.chosen
    assert result.value("explained") == pytest.approx(1)
    assert result.value("restricted_loss") == pytest.approx(result.value("loss"))
    assert result.value("excluded_loss") == pytest.approx(math.log(n))
    assert result.value("accuracy") == 1
    assert result.value("random_explained") == pytest.approx(0, abs=1e-12)
    assert result.value("random_restricted_loss") == pytest.approx(math.log(n))
    assert result.value("random_excluded_loss") == pytest.approx(result.value("loss"))
    assert not set(result.random.flatten().tolist()) & {2, 5}
    assert result.sums[[2, 5]].tolist() == pytest.approx([0.5, 0.5])
    assert result.pairs[2, 2].item() == pytest.approx(0.5)


@pytest.mark.parametrize(("operation", "n"), [("subtract", 11), ("multiply", 11)])
def test_other_operations_are_found_in_their_own_order(operation, n):
    waves = ideal(n if operation == "subtract" else n - 1, (3,))
    table = torch.zeros(n, n, n, dtype=torch.float64)
    log = {pow(2, k, 11): k for k in range(10)}  # 2 is a primitive root of 11
    for a in range(n):
        for b in range(n):
            for c in range(n):
                if operation == "subtract":
                    table[a, b, c] = waves[a, -b % n, c]
                elif a and b and c:
                    table[a, b, c] = waves[log[a], log[b], log[c]]
    model = answering(table)
    found = workbench.progress_measures(model, "0-10", operation=operation)
    assert found.key == (3,)
    assert found.value("explained") == pytest.approx(1)
    assert found.value("accuracy") == 1
    assert found.n == (10 if operation == "multiply" else 11)
    added = workbench.progress_measures(model, "0-10")
    assert added.value("sum_explained") < 0.2
    assert added.value("accuracy") < 0.5


def test_a_file_of_pairs_says_which_were_trained_on(tmp_path):
    mask = workbench.functional.train_pairs(N, 0.5, 1)
    lines = [f"{a}\t{b}" if a % 2 else f"{a}, {b}" for a, b in mask.nonzero().tolist()]
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join([*lines, "", ""]))
    model = random_adder(N)
    found = workbench.progress_measures(model, "0-6", train_file=str(path))
    drawn = workbench.progress_measures(model, "0-6", train_share=0.5, train_seed=1)
    assert torch.equal(found.measures.nan_to_num(-1), drawn.measures.nan_to_num(-1))
    path.write_text("1, 2\n3")
    with pytest.raises(workbench.WorkbenchError, match="Line 2"):
        workbench.progress_measures(model, "0-6", train_file=str(path))
    with pytest.raises(workbench.WorkbenchError, match="cannot be read"):
        workbench.progress_measures(model, "0-6", train_file=str(tmp_path / "none"))


def test_ids_in_the_template_are_the_words_they_stand_for():
    model = random_adder(N)
    by_name = workbench.progress_measures(model, "0-6", template="{b} = {a} =")
    by_id = workbench.progress_measures(model, "ids:0-6", template="{b} = {a} =")
    assert torch.equal(by_name.sums, by_id.sums)
    table = logits_by_hand(model, N, "{b} = {a} =")
    centred = table - table.mean(-1, keepdims=True)
    part = sum_part(centred - centred.mean((0, 1)), (2,))
    total = ((centred - centred.mean((0, 1))) ** 2).sum()
    assert by_name.sums[2].item() == pytest.approx((part**2).sum() / total, rel=1e-5)


@pytest.mark.parametrize(
    ("variable", "options", "says"),
    [
        ("0-6", {"frequencies": (4,)}, "1 to 3"),
        ("0-6", {"template": "{a} ="}, "{b}"),
        ("0-6", {"template": "{a} {b} = = = = = ="}, "reads 6"),
        ("0-5", {"operation": "multiply"}, "prime"),
        ("0-6:2", {"operation": "multiply"}, "products"),
        ("1-5:2", {}, "steps"),
        ("positions", {}, "places"),
        ("0-9", {}, "'7'"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(variable, options, says):
    with pytest.raises(workbench.BadInput, match=says):
        workbench.progress_measures(random_adder(N), variable, **options)


def test_too_many_pairs_are_refused_before_any_is_read():
    with pytest.raises(workbench.BadInput, match="at most 256"):
        workbench.progress_measures(random_adder(257), "0-256")


# ---- over checkpoints ------------------------------------------------------------------------------------------------


def test_a_history_has_the_key_of_the_last_at_every_step():
    n = 11
    tables = {0: ideal(n, (1,)), 10: 0.5 * ideal(n, (1,)) + ideal(n, (4,)), 20: ideal(n, (4,))}
    given = workbench.functional.train_pairs(n, 0.3, 2)
    loaded = []

    def load(step):
        loaded.append(step)
        return answering(tables[step])

    history = workbench.progress_history([10, 0, 20], load, "0-10", train=given, draws=2)
    assert loaded == [20, 0, 10]
    assert history.steps == (0, 10, 20)
    assert history.key == (4,)
    assert [row.nonzero()[:, 0].tolist() for row in history.key_here] == [[1], [1, 4], [4]]
    assert history.value("restricted_loss")[0].item() == pytest.approx(math.log(n))  # of what is key at the end
    for at, step in enumerate(history.steps):
        alone = workbench.progress_measures(
            answering(tables[step]), "0-10", frequencies=(4,), train_share=0.3, train_seed=2, draws=2
        )
        assert torch.equal(history.measures[at].nan_to_num(-1), alone.measures.nan_to_num(-1))
        assert torch.equal(history.sums[at], alone.sums)
    frame = history.to_frame()
    assert len(frame) == 3 * len(MEASURES)
    chosen = workbench.progress_history([0, 20], lambda step: answering(tables[step]), "0-10", frequencies=(1,))
    assert chosen.key == (1,)
    assert chosen.value("excluded_loss")[0].item() == pytest.approx(math.log(n))
    for of in ("loss", "accuracy", "gini", "explained", "weights"):
        assert history.figure(of=of).data


def test_a_history_comes_back_from_a_file(tmp_path):
    history = workbench.progress_history([0, 1], lambda step: random_adder(N, seed=step), "0-6", frequencies=(2,))
    again = workbench.load_result(history.save(tmp_path / "history.safetensors"))
    assert again.meta == history.meta
    assert again.to_frame().equals(history.to_frame())


@pytest.mark.parametrize(
    ("steps", "load", "says"),
    [
        ([], random_adder, "one or more"),
        ([1, 1], random_adder, "each once"),
        ([0], lambda step: None, "nothing"),
        ([0, 1], lambda step: random_adder(7 + step), "at the end"),
    ],
)
def test_what_is_no_history_is_a_sentence(steps, load, says):
    variable = "numbers" if says == "at the end" else "0-6"
    with pytest.raises(workbench.BadInput, match=says if variable == "0-6" else "numbers|at the end"):
        workbench.progress_history(steps, load, variable)


def test_no_pairs_and_two_kinds_of_pairs_are_refused(tmp_path):
    model, path = random_adder(), tmp_path / "pairs.txt"
    path.write_text("\n")
    with pytest.raises(workbench.BadFile, match="lists no pair: write two values of 0-6"):
        workbench.progress_measures(model, "0-6", train_file=str(path))
    path.write_text("0,1\n")
    with pytest.raises(workbench.BadInput, match="train_file and train_share both say"):
        workbench.progress_measures(model, "0-6", train_file=str(path), train_share=0.5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"draws": -1}, "draws must be a whole number of at least 0, not -1"),
        ({"seed": -2}, "seed must be a whole number of at least 0, not -2"),
        ({"train": torch.ones(7, 7, dtype=torch.bool), "train_share": 0.5}, "train and train_share both say"),
        ({"load": lambda step: random_adder(7 + step)}, "of step 0 has 9 tokens, and that of step 1 10: these are no"),
    ],
)
def test_what_a_history_cannot_take_is_a_sentence(options, says):
    given = {"load": lambda step: random_adder(seed=step)} | options
    with pytest.raises(workbench.BadInput, match=says):
        workbench.progress_history([0, 1], given.pop("load"), "0-6", **given)


def test_a_name_is_no_function_that_loads():
    with pytest.raises(workbench.BadInput, match="load is a function that gives the model of a step.*not 'run'"):
        check_load("run", "step")


def test_the_sentence_of_a_history_says_what_there_is():
    one = workbench.progress_history([3], lambda _: random_adder(), "0-6", frequencies=[2])
    assert one.brief()[0] == "Key frequencies 2."
    two = workbench.progress_history([0, 3], lambda _: random_adder(), "0-6", frequencies=[2, 1], unit="epoch")
    assert two.brief()[0] == "Key frequencies 1, 2, the same at all 2 epochs."
    none = workbench.progress_history([0, 3], lambda _: random_adder(), "0-6", share=0.9)
    assert none.brief()[0] == "No frequency has more than 90% of the variance of the logits over pairs at step 3."
