"""Circuits: exact patching against runs that each patch one edge, and EAP-IG against its bare passes."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from tests.benchmarks.attribution import processor_seconds
from tests.benchmarks.harness import Measured, bench, ratio, seconds
from workbench.tasks.form import Pair

MODEL, STEPS = "smollm2-135m", 5
PROMPTS, BLOCK, AGAIN = 64, 18, 5


@cache
def induction_pairs() -> tuple[Any, Pair]:
    """The micro model (81 edges) and 64 pairs: characters that repeat; one of them is another in the corrupted text."""
    from workbench.testing import tiny_model

    model, random = tiny_model("micro"), torch.Generator().manual_seed(0)
    block = torch.stack([torch.randperm(90, generator=random)[:BLOCK] + 2 for _ in range(PROMPTS)])
    clean = torch.cat([torch.zeros(PROMPTS, 1, dtype=torch.long), block, block[:, :AGAIN]], 1)
    corrupted, at = clean.clone(), AGAIN + 1
    corrupted[:, at] = torch.randint(2, 92, (PROMPTS,), generator=random)
    last = torch.full((PROMPTS,), clean.shape[1] - 1)
    return model, Pair(clean={"input_ids": clean}, corrupted={"input_ids": corrupted}, targets=clean[:, at : at + 1],
                       foils=corrupted[:, at : at + 1], position=last)  # fmt: skip


@torch.no_grad()
def one_run_an_edge(module: Any, pair: Pair, size: int) -> Tensor:
    """Drops of the logit difference, (source, slot): torch hooks on one forward pass an edge and batch of `size`."""
    total = torch.zeros(9, 25)
    for at in range(0, len(pair), size):
        some = slice(at, at + size)
        ids = pair.clean["input_ids"][some], pair.corrupted["input_ids"][some]
        total += _edges_by_hooks(module, *ids, pair.targets[some], pair.foils[some])
    return total / len(pair)


def _edges_by_hooks(module: Any, clean: Tensor, corrupted: Tensor, targets: Tensor, foils: Tensor) -> Tensor:
    def difference(logits: Tensor) -> Tensor:
        last = logits[:, -1]
        return (last.gather(1, targets) - last.gather(1, foils)).sum()

    (writes, logits), (others, _) = _writes(module, clean), _writes(module, corrupted)
    before, deltas = difference(logits), [b - a for a, b in zip(writes, others, strict=True)]
    drops, slot = torch.zeros(9, 25), 0
    for number, block in enumerate(module.blocks):
        for part in "qkv":
            for head, weight in enumerate(getattr(block.attn, f"W_{part.upper()}").weight.split(block.attn.d_head)):
                for source in range(1 + module.config.n_heads * number):
                    with _patched(block, part, head, weight, deltas[source]):
                        drops[source, slot] = before - difference(module(clean).logits)
                slot += 1
    for source, delta in enumerate(deltas):
        hook = module.ln_final.register_forward_pre_hook(lambda _, args, delta=delta: (args[0] + delta,))
        drops[source, slot] = before - difference(module(clean).logits)
        hook.remove()
    return drops


class _patched:
    """Hooks that give one head's queries, keys or values another stream to read."""

    def __init__(self, block: Any, part: str, head: int, weight: Tensor, delta: Tensor) -> None:
        stream: list[Tensor] = []

        def keep(_: Any, args: Any) -> None:
            stream[:] = [args[0]]

        def read(_module: Any, _args: Any, value: Tensor) -> Tensor:
            value = value.clone()
            value[:, :, head] = block.ln1(stream[0] + delta) @ weight.T
            return value

        hook = getattr(block.attn, f"hook_{part}")
        self.hooks = [block.register_forward_pre_hook(keep), hook.register_forward_hook(read)]

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


def _writes(module: Any, ids: Tensor) -> tuple[list[Tensor], Tensor]:
    zs: list[Tensor] = []
    hooks = [b.attn.hook_z.register_forward_hook(lambda _m, _a, z: zs.append(z)) for b in module.blocks]
    hooks.append(module.blocks[0].register_forward_pre_hook(lambda _, args: zs.insert(0, args[0])))
    logits = module(ids).logits
    for hook in hooks:
        hook.remove()
    outs = [b.attn.W_O.weight.T.split(b.attn.d_head) for b in module.blocks]
    heads = [z[:, :, h] @ w for z, out in zip(zs[1:], outs, strict=True) for h, w in enumerate(out)]
    return [zs[0], *heads], logits


