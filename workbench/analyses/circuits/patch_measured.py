"""What results of patching say of the two prompts and of what is measured on them."""

from dataclasses import dataclass

from workbench.analyses.circuits.patch_pair import Direction, PromptPair
from workbench.models.lens_model import Blocks


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """Two prompts and the answer that tells them apart."""

    direction: str
    """denoise: parts of the clean run in the corrupted run. noise: the other way round."""
    target: str
    """What is measured, in words: the logit of the answer less that of the foil."""
    token: str
    foil: str
    """Empty where the model has one answer only."""
    position: int
    tokens: tuple[str, ...]
    """Of the clean prompt, a label a position of the stack that is patched."""
    corrupted_tokens: tuple[str, ...]


def measured(pair: PromptPair, direction: Direction, stack: Blocks) -> Measured:
    """What is measured on a pair of prompts that is patched in one stack."""
    tokens, corrupted_tokens = pair.tokens(stack)
    return Measured(
        direction=direction,
        target=pair.target.text,
        token=pair.answer,
        foil=pair.foil,
        position=pair.target.position,
        tokens=tokens,
        corrupted_tokens=corrupted_tokens,
    )
