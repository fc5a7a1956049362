"""A program that captures in children and kills them (-9): at random moments, then at every step of writing.

Everything is imported once, and each child is a fork of this process, so that forty killed captures cost seconds. It
says as JSON what each kill left behind.
"""

import json
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

import torch

from workbench import progress
from workbench.capture import capture
from workbench.testing import tiny_model

SITES = ["blocks.*.resid_post", "blocks.0.attn.pattern"]
TEXTS = ["abcdefghijk"[: 1 + n % 11] for n in range(260)]


def run(folder: Path, texts: list[str], pause: float = 0.0, started: int | None = None) -> None:
    """Capture `texts` into `folder`, `pause` seconds a batch, and say on the pipe `started` when each begins."""

    def listen(label: str, done: int, total: int | None) -> None:
        if label == "capturing":
            if started is not None:
                os.write(started, b"x")
            time.sleep(pause)

    with progress.reporting(listen):
        capture(MODEL, texts, SITES, batch_size=2, store=folder)


def forked(work) -> int:
    """Process id of a child that does `work` and ends; never comes back from it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def left(folder: Path) -> dict[str, object]:
    """What a kill left: whether the store opens, how many shards are whole, how many leftovers there are."""
    from workbench import ActivationStore
    from workbench.errors import BadFile

    leftovers = sum(path.name.endswith(".part") for path in folder.iterdir()) if folder.exists() else 0
    try:
        store = ActivationStore(folder)
    except BadFile as error:
        return {"shards": 0, "bad": 0, "leftovers": leftovers, "manifest": str(error)}
    return {"shards": len(store.manifest.shards), "bad": len(store.verify()), "leftovers": leftovers}


def at_random(folder: Path, kills: int, seed: int) -> list[dict[str, object]]:
    """Kill `kills` captures of one store, each some batches and milliseconds after its first batch began."""
    generator, reports = random.Random(seed), []
    while len(reports) < kills:
        read, write = os.pipe()
        pid = forked(lambda write=write: run(folder, TEXTS, 0.005, write))
        os.close(write)
        for _ in range(1 + generator.randrange(7)):
            assert select.select([read], [], [], 60)[0], "the capture never began"
            os.read(read, 1)
        time.sleep(generator.uniform(0, 0.01))
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        os.close(read)
        reports.append({"killed": os.WIFSIGNALED(status), **left(folder)})
    return reports


def at_every_step(folder: Path) -> list[dict[str, object]]:
    """Kill a capture of a fresh store at its first, second, third ... opening or renaming of a file, until one ends."""
    reports: list[dict[str, object]] = []
    while not reports or reports[-1]["killed"]:
        step = len(reports)
        here, count = folder / str(step), [0]

        def dying(here: Path = here, count: list[int] = count, step: int = step) -> None:
            def hook(event: str, args: tuple) -> None:
                if event in ("open", "os.mkdir", "os.rename", "os.remove") and str(here) in str(args[0]):
                    if count[0] == step:
                        os.kill(os.getpid(), signal.SIGKILL)
                    count[0] += 1

            sys.addaudithook(hook)
            run(here, TEXTS[:6])

        status = os.waitpid(forked(dying), 0)[1]
        reports.append({"killed": os.WIFSIGNALED(status), **left(here)})
        assert os.waitpid(forked(lambda here=here: run(here, TEXTS[:6])), 0)[1] == 0
    return reports


if __name__ == "__main__":
    torch.set_num_threads(1)
    MODEL = tiny_model("gpt2")
    root = Path(sys.argv[1])
    for name, texts in (("whole", TEXTS), ("short", TEXTS[:6])):
        assert os.waitpid(forked(lambda name=name, texts=texts: run(root / name, texts)), 0)[1] == 0
    random_kills = at_random(root / "random", int(sys.argv[2]), seed=int(sys.argv[3]))
    assert os.waitpid(forked(lambda: run(root / "random", TEXTS)), 0)[1] == 0
    steps = at_every_step(root / "steps")
    sys.stdout.write(json.dumps({"random": random_kills, "steps": steps}))
