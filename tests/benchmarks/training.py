"""What the training loop costs beside a plain one."""

import tempfile
from pathlib import Path

import torch

from tests.benchmarks.attribution import processor_seconds
from tests.benchmarks.harness import Measured, bench, ratio

STEPS = 60


@bench("training a study's model, steps a second", at_least=0.9, unit="x the plain loop")
def steps_per_second() -> Measured:
    """The model of modular addition at its full batch, 60 steps at a time with its state on disk at the end of each 60,
    against a loop of zero_grad, backward and step over the same loss, in turns; processor time.
    """
    from case_studies.modular_addition import train
    from workbench.training import train as trained

    config = train.TrainConfig(steps=STEPS)
    given = train.data(config)
    module = train.initial_model(config)

    def adamw(parameters):
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98))

    def loop() -> None:
        optimizer = adamw(module.parameters())
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            train.loss_of(module, given, given.train).backward()
            optimizer.step()

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            trained(
                module,
                lambda one, step: train.loss_of(one, given, given.train),
                steps=STEPS,
                optimizer=adamw,
                folder=Path(folder),
            )

    loop()  # warm
    ours()
    return ratio(lambda: processor_seconds(loop), lambda: processor_seconds(ours), rounds=5)
