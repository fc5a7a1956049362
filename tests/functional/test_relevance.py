"""Relevance against the paper's rules spelled out in loops, against rollout, and in closed forms."""

import itertools

import pytest
import torch

from workbench import functional
from workbench.errors import BadInput
from workbench.functional import (
    attention_rollout,
    cross_relevance,
    encoder_decoder_relevance,
    gradient_weighted,
    normalized_relevance,
    relevance,
    self_relevance,
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(layers=3, heads=2, size=4, *, batch=(), seed=0):
    """Patterns and gradients as one prompt might give them."""
    shape = (*batch, layers, heads, size, size)
    return random(*shape, seed=seed).softmax(-1), random(*shape, seed=seed + 100)


def close(found, expected, *, rtol=1e-12, atol=1e-13):
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=rtol, atol=atol)


# The rules in plain lists: matrices are lists of rows.


def product(a, b):
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]


def plus(a, b):
    return [[x + y for x, y in zip(one, other, strict=True)] for one, other in zip(a, b, strict=True)]


def identity(n):
    return [[float(i == j) for j in range(n)] for i in range(n)]


def weighted_slowly(patterns, gradients):
    n_heads, n_queries, n_keys = patterns.shape
    return [
        [
            sum(max(0.0, patterns[h, q, k].item() * gradients[h, q, k].item()) for h in range(n_heads)) / n_heads
            for k in range(n_keys)
        ]
        for q in range(n_queries)
    ]


def normalized_slowly(state):
    rows = []
    for i, row in enumerate(state):
        added = [x - (i == j) for j, x in enumerate(row)]
        rows.append([(x / sum(added) if sum(added) else 0.0) + (i == j) for j, x in enumerate(added)])
    return rows


def transposed(a):
    return [list(column) for column in zip(*a, strict=True)]


def cross_slowly(weighted, own, other, between, back):
    turned = product(product(transposed(normalized_slowly(own)), weighted), normalized_slowly(other))
    return plus(between, turned), plus(own, product(weighted, back))


class TestSelfAttention:
    def test_is_the_papers_rule(self):
        patterns, gradients = run()
        states = relevance(patterns, gradients)
        expected = identity(4)
        for layer in range(3):
            expected = plus(expected, product(weighted_slowly(patterns[layer], gradients[layer]), expected))
            close(states[layer], expected)
        close(relevance(patterns, gradients, identity=False), states - torch.eye(4, dtype=torch.float64))

    def test_negative_parts_are_dropped_in_each_head_before_the_mean(self):
        patterns = torch.full((1, 2, 2, 2), 0.5)
        gradients = torch.stack([torch.full((2, 2), 3.0), torch.full((2, 2), -3.0)])[None]
        assert relevance(patterns, gradients, identity=False).tolist() == [[[0.75, 0.75], [0.75, 0.75]]]

    def test_without_gradient_nothing_moves(self):
        patterns, _ = run()
        close(relevance(patterns, torch.zeros_like(patterns)), torch.eye(4).expand(3, 4, 4))

    def test_one_and_two_layers(self):
        patterns, gradients = run(layers=2)
        first, second = (gradient_weighted(patterns[i], gradients[i]) for i in range(2))
        eye = torch.eye(4, dtype=torch.float64)
        close(relevance(patterns, gradients)[0], eye + first)
        close(relevance(patterns, gradients)[1], (eye + second) @ (eye + first))

    def test_never_negative_and_never_shrinking(self):
        states = relevance(*run(layers=6))
        assert (states >= 0).all() and (states.diagonal(0, -2, -1) >= 1).all()
        assert (states.diff(dim=0) >= 0).all()

    @pytest.mark.parametrize("heads", [1, 3])
    def test_with_gradients_of_one_it_is_rollout_times_two_a_layer(self, heads):
        patterns = random(5, 1, 6, 6).softmax(-1).expand(5, heads, 6, 6)
        doubled = 2.0 ** torch.arange(1, 6, dtype=torch.float64)
        close(relevance(patterns, torch.ones_like(patterns)), doubled[:, None, None] * attention_rollout(patterns))
        different, _ = run(layers=5, heads=heads)  # positive parts of positive numbers: the mean is the same
        close(relevance(different, torch.ones_like(different)), doubled[:, None, None] * attention_rollout(different))

    def test_scale_and_sign_of_the_answer(self):
        patterns, gradients = run(layers=1)
        added = relevance(patterns, gradients, identity=False)
        close(relevance(patterns, 3 * gradients, identity=False), 3 * added)
        against = relevance(patterns, -gradients, identity=False)
        close(added - against, (patterns * gradients).mean(1))  # what speaks for the answer and what against it

    def test_heads_in_another_order_and_heads_twice_over(self):
        patterns, gradients = run(heads=3)
        states = relevance(patterns, gradients)
        close(relevance(patterns[:, [2, 0, 1]], gradients[:, [2, 0, 1]]), states)
        twice = gradient_weighted(patterns[0].repeat(2, 1, 1), gradients[0].repeat(2, 1, 1) / 2)
        close(twice, gradient_weighted(patterns[0], gradients[0]) / 2)

    def test_tokens_in_another_order(self):
        patterns, gradients = run(size=5)
        order = torch.tensor([3, 0, 4, 1, 2])
        moved = relevance(patterns[..., order, :][..., order], gradients[..., order, :][..., order])
        close(moved, relevance(patterns, gradients)[..., order, :][..., order])

    def test_batches_stay_apart(self):
        patterns, gradients = run(batch=(2, 3))
        states = relevance(patterns, gradients)
        assert states.shape == (2, 3, 3, 4, 4)
        for i, j in itertools.product(range(2), range(3)):
            close(states[i, j], relevance(patterns[i, j], gradients[i, j]))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_computed_in_single(self, dtype):
        patterns, gradients = (x.to(dtype) for x in run())
        states = relevance(patterns, gradients)
        assert states.dtype == torch.float32
        close(states.double(), relevance(patterns.double(), gradients.double()), rtol=1e-5, atol=1e-6)

    def test_small_gradients_keep_their_digits(self):
        patterns, gradients = run()
        tiny = relevance(patterns[:1].float(), 1e-9 * gradients[:1].float(), identity=False)
        close(1e9 * tiny.double(), relevance(patterns[:1], gradients[:1], identity=False), rtol=1e-5, atol=1e-6)

    def test_what_is_no_number_or_not_square_is_refused(self):
        patterns, gradients = run()
        gradients[1, 0, 2, 3] = torch.nan
        with pytest.raises(BadInput, match="not finite"):
            relevance(patterns, gradients)
        with pytest.raises(BadInput, match="not 4 and 3"):
            relevance(patterns[..., :3], gradients[..., :3])


