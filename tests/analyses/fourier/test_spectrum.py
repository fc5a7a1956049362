"""Spectra of variables: against numpy on transformers' own states, on planted circles, and in words."""

import re

import numpy as np
import pytest
import torch

import workbench
from tests.variables.token_models import token_model
from workbench.testing import tiny_model

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def folded(table: np.ndarray) -> np.ndarray:
    """Power at frequency 1, 2, ... of the centred columns, by the full transform."""
    n = len(table)
    power = (np.abs(np.fft.fft(table - table.mean(0), axis=0)) ** 2).sum(1) / n
    return np.array([power[k] + (power[n - k] if 2 * k != n else 0) for k in range(1, n // 2 + 1)])


def spectrum(result: workbench.Result, place: str, column: str = "power") -> np.ndarray:
    frame = result.to_frame()
    return frame.loc[frame["place"] == place, column].to_numpy()


def planted(table: torch.Tensor, parameter: str = "transformer.wte.weight") -> workbench.LensModel:
    """A tiny GPT-2 whose blocks add nothing, with a table in the rows of the letters."""
    model = tiny_model("gpt2")
    with torch.no_grad():
        for block in model.module.transformer.h:
            for written in (block.attn.c_proj, block.mlp.c_proj):
                written.weight.zero_(), written.bias.zero_()
        rows = workbench.variable("letters", model).tokens() if "wte" in parameter else slice(len(table))
        model.module.get_parameter(parameter)[rows] = table.float()
    return model


def circle(n: int, k: int, d: int = 16) -> torch.Tensor:
    plane, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(d, 2)))
    turn = 2 * np.pi * k * np.arange(n) / n
    return torch.tensor(np.stack([np.cos(turn), np.sin(turn)], 1) @ plane.T + 0.5)


def test_every_place_is_that_of_plain_transformers(tiny):
    model = tiny("llama")
    result = workbench.fourier_spectrum(model, "letters", template="abc {}")
    kept: dict[str, list] = {}

    def keep(name):
        def hook(_module, _args, output):
            kept.setdefault(name, []).append((output[0] if isinstance(output, tuple) else output)[0, -1].numpy())

        return hook

    layers = model.module.model.layers
    parts = {"resid_post": lambda layer: layer, "attn_out": lambda layer: layer.self_attn}
    parts["mlp_out"] = lambda layer: layer.mlp
    handles = [
        of(layer).register_forward_hook(keep(f"blocks.{i}.{part}"))
        for i, layer in enumerate(layers)
        for part, of in parts.items()
    ]
    with torch.no_grad():
        for letter in LETTERS:
            model.module(**model.processor(f"abc {letter}", return_tensors="pt"))
    for handle in handles:
        handle.remove()
    ids = [model.processor.get_vocab()[letter] for letter in LETTERS]
    kept["embed"] = list(model.module.get_input_embeddings().weight.detach()[ids].numpy())
    kept["unembed"] = list(model.module.lm_head.weight.detach()[ids].numpy())
    assert set(kept) == set(result.places)
    for place, rows in kept.items():
        table = np.stack(rows).astype(np.float64)
        np.testing.assert_allclose(spectrum(result, place), folded(table), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(spectrum(result, place, "share"), folded(table) / folded(table).sum(), rtol=1e-4)
        steps = np.stack([np.ones(26), np.arange(26)], 1)
        left = table - steps @ np.linalg.lstsq(steps, table, rcond=None)[0]
        trend = 1 - (left**2).sum() / ((table - table.mean(0)) ** 2).sum()
        assert float(result.trend[result.places.index(place)]) == pytest.approx(trend, abs=1e-5)


@pytest.mark.parametrize("k", [1, 5, 12])
def test_a_planted_frequency_is_found_and_only_it(k):
    result = workbench.fourier_spectrum(planted(circle(26, k)), "letters", kept=2)
    for place in ("embed", "unembed", "blocks.0.resid_post", "blocks.1.resid_post"):
        shares = spectrum(result, place, "share")
        assert shares[k - 1] == pytest.approx(1, abs=1e-5) and np.delete(shares, k - 1).max() < 1e-5
        at = result.places.index(place)
        assert int(result.strongest[at, 0]) == k and float(result.null[at]) < 0.5
        assert float(result.held[at, 0]) == pytest.approx(1, abs=1e-5)
        assert float(result.roundness[at, 0]) == pytest.approx(1, abs=1e-3)
        turn = 2 * np.pi * k * np.arange(26) / 26
        np.testing.assert_allclose(result.coordinates[at, 0], np.stack([np.cos(turn), np.sin(turn)], 1), atol=1e-3)
    frame = result.strongest_frame().set_index("part")
    assert frame.loc["embed", "frequency"] == k and frame.loc["embed", "above the null"] == 1
    assert frame.loc["embed", "period"] == f"{26 / k:.4g} letters"


def test_what_blocks_do_not_add_is_nan_and_counted():
    frame = workbench.fourier_spectrum(planted(circle(26, 3)), "letters").to_frame()
    rows = frame[frame["part"].isin(["attn_out", "mlp_out"])]
    assert rows["share"].isna().all() and (rows["values"] == 0).all() and (rows["power"] == 0).all()
    assert (frame[frame["part"] == "embed"]["values"] == 26).all()


def test_the_same_rows_in_another_order_are_no_wave():
    order = torch.tensor(np.random.default_rng(0).permutation(26))
    result = workbench.fourier_spectrum(planted(circle(26, 3)[order]), "letters", parts=("embed",), draws=400)
    assert float(result.shares.max()) < float(result.null[0]) < 0.4


@pytest.mark.parametrize("detrend", [False, True])
def test_the_null_is_the_95th_percentile_of_random_orders(tiny, detrend):
    model = tiny("gpt2")
    result = workbench.fourier_spectrum(model, "digits", parts=("embed",), detrend=detrend, draws=40, seed=3)
    table = model.module.get_input_embeddings().weight.detach()[workbench.variable("digits", model).tokens()].double()
    shares = workbench.functional.shuffled_shares(table, 40, seed=3, detrend=detrend).numpy()
    assert float(result.null[0]) == pytest.approx(np.quantile(shares, 0.95))


def test_a_straight_line_leaks_into_low_frequencies_and_can_be_taken_off():
    line = torch.linspace(-3, 3, 26)[:, None] * torch.eye(16)[:1].double()
    model = planted(line + circle(26, 4) * 0.3)
    found, without = (
        workbench.fourier_spectrum(model, "letters", parts=("embed",), detrend=detrend) for detrend in (False, True)
    )
    assert int(found.strongest[0, 0]) == 1 and int(without.strongest[0, 0]) == 4
    assert float(found.trend[0]) > 0.8 and without.detrended
    torch.testing.assert_close(found.trend, without.trend)  # always of the table as found


def test_positions_show_what_is_planted_in_their_embedding():
    model = planted(circle(20, 4), "transformer.wpe.weight")
    result = workbench.fourier_spectrum(model, "positions:20")
    assert result.places[0] == "pos_embed" and result.parts[0] == "embed" and "unembed" not in result.parts
    assert spectrum(result, "pos_embed", "share")[3] == pytest.approx(1, abs=1e-5)
    assert spectrum(result, "blocks.1.resid_post", "share")[3] > 0.5 and result.unit == "positions"
    no_table = workbench.fourier_spectrum(tiny_model("llama"), "positions:20")
    assert any("no embedding of positions" in note for note in no_table.notes) and "embed" not in no_table.parts


def test_values_of_several_tokens_are_read_in_the_template_alone():
    pieces = [*"0123456789", " ", "The", " is"]
    result = workbench.fourier_spectrum(token_model(pieces), "0-45:5", template="The {} is", kept=12, draws=20)
    assert set(result.parts) == {"resid_post", "attn_out", "mlp_out"} and result.strongest.shape[1] == 5
    assert any("'10' is 2 tokens" in note for note in result.notes)
    assert any("Rows of embed and unembed are left out" in note for note in result.notes)
    frame = result.to_frame()
    assert frame["period"].head(5).tolist() == [50, 25, pytest.approx(50 / 3), 12.5, 10]
    axis = result.figure().to_dict()["layout"]["xaxis"]
    assert (
        list(axis["ticktext"]) == ["50", "25", "16.67", "12.5", "10"] and "period in numbers" in axis["title"]["text"]
    )


def test_only_what_is_there_is_looked_at(tiny):
    result = workbench.fourier_spectrum(tiny("mamba"), "letters", draws=20)
    assert [note for note in result.notes if "no attn_out" in note or "no mlp_out" in note] == list(
        result.notes[-2:]
    ) or (sum("is left out" in note for note in result.notes) == 2)
    result = workbench.fourier_spectrum(tiny("clip"), "letters", draws=20)
    assert "unembed" not in result.parts and any("no unembedding" in note for note in result.notes)
    result = workbench.fourier_spectrum(tiny("t5"), "letters", draws=20)
    assert result.places[2].startswith("encoder_blocks.0.")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (
            {"variable": "days", "parts": ("embed",)},
            "7 of the 7 values of days are not one token .* 'Monday' is 6 tokens",
        ),
        ({"variable": "1,2,4"}, "not evenly spaced"),
        ({"variable": "a,b"}, "3 to 4096 values"),
        ({"variable": "a,b,\u03c9"}, "does not know '\u03c9'"),
        ({"variable": "numbers"}, "'digits'.*template"),
        ({"variable": "letters", "template": "The day after"}, "holds {} once"),
        ({"variable": "letters", "template": "x" * 80 + "{}"}, "reads 64"),
        ({"variable": "letters", "parts": ()}, "parts is empty"),
        ({"variable": "ids:0-98"}, "run from 0 to 97"),
    ],
)
def test_what_cannot_be_looked_at_is_a_sentence(tiny, asked, sentence):
    with pytest.raises(workbench.BadInput, match=sentence):
        workbench.fourier_spectrum(tiny("gpt2"), **asked)
    with pytest.raises(workbench.BadInput, match="Nothing is left to look at.*no mlp_out"):
        workbench.fourier_spectrum(tiny("micro"), "letters", parts=("mlp_out",))


def test_hostile_values_are_data_in_every_picture(tiny):
    result = workbench.fourier_spectrum(
        tiny("gpt2"), "<img src=x onerror=alert(1)>,{0},$x$", template="<b>{}", draws=20
    )
    figures = (result.figure(), result.circle(result.places[0]))
    assert not re.search(r"<img|<b>[^r]|\$x\$", "".join(figure.to_json() for figure in figures))
    assert result.values == ("<img src=x onerror=alert(1)>", "{0}", "$x$")
    with pytest.raises(workbench.UnknownName, match="No place called 'nowhere'"):
        result.circle("nowhere")
    with pytest.raises(workbench.BadInput, match="has planes for the frequencies"):
        result.circle(result.places[0], 7)
