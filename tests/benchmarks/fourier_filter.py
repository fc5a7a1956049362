"""What a filtered ablation costs beside the forward passes that it needs."""

import torch

from tests.benchmarks.attribution import processor_seconds
from tests.benchmarks.harness import Measured, bench, ratio, seconds

MODEL, VALUES, LOW = "smollm2-135m", 200, range(1, 51)
PROMPTS, TOKENS = 16, 32


@bench("filtered ablation of all layers, one band", at_most=1.1, unit="x 2 passes + decomposition")
def one_band() -> Measured:
    """`filtered_answers` over 200 values, over 2 bare forward passes and the SVD of (100, 576); pairwise median."""
    import workbench

    model, draws = workbench.load(MODEL), torch.Generator().manual_seed(0)
    ids = torch.randperm(model.vocab_size, generator=draws)[:VALUES]
    tokens = torch.randint(0, model.vocab_size, (PROMPTS, TOKENS), generator=draws)
    right, batch = ids[:PROMPTS], model.encode(tokens)
    constraint = torch.randn(2 * len(LOW), model.d_model, generator=draws, dtype=torch.float64)

    def ours() -> None:
        workbench.filtered_answers(model, tokens, right, ids=ids, bands={"low": LOW}, parts=("both",), draws=0)

    @torch.no_grad()
    def theirs() -> None:
        for _ in range(2):
            model.module(**batch, use_cache=False)
        torch.linalg.svd(constraint, full_matrices=False)

    ours(), theirs()  # warm
    found = ratio(lambda: seconds(ours), lambda: seconds(theirs), 7)
    alike = ratio(lambda: processor_seconds(ours), lambda: processor_seconds(theirs), 3)
    told = f"{PROMPTS} prompts of {TOKENS} tokens, {MODEL}"
    return Measured(found.value, f"{told}; {found.note}; by processor time {alike.value:.2f}")
