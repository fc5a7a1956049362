"""Training checkpoints on the command line: a number is a step, as in Python's checkpoint="1000"."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import workbench
from workbench.analyses.fourier.spectrum_result import FourierSpectrum
from workbench.cli import main
from workbench.models.small import SmallConfig, SmallTransformer, save_small, word_tokenizer

WORDS = tuple(map(str, range(7)))


def made(seed: int) -> SmallTransformer:
    torch.manual_seed(seed)
    return SmallTransformer(SmallConfig(vocab_size=8, n_ctx=4, n_layers=1, d_model=8, n_heads=1, d_head=8, d_mlp=0))


def test_digits_on_the_command_line_are_the_step_of_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for step in (1, 2, 3):
        save_small(made(step), word_tokenizer(WORDS), tmp_path / f"checkpoint-{step}")
    spectrum = workbench.get("fourier-spectrum")
    values: dict[str, Any] = {"variable": "0-6", "parts": ("embed",), "draws": 20}
    for chosen, step in (("1", 1), ("step2", 2), ("checkpoint-3", 3), (-1, 3)):
        line = spectrum.as_command(str(tmp_path), values, checkpoint=chosen)
        assert main([*shlex.split(line)[1:], "--out", str(tmp_path / "found"), "--json"]) == 0
        own = workbench.fourier_spectrum(
            workbench.load(tmp_path, checkpoint=str(step)), "0-6", parts=("embed",), draws=20
        )
        found = workbench.load_result(tmp_path / "found")
        assert isinstance(found, FourierSpectrum) and torch.equal(found.power, own.power)
    capsys.readouterr()
    with pytest.raises(workbench.BadInput, match="by its step.*not by its place 1"):
        spectrum.as_command(str(tmp_path), values, checkpoint=1)
    assert main(["check", str(tmp_path), "--checkpoint", "0"]) == 2
    assert "no training checkpoint '0'; it has step1, step2, step3" in capsys.readouterr().err