class TestNormalisation:
    def test_rows_sum_to_two_where_something_was_added_and_to_one_elsewhere(self):
        state = torch.eye(4, dtype=torch.float64) + random(4, 4).abs()
        state[2] = torch.eye(4)[2]
        found = normalized_relevance(state)
        close(found.sum(-1), [2.0, 2.0, 1.0, 2.0])
        close(found, normalized_slowly(state.tolist()))

    def test_of_nothing_added_is_the_identity(self):
        close(normalized_relevance(torch.eye(3, dtype=torch.float64)), torch.eye(3))


def co_attention(seed=0, n_text=3, n_image=5):
    """Weighted attention (text, image) and (image, text) of four heads, and states after two layers of each side's."""
    text, image = relevance(*run(2, 2, n_text, seed=seed))[-1], relevance(*run(2, 2, n_image, seed=seed + 1))[-1]
    forward = gradient_weighted(random(4, n_text, n_image, seed=7).softmax(-1), random(4, n_text, n_image, seed=8))
    backward = gradient_weighted(random(4, n_image, n_text, seed=9).softmax(-1), random(4, n_image, n_text, seed=10))
    return text, image, forward, backward


class TestTwoSides:
    def test_two_blocks_of_co_attention_are_the_papers_rules(self):
        text, image, forward, backward = co_attention()
        between, back = torch.zeros(3, 5, dtype=torch.float64), torch.zeros(5, 3, dtype=torch.float64)
        lists = [x.tolist() for x in (text, image, between, back)]
        for _ in range(2):  # cross-attention both ways, then each side on its own
            (new_between, new_text), (new_back, new_image) = (
                cross_relevance(forward, text, image, between, back),
                cross_relevance(backward, image, text, back, between),
            )
            text, image, between, back = new_text, new_image, new_between, new_back
            a, b = forward.tolist(), backward.tolist()
            (ti, tt), (it, ii) = (
                cross_slowly(a, lists[0], lists[1], lists[2], lists[3]),
                cross_slowly(b, lists[1], lists[0], lists[3], lists[2]),
            )
            for found, expected in zip((text, image, between, back), (tt, ii, ti, it), strict=True):
                close(found, expected)
            at_text, at_image = (gradient_weighted(*(x[0] for x in run(1, 2, n, seed=20))) for n in (3, 5))
            text, between = self_relevance(text, at_text), self_relevance(between, at_text)
            image, back = self_relevance(image, at_image), self_relevance(back, at_image)
            lists = [
                plus(tt, product(at_text.tolist(), tt)),
                plus(ii, product(at_image.tolist(), ii)),
                plus(ti, product(at_text.tolist(), ti)),
                plus(it, product(at_image.tolist(), it)),
            ]
            for found, expected in zip((text, image, between, back), lists, strict=True):
                close(found, expected)
        assert (text.diagonal() > 1).all() and (between > 0).all()

    def test_of_which_one_looks_away_are_an_encoder_and_a_decoder(self):
        patterns = {name: run(2, 2, n, seed=n) for name, n in (("image", 5), ("text", 3))}
        at_image, at_text = (torch.stack(list(map(gradient_weighted, *patterns[k]))) for k in ("image", "text"))
        cross = torch.stack([co_attention()[2], 2 * co_attention()[2]])
        together = encoder_decoder_relevance(at_image, at_text, cross)
        image = relevance(*patterns["image"])[-1]
        text, between = torch.eye(3, dtype=torch.float64), torch.zeros(3, 5, dtype=torch.float64)
        back, nothing = torch.zeros(5, 3, dtype=torch.float64), torch.zeros(5, 3, dtype=torch.float64)
        for layer in range(2):
            text, between = self_relevance(text, at_text[layer]), self_relevance(between, at_text[layer])
            close(together[2 + 2 * layer, 5:], torch.cat([between, text], -1))
            (between, text), (back, image) = (
                cross_relevance(cross[layer], text, image, between, back),
                cross_relevance(nothing, image, text, back, between),
            )
            close(together[3 + 2 * layer, 5:], torch.cat([between, text], -1))
        close(together[-1, :5, :5], image)
        assert together[:, :5, 5:].eq(0).all() and back.eq(0).all()

    def test_of_an_encoder_decoder_in_plain_lists(self):
        """The rule for one direction alone, without any of the functions above."""
        encoder, decoder = run(2, 2, 4, seed=1), run(3, 2, 3, seed=2)
        cross = random(3, 2, 3, 4, seed=3).softmax(-1), random(3, 2, 3, 4, seed=4)
        read, own, between = identity(4), identity(3), [[0.0] * 4 for _ in range(3)]
        for layer in range(2):
            read = plus(read, product(weighted_slowly(encoder[0][layer], encoder[1][layer]), read))
        for layer in range(3):
            at_own = weighted_slowly(decoder[0][layer], decoder[1][layer])
            own, between = plus(own, product(at_own, own)), plus(between, product(at_own, between))
            at_other = weighted_slowly(cross[0][layer], cross[1][layer])
            turned = product(product(transposed(normalized_slowly(own)), at_other), normalized_slowly(read))
            between = plus(between, turned)
        weighted = [gradient_weighted(*pair) for pair in (encoder, decoder, cross)]
        found = encoder_decoder_relevance(*weighted)
        assert found.shape == (2 + 2 * 3, 7, 7)
        close(found[-1], [[*row, 0, 0, 0] for row in read] + [a + b for a, b in zip(between, own, strict=True)])
        close(encoder_decoder_relevance(*weighted, identity=False), found - torch.eye(7, dtype=torch.float64))

    def test_nothing_passes_before_the_first_cross_attention_nor_without_gradient(self):
        at_image, at_text, cross = torch.rand(1, 5, 5), torch.rand(1, 3, 3), torch.zeros(1, 3, 5)
        found = encoder_decoder_relevance(at_image, at_text, cross)
        assert found[:, 5:, :5].eq(0).all()
        assert encoder_decoder_relevance(at_image, at_text, cross + 1)[:2, 5:, :5].eq(0).all()

    def test_before_any_self_attention_cross_attention_is_taken_as_it_is(self):
        _, _, forward, _ = co_attention()
        nothing = torch.zeros(3, 5, dtype=torch.float64)
        between, own = cross_relevance(forward, torch.eye(3).double(), torch.eye(5).double(), nothing)
        close(between, forward)
        close(own, torch.eye(3))

    def test_of_a_batch(self):
        sides = [torch.rand(2, n, s, t, dtype=torch.float64) for n, s, t in ((2, 4, 4), (3, 3, 3), (3, 3, 4))]
        found = encoder_decoder_relevance(*sides)
        close(found[1], encoder_decoder_relevance(*(side[1] for side in sides)))


