"""Spectra along the tokens: against numpy on transformers' own states, and on states that are planted."""

import numpy as np
import pytest
import torch

import workbench
from workbench.testing import tiny_model

PROMPT = "the quick brown fox jumps"


def hidden(model, prompt=PROMPT):
    with torch.no_grad():
        out = model.module(**model.processor(prompt, return_tensors="pt"), output_hidden_states=True)
    return out.hidden_states[1][0].double().numpy()  # after the first block


def by_numpy(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(power of the centred states, amplitude over that of the constant) by the real transform."""
    n = len(states)
    waves = np.fft.rfft(states, axis=0)
    amplitude = np.sqrt((np.abs(waves) ** 2).sum(1))
    twice = np.array([0] + [1 if 2 * k == n else 2 for k in range(1, n // 2 + 1)])
    return amplitude**2 * twice / n, amplitude / amplitude[0]


@pytest.mark.parametrize(("skip", "cut"), [(0, 0.5), (1, 0.5), (2, 0.25)])
def test_states_are_those_of_plain_transformers(tiny, skip, cut):
    model = tiny("neox")
    result = workbench.token_spectrum(model, PROMPT, skip=skip, cut=cut)
    at = result.places.index("blocks.0.resid_post")
    power, amplitude = by_numpy(hidden(model)[skip:])
    np.testing.assert_allclose(result.power[at], power, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.log_amplitude[at], np.log(amplitude), rtol=1e-3, atol=1e-4)
    above = [k for k in range(1, len(power)) if k > cut * (len(power) - 1)]
    assert float(result.high[at]) == pytest.approx(power[above].sum() / power[1:].sum(), rel=1e-4)
    assert result.first_high == above[0] and result.positions == len(hidden(model)) - skip


def planted(rows: torch.Tensor) -> workbench.LensModel:
    """A tiny GPT-2 with these position embeddings, token embeddings all alike, and blocks that add nothing."""
    model = tiny_model("gpt2")
    with torch.no_grad():
        for block in model.module.transformer.h:
            for written in (block.attn.c_proj, block.mlp.c_proj):
                written.weight.zero_(), written.bias.zero_()
        model.module.transformer.wte.weight.fill_(0.1)
        model.module.transformer.wpe.weight[1 : 1 + len(rows)] = rows
    return model


def test_smooth_states_have_little_at_high_frequencies_and_alternating_ones_all():
    turn = 2 * torch.pi * torch.arange(12) / 12
    for rows, expected in ((turn.cos(), 0), (turn.mul(6).cos(), 1)):
        model = planted(rows[:, None].expand(-1, 16))
        result = workbench.token_spectrum(model, "a" * 12)
        assert result.positions == 12
        at = result.places.index("blocks.1.resid_post")
        assert float(result.high[at]) == pytest.approx(expected, abs=1e-5)
        low, top = result.shuffled[at].tolist()
        assert (float(result.high[at]) < low) if expected == 0 else (float(result.high[at]) > top)
        frame = result.to_frame()
        assert (frame[frame["part"] == "attn_out"]["positions"] == 0).all()


def test_random_orders_are_around_the_chance_that_is_told(tiny):
    result = workbench.token_spectrum(tiny("gpt2"), PROMPT, draws=2000)
    count, first = result.positions, result.first_high
    components = sum(1 if 2 * k == count else 2 for k in range(first, count // 2 + 1))
    assert result.chance == pytest.approx(components / (count - 1))
    assert ((result.shuffled[:, 0] < result.chance) & (result.chance < result.shuffled[:, 1])).all()


def test_the_brief_counts_places_outside_the_random_orders(tiny):
    result = workbench.token_spectrum(tiny("gpt2"), PROMPT)
    said, table = result.brief()
    assert f"{result.positions} positions" in said and table["part"].tolist() == ["resid", "attn_out", "mlp_out"]
    low, high = result.shuffled[:3, 0], result.high[:3]
    assert table["below"][0] == int((high < low).sum()) and table["places"].tolist() == [3, 2, 2]
    assert {trace.name for trace in result.figure().data} == {"resid", "attn_out", "mlp_out", "random order"}
    assert result.spectrum("mlp_out").data
    with pytest.raises(workbench.UnknownName, match="No part called 'attn'"):
        result.spectrum("attn")


def test_what_is_too_short_or_missing_is_a_sentence(tiny):
    with pytest.raises(workbench.BadInput, match="has 4 positions and the first 1 are left out.*needs 4 or more"):
        workbench.token_spectrum(tiny("gpt2"), "abc")
    assert workbench.token_spectrum(tiny("gpt2"), "abc", skip=0).positions == 4
    assert any("no mlp_out" in note for note in workbench.token_spectrum(tiny("micro"), "abcdef").notes)
    assert workbench.token_spectrum(tiny("t5"), "abcdef => a").places[0].startswith("encoder_blocks")
