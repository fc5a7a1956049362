"""Attention operations: exact on a network built by hand, and step by step against plain runs."""

import pytest
import torch

import workbench
from tests.analyses.operations.merging_network import EDGES, merging_network
from workbench.analyses.operations.altered_patterns import entries_that_count
from workbench.analyses.operations.labels import label
from workbench.analyses.operations.perturbed_inputs import replacing_tokens, score_changes, unperturbed
from workbench.hooks import editing, reading

PROMPT = "> a b > d e > f c > b g"
"""Asked at the last position: the parent of g's parent is a, by the edge at positions 1 and 2."""


@pytest.fixture(scope="module")
def network():
    return merging_network()


@pytest.fixture(scope="module")
def found(network):
    return workbench.attention_operations(network, PROMPT, replacement="h")


def operations_of(result):
    columns = (result.layer, result.head, result.query, result.key)
    return {tuple(row) for row in torch.stack(columns, -1).tolist()}


# ---- the network built by hand ---------------------------------------------------------------------------------------


def test_exactly_the_operations_of_a_network_built_by_hand(found):
    last = 3 * EDGES - 1
    assert found.answer == "a"
    assert operations_of(found) == {(0, 0, 2, 1), (0, 0, last, last - 1), (1, 0, last, 2)}
    assert found.tried == found.possible
    assert found.sufficient
    assert found.answer_alone == "a"


def test_what_each_of_them_is_made_by(found):
    frame = found.to_frame()
    assert frame["label"].tolist() == ["position match", "position match", "reachability"]
    assert frame["shared"].tolist() == ["", "", "b"]
    assert [found.tokens[number] for number in found.token_depends[0, 2].nonzero().flatten()] == ["b"]
    assert found.token_depends[:, 2].nonzero().tolist() == [[0, 10], [1, 2]]  # by the edge's beginning; by its own
    assert found.position_depends[:, 0].nonzero().tolist() == [[0, 2], [1, 1]]
    assert found.position_depends[1, 2].nonzero().flatten().tolist() == [2]


def test_the_most_promising_entries_are_enough(network, found):
    """One of them by its weight alone: what comes after it is decided, and its gradient is zero."""
    few = workbench.attention_operations(network, PROMPT, replacement="h", most=60)
    assert few.tried == 60 < found.possible
    assert operations_of(few) == operations_of(found)


def test_raising_finds_what_must_be_kept_out(network, found):
    both = workbench.attention_operations(network, PROMPT, replacement="h", raised=True)
    assert operations_of(both) > operations_of(found)
    more = both.to_frame().query("fall_at_zero <= 0.4")
    assert len(more)
    assert (more["fall_at_largest"] > 0.4).all()
    assert found.falls[:, 1].abs().max() < 1e-4  # they are the largest of their rows already


def test_another_path_has_other_operations(network):
    other = workbench.attention_operations(network, "> a b > d e > f c > e g", replacement="h")
    assert other.answer == "d"
    assert (1, 0, 11, 5) in operations_of(other)


def test_a_token_that_is_not_there_changes_nothing(network):
    batch = network.encode(PROMPT)
    base = unperturbed(network, batch, torch.tensor([[1, 0, 11, 2], [0, 0, 2, 1]]))
    nowhere = torch.zeros(1, 12, dtype=torch.bool)
    assert score_changes(base, 1, replacing_tokens(base, "input_ids", nowhere, 7)).abs().max() < 1e-5


def test_the_graph_leads_from_the_edge_to_the_answer(found):
    import networkx as nx

    graph = found.to_networkx()
    assert nx.is_directed_acyclic_graph(nx.DiGraph(graph))
    assert nx.has_path(graph, (0, 1), (2, 11))
    assert graph.nodes[0, 1]["token"] == "a"
    looks = [edge for *edge, kind in graph.edges(data="kind") if kind == "attention"]
    assert sorted(looks) == [[(0, 1), (1, 2)], [(0, 10), (1, 11)], [(1, 2), (2, 11)]]


def test_what_is_said_in_short(found):
    text, table = found.brief()
    assert "without 3 of" in text
    assert table["fall"].is_monotonic_decreasing


