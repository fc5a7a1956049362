"""The same questions of packaged models: a causal decoder, a masked model of reactions, a BERT of sentences."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

import workbench
from case_studies.attention_flow.measure import attention_rows, largest_norm_weight, on_ends, rolled_maps
from workbench import functional

PAIRS = (  # (one, several, what stands between, its one, its several)
    ("key", "keys", "to the old wooden", "cabinet", "cabinets"),
    ("label", "labels", "on the big green", "bottle", "bottles"),
    ("picture", "pictures", "next to the very narrow", "window", "windows"),
    ("author", "authors", "of the famous new", "book", "books"),
    ("road", "roads", "beyond the small white", "house", "houses"),
    ("car", "cars", "behind the tall brown", "tree", "trees"),
    ("letter", "letters", "from the kind young", "teacher", "teachers"),
    ("bird", "birds", "near the quiet grey", "lake", "lakes"),
)
REACTIONS = (  # esters, amides, ethers, amines, and what is taken off again
    "CC(=O)O.OCC>>CC(=O)OCC",
    "CC(=O)Cl.NCC>>CC(=O)NCC",
    "CCC(=O)Cl.OCCC>>CCC(=O)OCCC",
    "O=C(Cl)c1ccccc1.NC>>CNC(=O)c1ccccc1",
    "O=C(O)c1ccccc1.OC>>COC(=O)c1ccccc1",
    "CI.Oc1ccccc1>>COc1ccccc1",
    "BrCc1ccccc1.CNC>>CN(C)Cc1ccccc1",
    "CC(=O)OC(C)=O.Nc1ccccc1>>CC(=O)Nc1ccccc1",
    "CS(=O)(=O)Cl.OCC>>CCOS(C)(=O)=O",
    "O=Cc1ccccc1.NCC>>CCNCc1ccccc1",
    "COC(=O)c1ccccc1>>O=C(O)c1ccccc1",
    "CC(=O)c1ccccc1>>CC(O)c1ccccc1",
    "O=[N+]([O-])c1ccccc1>>Nc1ccccc1",
    "N#Cc1ccccc1>>NCc1ccccc1",
    "C=CCBr.Oc1ccc(C)cc1>>C=CCOc1ccc(C)cc1",
    "Brc1ccccc1.OB(O)c1ccccc1>>c1ccc(-c2ccccc2)cc1",
)
SENTENCES = (  # (a sentence, another that says much the same)
    ("A man is playing a guitar on the street.", "Somebody makes music outside."),
    ("The children are running through the wet grass.", "Kids run across a lawn after the rain."),
    ("The government raised taxes on imported cars.", "Foreign vehicles have become more expensive to buy."),
    ("She forgot her umbrella at the station.", "An umbrella was left behind by a woman on her journey."),
    ("The recipe needs two eggs and some butter.", "You must have eggs and butter to cook this."),
    ("Doctors warn that the virus spreads quickly.", "Medical experts say the disease is very contagious."),
    ("Our train was late because of the heavy snow.", "The weather delayed the railway."),
    ("The old bridge collapsed during the storm.", "Strong wind destroyed a crossing over the river."),
    ("He sold his company to a large bank.", "A financial firm bought the business."),
    ("The telescope found a planet around a distant star.", "Astronomers discovered a new world."),
    ("My neighbour's dog barks all night long.", "The animal next door is noisy when we sleep."),
    ("The library closes early on Sundays.", "You cannot borrow books late at the weekend."),
    ("Farmers fear that the drought will ruin the harvest.", "A lack of rain endangers the crops."),
    ("The painting was stolen from a museum in Paris.", "Thieves took a work of art in France."),
    ("Students protested against the higher fees.", "Young people marched because university costs more."),
    ("The pilot landed the damaged plane safely.", "An aircraft came down without harm."),
)
BLANKS = (" something", ",")
"""What stands in for a word of the decoder, which knows no unknown word: the mean change over both. Its tokenizer's
`unk_token` is the end of text, after which nothing that was said counts."""
LAST_THIRD = 3
Case = tuple[Tensor, int, int, int | None]
"""(token ids (1, pos), explained position, right answer, wrong answer; None is the best of the others)."""


def agreement_cases(model: workbench.LensModel) -> Iterator[Case]:
    """Each pair in all four combinations of numbers: "The keys to the old wooden cabinet" goes on with " are"."""
    singular, plural = model.token_id(" is"), model.token_id(" are")
    for one, several, between, near_one, near_several in PAIRS:
        for subject, right, wrong in ((one, singular, plural), (several, plural, singular)):
            for near in (near_one, near_several):
                ids = model.encode(f"The {subject} {between} {near}")["input_ids"]
                yield ids, ids.shape[1] - 1, right, wrong


def reaction_cases(model: workbench.LensModel) -> Iterator[Case]:
    """Each reaction twice, with one atom of its product masked."""
    mask = model.processor.mask_token_id
    for number, reaction in enumerate(REACTIONS):
        ids = model.encode(reaction)["input_ids"]
        words = model.labels({"input_ids": ids})
        product = len(words) - 1 - words[::-1].index(">>")
        atoms = [place for place in range(product + 1, len(words)) if words[place].strip("[]").isalpha()]
        atoms = [place for place in atoms if not words[place].startswith("[SEP")]
        for place in (atoms[number % len(atoms)], atoms[(2 * number + 1) % len(atoms)]):
            masked = ids.clone()
            masked[0, place] = mask
            yield masked, place, int(ids[0, place]), None


def real_models() -> dict[str, float]:
    """Means over the cases of both models, as names of quantities."""
    smol, albert = workbench.load("smollm2-135m"), workbench.load("rxnmapper-albert")
    blanks = [smol.token_id(text) for text in BLANKS]
    found = summary(smol, "smollm2", agreement_cases(smol), blanks, skip_first=True)
    found |= summary(albert, "rxnmapper", reaction_cases(albert), [albert.processor.mask_token_id])
    bert = workbench.load("minilm-l6")
    return found | sentence_ladder(bert, "minilm") | sentence_ladder(untrained(bert), "untrained_minilm")


def untrained(model: workbench.LensModel) -> workbench.LensModel:
    """The same BERT with random weights."""
    from transformers import BertConfig, BertModel

    config = model.module.config
    assert isinstance(config, BertConfig)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return workbench.adapt(BertModel(config).eval(), model.processor, name=f"{model.name}, untrained")


def summary(
    model: workbench.LensModel, name: str, cases: Iterator[Case], blanks: Sequence[int], *, skip_first: bool = False
) -> dict[str, float]:
    """Accuracy, and the correlation of each method with each measure: first layer, mean of the last third, last layer.

    With `skip_first` also without the first token, where causal models leave the attention that they do not use.
    """
    found: dict[tuple[str, str, str], list[Tensor]] = {}
    right, on_first = [], []
    for number, (ids, place, answer, foil) in enumerate(workbench.track(list(cases), label=f"cases of {model.name}")):
        answered, relevance, importance = look(model, ids, place, answer, foil, blanks)
        relevance["random"] = functional.random_scores(relevance["raw"], seed=number)
        right.append(answered)
        on_first.append(relevance["rollout"][-1, 0].item())
        for method, rows in relevance.items():
            for measure, row in importance.items():
                found.setdefault((method, measure, ""), []).append(functional.spearman(rows, row.expand_as(rows)))
                if skip_first:
                    rho = functional.spearman(rows[:, 1:], row[1:].expand_as(rows[:, 1:]))
                    found.setdefault((method, measure, ".without_first"), []).append(rho)
    numbers = {f"{name}.accuracy": sum(right) / len(right), f"{name}.cases": float(len(right))}
    numbers[f"{name}.rollout_on_first"] = sum(on_first) / len(on_first)
    leads = {}
    for (method, measure, which), rows in found.items():
        layers = torch.stack(rows)  # (case, layer)
        deep = layers[:, -(model.n_blocks // LAST_THIRD) :].nanmean(-1)
        leads[method, measure, which] = deep
        lead = f"{name}.{method}.{measure}"
        numbers[f"{lead}.first{which}"] = layers[:, 0].nanmean().item()
        numbers[f"{lead}.deep{which}"] = deep.nanmean().item()
        numbers[f"{lead}.last{which}"] = layers[:, -1].nanmean().item()
        numbers[f"{name}.undefined"] = numbers.get(f"{name}.undefined", 0.0) + float(layers.isnan().sum())
    for (method, measure, which), deep in leads.items():
        if method in ("rollout", "flow"):
            lead = functional.bootstrap_difference(deep, leads["raw", measure, which])
            numbers[f"{name}.{method}_over_raw.{measure}.deep_low{which}"] = lead.low.item()
    return numbers


def look(
    model: workbench.LensModel, ids: Tensor, place: int, answer: int, foil: int | None, blanks: Sequence[int]
) -> tuple[bool, dict[str, Tensor], dict[str, Tensor]]:
    """Whether the answer beats the foil; relevance (layer, token) by method; importance (token,) by measure."""
    sites = model.attention_sites(None, "pattern")
    with workbench.reading(model, sites) as values, workbench.reading(model, "embed", gradients=True) as entry:
        logits = model.module(input_ids=ids).logits[0, place]
    if foil is None:
        foil = int(logits.detach().index_fill(0, torch.tensor([answer]), -torch.inf).argmax())
    chances = logits.softmax(-1)
    margin = chances[answer] - chances[foil]
    embedding = entry["embed"]
    (slope,) = torch.autograd.grad(margin, embedding)
    patterns = torch.stack([values[site].detach() for site in sites], 1)  # (1, layer, head, query, key)
    changes = []
    for blank in blanks:
        with torch.no_grad():
            variants = ids.repeat(ids.shape[1], 1).fill_diagonal_(blank)
            without = model.module(input_ids=variants).logits[:, place].softmax(-1)
        changes.append((without[:, answer] - without[:, foil] - margin.detach()).abs())
    importance = {
        "blank_out": torch.stack(changes).mean(0),
        "gradient_x_input": (slope * embedding.detach())[0].sum(-1).abs(),
    }
    return bool(margin > 0), {name: row[0] for name, row in attention_rows(patterns, place).items()}, importance


def sentence_ladder(model: workbench.LensModel, name: str) -> dict[str, float]:
    """How well each map, all layers multiplied, agrees with the saliency of words in a BERT that compares sentences.

    The answer is the cosine of two sentences' mean states, so the rows of all positions are averaged. Over words and
    punctuation, without [CLS] and [SEP].
    """
    found: dict[str, list[Tensor]] = {}
    last, sites = model.stream("resid_post")[-1], model.attention_sites(None, "pattern")
    ends: list[Tensor] = []
    for number, pair in enumerate(SENTENCES):
        ids, other = (model.encode(text)["input_ids"] for text in pair)
        with torch.no_grad(), workbench.reading(model, last) as values:
            model.module(input_ids=other)
        with (
            workbench.reading(model, [last, *sites]) as here,
            workbench.reading(model, "embed", gradients=True) as entry,
        ):
            model.module(input_ids=ids)
        likeness = torch.cosine_similarity(here[last].mean(1), values[last].mean(1))[0]
        (slope,) = torch.autograd.grad(likeness, entry["embed"])
        ends.append(on_ends(torch.stack([here[site].detach() for site in sites], 1)))
        saliency = (slope * entry["embed"].detach())[0, 1:-1].norm(dim=-1)
        maps = rolled_maps(model, ids)
        for rung, rolled in maps.items():
            found.setdefault(rung, []).append(functional.spearman(rolled[0, -1].mean(0)[1:-1], saliency))
        chance = functional.random_scores(saliency, seed=number)
        found.setdefault("random", []).append(functional.spearman(chance, saliency))
    rhos = {rung: torch.stack(each) for rung, each in found.items()}
    numbers = {f"{name}.{rung}.saliency": each.nanmean().item() for rung, each in rhos.items()}
    numbers[f"{name}.attention_on_ends"] = torch.cat(ends).mean().item()
    numbers[f"{name}.largest_norm_weight"] = largest_norm_weight(model)
    for above, below in (("N", "W"), ("N_RES", "N"), ("N_ENC", "N_RES"), ("W_FIXEDRES", "W"), ("N_RES", "N_RESLN")):
        lead = functional.bootstrap_difference(rhos[above], rhos[below])
        numbers[f"{name}.{above}_over_{below}"] = lead.value.item()
        numbers[f"{name}.{above}_over_{below}.low"] = lead.low.item()
    return numbers
