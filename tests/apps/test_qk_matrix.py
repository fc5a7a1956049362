"""The QK matrix: every point at its pixel and in its colour, numbers as in the result, and the page around it."""

import base64
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

import workbench
from apps.screens.qk_asked import OPTIONS
from apps.views import qk_matrix as view
from apps.views.grid import by_score, in_place
from apps.views.qk_colours import CATEGORIES, LEVELS, OTHER, painted
from apps.views.qk_matrix_figure import matrix_figure
from apps.views.qk_search import matching
from apps.views.scatter_pictures import scatter_pictures, scatter_png, scatter_sheet, within_bytes
from workbench.analyses.embedding.colourings import Colouring, colourings

FEW = {"inputs": "6", "points": "200"}
LOOK = view.Look(colour="query or key", modulo=5, show="both", find="", exact=False, dark=False)


@pytest.fixture(scope="module")
def found():
    return workbench.get("joint-qk-matrix")(workbench.load("micro"), inputs=6, points=200)


def middle_of(picture: np.ndarray, colour: int) -> tuple[float, float]:
    """(x, y) of the pixels of a colour, y upwards."""
    rows, columns = np.nonzero(picture == colour)
    return columns.mean(), picture.shape[0] - 1 - rows.mean()


def test_each_point_is_where_its_coordinates_say():
    corners = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    picture = scatter_pictures(corners[None], np.array([1, 2, 3, 4], np.uint8), side=200)[0]
    at = np.array([middle_of(picture, colour) for colour in (1, 2, 3, 4)])
    scale = (at[1, 0] - at[0, 0]) / 4  # pixels a unit
    assert scale > 40  # the widest axis fills the picture
    assert np.allclose((at - at[0]) / scale, corners, atol=0.03)  # and the other has the same scale


def test_a_picture_is_the_same_beside_others():
    points = np.random.default_rng(0).normal(size=(5, 300, 2))
    points[3] *= 1000
    colours = np.random.default_rng(1).integers(1, 9, 300).astype(np.uint8)
    together = scatter_pictures(points, colours, side=64)
    for head in range(5):
        assert (together[head] == scatter_pictures(points[head : head + 1], colours, side=64)[0]).all()
    moved = scatter_pictures(points * 7 - 3, colours, side=64)
    assert (moved != together).mean() < 0.01  # neither place nor size matter, but for rounding


def test_what_is_not_a_number_or_hidden_is_not_drawn():
    points = np.random.default_rng(0).normal(size=(3, 50, 2)).astype(np.float16)
    points[0, 7] = np.nan
    points[1] = np.nan
    colours = np.full(50, 2, np.uint8)
    colours[7], colours[9] = 1, 0
    pictures = scatter_pictures(points, colours, side=80)
    assert set(np.unique(pictures[0])) == {0, 2} and not pictures[1].any()
    assert set(np.unique(pictures[2])) == {0, 1, 2}


def test_outliers_are_drawn_at_the_edge_and_leave_the_rest_its_room():
    points = np.random.default_rng(0).normal(size=(1, 2000, 2))
    points[0, 0] = 1e4, 0
    colours = np.ones(2000, np.uint8)
    colours[0] = 2
    picture = scatter_pictures(points, colours, side=120)[0]
    x, _ = middle_of(picture, 2)
    assert x > 110
    assert (picture == 1).any(0).sum() > 90


def test_points_in_front_are_seen():
    colours = np.ones(4000, np.uint8)
    colours[123] = 2
    front = np.arange(4000) == 123
    points = np.zeros((1, 4000, 2))
    assert (scatter_pictures(points, colours, side=90, front=front) == 2).sum() > 1
    drawn_anyhow = [(scatter_pictures(points, colours, side=90, seed=seed) == 2).any() for seed in range(20)]
    assert not all(drawn_anyhow)


def test_no_colour_covers_another_for_its_place_in_the_list():
    points = np.random.default_rng(0).normal(size=(1, 3000, 2))
    points[0, 1500:] = points[0, :1500]  # each place has a point of both colours
    picture = scatter_pictures(points, np.repeat([1, 2], 1500).astype(np.uint8), side=120)
    first, second = (picture == 1).sum(), (picture == 2).sum()
    assert 0.8 < first / second < 1.25