# ---- step 1 against plain runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "raised"), [("gpt2", True), ("llama", False), ("bert", False), ("neox", True)])
def test_falls_are_those_of_one_plain_run_an_entry(tiny, family, raised):
    """Causal or not, with shared keys, norms before or after, parallel blocks."""
    model, kappa = tiny(family), 0.002
    result = workbench.attention_operations(model, "aba", kappa=kappa, raised=raised)
    assert result.tried == result.possible
    batch, sites = model.encode("aba"), model.attention_sites(None, "pattern")
    with torch.no_grad(), reading(model, sites) as values:
        logits = model.logits(batch)[0, result.position]
    answer = int(logits.argmax())
    length = values[sites[0]].shape[-1]
    important = {}
    for layer in range(model.n_blocks):
        for head in range(model.n_heads):
            for query in range(length):
                for key in range(query + 1 if model.main.causal else length):
                    pattern = values[sites[layer]]
                    both = []
                    for value in (torch.tensor(0.0), pattern[0, head, query].max()):
                        now = run(model, batch, sites[layer], (0, head, query, key), value)
                        both.append((logits - now[result.position])[answer])
                    if both[0] > kappa or (raised and both[1] > kappa):
                        important[layer, head, query, key] = torch.stack(both)
    assert len(important) > 1
    assert operations_of(result) == set(important)
    places = torch.stack([result.layer, result.head, result.query, result.key], -1).tolist()
    torch.testing.assert_close(
        result.falls, torch.stack([important[tuple(place)] for place in places]), atol=1e-5, rtol=1e-4
    )


def run(model, batch, site, place, value):
    def edit(pattern):
        pattern = pattern.clone()
        pattern[place] = value
        return pattern

    with torch.no_grad(), editing(model, {site: edit}):
        return model.logits(batch)[0]


def test_what_is_left_out_could_not_change_the_answer(tiny):
    """All entries of the last layer but the answer's, and of later queries, do nothing."""
    model, batch = tiny("gpt2"), tiny("gpt2").encode("abcd")
    from workbench.analyses.attribution.target import choose_target
    from workbench.analyses.circuits.patch_runs import base_of

    logits = model.logits(batch)
    base = base_of(model, batch, choose_target(model, batch, logits, token=None, foil=None, position=2))
    sites = model.attention_sites(None, "pattern")
    with torch.no_grad(), reading(model, sites) as values:
        model.module(**batch)
    patterns = torch.cat([values[site] for site in sites])
    kept = {tuple(row) for row in entries_that_count(base, patterns, torch.arange(patterns.shape[-1])).places.tolist()}
    assert len(kept) == 2 * 6 + 2 * 3  # two heads: three queries that see 1, 2 and 3 keys; then one that sees 3
    for place in [(1, 0, 1, 0), (0, 1, 3, 2), (1, 1, 4, 1)]:
        assert place not in kept
        changed = run(model, batch, sites[place[0]], (0, *place[1:]), torch.tensor(0.9))
        torch.testing.assert_close(changed[2], logits[0, 2])


# ---- step 2 against a plain replay -----------------------------------------------------------------------------------


def plain_scores(module, embedded, patterns, masks):
    """Scores (q . k) of each layer of a small transformer of one head, patterns and ReLU masks being given."""
    x, found = embedded, []
    for block, pattern, mask in zip(module.blocks, patterns, masks, strict=True):
        read = block.ln1(x)
        q, k, v = block.attn.W_Q(read), block.attn.W_K(read), block.attn.W_V(read)
        found.append((q, k))
        x = x + block.attn.W_O(pattern @ v)
        x = x + block.mlp.W_out(block.mlp.W_in(block.ln2(x)) * mask)
    return found


@pytest.fixture(scope="module")
def small():
    from workbench.models.small import SmallConfig, SmallTransformer, word_tokenizer

    sizes = SmallConfig(vocab_size=9, n_ctx=8, n_layers=3, n_heads=1, d_model=12, d_head=12, d_mlp=20, norm="layer")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = SmallTransformer(sizes).double().eval()
    return workbench.adapt(module, word_tokenizer("abcdefgh"), name="small")


