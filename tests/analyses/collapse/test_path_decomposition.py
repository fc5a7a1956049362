"""Path decomposition: sums are the model's own output in every family, lengths are counted right, paths in order."""

import pytest
import torch

import workbench
from tests.analyses.collapse.by_hand import Maps, seen
from workbench import functional, registry
from workbench.testing import FAMILIES, example_input, tiny_model

ANALYSIS = "path-decomposition"
CLAIMED = [name for name in FAMILIES if not registry.get(ANALYSIS).missing(tiny_model(name))]
PROMPT = "abcabd"


@pytest.mark.parametrize("family", CLAIMED)
def test_all_lengths_together_are_the_models_own_output(family):
    model = tiny_model(family)
    for of in ("logit", "state"):
        found = workbench.path_decomposition(model, example_input(family), of=of)
        assert found.contributions.dtype == torch.float64
        assert found.to_frame()["value"].sum() == pytest.approx(found.score, abs=1e-12)
        assert abs(found.rounding) <= 1e-6 * max(1.0, abs(found.score))
    own = model.logits(model.encode(example_input(family))) if "logits" in model.capabilities else None
    if own is not None:
        at = found.position if own.shape[1] > 1 else 0
        logit = workbench.path_decomposition(model, example_input(family)).score
        assert logit == pytest.approx(own[0, at].max().item(), abs=1e-5)


def test_in_double_precision_the_sum_is_exact_to_1e_10():
    model = tiny_model("gpt2")
    model.module.double()
    found = workbench.path_decomposition(model, PROMPT)
    assert abs(found.rounding) < 1e-10


class Frozen:
    """One run with its patterns and norms' divisors held, done forwards by hand, each head's output times a number."""

    def __init__(self, model, prompt):
        self.model = model
        self.values, self.patterns = seen(model, model.encode(prompt))
        self.at = self.values[model.stream("resid_post")[-1]].shape[0] - 1

    def norm(self, norm, x, read, constant=True):
        scale = functional.norm_scale(read, centred=norm.centred, eps=norm.eps)
        x = functional.frozen_norm(x, scale, centred=norm.centred, weight=norm.weight.double())
        return x if norm.bias is None or not constant else x + norm.bias.double()

    def forward(self, factor):
        model = self.model
        x = self.values[model.stream("resid_pre")[0]]
        for layer in range(model.n_blocks):
            maps, at = Maps(model, layer), f"{model.main.prefix}.{layer}"
            pre, added, mid = (self.values.get(f"{at}.{part}") for part in ("resid_pre", "attn_out", "resid_mid"))
            mlp = self.values.get(f"{at}.mlp_out", torch.zeros_like(x))
            post = maps.order == "post"
            reads = x if post else self.norm(maps.norms["norm1"], x, pre)
            heads = sum(maps.head(h, self.patterns[layer], reads) for h in range(len(maps.w_o)))
            x = x + factor * heads + maps.b_o
            if post:
                x = self.norm(maps.norms["norm1"], x, pre + added)
                x = self.norm(maps.norms["norm2"], x + mlp, mid + mlp)
            else:
                x = x + mlp
        return x[self.at]

    def along(self, path):
        """The first states along one path, with every constant left out."""
        model = self.model
        x = self.values[model.stream("resid_pre")[0]]
        for layer, through in enumerate(path):
            maps, at = Maps(model, layer), f"{model.main.prefix}.{layer}"
            pre, added, mid = (self.values.get(f"{at}.{part}") for part in ("resid_pre", "attn_out", "resid_mid"))
            post = maps.order == "post"
            if through:
                h = through - 1
                reads = x if post else self.norm(maps.norms["norm1"], x, pre, constant=False)
                x = self.patterns[layer, h] @ reads @ maps.w_v[:, h] @ maps.w_o[h]
            if post:
                mlp = self.values[f"{at}.mlp_out"]
                x = self.norm(maps.norms["norm1"], x, pre + added, constant=False)
                x = self.norm(maps.norms["norm2"], x, mid + mlp, constant=False)
        return x[self.at]


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox", "bert", "micro"])
def test_lengths_count_heads_and_paths_go_in_order(family):
    """With heads times t, the number is a polynomial in t whose coefficients are the lengths; and each path by hand."""
    frozen = Frozen(tiny_model(family), PROMPT)
    found = workbench.path_decomposition(frozen.model, PROMPT, of="state", position=-1)
    end = frozen.values[frozen.model.stream("resid_post")[-1]][frozen.at]
    direction = end / end.norm()
    lengths = found.contributions.sum(0)
    for t in (0.0, 0.5, 2.0, -1.0):
        expected = frozen.forward(t) @ direction
        got = sum(c * t**k for k, c in enumerate(lengths))
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    assert found.exact and len(found.paths) == (frozen.model.n_heads + 1) ** 2
    for path, value in zip(found.paths.tolist(), found.values, strict=True):
        torch.testing.assert_close(value, frozen.along(path) @ direction, rtol=1e-9, atol=1e-9)
    of_length = [(found.paths > 0).sum(-1) == k for k in range(3)]
    sums = torch.stack([found.values[mine].sum() for mine in of_length])
    torch.testing.assert_close(sums, found.contributions[0], rtol=0, atol=1e-12)