def test_what_has_no_colour_of_its_own_is_behind():
    points = np.random.default_rng(0).normal(size=(2, 3000, 2))
    colours = np.repeat([1, 2, 3], 1000).astype(np.uint8)
    alone = scatter_pictures(points, np.where(colours == 1, 0, colours), side=120)
    picture = scatter_pictures(points, colours, side=120, behind=1)
    assert ((picture > 1) == (alone > 1)).all() and (picture == 1).any()


def test_the_sheet_is_one_png_with_a_palette_and_nothing_where_no_point_is():
    pictures = scatter_pictures(np.random.default_rng(0).normal(size=(7, 40, 2)), np.full(40, 2, np.uint8), side=50)
    sheet = scatter_sheet(pictures, ((9, 9, 9), (200, 100, 50)), columns=3)
    image = Image.open(io.BytesIO(base64.b64decode(sheet["url"].partition(",")[2])))
    assert (sheet["rows"], sheet["columns"], image.mode, image.size) == (3, 3, "P", (150, 150))
    shown = np.asarray(image.convert("RGBA"))
    for i, picture in enumerate(pictures):
        row, column = divmod(i, 3)
        tile = shown[50 * row : 50 * row + 50, 50 * column : 50 * column + 50]
        assert (tile[picture == 0][:, 3] == 0).all()
        assert (tile[picture == 2] == (200, 100, 50, 255)).all()
    assert Image.open(io.BytesIO(scatter_png(pictures[0], ((9, 9, 9), (1, 2, 3))))).size == (50, 50)


@pytest.mark.parametrize("heads", [8, 270, 1024])
def test_the_pictures_of_all_heads_are_small(heads):
    """Points scattered evenly in random colours, which compress worst."""
    rng = np.random.default_rng(0)
    points = rng.random((heads, 1500, 2)).astype(np.float16)
    colours = rng.integers(1, 10, 1500).astype(np.uint8)
    pictures, sheet = within_bytes(points, colours, (*CATEGORIES, OTHER), columns=min(heads, 32))
    assert len(sheet["url"]) < 2.5e6
    assert pictures.shape[1] >= {8: 300, 270: 120, 1024: 48}[heads]


# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as each kind of colour blindness sees it.
BLINDNESS = {
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colours) -> np.ndarray:
    share = np.array(colours) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = rgb.clip(0, 1) @ to_xyz.T / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


@pytest.mark.parametrize("kind", BLINDNESS)
def test_categories_are_told_apart_by_the_colour_blind(kind):
    seen = lab(linear(CATEGORIES) @ np.array(BLINDNESS[kind]).T)
    least = min(np.linalg.norm(seen[i] - seen[j]) for i, j in combinations(range(len(seen)), 2))
    assert least > (18 if kind != "none" else 35)


@pytest.mark.parametrize("page", [(255, 255, 255), (0x15, 0x19, 0x1C)])
def test_categories_are_seen_on_both_pages(page):
    weights = np.array([0.2126, 0.7152, 0.0722])
    light, ground = linear(CATEGORIES) @ weights, linear([page])[0] @ weights
    contrast = (np.maximum(light, ground) + 0.05) / (np.minimum(light, ground) + 0.05)
    assert contrast.min() > 1.95


def test_frequent_categories_have_a_colour_and_the_rest_is_other():
    names = tuple("abcdefghijkl")
    values = np.array([i for i in range(12) for _ in range(12 - i)], float)
    paint = painted(Colouring(name="token", kind="category", values=values, categories=names))
    counts = Counter(paint.index.tolist())
    assert [counts[i] for i in range(1, 10)] == [12, 11, 10, 9, 8, 7, 6, 5, 4 + 3 + 2 + 1]
    items = paint.legend["items"]
    assert [item["text"] for item in items] == [*"abcdefgh", "other"]
    assert [item["count"] for item in items] == [counts[i] for i in range(1, 10)]
    assert paint.palette[8] == OTHER and len(set(paint.palette)) == len(paint.palette) and paint.dim == 10


