"""Results survive the round trip to a file exactly; anything that is not one is a `BadFile` and nothing else."""

import json
import math
import random
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from workbench import BadFile, BadInput, Result, load_result, plots


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample(Result, kind="test-sample"):
    scores: torch.Tensor
    extra: torch.Tensor | None = None
    tokens: tuple[str, ...] = ()
    plain: Any = None

    def to_frame(self):
        return pd.DataFrame({"pos": range(len(self.tokens)), "token": self.tokens, "score": self.scores.tolist()})

    def figure(self):
        return plots.lines(self.to_frame(), x="pos", y="score", x_labels="token")


def sample(**change) -> Sample:
    values = {"scores": torch.tensor([0.5, float("nan")]), "tokens": ("<b>", " é\n"), "meta": {"model": "m"}}
    return Sample(**{**values, **change})


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(7.5), b.nan_to_num(7.5))
    if isinstance(a, tuple):
        return type(b) is tuple and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and (a == b or a != a and b != b)


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain=plain_values)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plain_values_come_back_exactly(tmp_path, plain):
    path = sample(plain=plain).save(tmp_path / "r.safetensors")
    assert same(load_result(path).plain, plain)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_tensors_come_back_exactly(tmp_path, dtype, shape):
    tensor = torch.arange(math.prod(shape)).reshape(shape).to(dtype)
    tensor = tensor.mT if tensor.ndim == 2 else tensor  # not contiguous
    again = load_result(sample(extra=tensor).save(tmp_path / "r"))
    assert same(again.extra, tensor)
    assert again.meta == {"model": "m"}


def test_tensors_that_share_memory_and_gradients_can_be_saved(tmp_path):
    base = torch.ones(2, requires_grad=True)
    again = load_result(sample(scores=base, extra=base[:1]).save(tmp_path / "r"))
    assert again.extra.tolist() == [1.0]


def test_the_file_is_plain_safetensors_with_strict_json(tmp_path):
    path = sample(plain=(math.inf, -math.inf, math.nan)).save(tmp_path / "r")
    assert safetensors.torch.load_file(path)["scores"].shape == (2,)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])

    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    json.loads(header["__metadata__"]["values"], parse_constant=refuse)


@pytest.mark.parametrize("bad", [object(), {1: 2}, {"$float": "1"}, torch.nn.Identity(), {"a": {2, 3}}])
def test_what_cannot_be_saved_is_named_and_leaves_no_file(tmp_path, bad):
    with pytest.raises(BadInput, match="plain"):
        sample(plain=bad).save(tmp_path / "r")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    return sample(plain={"a": (1, 2.5, None)}).save(tmp_path_factory.mktemp("fuzz") / "r").read_bytes()


def unharmed(path, data) -> bool:
    """Whether the bytes load as the very same result; any error but `BadFile` goes through and fails the test."""
    path.write_bytes(data)
    try:
        again = load_result(path)
    except BadFile as error:
        assert str(path) in str(error)
        return False
    assert same(again.scores, sample().scores)
    assert same(again.tokens, sample().tokens)
    assert again.plain == {"a": (1, 2.5, None)}
    return True


def test_every_truncation_is_refused(good, tmp_path):
    assert unharmed(tmp_path / "r", good)
    for length in range(len(good)):
        assert not unharmed(tmp_path / "r", good[:length]), length
    assert not unharmed(tmp_path / "r", good + b"\0")


def test_every_altered_byte_is_refused_or_harmless(good, tmp_path):
    rng = random.Random(0)
    refused = 0
    for place in range(len(good)):
        changed = bytearray(good)
        changed[place] ^= rng.randrange(1, 256)
        refused += not unharmed(tmp_path / "r", bytes(changed))
    assert refused >= len(good) - 8  # only the padding after the header, fewer than eight bytes, may change unseen


@given(data=st.binary(max_size=200))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_foreign_bytes_are_refused(tmp_path, data):
    assert not unharmed(tmp_path / "r", data)


@given(text=st.text(max_size=60) | st.sampled_from(["[" * 50_000, "{}", "null", '{"__metadata__": 3}']))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_foreign_headers_are_refused(tmp_path, text):
    header = text.encode(errors="replace")
    assert not unharmed(tmp_path / "r", len(header).to_bytes(8, "little") + header)


def test_other_safetensors_files_are_refused(tmp_path):
    safetensors.torch.save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(BadFile, match="is not a workbench result"):
        load_result(tmp_path / "model.safetensors")


def test_a_missing_file_and_a_folder_are_sentences(tmp_path):
    with pytest.raises(BadFile, match="There is no file"):
        load_result(tmp_path / "nothing")
    with pytest.raises(BadFile, match="cannot be read"):
        load_result(tmp_path)


def test_a_kind_nobody_has_is_named(tmp_path, monkeypatch):
    path = sample().save(tmp_path / "r")
    monkeypatch.delitem(Result.kinds, "test-sample")
    with pytest.raises(BadFile, match="'test-sample' result, which no installed analysis makes"):
        load_result(path)


def test_a_result_of_another_version_is_refused(tmp_path, monkeypatch):
    @dataclass(frozen=True, eq=False, kw_only=True)
    class Other(Sample, kind="test-other"):
        added: int = 0

    path = sample().save(tmp_path / "r")
    monkeypatch.setitem(Result.kinds, "test-sample", Other)
    monkeypatch.delitem(Result.kinds, "test-other")
    with pytest.raises(BadFile, match="another version of the workbench .it differs in added"):
        load_result(path)


def test_two_classes_cannot_share_a_kind():
    with pytest.raises(TypeError, match="is taken by"):

        class Again(Result, kind="test-sample"):
            pass


def test_shows_itself_in_a_notebook_without_markup_of_tokens():
    shown = sample()._repr_mimebundle_()
    assert shown["text/plain"].startswith("<Sample of m: scores=(2,)")
    assert "<b>" not in shown["text/html"]
    assert "&lt;b&gt;" in shown["text/html"]
    first, second = sample()._repr_html_(), sample()._repr_html_()
    assert len(second) < 20_000, "the drawing library is sent once"
    assert "cdn" not in second
    assert second.count("Plotly.newPlot") == first.count("Plotly.newPlot", len(first) - 20_000) == 1


def test_results_are_changed_by_replacing():
    assert replace(sample(), tokens=("x", "y")).tokens == ("x", "y")


@pytest.mark.parametrize("path", [5, None, b"r"])
def test_what_is_no_path_is_a_sentence(path):
    with pytest.raises(BadInput, match="load_result takes the path of a saved result, not"):
        load_result(path)