def test_patterns_and_gradients_that_do_not_fit_are_a_sentence(as_installed):
    patterns, gradients = run(batch=(2,))
    for other in (gradients[:, :2], gradients[0], gradients[..., :3]):
        with pytest.raises(BadInput, match="gradients of shape.*same layers, heads and tokens"):
            relevance(patterns, other)
    with pytest.raises(BadInput, match="gradients of shape"):
        gradient_weighted(patterns[0, 0], gradients[0, 0, :1])  # and not one head's for all
    with pytest.raises(BadInput, match=r"axes \(\*batch, layer, head, query, key\)"):
        relevance(patterns[0, 0], gradients[0, 0])


@pytest.mark.parametrize(
    ("shape", "nothing"), [((0, 2, 3, 3), "layers"), ((2, 0, 3, 3), "heads"), ((2, 2, 0, 0), "tokens")]
)
def test_nothing_along_an_axis_is_a_sentence(shape, nothing):
    with pytest.raises(BadInput, match=f"they have no {nothing}"):
        relevance(torch.zeros(shape), torch.zeros(shape))


def test_whole_numbers_are_attention_too():
    looks, gradients = torch.eye(3, dtype=torch.int64).roll(1, 1).expand(2, 2, 3, 3), run(2, 2, 3)[1]
    close(relevance(looks, gradients), relevance(looks.double(), gradients))


def test_the_public_name_is_the_function():
    assert callable(functional.relevance)