def test_unknown_values_are_grey_and_said():
    some = np.array([0, 1, np.nan, 0])
    for paint in (
        painted(Colouring(name="part of speech", kind="category", values=some, categories=("noun", "verb"))),
        painted(Colouring(name="brightness", kind="number", values=some)),
        painted(Colouring(name="hue", kind="circular", values=some / 2)),
    ):
        assert paint.palette[paint.index[2] - 1] == OTHER
        text = "no hue" if paint.legend["title"] == "hue" else "not known"
        assert paint.legend["items"][-1] | {"text": text, "count": 1} == paint.legend["items"][-1]


def test_numbers_run_along_the_scale_between_the_percentiles():
    values = np.append(np.linspace(0, 100, 999), 1e6)
    paint = painted(Colouring(name="position", kind="number", values=values))
    assert (np.diff(paint.index[:-1].astype(int)) >= 0).all()
    assert (paint.index[0], paint.index[-2], paint.index[-1]) == (1, LEVELS, LEVELS)
    assert (paint.legend["low"], paint.legend["high"]) == ("≤ 1", "≥ 99.1")  # places 9.99 and 989.01 of 999
    counts = Counter(paint.index.tolist())
    assert max(counts.values()) < 2 * min(counts.values())


def test_a_round_scale_ends_where_it_begins():
    turns = np.array([0.0, 0.49, 0.51, 0.999])
    for name in ("hue", "orientation"):
        paint = painted(Colouring(name=name, kind="circular", values=turns))
        colours = np.array([paint.palette[i - 1] for i in paint.index], float)
        near, far = np.linalg.norm(colours[0] - colours[3]), np.linalg.norm(colours[0] - colours[1])
        assert near < far / 3 and np.linalg.norm(colours[1] - colours[2]) < far / 3


def test_positions_modulo_a_large_number_are_on_a_round_scale():
    def mod(n: int):
        values = np.arange(40) % n
        names = tuple(map(str, range(n)))
        return painted(Colouring(name="position mod", kind="category", values=values.astype(float), categories=names))

    assert "bar" not in mod(8).legend and len(set(mod(8).index.tolist())) == 8
    assert "bar" in mod(9).legend and len(set(mod(9).index.tolist())) == 9
    assert (mod(9).index[:9] == mod(9).index[9:18]).all()


def test_norms_are_on_each_heads_own_scale():
    norms = np.array([[1.0, 2, 3], [100, 200, 300], [5, 5, 5]])
    paint = painted(Colouring(name="norm", kind="number", values=None), norms=norms)
    assert (paint.index[0] == paint.index[1]).all() and paint.index[0, 0] == 1 and paint.index[0, 2] == LEVELS
    assert paint.index[2].tolist() == [1, 1, 1] and "own scale" in paint.legend["note"]


def test_light_and_dark_differ_in_colours_and_not_in_places(found):
    for one in colourings(found).values():
        norms = found.norms.numpy().reshape(8, -1) if one.values is None else None
        light, dark = (painted(one, norms=norms, dark=dark) for dark in (False, True))
        assert (light.index == dark.index).all() and light.palette != dark.palette
        assert len(light.palette) == len(dark.palette) and light.index.max() < light.dim


@pytest.mark.parametrize(
    ("text", "exact", "which"),
    [
        ("the", False, [0, 1, 2, 4]),
        ("THE ", True, [0, 1, 4]),
        ("##the", True, [4]),
        ("other", False, [2]),
        ("é", False, [5]),
        ("nothing", False, []),
    ],
)
def test_a_search_finds_tokens_whatever_their_case_and_spaces(text, exact, which):
    labels = (" the", "The", "other", "a", "##the", "CAFÉ")
    assert np.flatnonzero(matching(labels, text, exact=exact)).tolist() == which


