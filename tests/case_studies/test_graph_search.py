"""The graph search study: its problems against networkx, its explanation on sets, and that its claims can fail."""

import dataclasses
import json
from types import SimpleNamespace

import networkx as nx
import pytest
import torch

import workbench
from case_studies.graph_search import explain, heuristics, measure, models, problems, train
from workbench import studies
from workbench.functional import look_ahead
from workbench.progress import reporting
from workbench.studies.judging import verdicts

# ---- problems --------------------------------------------------------------------------------------------------------


def graph_of(edges):
    return nx.DiGraph([tuple(edge) for edge in edges if edge[0] >= 0])


def rows_of(drawn):
    return zip(drawn.edges.tolist(), drawn.start.tolist(), drawn.goal.tolist(), drawn.label.tolist(), strict=True)


@pytest.mark.parametrize("kind", ["balanced", "naive", "star"])
def test_problems_are_what_they_should_be(kind):
    drawn = problems.drawn(150, seed=1, kind=kind)
    accepted = drawn.accepted()
    for row, (edges, start, goal, label) in enumerate(rows_of(drawn)):
        graph, there = graph_of(edges), [tuple(edge) for edge in edges if edge[0] >= 0]
        assert nx.is_directed_acyclic_graph(graph)
        assert len(set(there)) == len(there) == graph.number_of_edges() > 0
        assert edges[: len(edges) - len(there)] == [[-1, -1]] * (len(edges) - len(there))  # filled up on the left
        assert graph.number_of_nodes() < len(problems.VERTICES)  # some name is free
        paths = list(nx.all_shortest_paths(graph, start, goal))
        following = {path[1] for path in paths}
        assert label in following
        assert set(accepted[row].nonzero().flatten().tolist()) == following
        if kind != "naive":
            assert len(paths) == 1


@pytest.mark.parametrize("far", problems.LOOK_AHEADS)
def test_balanced_problems_have_the_look_ahead_asked_for_and_two_ways_out(far):
    for edges, start, goal, _ in rows_of(problems.drawn(200, seed=2, look_ahead=far)):
        there = [edge for edge in edges if edge[0] >= 0]
        assert look_ahead(there, start, goal) == far
        assert graph_of(there).out_degree(start) == 2


def test_all_look_aheads_are_as_frequent_in_balanced_problems_and_most_naive_ones_need_none():
    far = {}
    for kind in ("balanced", "naive"):
        drawn = problems.drawn(600, seed=3, kind=kind)
        each = [look_ahead([e for e in edges if e[0] >= 0], s, g) for edges, s, g, _ in rows_of(drawn)]
        far[kind] = torch.tensor(each).bincount(minlength=4) / len(each)
    assert far["balanced"][0] == 0
    assert (far["balanced"][1:] - 1 / 3).abs().max() < 0.06
    assert far["naive"][:2].sum() > 0.8
    assert far["naive"][3:].sum() < 0.02


def test_stars_have_arms_of_one_length():
    seen = set()
    for edges, start, goal, _ in rows_of(problems.drawn(200, seed=4, kind="star")):
        graph = graph_of(edges)
        lengths = {nx.shortest_path_length(graph, start, end) for end in graph if graph.out_degree(end) == 0}
        assert lengths == {nx.shortest_path_length(graph, start, goal)}
        seen.add((graph.out_degree(start), *lengths))
    assert seen == {(2, 1), (2, 2), (2, 3), (2, 4), (3, 1), (3, 2), (4, 1), (4, 2)}


def test_a_problem_is_read_as_it_is_typed():
    tokenizer = train.word_tokenizer(problems.WORDS)
    for kind in measure.KINDS:
        drawn = problems.drawn(20, seed=5, kind=kind)
        for prompt, row in zip(drawn.prompts(), drawn.tokens().tolist(), strict=True):
            assert tokenizer(prompt)["input_ids"] == row
            assert len(row) == problems.LENGTH
            assert row[problems.GOAL - 1] == row[-1]