def test_a_foil_is_subtracted_and_a_position_chosen():
    model = tiny_model("gpt2")
    one, other, both = (
        workbench.path_decomposition(model, PROMPT, token=token, foil=foil, position=2)
        for token, foil in (("a", None), ("b", None), ("a", "b"))
    )
    torch.testing.assert_close(both.contributions, one.contributions - other.contributions, rtol=0, atol=1e-12)
    logits = model.logits(model.encode(PROMPT))[0, 2]
    assert one.score == pytest.approx(logits[model.token_id("a")].item()) and one.position == 2


def test_a_path_can_be_asked_for_and_paths_are_drawn_where_there_are_many(monkeypatch):
    model = tiny_model("gpt2")
    whole = workbench.path_decomposition(model, PROMPT)
    asked = workbench.path_decomposition(model, PROMPT, path=("1.1", "0.0"))
    assert asked.asked == "0.0 > 1.1" and asked.paths[0].tolist() == [1, 2]
    for one in (("0.0,1.1",), ("0.0, 1.1",), "0.0,1.1"):
        assert workbench.path_decomposition(model, PROMPT, path=one).asked == asked.asked
    here = whole.paths.tolist().index([1, 2])
    assert asked.values[0] == whole.values[here]
    from workbench.analyses.collapse import path_decomposition as module

    monkeypatch.setattr(module, "MOST_PATHS", 3)
    drawn, again = (workbench.path_decomposition(model, PROMPT, draws=4, seed=5) for _ in range(2))
    assert not drawn.exact and torch.equal(drawn.paths, again.paths)
    assert (drawn.paths > 0).sum(-1).tolist() == [0, *[1] * 4, *[2] * 4]
    known = {tuple(path): value for path, value in zip(whole.paths.tolist(), whole.values.tolist(), strict=True)}
    for path, value in zip(drawn.paths.tolist(), drawn.values.tolist(), strict=True):
        assert value == pytest.approx(known[tuple(path)], abs=1e-12)
    torch.testing.assert_close(drawn.contributions, whole.contributions)


def test_left_padding_changes_nothing():
    model = tiny_model("llama")
    tokens = model.processor(PROMPT, return_tensors="pt", padding="max_length", max_length=12, padding_side="left")
    alone, padded = (workbench.path_decomposition(model, given) for given in (PROMPT, dict(tokens)))
    assert padded.tokens == alone.tokens and padded.position == alone.position
    torch.testing.assert_close(padded.contributions, alone.contributions, rtol=0, atol=1e-5)


def test_frames_say_how_many_paths_there_are():
    found = workbench.path_decomposition(tiny_model("gpt2"), PROMPT)
    frame = found.to_frame()
    counts = frame[frame["source"] == "embedding"].sort_values("length")["paths"].tolist()
    assert counts == list(functional.path_counts(2, 2))
    together = found.lengths_frame().groupby("length")["value"].sum().tolist()
    assert together == pytest.approx(found.contributions.sum(0).tolist())
    sizes = found.paths_frame()["value"].abs().tolist()
    assert sizes == sorted(sizes, reverse=True) and "past all heads" in set(found.paths_frame()["path"])


def test_what_is_refused():
    model = tiny_model("gpt2")
    with pytest.raises(workbench.BadInput, match=r"from 0\.0 to 1\.1"):
        workbench.path_decomposition(model, PROMPT, path=("2.0",))
    with pytest.raises(workbench.BadInput, match="names two of layer 1"):
        workbench.path_decomposition(model, PROMPT, path=("1.0", "1.1"))
    with pytest.raises(workbench.MissingCapability):
        workbench.path_decomposition(tiny_model("t5"), "abc => ab")


def test_a_model_whose_blocks_do_more_is_refused(monkeypatch):
    from workbench.analyses.collapse import path_decomposition as module

    real = module.frozen_block

    def wrong(evidence, layer):
        from dataclasses import replace

        block = real(evidence, layer)
        return replace(block, mlp_out=block.mlp_out * 1.5)

    monkeypatch.setattr(module, "frozen_block", wrong)
    with pytest.raises(workbench.MissingCapability, match="do more than is known"):
        workbench.path_decomposition(tiny_model("gpt2"), PROMPT)