def test_a_search_is_counted_and_the_others_are_dimmed_in_every_head(found):
    look = replace(LOOK, find="E")
    colouring = colourings(found)["query or key"]
    one = view.drawn(found, colouring, look)
    labels = [label.strip().lower() for label in found.labels]
    hits = [i for i, label in enumerate(labels) if "e" in label]
    keys = sum(bool(found.is_key[i]) for i in hits)
    assert one.found is not None and np.flatnonzero(one.found).tolist() == hits
    said = view.count_of(one.found, found)
    assert said.startswith(f"{len(hits)} of {len(labels)} points match: {len(hits) - keys} queries and {keys} keys")
    assert all({1, 2, one.paint.dim} == set(np.unique(picture)) - {0} for picture in one.pictures)

    nothing = view.drawn(found, colouring, replace(LOOK, find="no such token"))
    assert nothing.found is not None and not nothing.found.any()
    assert (nothing.pictures == view.drawn(found, colouring, LOOK).pictures).all()


def test_hiding_keys_leaves_the_queries_where_they_are(found):
    colouring = colourings(found)["query or key"]
    both, queries, keys = (
        view.drawn(found, colouring, replace(LOOK, show=show)) for show in ("both", "queries", "keys")
    )
    assert set(np.unique(queries.pictures)) == {0, 1} and set(np.unique(keys.pictures)) == {0, 2}
    assert ((both.pictures > 0) == ((queries.pictures > 0) | (keys.pictures > 0))).all()


def test_the_numbers_beside_the_picture_are_those_of_the_result(found):
    said = view.said(found, "PCA", "sentences", {"seed": 3}).replace("\\", "")
    mean = found.correlations[..., 0, 0].mean((0, 1)).tolist()
    for stage, value in zip(("before", "translated", "aligned"), mean, strict=True):
        assert f"{value:.2f} {stage}".replace("-", "−") in said
    trust, kept = found.quality.mean((0, 1)).tolist()
    n = int((~found.is_key).sum())
    assert f"PCA of {n} queries and {n} keys from {len(found.texts)} sentences, seed 3" in said
    assert f"trustworthiness {trust:.2f}, {kept:.2f} of the neighbours" in said

    other = view.said(found, "PCA", "sentences", {"seed": 0, "shared": True, "translate": False})
    assert "one picture for all heads, keys not translated" in other and "picture for all" not in said

    card = view.numbers(found, 1, 2)
    for s, stage in enumerate(("before", "translated", "aligned")):
        cosine, euclidean = (f"{found.correlations[1, 2, s, d, 0]:.2f}".replace("-", "−") for d in range(2))
        assert f"<tr><td>{stage}</td><td>{cosine}</td><td>{euclidean}</td></tr>" in card
    assert f"<td>norm gap</td><td></td><td>{view.brief(found.score('norm gap')[1, 2].item())}</td>" in card

    frame = view.table(found)
    assert frame["head"].tolist() == [f"{layer}.{head}" for layer in range(2) for head in range(4)]
    for name in found.score_names:
        assert np.allclose(frame[name], found.score(name).flatten(), equal_nan=True)


def test_skipped_heads_are_named_and_counted(found):
    coordinates, quality = found.coordinates.clone(), found.quality.clone()
    coordinates[1, 1], quality[1, 1] = torch.nan, torch.nan
    hurt = replace(
        found, skipped=((1, 1, "all its <b>queries</b> are the same vector"),), coordinates=coordinates, quality=quality
    )
    assert view.left_out(found) == ""
    assert view.left_out(hurt).replace("\\", "").startswith("1 of 8 heads skipped: 1.1 (all its <b>queries")
    assert "<b>" not in view.left_out(hurt)
    values = hurt.score("correlation").numpy()
    assert [text == "skipped" for text in view.under(hurt, values)] == [i == 5 for i in range(8)]
    assert view.table(hurt)["skipped"].tolist()[5].startswith("all its")
    rest = quality.flatten(0, 1)[[0, 1, 2, 3, 4, 6, 7]].mean(0).tolist()
    told = view.said(hurt, "PCA", "sentences", {"seed": 0}).replace("\\", "")
    assert f"trustworthiness {rest[0]:.2f}, {rest[1]:.2f} of the neighbours" in told
    assert "<td>trustworthiness</td><td></td><td>–</td>" in view.numbers(hurt, 1, 1)
    one = view.drawn(hurt, colourings(hurt)["norm"], replace(LOOK, colour="norm"))
    assert not one.pictures[5].any() and all(one.pictures[i].any() for i in range(8) if i != 5)


