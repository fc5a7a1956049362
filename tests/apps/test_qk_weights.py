"""The page of QK weights: colours and pictures say what the numbers say, and the page keeps its address."""

import base64
import io
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import workbench
from apps.views import qk_weights as view
from apps.views.grid import by_score, in_place
from apps.views.qk_weights_figures import eigenvalue_figure, layers_figure, product_figure, spectrum_figure
from workbench.analyses.embedding.qk_weights import product_picture, product_pictures
from workbench.testing import tiny_model


@pytest.fixture(scope="module")
def model():
    return workbench.load("micro")


@pytest.fixture(scope="module")
def found(model):
    return workbench.qk_weights(model)


def redness(colour) -> int:
    return colour[0] - colour[2]


@pytest.mark.parametrize("dark", [False, True])
def test_red_is_below_and_blue_above(found, dark):
    scale = view.scale_of(found, "qk_identity", dark=dark)
    most = found.score("qk_identity").abs().max().item()
    assert scale.high == pytest.approx(most) and scale.low == -scale.high
    shades = [redness(scale.colour(value)) for value in np.linspace(-most, most, 21)]
    assert shades == sorted(shades, reverse=True) and shades[0] > 80 and shades[-1] < -80
    assert abs(shades[10]) < 40
    assert scale.colour(10 * most) == scale.palette[-1] and scale.colour(-10 * most) == scale.palette[0]
    assert scale.colour(float("nan")) == view.UNDEFINED


def test_other_scales_reach_from_least_to_most(found):
    share = view.scale_of(found, "vo_positive", dark=False)
    assert (share.low, share.high) == (0, 1)
    rank = view.scale_of(found, "vo_effective_rank", dark=False)
    values = found.score("vo_effective_rank")
    assert (rank.low, rank.high) == (pytest.approx(values.min().item()), pytest.approx(values.max().item()))
    light = [sum(rank.colour(value)) for value in np.linspace(rank.low, rank.high, 9)]
    assert light == sorted(light, reverse=True)


