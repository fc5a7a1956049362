"""Training: a plain loop's numbers, cut off anywhere and gone on with to the same weights."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import workbench
from workbench import training

STEPS, LONG = 12, 80
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def module() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5), nn.Linear(5, 1))


def loss(net: nn.Module, step: int) -> torch.Tensor:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
    return (net(x) - x.sum(-1, keepdim=True)).square().mean()


def adamw(parameters) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.1)


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def by_hand(steps: int, seed: int = 3) -> torch.Tensor:
    net = module().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.05, weight_decay=0.1)
    for step in range(steps):
        torch.manual_seed(seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = 0.05 / (1 + step)
        optimizer.zero_grad()
        loss(net, step).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
    return weights(net)


def run(steps: int = STEPS, net: nn.Module | None = None, **options) -> training.Training:
    options = {"seed": 3, "schedule": lambda step: 1 / (1 + step), "clip": 0.5, **options}
    return training.train(net or module(), options.pop("loss", loss), steps=steps, optimizer=adamw, **options)


def test_is_a_plain_loop():
    assert torch.equal(weights(run().module), by_hand(STEPS))


def test_the_global_generator_is_left_as_it_was():
    net, before = module(), torch.get_rng_state()
    run(net=net)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_cut_off_and_gone_on_it_is_the_uninterrupted_training(tmp_path: Path, cut: int):
    def stop(_label: str, done: int, _total: int | None) -> None:
        if done == cut:
            raise workbench.Stopped("enough")

    measure = {"measure": lambda net, step: {"size": weights(net).norm().item()}, "measure_at": range(0, STEPS, 2)}
    whole = run(**measure)
    with pytest.raises(workbench.Stopped), workbench.reporting(stop):
        run(folder=tmp_path, **measure)
    resumed = run(folder=tmp_path, **measure)
    assert torch.equal(weights(resumed.module), weights(whole.module))
    assert resumed.history == whole.history
    assert [row["step"] for row in whole.history] == [*range(0, STEPS, 2), STEPS]


def test_killed_it_loses_only_what_came_after_the_last_state(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("workbench.training.loop.SUSPEND_EVERY", 0.0)

    def dies(net: nn.Module, step: int) -> torch.Tensor:
        if step == 7:
            raise KeyboardInterrupt
        return loss(net, step)

    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, loss=dies)
    began = []

    def told(net: nn.Module, step: int) -> torch.Tensor:
        began.append(step)
        return loss(net, step)

    assert torch.equal(weights(run(folder=tmp_path, loss=told).module), by_hand(STEPS))
    assert began[0] == 7


def trains_in(folder: Path) -> None:
    training.loop.SUSPEND_EVERY = 0.0
    run(LONG, folder=folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is copied")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_process_goes_on_to_the_same_weights(tmp_path: Path):
    """Killed again and again at moments of no choice, amid updates and amid writing, it still gets there."""
    kills, ended, state = 0, False, tmp_path / "training.safetensors"
    while not ended:
        process = multiprocessing.get_context("fork").Process(target=trains_in, args=(tmp_path,))
        process.start()
        assert process.pid
        before = state.stat().st_mtime_ns if state.exists() else 0
        while process.is_alive() and not (state.exists() and state.stat().st_mtime_ns > before):
            time.sleep(0.002)  # until it has come further
        time.sleep(0.003 * kills)
        if kills < 4 and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        ended = process.exitcode == 0
    assert kills >= 2
    again = run(LONG, folder=tmp_path, loss=None)  # nothing is left to do
    assert torch.equal(weights(again.module), by_hand(LONG))


def test_it_is_transformer_lens_s_trainer_on_the_same_batches(capsys):
    from transformer_lens.tools.training import TrainConfig, train

    class Told(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.inner, self.batches = nn.Linear(3, 5), []

        def forward(self, tokens, return_type):
            self.batches.append(tokens)
            return self.inner(tokens.float()).square().mean()

    data = [{"tokens": torch.randn(3, generator=torch.Generator().manual_seed(i))} for i in range(10)]
    config = TrainConfig(
        num_epochs=2, batch_size=4, lr=0.1, weight_decay=0.01, max_grad_norm=0.3, warmup_steps=4, device="cpu"
    )
    theirs, ours = Told(), Told()
    train(theirs, config, data)  # pyright: ignore[reportArgumentType] - a list will do
    training.train(
        ours,
        lambda net, step: net(theirs.batches[step], return_type="loss"),
        steps=6,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.01),
        schedule=lambda step: min(1.0, step / 4),
        clip=0.3,
    )
    assert len(theirs.batches) == 6 and not torch.equal(weights(ours), weights(Told()))
    assert torch.equal(weights(ours), weights(theirs))


def test_a_training_goes_on_on_another_device(tmp_path: Path):
    """Without dropout, whose draws are each device's own; sums are rounded in another order. Only a machine with a GPU
    has another device: on others this says that a training can be cut into two.
    """
    other = DEVICES[-1]

    def plain(net: nn.Sequential, step: int) -> torch.Tensor:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step)).to(next(net.parameters()).device)
        return (net[2](net[0](x)) - x.sum(-1, keepdim=True)).square().mean()

    whole = weights(run(loss=plain).module)
    run(5, loss=plain, folder=tmp_path, net=module().to(other))
    assert torch.allclose(weights(run(loss=plain, folder=tmp_path).module), whole, atol=1e-5)
    run(5, loss=plain, folder=tmp_path / "back")
    back = run(loss=plain, folder=tmp_path / "back", net=module().to(other))
    assert torch.allclose(weights(back.module).cpu(), whole, atol=1e-5)


def test_a_finished_training_is_not_done_again_and_can_be_gone_on_with(tmp_path: Path):
    run(5, folder=tmp_path)
    run(5, folder=tmp_path, loss=None)
    assert torch.equal(weights(run(folder=tmp_path).module), by_hand(STEPS))


def test_keeps_the_weights_of_chosen_steps_and_measures_without_dropout():
    kept, modes = {}, []
    run(
        keep={0, 4},
        save=lambda net, step: kept.update({step: weights(net)}),
        measure=lambda net, step: modes.append(net.training) or {},
        measure_at={2},
    )
    assert kept.keys() == {0, 4}
    assert torch.equal(kept[4], by_hand(4))
    assert modes == [False, False]


def test_another_training_in_the_folder_is_a_sentence(tmp_path: Path):
    run(5, folder=tmp_path, settings={"width": 5})
    with pytest.raises(workbench.BadInput, match="width 5 instead of 6"):
        run(folder=tmp_path, settings={"width": 6})
    with pytest.raises(workbench.BadInput, match="seed 3 instead of 4"):
        run(folder=tmp_path, settings={"width": 5}, seed=4)
    with pytest.raises(workbench.BadInput, match="another model"):
        run(folder=tmp_path, settings={"width": 5}, net=nn.Linear(3, 1))
    with pytest.raises(workbench.BadInput, match="5 steps, more than 4"):
        run(4, folder=tmp_path, settings={"width": 5})
    (tmp_path / "training.safetensors").write_bytes(b"no such thing")
    with pytest.raises(workbench.BadFile, match="Remove it to begin again"):
        run(folder=tmp_path, settings={"width": 5})


def not_a_number_from(bad: int, of_gradient: bool):
    def made(net: nn.Module, step: int) -> torch.Tensor:
        value = loss(net, step)
        if step < bad:
            return value
        return value + (0 * next(net.parameters()).sum()).square().sqrt() if of_gradient else value * torch.nan

    return made


@pytest.mark.parametrize("of_gradient", [False, True])
def test_a_diverged_training_says_so_and_keeps_the_last_sound_state(tmp_path: Path, of_gradient: bool):
    run(5, folder=tmp_path)
    before = (tmp_path / "training.safetensors").read_bytes()
    kept: list[int] = []
    first = 8 if of_gradient else 7  # of weights that are no numbers, or of a loss that is none
    with pytest.raises(workbench.BadWeights, match=f"diverged: after {first} steps"):
        run(
            folder=tmp_path,
            loss=not_a_number_from(7, of_gradient),
            keep=range(20),
            save=lambda _net, step: kept.append(step),
        )
    assert kept == [5, 6, 7]
    assert (tmp_path / "training.safetensors").read_bytes() == before
    with pytest.raises(workbench.BadWeights, match=f"after {STEPS if of_gradient else STEPS - 1} steps"):
        run(loss=not_a_number_from(STEPS - 1, of_gradient))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("bad", "said"), [(0, "before the first step its loss is nan"), (7, "after 7 steps its loss")])
def test_the_step_at_which_the_loss_was_no_number_is_named(tmp_path: Path, device: str, bad: int, said: str):
    """Though nothing is measured, kept or written for long after; on a CPU the training ends there, too."""
    seen: list[int] = []

    def infinite(net: nn.Sequential, step: int) -> torch.Tensor:
        seen.append(step)
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step)).to(device)
        return net(x).square().mean() * (torch.nan if step == bad else 1.0)

    with pytest.raises(workbench.BadWeights, match=said):
        run(200, loss=infinite, folder=tmp_path, net=module().to(device))
    assert seen[-1] == (bad if device == "cpu" else training.watch.TOGETHER - 1)
    assert not list(tmp_path.iterdir())


def test_losses_looked_at_together_name_the_first_that_is_infinite():
    losses = training.watch.Losses()
    losses._kept = [(step, torch.tensor(torch.inf if step in (5, 6) else 1.0)) for step in range(3, 9)]
    with pytest.raises(workbench.BadWeights, match="after 5 steps its loss is inf"):
        losses.look()
    losses.look()  # nothing is left


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda value: value.item(), r"At step 0 loss gave a float; .* no .item\(\)"),
        (lambda value: None, "loss gave nothing"),
        (lambda value: value.expand(2, 3), r"tensor of shape \(2, 3\); .* by .mean\(\)"),
        (lambda value: value.detach(), "without gradient; .* no .detach"),
        (lambda value: value.to(torch.complex64), "complex"),
    ],
)
def test_a_loss_that_cannot_be_gone_back_from_is_a_sentence(tmp_path: Path, given, said: str):
    with pytest.raises(workbench.BadInput, match=said):
        run(loss=lambda net, step: given(loss(net, step)), folder=tmp_path)
    assert not list(tmp_path.iterdir())
    run(1, loss=lambda net, step: loss(net, step).reshape(1, 1))  # one number all the same


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path: Path):
    (tmp_path / "state").write_text("mine")
    for folder in (tmp_path / "state", tmp_path / "state" / "below"):
        with pytest.raises(workbench.BadInput, match="cannot be a training's folder .* another path"):
            run(folder=folder)
    assert (tmp_path / "state").read_text() == "mine"


def test_interrupted_it_goes_on_from_the_last_whole_step(tmp_path: Path):
    def interrupted(net: nn.Module, step: int) -> torch.Tensor:
        if step == 7:
            raise KeyboardInterrupt
        return loss(net, step)

    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, loss=interrupted)
    began: list[int] = []
    resumed = run(folder=tmp_path, loss=lambda net, step: began.append(step) or loss(net, step))
    assert began[0] == 7
    assert torch.equal(weights(resumed.module), by_hand(STEPS))


def test_what_cannot_be_kept_is_refused_before_anything_runs(tmp_path: Path):
    with pytest.raises(workbench.BadInput, match="settings are kept as JSON"):
        run(folder=tmp_path, settings={"type": torch.float32}, loss=None)
    with pytest.raises(workbench.BadInput, match="dict of numbers"):
        run(measure=lambda net, step: {"weights": weights(net)}, measure_at={0}, loss=None)
    found = run(1, measure=lambda net, step: {"loss": loss(net, step)}, folder=tmp_path)
    assert isinstance(found.history[0]["loss"], float)


def test_another_optimizer_does_not_go_on(tmp_path: Path):
    run(3, folder=tmp_path)
    with pytest.raises(workbench.BadInput) as refused:
        training.train(module(), loss, steps=5, optimizer=lambda p: torch.optim.SGD(p, lr=0.1), seed=4, folder=tmp_path)
    assert str(refused.value).partition("settings: ")[2] == (  # not the options, which come with the kind
        "optimizer 'AdamW' instead of 'SGD', optimizer.clip 0.5 instead of None, seed 3 instead of 4. Give another "
        "folder, or remove it."
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"clip": 0.1}, r"optimizer.clip 0.5 instead of 0.1"),
        ({"lr": 0.1}, r"optimizer.lr 0.05 instead of 0.1"),
        ({"frozen": True}, "of 4 of the model's parameters, not of 2"),
        ({"net": module().double()}, "another model"),
    ],
)
def test_another_configuration_does_not_go_on(tmp_path: Path, changed, said):
    run(3, folder=tmp_path)

    def other(parameters):
        kept = list(parameters)[: 2 if changed.get("frozen") else None]
        return torch.optim.AdamW(kept, lr=changed.get("lr", 0.05), weight_decay=0.1)

    with pytest.raises(workbench.BadInput, match=said):
        training.train(
            changed.get("net", module()),
            loss,
            steps=5,
            optimizer=other,
            seed=3,
            clip=changed.get("clip", 0.5),
            folder=tmp_path,
        )


def test_how_an_optimizer_computes_may_differ(tmp_path: Path):
    """Fused or not, the numbers are the same but for rounding; so another device may take another way."""
    run(3, folder=tmp_path)
    fused = training.train(
        module(),
        loss,
        steps=STEPS,
        optimizer=lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1, fused=True),
        seed=3,
        schedule=lambda step: 1 / (1 + step),
        clip=0.5,
        folder=tmp_path,
    )
    assert torch.allclose(weights(fused.module), by_hand(STEPS), atol=1e-6)


def test_an_optimizer_that_remembers_words_has_no_folder(tmp_path: Path):
    class Odd(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                for parameter in group["params"]:
                    self.state[parameter]["mood"] = "fine"

    with pytest.raises(workbench.BadInput, match="What Odd remembers cannot be kept"):
        training.train(module(), loss, steps=1, optimizer=lambda p: Odd(p, lr=0.1), folder=tmp_path)


def test_keeping_needs_to_know_how():
    with pytest.raises(workbench.BadInput, match=r"save\(module, step\)"):
        run(keep={3}, loss=None)


def test_forgotten_a_training_begins_anew(tmp_path: Path):
    run(5, folder=tmp_path / "a" / "b")
    (tmp_path / "a" / "model.safetensors").touch()
    training.forget(tmp_path)
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == ["model.safetensors"]
    began: list[int] = []
    run(1, folder=tmp_path / "a" / "b", loss=lambda net, step: began.append(step) or loss(net, step))
    assert began == [0]


def test_a_history_comes_back_from_its_file(tmp_path: Path):
    rows = [{"step": 100000, "setting": "a", "loss": 0.0000123456}, {"step": 2, "setting": "b", "loss": float("nan")}]
    path = training.write_history(rows, tmp_path / "training.json")
    assert training.read_history(path) == [
        {"step": 100000, "setting": "a", "loss": 1.235e-05},
        {"step": 2, "setting": "b", "loss": None},
    ]
    assert len(path.read_text().splitlines()) == 4
    with pytest.raises(workbench.BadInput, match="numbers and words"):
        training.write_history([{"loss": torch.ones(2)}], path)
    for text in ("[1]", "{", "{}"):
        path.write_text(text)
        with pytest.raises(workbench.BadFile, match="no history"):
            training.read_history(path)


def test_progress_begins_where_the_training_stands(tmp_path: Path):
    heard: list[tuple] = []
    run(5, folder=tmp_path)
    with workbench.reporting(lambda *told: heard.append(told)):
        run(7, folder=tmp_path, label="mine")
    assert heard == [("mine", 5, 7), ("mine", 6, 7), ("mine", 7, 7)]


def test_the_end_of_a_shorter_training_is_no_row_of_a_longer_one(tmp_path: Path):
    measure = {"measure": lambda net, step: {"size": weights(net).norm().item()}, "measure_at": range(0, STEPS, 4)}
    run(5, folder=tmp_path, **measure)
    assert [row["step"] for row in run(folder=tmp_path, **measure).history] == [0, 4, 8, STEPS]
