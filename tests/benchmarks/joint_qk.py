"""Queries and keys of all heads over many sentences: captured and aligned, placed from a store, and in what memory."""

import random
import tempfile
from pathlib import Path

import torch

from tests.benchmarks.harness import Measured, bench, in_fresh_process, peak_memory, ratio, seconds

MODEL, SENTENCES, PAIRS = "smollm2-135m", 200, 20_000


def gather(model, folder: Path | str):
    """All rows of the sentences, kept in the folder."""
    from workbench.analyses.embedding.gathered import gathered

    return gathered(model, "example", inputs=SENTENCES, store=folder)


def clouds(found, *, aligned: bool):
    """Layer by layer, the queries and keys of its heads as one cloud each: (head, point, d_head)."""
    from workbench.functional import joint_qk, repeat_kv

    pairs = found.pairs(most=PAIRS, seed=0) if aligned else None
    for number in range(found.model.attention(found.attention)[0].n_blocks):
        q = found.queries(number).transpose(0, 1)
        k = repeat_kv(found.keys(number).transpose(0, 1), len(q), dim=0)
        if aligned:
            joined = joint_qk(q, k, pairs)
            q, k = joined.queries, joined.keys
        yield torch.cat([q, k], 1)


@bench("queries and keys of 200 sentences, captured and aligned", at_most=4, unit="x bare forward")
def captured() -> Measured:
    """All heads of smollm2-135m: capture to disk (with values and patterns), read again, 20,000 pairs a head."""
    import workbench
    from workbench.activations.batches import Inputs, collate, plan

    model = workbench.load(MODEL)
    with tempfile.TemporaryDirectory() as folder:
        found = gather(model, folder)
    wanted = Inputs(model=model, raw=list(found.inputs))
    batches = [collate(wanted, [wanted.encode(i) for i in some]) for some in plan(wanted, 8, True).batches]

    @torch.no_grad()
    def bare() -> None:
        for batch in batches:
            model.module(**batch, use_cache=False)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for _ in clouds(gather(model, folder), aligned=True):
                pass

    return ratio(lambda: seconds(ours), lambda: seconds(bare), 3)


@bench("pictures of all heads from a store, PCA", at_most=1, unit="x a pass and scikit-learn")
def placed() -> Measured:
    """Reading and PCA of 270 heads, 6,920 points each, against reading all files and scikit-learn's PCA in double."""
    from sklearn.decomposition import PCA

    import workbench
    from workbench.functional import project

    model = workbench.load(MODEL)
    with tempfile.TemporaryDirectory() as folder:
        found = gather(model, folder)
        heads = next(iter(clouds(found, aligned=False))).double().numpy()
        n_layers = model.attention(found.attention)[0].n_blocks

        def one_pass() -> None:
            buffer = bytearray(2**24)
            for path in Path(folder).rglob("*"):
                if path.is_file():
                    with path.open("rb", buffering=0) as file:
                        while file.readinto(buffer):
                            pass

        def theirs() -> None:
            one_pass()
            for _ in range(n_layers):  # the same layer again: the work does not depend on the numbers
                for head in heads:
                    PCA(2).fit_transform(head)

        def ours() -> None:
            for cloud in clouds(found, aligned=False):
                project(cloud)

        whole = seconds(lambda: [project(cloud) for cloud in clouds(found, aligned=True)])
        found_once = ratio(lambda: seconds(ours), lambda: seconds(theirs), 5)
    return Measured(found_once.value, f"{found_once.note}; {whole:.3g} s with alignment and its correlations.")


def small_model():
    """A random Llama of 4 layers and 4 heads of 64: a token's queries, keys and values are 12 KiB."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from workbench.models.adapters import adapt
    from workbench.models.micro.characters import CharacterTokenizer

    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=98, bos_token_id=0, eos_token_id=0, pad_token_id=0, **sizes)
    return adapt(LlamaForCausalLM(config).eval(), CharacterTokenizer(), name="small llama")


def growth(count: int) -> tuple[int, int]:
    """Growth of peak memory while all heads are placed for `count` sentences, and bytes stored; for its own process."""
    from workbench.analyses.embedding.joint_matrix import joint_qk_matrix

    model, drawn = small_model(), random.Random(0)
    texts = ["".join(drawn.choices("abcdefgh", k=20)) for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        joint_qk_matrix(model, texts[:10], store=f"{folder}/warm")
        grown = peak_memory(lambda: joint_qk_matrix(model, texts, inputs=count, store=f"{folder}/store"))[1]
        return grown, sum(path.stat().st_size for path in Path(folder, "store").iterdir())


@bench("all heads of 10,000 sentences, memory", at_most=0.05, unit="of what is stored more")
def memory() -> Measured:
    """Growth of peak memory beyond that at 1,000, capture to pictures of 2,000 points, each in a fresh process."""
    (small, less), (large, more) = (in_fresh_process(f"{__name__}:growth", count) for count in (1_000, 10_000))
    stored = f"{more / 1e6:.0f} MB stored against {less / 1e6:.0f}"
    return Measured((large - small) / (more - less), f"{large / 1e6:.0f} MB against {small / 1e6:.0f}; {stored}.")