@torch.no_grad()
def test_changes_are_those_of_a_plain_replay_with_everything_kept(small):
    module, prompt, unused = small.module, "a b a c d b", 7
    result = workbench.attention_operations(small, prompt, kappa=0.0, replacement="h")
    ids = torch.tensor(result.ids)
    here = torch.arange(len(ids))
    with reading(small, [*small.attention_sites(None, "pattern"), *small.stream("mlp.pre")]) as values:
        module(**small.encode(prompt))
    patterns = [values[site][0, 0] for site in small.attention_sites(None, "pattern")]
    masks = [(values[site][0] > 0).double() for site in small.stream("mlp.pre")]

    def embedded(tokens, without=None):
        places = module.pos_embed(here).clone()
        if without is not None:
            places[without] = 0
        return module.embed(tokens) + places

    before = plain_scores(module, embedded(ids), patterns, masks)
    assert len(result) > 5
    assert set(result.layer.tolist()) == {0, 1, 2}
    for at in range(len(ids)):
        alone = plain_scores(module, embedded(ids.where(here != at, unused)), patterns, masks)
        everywhere = plain_scores(module, embedded(ids.where(ids != ids[at], unused)), patterns, masks)
        empty = plain_scores(module, embedded(ids, at), patterns, masks)
        for i, (layer, query, key) in enumerate(zip(result.layer, result.query, result.key, strict=True)):
            q, k = before[layer][0][query], before[layer][1][key]
            expected = [
                ((alone[layer][0][query] - q) @ k, q @ (alone[layer][1][key] - k)),
                ((empty[layer][0][query] - q) @ k, q @ (empty[layer][1][key] - k)),
            ]
            both = everywhere[layer][0][query] @ everywhere[layer][1][key] - q @ k
            for given, wanted in zip((result.token_changes, result.position_changes), expected, strict=True):
                torch.testing.assert_close(
                    given[:, i, at].double(), torch.stack(wanted) / 12**0.5, atol=1e-6, rtol=1e-4
                )
            assert abs(result.everywhere_changes[i, at] - both / 12**0.5) < 1e-6


def test_smooth_and_gated_neurons_keep_their_slopes(tiny):
    """With nothing replaced the replay is the model itself, also where neurons are smooth, gated, or in parallel."""
    for family in ("gpt2", "llama", "neox", "bert"):
        model = tiny(family)
        batch = model.encode("abca")
        every = torch.tensor([[layer, 1, 3, key] for layer in range(2) for key in range(4)])
        base = unperturbed(model, batch, every)
        nowhere = torch.zeros(2, batch["input_ids"].shape[1], dtype=torch.bool)
        assert score_changes(base, 2, replacing_tokens(base, "input_ids", nowhere, 5)).abs().max() < 1e-5
        moved = nowhere.index_fill(1, torch.tensor(1), True)
        assert score_changes(base, 2, replacing_tokens(base, "input_ids", moved, 5)).abs().max() > 1e-3


# ---- labels ----------------------------------------------------------------------------------------------------------

IDS = (5, 6, 5, 7)


def changes(query=(), key=()):
    table = torch.zeros(2, 4)
    for side, each in enumerate((query, key)):
        for at, value in each:
            table[side, at] = value
    return table


@pytest.mark.parametrize(
    ("tokens", "positions", "expected"),
    [
        (changes([(0, 1.0)], [(2, -0.5)]), changes(), "token match"),
        (changes([(1, 1.0)], [(1, 1.0)]), changes(), "reachability"),
        (changes([(0, 1.0)], [(3, 1.0)]), changes(), "one side"),
        (changes([(0, 1.0)], [(2, 0.05)]), changes(), "one side"),
        (changes(), changes([(0, 1.0)], [(3, 1.0)]), "position match"),
        (changes([(0, 0.5)], [(2, 0.5)]), changes([(0, 1.0)], [(2, 1.0)]), "position match"),
        (changes([(0, 2.0)], [(2, 2.0)]), changes([(0, 1.0)], [(2, 1.0)]), "token match"),
        (changes(), changes([(0, 1.0)]), "one side"),
        (changes(), changes(), "nothing"),
    ],
)
def test_labels_of_changes_written_by_hand(tokens, positions, expected):
    assert label(tokens, positions, IDS, 0, 2, 0.1) == expected


def test_without_learned_positions_tokens_alone_are_told(tiny):
    result = workbench.attention_operations(tiny("llama"), "abcab", kappa=0.005, threshold=0.005)
    assert result.position_changes is None
    assert result.position_depends is None
    assert "position match" not in result.labels


# ---- what cannot be asked --------------------------------------------------------------------------------------------


def test_a_replacement_that_stands_in_the_prompt_is_refused(network):
    with pytest.raises(workbench.BadInput, match="stands in the prompt itself"):
        workbench.attention_operations(network, PROMPT, replacement="a")


def test_the_default_replacement_is_a_token_that_is_not_there(tiny):
    result = workbench.attention_operations(tiny("bert"), "ab[MASK]")
    assert result.stand_in not in result.tokens


def test_nothing_found_is_a_row_that_says_so(network):
    none = workbench.attention_operations(network, "> a b > d e > f c > e g", kappa=50.0)
    frame = none.to_frame()
    assert len(none) == 0
    assert frame["operations"].tolist() == [0]
    assert frame["fall"].isna().all()
    assert not none.sufficient
    said, table = none.brief()
    assert "no operation" in said and table.empty and list(table.columns) == list(frame.columns)
    assert len(none.figure().data)