def test_numbers_are_short():
    values = [0.0, -0.001, -0.987, 9.996, -12.34, 123.4, float("nan")]
    assert [view.brief(value) for value in values] == ["0.00", "0.00", "−0.99", "10.0", "−12.3", "123", "–"]


def test_the_locked_heads_picture_is_the_same_larger(found):
    for name in ("token", "norm"):
        look = replace(LOOK, colour=name, find="e")
        one = view.drawn(found, colourings(found)[name], look)
        large = np.asarray(Image.open(io.BytesIO(view.picture(found, one, look, 1, 2))))
        small = one.pictures[6]
        assert large.shape == (view.BIG, view.BIG)
        assert set(np.unique(large)) >= set(np.unique(small))


@pytest.mark.parametrize("colour", ["token", "position", "norm"])
def test_the_figure_holds_every_head_and_the_legend(found, colour):
    one = view.drawn(found, colourings(found)[colour], replace(LOOK, colour=colour))
    values = found.score("norm gap").numpy()
    layout = by_score(values, columns=3)
    figure = matrix_figure(one, layout, 4, view.under(found, values), title="<b>micro</b>")
    assert [(image.x, image.y) for image in figure.layout.images] == [(i % 3, i // 3) for i in range(8)]
    texts = [text.split() for text in figure.data[0].text]
    best = max(range(8), key=lambda i: values.reshape(-1)[i])
    assert texts[0] == [f"{best // 4}.{best % 4}", view.brief(values.reshape(-1)[best])]
    assert "<b>" not in figure.layout.title.text
    legends = [trace.name for trace in figure.data[1:] if trace.name]
    assert len(legends) == len(one.paint.legend.get("items", []))
    assert any(trace.marker.showscale for trace in figure.data) == ("bar" in one.paint.legend)


def test_layouts_of_all_heads():
    assert in_place(2, 4, across=False).columns == 4
    assert by_score(np.arange(30.0), columns=8).columns == 8


@pytest.fixture
def at(at, monkeypatch, tmp_path) -> Callable[..., AppTest]:
    """`at(**options)` is the page after its first run, on a few inputs and with a cache of its own."""
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    return partial(at, "qk_matrix", **FEW)


def address(app: AppTest) -> dict[str, str]:
    return {name: values[0] if isinstance(values, list) else values for name, values in app.query_params.items()}


def box(app: AppTest, kind: str, label: str):
    (one,) = (one for one in getattr(app, kind) if one.label.startswith(label))
    return one


def said(app: AppTest) -> str:
    shown = (*app.caption, *app.info, *app.warning, *app.markdown)
    return " ".join(block.value for block in shown).replace("\\", "")


def test_what_alignment_costs_is_said(matrix_of_two_costs):
    worse, same = matrix_of_two_costs
    asked = {"seed": 0, "inputs": 6, "points": 200}
    assert "Distance said more before keys were moved" in view.said(worse, "PCA", "sentences", asked)
    assert "Distance said more" not in view.said(same, "PCA", "sentences", asked)
    assert "Distance said more" not in view.said(worse, "PCA", "sentences", {**asked, "translate": False})


@pytest.fixture
def matrix_of_two_costs():
    found = workbench.get("joint-qk-matrix")(workbench.load("micro"), inputs=6, points=200)
    correlations = found.correlations.clone()
    correlations[:, :, 0], correlations[:, :, 2] = -0.9, -0.5
    return replace(found, correlations=correlations), replace(found, correlations=correlations.flip(2))


def test_the_page_says_what_is_drawn_and_keeps_the_address(at):
    options = {"colour": "token", "sort": "norm gap", "lowest": "yes", "locked": "1.2", "find": "E", "exact": "yes"}
    app = at(**options)
    assert not app.exception and not app.error
    assert address(app) == {"model": "micro", **FEW, **options}
    found = workbench.get("joint-qk-matrix")(workbench.load("micro"), inputs=6, points=200)
    drawn = view.said(found, "PCA", "sentences", {"seed": 0, "inputs": 6, "points": 200}).replace("\\", "")
    assert "from 2 sentences (whole ones up to 200 tokens)" in drawn
    assert drawn in said(app)
    hits = [label.strip().lower() == "e" for label in found.labels]
    assert f"{sum(hits)} of {len(hits)} points match" in said(app)
    assert "**Layer 1, head 2**" in [one.value for one in app.markdown]
    frame = app.dataframe[0].value
    values = found.score("norm gap").flatten().tolist()
    assert frame["head"].tolist() == [f"{i // 4}.{i % 4}" for i in sorted(range(8), key=lambda i: values[i])]
    assert np.allclose(frame["norm gap"], sorted(values))


def test_what_does_not_fit_leaves_the_address(at):
    app = at(colour="brightness", sort="no such score", locked="9.9", modulo="1", texts="scikit-image", seed="-4")
    assert not app.exception and not app.error
    assert set(address(app)) - {"locked", "seed"} == {"model", *FEW}
    assert "Click a picture" in said(app)


@pytest.mark.parametrize(
    ("model", "there", "missing", "colour"),
    [
        ("micro", {"token", "position", "norm", "group"}, {"brightness", "hue", "row", "part of speech"}, "norm"),
        ("tiny:vit", {"position", "norm", "row", "column", "brightness", "hue"}, {"token", "part of speech"}, "hue"),
    ],
)
def test_only_colours_that_the_data_has_are_offered(model, there, missing, colour, at):
    app = at(model=model, colour=colour, inputs="2")
    assert not app.exception and not app.error
    offered = set(box(app, "selectbox", "Colour by").options)
    assert there <= offered and not missing & offered
    corpora = box(app, "selectbox", "Inputs").options
    assert any("Brown" in name for name in corpora) == (model == "micro")
    assert any("photographs" in name for name in corpora) == (model != "micro")
    assert address(app)["colour"] == colour


def test_a_change_of_the_picture_is_kept_and_runs_no_model(at, monkeypatch):
    app = at()
    monkeypatch.setattr("workbench.registry.Analysis.__call__", None)  # would fail
    box(app, "selectbox", "Colour by").set_value("position mod").run()
    assert not app.exception and not app.error
    box(app, "number_input", "n").set_value(3).run()
    box(app, "text_input", "Search").set_value("no such token").run()
    box(app, "selectbox", "Order by").set_value("entropy").run()
    assert not app.exception and not app.error
    assert "No token of this sample holds “no such token”" in said(app)
    shown = app.dataframe[0].value["entropy"].tolist()
    assert shown == sorted(shown, reverse=True) and shown[0] > shown[-1]
    kept = {"colour": "position mod", "modulo": "3", "find": "no such token", "sort": "entropy"}
    assert address(app) == {"model": "micro", **FEW, **kept}


def test_what_is_asked_is_shared_with_the_page_of_one_head(at):
    app = at(seed="7", texts="example")
    pages = app.session_state["state:pages"]
    asked = {name: text for name, text in pages["qk_matrix"].items() if name in OPTIONS}
    assert asked == {"seed": "7", "texts": "example", **FEW}
    assert {name: text for name, text in pages["qk_head"].items() if name in OPTIONS} == asked


def test_a_corpus_that_is_not_there_is_a_sentence(at):
    app = at(texts="/no/such/folder")
    assert not app.exception
    assert any("/no/such/folder" in error.value.replace("\\", "") for error in app.error)


def test_a_model_without_queries_and_keys_gets_a_sentence(at):
    app = at(model="tiny:mamba")
    assert not app.exception and not app.error and "mamba" in said(app)
