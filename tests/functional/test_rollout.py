"""Rollout against a loop over paths, closed forms, and what must not change it; what is no attention is refused."""

import itertools

import pytest
import torch

from workbench.errors import BadInput
from workbench.functional import (
    attention_rollout,
    check_rows,
    cumulative_product,
    drop_first,
    head_mean,
    head_rollout,
    joint_maps,
    with_residual,
)


def attention(*shape, causal=False, seed=0, dtype=torch.float64):
    scores = 2 * torch.randn(*shape, shape[-1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
    return scores.softmax(-1).to(dtype)


def by_paths(patterns, residual, layers):
    """Share of token j in token i: over all paths of positions from i down to j, the product of the edges' weights."""
    n_heads, size = patterns.shape[1:3]

    def weight(layer, query, key):
        looked = sum(patterns[layer, head, query, key].item() for head in range(n_heads)) / n_heads
        return (1 - residual) * looked + (residual if query == key else 0.0)

    found = torch.zeros(size, size, dtype=torch.float64)
    for path in itertools.product(range(size), repeat=len(layers) + 1):
        share = 1.0
        for step, layer in enumerate(reversed(layers)):
            share *= weight(layer, path[step], path[step + 1])
        found[path[0], path[-1]] += share
    return found


def close(found, expected, **tolerance):
    torch.testing.assert_close(found, expected, **(tolerance or {"rtol": 1e-12, "atol": 1e-14}))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("residual", [0.5, 0.0, 0.2, 1.0])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_is_the_sum_over_all_paths(causal, residual, start):
    patterns = attention(3, 2, 4, causal=causal)
    rollout = attention_rollout(patterns, residual, start)
    assert rollout.shape == (3 - start, 4, 4)
    for entry in range(3 - start):
        close(rollout[entry], by_paths(patterns, residual, range(start, start + entry + 1)))
    close(rollout.sum(-1), torch.ones(3 - start, 4, dtype=torch.float64))


def test_even_attention_has_a_closed_form():
    n, n_layers = 7, 9
    rollout = attention_rollout(torch.full((n_layers, 3, n, n), 1 / n, dtype=torch.float64))
    for layer in range(n_layers):
        kept = 0.5 ** (layer + 1)
        close(rollout[layer], kept * torch.eye(n, dtype=torch.float64) + (1 - kept) / n)


def test_looking_at_oneself_keeps_everything_where_it_is():
    own = torch.eye(5, dtype=torch.float64).expand(4, 2, 5, 5)
    close(attention_rollout(own), own[:, 0])
    close(attention_rollout(own, 0.0), own[:, 0])


def test_without_residual_one_hot_rows_are_maps_chained():
    looks = torch.randint(0, 6, (4, 6), generator=torch.Generator().manual_seed(3))
    rollout = attention_rollout(torch.nn.functional.one_hot(looks, 6).double()[:, None], 0.0)
    reached = torch.arange(6)
    for layer in range(4):
        reached = torch.tensor([reached[looks[layer, query]] for query in range(6)])
        assert rollout[layer].argmax(-1).tolist() == reached.tolist()
        close(rollout[layer].amax(-1), torch.ones(6, dtype=torch.float64))


def test_tokens_in_another_order_give_the_same_shares_and_heads_count_alike():
    patterns = attention(4, 3, 6)
    rollout = attention_rollout(patterns)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    close(attention_rollout(patterns[..., order, :][..., order]), rollout[..., order, :][..., order])
    close(attention_rollout(patterns[:, [2, 0, 1]]), rollout)
    close(attention_rollout(patterns.repeat_interleave(2, 1)), rollout)
    assert attention_rollout(attention(4, 3, 6, causal=True)).triu(1).eq(0).all()


def test_batches_stay_apart_and_patterns_as_they_were():
    patterns = attention(2, 3, 4, 1, 5)  # one head: the mean must not be the patterns themselves
    before = patterns.clone()
    rollout = attention_rollout(patterns, start_layer=1)
    assert rollout.shape == (2, 3, 3, 5, 5)
    for i, j in itertools.product(range(2), range(3)):
        close(rollout[i, j], attention_rollout(patterns[i, j], start_layer=1))
    assert torch.equal(patterns, before)
    maps = before[0, 0, :, 0]
    cumulative_product(maps)
    assert torch.equal(patterns, before)  # a view of it


@pytest.mark.parametrize("normalize", [False, True])
def test_gradients_flow_and_change_no_value(normalize):
    patterns = attention(2, 3, 2, 4).requires_grad_()
    rollout = attention_rollout(patterns, normalize=normalize)
    assert torch.equal(rollout, attention_rollout(patterns.detach(), normalize=normalize))

    def shares(free):
        return attention_rollout(free.softmax(-1), 0.3, normalize=normalize)

    assert torch.autograd.gradcheck(shares, attention(3, 1, 3, seed=5).requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_types_are_computed_in_single_precision(dtype):
    patterns = attention(12, 4, 64, causal=True, dtype=dtype)
    rollout = attention_rollout(patterns)  # the sums of half precision are not refused
    assert rollout.dtype == torch.float32
    exact = cumulative_product(with_residual(patterns.double().mean(1)))  # of the same rounded patterns
    close(rollout.double(), exact, rtol=2e-5, atol=1e-6)
    assert attention_rollout(patterns.double(), normalize=True).dtype == torch.float64


class TestHeadRollout:
    @pytest.mark.parametrize("layer", [0, 1, 3])
    def test_each_head_stands_over_the_mean_of_those_below(self, layer):
        patterns = attention(4, 3, 4)
        heads = head_rollout(patterns, layer, 0.3)
        assert heads.shape == (3, 4, 4)
        for head in range(3):
            alone = patterns.clone()
            alone[layer] = patterns[layer, head]  # as if all heads of that layer were this one
            close(heads[head], by_paths(alone, 0.3, range(layer + 1)))
        close(heads.mean(0), attention_rollout(patterns, 0.3)[layer])

    def test_of_a_batch(self):
        patterns = attention(2, 3, 2, 4)
        close(head_rollout(patterns, 2)[1], head_rollout(patterns[1], 2))

    def test_refuses_a_layer_that_is_not_there(self):
        with pytest.raises(BadInput, match="no layer 4: there are 4, 0 to 3"):
            head_rollout(attention(4, 3, 4), 4)


class TestRows:
    def test_that_do_not_sum_to_one_are_named_with_the_way_out(self):
        patterns = attention(3, 2, 5)
        patterns[1, :, 3] *= 0.25
        patterns[2, :, 1] *= 0.9
        with pytest.raises(BadInput, match=r"layer 1, row 3 sums to 0\.25.*normalize=True"):
            attention_rollout(patterns)
        with pytest.raises(BadInput, match=r"layer 1, row 3 sums to 0\.25"):
            head_rollout(patterns, 2)

    def test_normalised_are_the_reference_form(self):
        raw = torch.rand(3, 2, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        rollout = attention_rollout(raw, normalize=True)
        expected = torch.eye(5, dtype=torch.float64)
        for layer in range(3):
            mixed = sum(raw[layer]) / 2 + torch.eye(5, dtype=torch.float64)
            expected = torch.diag(1 / mixed.sum(-1)) @ mixed @ expected
            close(rollout[layer], expected)

    def test_normalising_attention_changes_nothing(self):
        patterns = attention(3, 2, 5)
        close(attention_rollout(patterns, 0.3, normalize=True), attention_rollout(patterns, 0.3))

    def test_of_zeros_keep_their_residual_alone(self):
        patterns = attention(3, 2, 5, causal=True)
        patterns[..., 4, :] = 0.0
        patterns[..., 4] = 0.0
        rollout = attention_rollout(patterns, normalize=True)
        close(rollout[:, :4, :4], attention_rollout(patterns[..., :4, :4]))
        assert rollout[:, 4].tolist() == [[0, 0, 0, 0, 1]] * 3
        assert attention_rollout(patterns, 0.0, normalize=True)[:, 4].eq(0).all()

    def test_with_nan_or_below_zero_are_refused(self):
        for value, sentence, normalised in (
            (torch.nan, "NaN in the attention, first in layer 1, row 2", "must be finite"),
            (torch.inf, "infinity in the attention, first in layer 1, row 2", "must be finite"),
            (-0.1, r"never negative.* -0\.1, in layer 1, head 0", r"never negative.* -0\.1, in layer 1, head 0"),
        ):
            patterns = attention(3, 1, 5)
            patterns[1, 0, 2, 1] = value
            for residual in (0.0, 0.5, 1.0):
                with pytest.raises(BadInput, match=sentence):
                    attention_rollout(patterns, residual)
                with pytest.raises(BadInput, match=normalised):
                    attention_rollout(patterns, residual, normalize=True)

    def test_of_one_head_below_zero_are_not_hidden_by_the_mean(self):
        patterns = attention(2, 3, 4, 5)
        patterns[1, 2, 3, 0, 1:3] += torch.tensor([-1.0, 1.0])  # the row goes on summing to one
        patterns[1, 2, [0, 1, 2], 0, 1] = 1.0
        patterns[1, 2, [0, 1, 2], 0] /= patterns[1, 2, [0, 1, 2], 0].sum(-1, keepdim=True)
        assert (head_mean(patterns) >= 0).all()
        for normalize in (False, True):
            with pytest.raises(BadInput, match="never negative.*in layer 2, head 3"):
                attention_rollout(patterns, normalize=normalize)
            with pytest.raises(BadInput, match="never negative.*in layer 2, head 3"):
                head_rollout(patterns, 2, normalize=normalize)
            head_rollout(patterns, 1, normalize=normalize)  # which does not read it

    def test_whose_sums_overflow_are_not_divided(self):
        with pytest.raises(BadInput, match="sums that are finite"):
            attention_rollout(torch.full((2, 1, 3, 3), 3e38), normalize=True)
        with pytest.raises(BadInput, match="sums that are finite"):
            with_residual(torch.tensor([[1.0, torch.inf], [0.0, 1.0]]), normalize=True)

    def test_tolerance_is_that_of_the_type(self):
        maps = torch.full((4, 4), 0.25) * 1.001
        check_rows(maps.half())
        check_rows(maps, precision=torch.float16)
        with pytest.raises(BadInput, match=r"row 0 sums to 1\.001"):
            check_rows(maps)

    def test_of_which_there_are_none(self):
        with pytest.raises(BadInput, match="no attention"):
            check_rows(torch.zeros(2, 0, 0))


def test_what_cannot_be_chained_is_a_sentence():
    with pytest.raises(BadInput, match="joint_maps"):
        attention_rollout(torch.full((2, 3, 4, 8), 1 / 8))
    with pytest.raises(BadInput, match="no layer 2 to start from"):
        attention_rollout(attention(2, 3, 4), start_layer=2)
    with pytest.raises(BadInput, match=r"between 0 and 1, not 1\.5"):
        attention_rollout(attention(2, 3, 4), 1.5)


def test_a_missing_axis_is_named(as_installed):
    patterns = attention(3, 2, 5)
    for one in (patterns[0], patterns[0, 0], patterns[0, 0, 0]):
        with pytest.raises(BadInput, match=r"axes \(\*batch, layer, head, query, key\)"):
            attention_rollout(one)
        with pytest.raises(BadInput, match=r"axes \(\*batch, layer, head, query, key\)"):
            head_rollout(one, 0)
    attention_rollout(patterns[0][:, None])  # as the message says


@pytest.mark.parametrize(
    ("shape", "nothing"),
    [((0, 2, 3, 3), "layers"), ((2, 0, 3, 3), "heads"), ((2, 2, 0, 0), "tokens"), ((0, 2, 2, 3, 3), "prompts")],
)
def test_nothing_along_an_axis_is_a_sentence(shape, nothing):
    for normalize in (False, True):
        with pytest.raises(BadInput, match=f"they have no {nothing}"):
            attention_rollout(torch.zeros(shape), normalize=normalize)
        with pytest.raises(BadInput, match=f"they have no {nothing}"):
            head_rollout(torch.zeros(shape), 0, normalize=normalize)


def test_whole_numbers_are_attention_too():
    looks = torch.eye(4, dtype=torch.int64).roll(1, 1).expand(3, 2, 4, 4)
    close(attention_rollout(looks), attention_rollout(looks.double()))
    close(attention_rollout(looks, normalize=True), attention_rollout(looks.double()))
    close(head_rollout(looks, 1), head_rollout(looks.double(), 1))
    close(cumulative_product(looks[:, 0]), cumulative_product(looks[:, 0].double()))


def test_one_token_is_all_its_own():
    assert attention_rollout(torch.ones(3, 2, 1, 1)).tolist() == [[[1.0]]] * 3


def test_without_the_first_token_rows_sum_to_one_again():
    maps = attention(3, 5, causal=True)
    rest = drop_first(maps)
    assert rest.shape == (3, 5, 4)
    assert rest[:, 0].eq(0).all()  # the first row looks nowhere else
    for layer, row in itertools.product(range(3), range(1, 5)):
        kept = maps[layer, row].tolist()[1:]
        close(rest[layer, row], torch.tensor([x / sum(kept) for x in kept], dtype=torch.float64))


class TestJointMaps:
    def parts(self):
        """Two encoder and three decoder layers over 4 and 3 tokens, residual 0.5 mixed in."""
        encoder = with_residual(head_mean(attention(2, 2, 4)))
        decoder = with_residual(head_mean(attention(3, 2, 3, causal=True, seed=1)))
        cross = torch.randn(3, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).softmax(-1)
        own = torch.rand(3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        return encoder, decoder, (1 - own)[..., None] * cross, own

    def test_rollout_is_that_of_the_two_sides_in_turn(self):
        encoder, decoder, cross, own = self.parts()
        steps = joint_maps(encoder, decoder, cross, own)
        assert steps.shape == (2 + 2 * 3, 7, 7)
        close(steps.sum(-1), torch.ones(8, 7, dtype=torch.float64))
        rolled = cumulative_product(steps)
        memory = encoder[1] @ encoder[0]
        from_source, from_target = torch.zeros(3, 4, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
        for layer in range(3):
            from_source, from_target = decoder[layer] @ from_source, decoder[layer] @ from_target
            after_own = rolled[2 + 2 * layer]
            close(after_own[4:, :4], from_source)
            close(after_own[4:, 4:], from_target)
            from_source = own[layer][:, None] * from_source + cross[layer] @ memory
            from_target = own[layer][:, None] * from_target
            close(rolled[3 + 2 * layer][4:, :4], from_source)
            close(rolled[3 + 2 * layer][4:, 4:], from_target)
        close(rolled[-1][:4, :4], memory)
        assert rolled[-1][:4, 4:].eq(0).all()  # the encoder sees nothing of the decoder

    def test_of_a_batch(self):
        parts = self.parts()
        both = joint_maps(*(torch.stack([part, part.flip(-3 if part.ndim > 2 else -2)]) for part in parts))
        close(both[0], joint_maps(*parts))
        close(both[1], joint_maps(*(part.flip(-3 if part.ndim > 2 else -2) for part in parts)))
