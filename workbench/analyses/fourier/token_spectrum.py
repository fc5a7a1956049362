"""Token spectrum: whether attention smooths what stands along a text, layer by layer."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import functional
from workbench.analyses.fourier.token_spectrum_result import TokenSpectrum
from workbench.analyses.one_prompt import one_prompt, real
from workbench.errors import BadInput
from workbench.functional.precision import precise
from workbench.functional.spectra import DEAD
from workbench.hooks import reading
from workbench.models.lens_model import LensModel
from workbench.progress import track
from workbench.registry import Prompt, Seed, Within, analysis

FEWEST = 4
"""Positions below which there is no high frequency beside a low one."""
ADDED = ("attn_out", "mlp_out")


@analysis("token-spectrum", needs={"resid"})
@torch.no_grad()
def token_spectrum(
    model: LensModel,
    prompt: Annotated[Prompt, "What the model reads"],
    *,
    skip: Annotated[int, Within(0, 1000), "Positions left out at the start"] = 1,
    cut: Annotated[float, Within(0.01, 0.99), "Share of the highest frequency above which a frequency is high"] = 0.5,
    draws: Annotated[int, Within(20, 10000), "Random orders of the positions, for the control"] = 100,
    seed: Annotated[Seed, "Seed of the random orders"] = 0,
) -> TokenSpectrum:
    """How much of the stream, and of what attention and MLP add, jumps from token to token, and how much is smooth.

    The states (position, width) of one prompt are transformed along the positions. Where attention is a low-pass filter
    what it adds has a smaller share of high frequencies than the stream that it reads, and than the same states with
    their positions in random order (the control: a share inside its 5th to 95th percentile says nothing of smoothness).
    `log_amplitude` is that of each frequency over the constant, as in the papers. The first position is left out unless
    asked for: its state outgrows all others in many models (in vision it is the class token), and a single spike has
    all frequencies alike. Of pictures the positions are patches, line by line. Encoder-decoders are read in their
    encoder, models of text and pictures in their text. One forward pass. Park & Kim (2022), "How Do Vision Transformers
    Work?"; Yun et al. (2023), "SPANet".
    """
    batch = one_prompt(model, prompt)
    stack = next((stack for stack in model.stacks if stack.side == "input"), model.stacks[0])
    stream = [model.stream("resid_pre", stack.prefix)[0], *model.stream("resid_post", stack.prefix)]
    added = [site for part in ADDED for site in model.stream(part, stack.prefix) if site in model.sites]
    with reading(model, [*stream, *added]) as values:
        model.module(**batch)
    whole = {site: precise(real(values[site][0], batch, stack.side, dim=0)) for site in (*stream, *added)}
    count = len(whole[stream[0]]) - skip
    if count < FEWEST:
        raise BadInput(
            f"The prompt has {count + skip} positions and the first {skip} are left out; a spectrum along the rest"
            f" needs {FEWEST} or more. Take a longer prompt, or skip fewer."
        )
    first = int(cut * (count // 2)) + 1
    tables = track([table[skip:] for table in whole.values()], label="places")
    measured = [_measured(table, first, draws, seed) for table in tables]
    high = functional.fourier_basis(count).frequencies >= first
    return TokenSpectrum(
        power=torch.stack([one.power for one in measured]).cpu(),
        log_amplitude=torch.stack([one.log_amplitude for one in measured]).cpu(),
        high=torch.stack([one.high for one in measured]).cpu(),
        shuffled=torch.stack([one.shuffled for one in measured]).cpu(),
        chance=float(high.sum()) / (count - 1),
        places=tuple(whole),
        parts=("resid",) * len(stream) + tuple(site.rsplit(".", 1)[1] for site in added),
        layers=("embed", *map(str, range(stack.n_blocks)), *(site.rsplit(".", 2)[1] for site in added)),
        positions=count,
        skipped=skip,
        first_high=first,
        draws=draws,
        notes=tuple(
            f"{model.name} has no {part}: it is left out."
            for part in ADDED
            if not any(site.endswith(f".{part}") for site in added)
        ),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Measured:
    """What one table has; the fields of the result, for one place."""

    power: Float[Tensor, "frequency"]
    log_amplitude: Float[Tensor, "frequency"]
    high: Float[Tensor, ""]
    shuffled: Float[Tensor, "bound"]


def _measured(table: Float[Tensor, "pos width"], first: int, draws: int, seed: int) -> _Measured:
    power = functional.power_spectrum(table, dim=0).sum(-1)
    power = power if float(power.sum()) > DEAD**2 else power * 0
    shuffled = functional.frequency_ratio(functional.shuffled_power(table, draws, seed=seed), first)
    return _Measured(
        power=power,
        log_amplitude=functional.relative_log_amplitude(table),
        high=functional.frequency_ratio(power, first),
        shuffled=shuffled.quantile(table.new_tensor([0.05, 0.95])),
    )