def pixels(sheet) -> np.ndarray:
    data = base64.b64decode(sheet["url"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_small_pictures_are_the_products(model):
    pictures = product_pictures(model, None, of="vo", size=8).numpy()
    assert pictures.shape == (2, 4, 8, 8)
    for layer, head in ((0, 0), (1, 3)):
        one = product_picture(model, None, layer, head, of="vo", size=8).numpy()
        np.testing.assert_allclose(pictures[layer, head], one, rtol=1e-5, atol=1e-7)
    drawn = pixels(view.sprite_of(pictures, dark=False))
    assert drawn.shape == (2 * 8, 4 * 8, 3)
    reds = (drawn[..., 0] - drawn[..., 2]).reshape(2, 8, 4, 8).transpose(0, 2, 1, 3)
    strong = np.abs(pictures) > np.abs(pictures).max((2, 3), keepdims=True) / 4
    assert ((reds > 0) == (pictures < 0))[strong].all()


def test_a_diagonal_is_seen():
    pictures = np.stack([np.eye(16), -np.eye(16)])[None] + 0.01
    drawn = pixels(view.sprite_of(pictures, dark=False))
    reds = drawn[..., 0] - drawn[..., 2]
    assert np.diagonal(reds[:, :16]).max() < -80 and np.diagonal(reds[:, 16:]).min() > 80
    large = np.asarray(Image.open(io.BytesIO(view.picture_of(pictures[0, 0], dark=False))).convert("RGB"))
    assert large.shape == (48, 48, 3)


def test_the_numbers_of_a_head_are_the_results(found):
    text = view.numbers(found, 1, 2)
    for number in view.NUMBERS:
        assert f"<td>{found.score(number)[1, 2].item():.3g}</td>" in text
    frame = view.table(found)
    assert list(frame.columns) == ["head", *view.NUMBERS]
    row = frame[frame["head"] == "1.2"].iloc[0]
    assert row["vo_size"] == found.score("vo_size")[1, 2].item()


def test_the_grid_sends_colours_or_pictures_in_order(found, monkeypatch):
    sent = {}
    monkeypatch.setattr(view, "component", lambda name: lambda **given: sent.update(given))
    values = found.score("qk_identity").numpy()
    scale = view.scale_of(found, "qk_identity", dark=False)
    view.weights_grid(found, "qk_identity", by_score(values), scale, sprite=None, locked="1.2", on_click=lambda: None)
    tiles = sent["data"]["tiles"]
    assert [one["id"] for one in tiles] == [f"{i // 4}.{i % 4}" for i in np.argsort(-values.reshape(-1))]
    shades = [int(one["colour"][5:], 16) - int(one["colour"][1:3], 16) for one in tiles]
    assert shades == sorted(shades, reverse=True)
    named = sent["data"]["scores"]["W_Q W_Kᵀ: closeness to identity"]
    np.testing.assert_allclose(named, sorted(values.reshape(-1), reverse=True), rtol=5e-3)
    view.weights_grid(
        found, "qk_identity", in_place(2, 4, across=False), scale, sprite={"url": ""}, locked="", on_click=lambda: None
    )
    assert [one["at"] for one in sent["data"]["tiles"]] == [[i % 4, i // 4] for i in range(8)]
    assert sent["data"]["tiles"][3]["under"] == f"{values[0, 3]:.2f}"


def test_chance_is_told_with_every_number_that_has_one(found):
    assert "62" not in view.chance(found, "qk_size") == ""
    assert f"{found.random_effective_rank:.1f} of {found.d_head}" in view.chance(found, "vo_effective_rank")
    assert f"{found.cosine_bound:.2g}" in view.chance(found, "qk_cosine")


def test_figures_draw_the_result(found, model):
    picture = product_picture(model, None, 1, 2, size=128).numpy()
    heat = product_figure(picture, found.d_model).data[0]
    np.testing.assert_allclose(heat.z, picture, atol=1e-6)
    assert heat.zmin == -heat.zmax and list(heat.x) == list(range(found.d_model))
    spectrum = spectrum_figure(found, 1, 2)
    assert len(spectrum.data) == 4 and [one.showlegend for one in spectrum.data] == [False, True, False, True]
    np.testing.assert_allclose(spectrum.data[3].y, found.singular_values[1, 2, 1] / found.singular_values[1, 2, 1, 0])
    roots = eigenvalue_figure(found, 1, 2).data[0]
    sizes = np.hypot(roots.x, roots.y)
    assert sizes.max() == pytest.approx(1) and len(sizes) == found.d_head
    by_layer = layers_figure(found)
    np.testing.assert_allclose(by_layer.data[0].y, found.score("qk_identity").mean(1), rtol=1e-6)
    np.testing.assert_allclose(by_layer.data[2].y, found.layer_cosine, rtol=1e-6)


@pytest.fixture
def at(at) -> Callable[..., AppTest]:
    """`at(**options)` is the page after its first run."""
    return partial(at, "qk_weights")


def address(app: AppTest) -> dict[str, str]:
    return {name: values[0] if isinstance(values, list) else values for name, values in app.query_params.items()}


def said(app: AppTest) -> str:
    return " ".join(block.value for block in (*app.caption, *app.info, *app.markdown)).replace("\\", "")


def test_the_page_keeps_its_address_and_sorts_its_table(at, found):
    options = {
        "number": "vo_identity",
        "sort": "number",
        "lowest": "yes",
        "tiles": "pictures",
        "locked": "1.2",
        "of": "qk",
    }
    app = at(**options)
    assert not app.exception and not app.error
    assert address(app) == {"model": "micro", **options}
    assert "**Layer 1, head 2**" in [one.value for one in app.markdown]
    values = found.score("vo_identity").flatten().tolist()
    frame = app.dataframe[0].value
    assert frame["head"].tolist() == [f"{i // 4}.{i % 4}" for i in sorted(range(8), key=lambda i: values[i])]
    assert len(app.get("plotly_chart")) == 4


def test_without_a_choice_the_head_that_stands_out_is_shown(at, found):
    values = found.score("qk_identity").abs()
    layer, head = divmod(int(values.argmax()), 4)
    app = at()
    assert "stands out most" in said(app) and f"**Layer {layer}, head {head}**" in [one.value for one in app.markdown]
    assert "a head cannot have every pattern" in said(app)


def test_what_does_not_fit_leaves_the_address(at):
    app = at(number="qk_beauty", tiles="prose", sort="up", of="kv")
    assert not app.exception and not app.error and address(app) == {"model": "micro"}


@pytest.mark.parametrize(("model", "can"), [("micro", True), ("tiny:bert", False)])
def test_a_norm_is_folded_where_there_is_one_to_fold(model, can, at):
    app = at(model=model, fold="yes")
    assert not app.exception and not app.error
    (toggle,) = (one for one in app.toggle if one.label == "Fold the norm")
    assert toggle.disabled != can
    frame = app.dataframe[0].value
    plain = workbench.qk_weights(workbench.load(model)).score("qk_identity").flatten().numpy()
    assert np.allclose(frame["qk_identity"], plain) != can


def test_other_models_have_their_own_or_a_sentence(at):
    app = at(model="tiny:t5", attention="decoder_blocks.cross_attn")
    assert not app.exception and not app.error and "decoder_blocks.cross_attn" in said(app)
    app = at(model="tiny:mamba")
    assert not app.exception and "needs maps to queries, keys and values known as numbers" in said(app)


def test_a_head_without_weights_is_grey_and_has_no_number():
    import torch

    model = tiny_model("gpt2")
    with torch.no_grad():
        model.module.get_submodule("transformer.h.0.attn.c_attn").weight[:, :8] = 0
    found = workbench.qk_weights(model)
    scale = view.scale_of(found, "qk_identity", dark=False)
    assert np.isfinite([scale.low, scale.high]).all()
    assert scale.colour(found.score("qk_identity")[0, 0].item()) == view.UNDEFINED
    assert "<td>–</td>" in view.numbers(found, 0, 0)
    assert len(eigenvalue_figure(found, 0, 0).data[0].x) == 8
    pictures = product_pictures(model, None, size=8).numpy()
    assert pixels(view.sprite_of(pictures, dark=False)).shape == (16, 16, 3)
