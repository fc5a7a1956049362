"""QK head: what the browser is sent, which points a region holds, and what is said beside the picture."""

import base64
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import workbench
from apps.text import visible
from apps.views.qk_head_attention import one_input, overlaid, place_of
from apps.views.qk_head_cloud import cloud_of
from apps.views.qk_head_regions import checked, inside
from apps.views.qk_head_tables import chosen_points, correlation_table, counts_by_token, quality_lines
from apps.views.qk_scatter import cloud_data
from apps.views.qk_scatter_data import levels, places

TEXTS = ["the cat sat on the mat.", "<b>the</b> dog ran.", "a cat and a dog sat."]
ASKED = {"texts": TEXTS, "inputs": 200, "points": 2000, "seed": 0}


@pytest.fixture(scope="module")
def found():
    return workbench.joint_qk(workbench.load("micro"), TEXTS, layer=1, head=2, dims=3)


@pytest.fixture(scope="module")
def cloud(found):
    return cloud_of(found, noun="sentence", asked="this picture", modulo=3)


def decoded(text: str, kind: type) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.dtype(kind).newbyteorder("<"))


def lasso(name: str, yaw: int, pitch: int, corners: list[tuple[int, int]]) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"

    def four(number: int) -> str:
        return "".join(digits[(number + 65536) // 36**k % 36] for k in (3, 2, 1, 0))

    return f"L{name}.{yaw}.{pitch}." + "".join(four(number) for corner in corners for number in corner)


def test_places_keep_the_shape_of_the_cloud_and_leave_out_what_has_none():
    points = np.random.default_rng(0).normal(size=(50, 3)) * [5, 1, 0.1]
    points[7, 1] = np.nan
    grid = places(points).astype(float)
    rest = np.delete(np.arange(50), 7)
    step = np.ptp(points[rest], 0).max() / 65534
    assert (grid[7] == 0).all() and grid[rest].min() >= 1 and np.ptp(grid[rest, 0]) == 65534
    between = (grid[rest][:, None] - grid[rest][None]) * step
    assert np.abs(between - (points[rest][:, None] - points[rest][None])).max() <= step * 1.001
    assert (places(np.full((4, 2), np.nan)) == 0).all() and (places(np.ones((4, 2))) == 32768).all()


def test_numbers_are_known_to_a_part_in_65534():
    values = np.array([3.0, -1.5, np.nan, 0.25])
    sent = levels(values)
    steps = decoded(sent["values"], np.uint16).astype(float)
    assert steps[2] == 65535 and (sent["low"], sent["high"]) == (-1.5, 3.0)
    back = sent["low"] + (sent["high"] - sent["low"]) * np.delete(steps, 2) / 65534
    assert np.abs(back - [3.0, -1.5, 0.25]).max() <= 4.5 / 65534 / 2 + 1e-12
    assert decoded(levels(np.full(3, np.nan))["values"], np.uint16).tolist() == [65535] * 3


def test_each_point_is_sent_with_its_own_token_place_and_sentence(found, cloud):
    content, version = cloud_data(cloud)
    count = len(found.labels)
    assert (content["count"], content["queries"], content["dims"]) == (count, count // 2, 3)
    words = [content["words"][i] for i in decoded(content["word"], np.uint32)]
    assert words == [visible(label) for label in found.labels]
    assert decoded(content["position"], np.uint16).tolist() == found.position.tolist()
    assert decoded(content["input"], np.uint32).tolist() == found.input.tolist()
    assert content["texts"] == TEXTS
    strongest = decoded(content["strongest"], np.uint32).reshape(-1, content["each"])
    assert np.where(strongest == 2**32 - 1, -1, strongest.astype(int)).tolist() == found.strongest.tolist()
    weights = decoded(content["weights"], np.uint8).reshape(-1, content["each"]) / 255
    assert np.abs(weights - found.strongest_weights.numpy()).max() <= 0.5 / 255 + 1e-6
    assert version == cloud_data(cloud)[1]


def test_colours_say_what_the_result_knows(found, cloud):
    colours = {one.name: one for one in cloud.colours}
    kinds = colours["query or key"]
    assert (kinds.index == np.where(found.is_key, 2, 1)).all()
    mod = colours["position mod"]
    assert (mod.index == found.position.numpy() % 3 + 1).all()
    assert [item["text"] for item in mod.legend["items"]] == ["0 mod 3", "1 mod 3", "2 mod 3"]
    assert colours["norm"].numbers == pytest.approx(found.norms.numpy(), rel=1e-6)
    assert all(len(one.light) == len(one.dark) > one.index.max() - 1 for one in cloud.colours)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (-300, 200), (1234, -850)])
def test_a_lasso_holds_the_points_that_are_seen_within_it(cloud, yaw, pitch):
    corners = [
        (round(9000 + 12000 * math.cos(a)), round(-4000 + 15000 * math.sin(a))) for a in np.linspace(0, 6.28, 17)[:-1]
    ]
    mask = inside(lasso(cloud.name, yaw, pitch, corners), cloud)
    turn = Rotation.from_euler("x", pitch / 10, degrees=True) * Rotation.from_euler("y", yaw / 10, degrees=True)
    seen = turn.apply(places(cloud.coordinates).astype(float) - 32768)[:, :2]
    ends = np.array(corners)
    edges = np.roll(ends, -1, 0) - ends
    to = seen[:, None] - ends[None]
    left = edges[:, 0] * to[..., 1] - edges[:, 1] * to[..., 0]  # a convex path that goes round to the left
    assert (mask == (left > 0).all(1)).all()
    assert 0 < mask.sum() < len(mask)


def test_a_lasso_that_crosses_itself_leaves_out_what_it_goes_round_twice(cloud):
    once = [(-65000, -65000), (65000, -65000), (65000, 65000), (-65000, 65000)]
    assert inside(lasso(cloud.name, 0, 0, once), cloud).all()
    assert not inside(lasso(cloud.name, 0, 0, [*once, once[0], *once[1:]]), cloud).any()


def test_other_regions(found, cloud):
    labels = np.array(found.labels)
    assert (inside("Tt", cloud) == np.isin(labels, ["t", "T"])).all()
    assert (inside("H%3Cb", cloud) == np.array(["<b" in label.casefold() for label in labels])).all()
    assert (inside("S1", cloud) == (found.input.numpy() == 1)).all()
    assert (inside("K1.query%20or%20key", cloud) == found.is_key.numpy()).all()
    assert not inside("K1.no%20such", cloud).any()


@pytest.mark.parametrize(
    "text", ["", "x", "T", "S", "Sx", "K", "Kx.norm", "L", "Lxxxxxx.0.0.1ekg1suv", "T" + "a" * 5000]
)
def test_what_is_no_region_leaves_the_address(cloud, text):
    with pytest.raises(ValueError, match=r".*"):
        checked(text, cloud)


def test_a_lasso_of_another_picture_leaves_the_address(cloud):
    corners = [(0, 0), (9, 0), (9, 9)]
    assert checked(text := lasso(cloud.name, 0, -10, corners), cloud) == text
    with pytest.raises(ValueError, match=r".*"):
        checked(lasso("000000", 0, -10, corners), cloud)


def test_an_input_is_read_again_by_this_head(found):
    one = one_input(workbench.load("micro"), found, 1, ASKED)
    head = workbench.head(workbench.load("micro"), TEXTS[1], layer=1, head=2)
    assert one.queries == head.queries and one.picture is None
    assert one.pattern == pytest.approx(head.pattern.numpy(), abs=1e-6)
    first = int((found.input == 1).nonzero()[0, 0])
    for k in range(found.strongest.shape[1]):
        point = int(found.strongest[first + 5, k])
        assert found.strongest_weights[first + 5, k].item() == pytest.approx(
            one.pattern[5, int(found.position[point])], abs=1e-6
        )


def test_a_patch_is_framed_and_the_strongest_is_the_bluest(tiny):
    model = tiny("vit")
    found = workbench.joint_qk(model, "example", layer=0, head=0, inputs=2)
    one = one_input(model, found, 0, {"texts": "example", "inputs": 2, "seed": 0})
    assert one.picture is not None
    patches = [(i, place) for i, label in enumerate(one.keys) if (place := place_of(label))]
    assert len(patches) == len(one.keys) - 1 and place_of("CLS") is None
    position, own = patches[2]
    picture, largest, rest = overlaid(one, position, of_key=False)
    assert rest == pytest.approx(one.pattern[position, 0], abs=1e-6)
    assert largest == pytest.approx(one.pattern[position, 1:].max(), abs=1e-6)
    pixels = np.asarray(picture).astype(int)
    across = max(column for _, (_, column) in patches) + 1
    side = pixels.shape[0] // across
    assert tuple(pixels[own[0] * side, own[1] * side]) == (217, 130, 43)
    plain = np.asarray(overlaid(one, position, of_key=True)[0]).astype(int)
    centre = [(row * side + side // 2, column * side + side // 2) for _, (row, column) in patches]
    strongest = int(np.argmax([one.pattern[position, i] for i, _ in patches]))
    greyness = [np.abs(pixels[at] - [47, 127, 196]).sum() for at in centre]
    assert strongest == int(np.argmin(greyness)) and not (plain == pixels).all()


def test_the_selection_is_counted_by_token(found):
    chosen = np.random.default_rng(1).random(len(found.labels)) < 0.4
    table = counts_by_token(found, chosen)
    rows = {token: tuple(rest) for token, *rest in table.to_numpy().tolist()}
    for label in set(found.labels):
        same = np.array([one == label for one in found.labels])
        mine, keys = int((same & chosen).sum()), int((same & chosen & found.is_key.numpy()).sum())
        assert rows.get(visible(label), (0, 0, 0, 0)) == (mine, mine - keys, keys, mine / same.sum())
    assert table["points"].is_monotonic_decreasing
    points = chosen_points(found, chosen)
    assert len(points) == chosen.sum() and set(points["text"]) == set(TEXTS)


def test_what_is_printed_beside_is_what_was_measured(found):
    table = correlation_table(found)
    for s, stage in enumerate(workbench.functional.STAGES):
        for d, distance in enumerate(workbench.functional.DISTANCES):
            assert table.loc[stage, distance] == found.correlations[s, d, 0].item()
    said = " ".join(quality_lines(found, metric="PCA"))
    for part in (f"{found.n_pairs:,} pairs", f"{found.scale:.3g}", f"{found.trustworthiness:.2f}"):
        assert part in said
    assert f"{found.preservation:.0%} of neighbours" in said and f"{found.explained:.0%} of the variance" in said
    assert "before keys were moved" not in said
    worse = replace(found, correlations=found.correlations.flip(0) * torch.tensor([1.0, 0.9, 0.5])[:, None, None])
    assert "before keys were moved" in " ".join(quality_lines(worse, metric="PCA"))