def test_problems_are_those_of_their_seed():
    first, again, other = (problems.drawn(30, seed=seed, kind="naive").tokens() for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_names_tell_nothing_of_the_answer():
    """Under any naming the answers are spread evenly over all names."""
    counts = problems.drawn(4000, seed=6).label.bincount(minlength=len(problems.VERTICES)).double()
    expected = 4000 / len(problems.VERTICES)
    assert ((counts - expected) ** 2 / expected).sum() < 27.9  # chi squared with 9 degrees, one in a thousand


@pytest.mark.parametrize("rule", ["first", "last", "busiest"])
def test_shortcuts_are_right_by_chance(rule):
    for far in (1, 3):
        drawn = problems.drawn(1200, seed=7, look_ahead=far)
        assert heuristics.guessing(drawn) == 0.5
        assert abs(heuristics.accuracy(heuristics.RULES[rule], drawn) - 0.5) < 0.04


def test_a_search_of_one_step_back_is_right_as_far_as_it_reaches():
    right = [heuristics.accuracy(heuristics.near, problems.drawn(200, seed=8, look_ahead=far)) for far in (1, 2, 3)]
    assert right == [1, 1, 0.5]


# ---- explanations ----------------------------------------------------------------------------------------------------


def one_problem(edges, start, goal, label):
    """Edges as pairs of letters."""
    number = {name: i for i, name in enumerate(problems.VERTICES)}
    listed = [[-1, -1]] * (problems.MOST_EDGES - len(edges)) + [[number[u], number[v]] for u, v in edges]
    single = {name: torch.tensor([number[v]]) for name, v in (("start", start), ("goal", goal), ("label", label))}
    return problems.Problems(edges=torch.tensor([listed]), **single)


EDGES = ["ab", "ac", "bd", "ce", "df", "eg"]  # a -> b -> d -> f and a -> c -> e -> g
FOUND_AT = {name: 6 + 3 * i for i, name in enumerate(EDGES)}  # two edges are filled up before them


def operations(rows, *, tokens=(), positions=True, n_layers=3):
    """What the analysis would give: (layer, query, key, vertex that both sides depend on or None: own positions)."""
    ids = one_problem(EDGES, *"afb").tokens()[0]
    n = len(rows)
    token_depends = torch.zeros(2, n, problems.LENGTH, dtype=torch.bool)
    position_depends = torch.zeros(2, n, problems.LENGTH, dtype=torch.bool)
    for i, (_, query, key, vertex) in enumerate(rows):
        if vertex is None:
            position_depends[0, i, query] = position_depends[1, i, key] = True
        else:
            at = (ids == problems.VERTICES.index(vertex)).nonzero().flatten()
            token_depends[:, i, at] = True
    columns = {name: torch.tensor([row[i] for row in rows]) for i, name in enumerate(("layer", "query", "key"))}
    depends = position_depends if positions else None
    return SimpleNamespace(**columns, n_layers=n_layers, token_depends=token_depends, position_depends=depends)


def at(edge, end):
    """Position of the first or second vertex of an edge."""
    return FOUND_AT[edge] + 1 + end


LAST, GOAL = problems.LENGTH - 1, problems.GOAL
MERGING = [
    (0, at("df", 1), at("df", 0), None),  # f learns of d
    (0, at("bd", 1), at("bd", 0), None),  # d learns of b
    (0, LAST, at("ab", 0), "a"),  # the start finds itself in an edge
    (1, GOAL, at("df", 1), "f"),  # the goal learns of d
    (1, at("ab", 1), at("bd", 1), "b"),  # b learns of d
    (1, at("ab", 0), at("ab", 1), None),
    (2, LAST, at("ab", 0), "a"),
]


def test_a_chain_of_merges_is_explained():
    merged = explain.explained(operations([*MERGING, (2, LAST, GOAL, None)]), one_problem(EDGES, *"afb"))
    assert merged.explained.all()
    assert merged.path == tuple(map(problems.VERTICES.index, "abdf"))
    assert merged.whole


@pytest.mark.parametrize("missing", [0, 3])
def test_without_one_of_them_it_is_not(missing):
    rows = [*MERGING[:missing], *MERGING[missing + 1 :], (2, LAST, GOAL, None)]
    assert not explain.explained(operations(rows), one_problem(EDGES, *"afb")).whole


def test_what_works_by_something_else_is_not_explained():
    rows = [(0, at("df", 1), at("df", 0), "e"), (0, LAST, at("ce", 0), "a"), (0, at("df", 1), at("bd", 0), None)]
    merged = explain.explained(operations(rows), one_problem(EDGES, *"afb"))
    assert not merged.explained.any()
    assert torch.equal(merged.states[-1], merged.states[0])
    own = explain.explained(operations(MERGING[:1], positions=False), one_problem(EDGES, *"afb"))
    assert not own.explained.any()


def test_the_operations_of_one_problem_do_not_explain_another():
    other = one_problem(EDGES[::-1], *"afb")
    assert not explain.explained(operations([*MERGING, (2, LAST, GOAL, None)]), other).whole


# ---- models and training ---------------------------------------------------------------------------------------------


def test_tokens_and_positions_have_dimensions_of_their_own_and_keep_them():
    module = train.initial_model(train.SETTINGS["balanced"])
    both = torch.cat([module.embed.weight, module.pos_embed.weight])
    assert torch.equal(both @ both.T, torch.eye(len(both)))
    assert both.shape[1] == len(both) + train.FREE
    assert (both[:, -train.FREE :] == 0).all()
    assert {name for name, weight in module.named_parameters() if not weight.requires_grad} == {
        "embed.weight",
        "pos_embed.weight",
    }


def test_shuffled_attention_deals_out_the_same_weights():
    model = models.untrained("balanced", 0)
    batch, sites = {"input_ids": problems.drawn(2, seed=1).tokens()}, model.attention_sites(None, "pattern")
    with torch.no_grad(), workbench.reading(model, sites[0]) as plain:
        model.module(**batch)
    with models.shuffled(model), torch.no_grad(), workbench.reading(model, sites[0]) as dealt:
        model.module(**batch)
    before, after = plain[sites[0]], dealt[sites[0]]
    assert torch.equal(before.sort(-1).values, after.sort(-1).values)
    assert not torch.allclose(before, after)


SHORT = dataclasses.replace(train.SETTINGS["one_layer"], steps=6, batch=8, measured=10, measure_every=3)


def test_training_goes_on_where_it_stopped_and_ends_in_the_same_weights(tmp_path):
    whole = train.train(SHORT, tmp_path / "whole")

    def stop(label, done, of):
        if done == 3:
            raise workbench.Stopped

    with pytest.raises(workbench.Stopped), reporting(stop):
        train.train(SHORT, tmp_path / "cut")
    again = train.train(SHORT, tmp_path / "cut")
    assert whole.history == again.history
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
    opened = workbench.load(tmp_path / "whole")
    assert not opened.main.causal
    assert torch.equal(opened.module.unembed.weight, whole.module.unembed.weight.half().float())


def test_settings_differ_from_the_first_in_one_thing():
    plain = dataclasses.asdict(train.SETTINGS["balanced"])
    for name, config in train.SETTINGS.items():
        changed = {key for key, value in dataclasses.asdict(config).items() if value != plain[key]}
        assert len(changed) == (name != "balanced"), name


# ---- the study -------------------------------------------------------------------------------------------------------


def test_the_committed_models_are_those_of_the_history():
    history = models.history()
    for setting in train.SETTINGS:
        module = models.committed(setting, 0).module
        found = train.measured(module, train.SETTINGS[setting])
        rows = history[(history["setting"] == setting) & (history["seed"] == 0)]
        for name, value in found.items():
            assert value == pytest.approx(float(rows[name].iloc[-1]), abs=0.02), (setting, name)  # half precision


def test_few_candidates_find_what_all_find():
    model = models.committed("balanced", 0)
    problem = measure.held_out(1, look_ahead=2, seed=3)
    few, every = (measure.operations(model, problem, most=most) for most in (200, 10_000))
    assert every.tried == every.possible > few.tried == 200
    sets = [set(zip(r.layer.tolist(), r.query.tolist(), r.key.tolist(), strict=True)) for r in (few, every)]
    assert len(sets[0] & sets[1]) >= 0.9 * len(sets[1]) > 0


def test_models_that_learned_nothing_fail_the_claims():
    from case_studies.graph_search import study

    model = models.untrained("balanced", 0)
    numbers = study.accuracy_numbers(measure.accuracy_table(model, 60))
    numbers |= measure.shares(measure.explanation_table(model, 1))
    judged = {f"balanced.{name}": dict.fromkeys(models.SEEDS, value) for name, value in numbers.items()}
    claims = [c for c in studies.study("graph_search").claims if c.quantity in judged and c.relation == ">"]
    outcomes = [v.outcome for v in verdicts(studies.Findings(numbers=judged), claims)]
    assert len(outcomes) >= 4
    assert outcomes.count("fails") + outcomes.count("does not reproduce") == len(outcomes)


def test_every_link_opens_a_problem_that_the_model_solves():
    written = json.loads((models.FOLDER / "expected.json").read_text())["opens"]
    assert len(written) >= 2
    for link in written:
        model = workbench.load(models.FOLDER / link["model"])
        assert len(model.labels(model.encode(link["prompt"]))) == problems.LENGTH