def exact_against(size: int, rounds: int) -> Measured:
    from workbench.circuits.exact import exact_scores
    from workbench.circuits.split import split

    model, pair = induction_pairs()
    wiring = split(model)

    def ours() -> Tensor:
        return exact_scores(wiring, [pair], "logit-diff")

    gap = (ours().nan_to_num() - one_run_an_edge(model.module, pair, len(pair))).abs().max().item()
    assert gap < 1e-4, gap
    found = ratio(lambda: seconds(lambda: one_run_an_edge(model.module, pair, size)), lambda: seconds(ours), rounds)
    return Measured(found.value, f"{wiring.graph.n_edges} edges, {len(pair)} prompts; {found.note}")


@bench("exact patching, against one run an edge and prompt", at_least=5, unit="x as fast")
def exact_against_single_runs() -> Measured:
    """Micro model, pairwise median: torch hooks, one forward pass for each edge and prompt, over `exact_scores`."""
    return exact_against(1, 3)


@bench("exact patching, against one batched run an edge", at_least=1, unit="x as fast")
def exact_against_batched_runs() -> Measured:
    """Micro model, pairwise median: torch hooks, one forward pass of all prompts for each edge, over `exact_scores`."""
    return exact_against(PROMPTS, 9)


@cache
def random_pair(tokens: int = 16, size: int = 8) -> tuple[Any, Pair]:
    import workbench

    model, random = workbench.load(MODEL), torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.vocab_size, (2, size, tokens), generator=random)
    answers = torch.randint(0, model.vocab_size, (2, size, 1), generator=random)
    return model, Pair(clean=model.encode(ids[0]), corrupted=model.encode(ids[1]), targets=answers[0],
                       foils=answers[1], position=torch.full((size,), tokens - 1))  # fmt: skip


def bare_passes(model: Any, pair: Pair) -> None:
    """Two forward passes, and five forward and backward passes down to the embeddings; no gradients of weights."""
    table, rows = model.module.get_input_embeddings(), torch.arange(len(pair))
    with torch.no_grad():
        for batch in (pair.clean, pair.corrupted):
            model.module(**batch, use_cache=False)
    for _ in range(STEPS):
        embedded = table(pair.clean["input_ids"]).detach().requires_grad_()
        mask = pair.clean["attention_mask"]
        logits = model.module(inputs_embeds=embedded, attention_mask=mask, use_cache=False).logits[:, -1]
        torch.autograd.grad((logits[rows, pair.targets[:, 0]] - logits[rows, pair.foils[:, 0]]).sum(), embedded)


def gradients_against(slots: Any) -> Measured:
    from workbench.circuits.edge_scores import edge_scores
    from workbench.circuits.split import split

    model, pair = random_pair()
    wiring = split(model, slots=slots)

    def ours() -> None:
        edge_scores(wiring, [pair], "logit-diff", method="eap-ig", steps=STEPS)

    for warm in (ours, lambda: bare_passes(model, pair)):
        warm()
    found = ratio(lambda: seconds(ours), lambda: seconds(lambda: bare_passes(model, pair)), 5)
    alike = ratio(lambda: processor_seconds(ours), lambda: processor_seconds(lambda: bare_passes(model, pair)), 3)
    size, tokens = pair.clean["input_ids"].shape
    told = f"{wiring.graph.n_edges:,} edges, {size} prompts of {tokens} tokens"
    return Measured(found.value, f"{told}; {found.note}; by processor time {alike.value:.2f}")


@bench("EAP-IG, 5 steps, a slot for each kv head", at_most=1.5, unit="x its bare passes")
def gradients_by_kv_head() -> Measured:
    """Pairwise median on smollm2-135m: `edge_scores`, over 2 forward and 5 forward and backward passes to the input."""
    return gradients_against("kv-head")


@bench("EAP-IG, 5 steps, a slot for each query head", at_most=1.5, unit="x its bare passes")
def gradients_by_query_head() -> Measured:
    """The same with keys and values that each query head reads by itself."""
    return gradients_against("query-head")
