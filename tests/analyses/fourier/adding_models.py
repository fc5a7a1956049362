"""Small transformers for tests of arithmetic: random ones, and one whose answer to every pair is planted."""

import torch

import workbench
from workbench.models.small import SmallConfig, SmallTransformer, word_tokenizer


def random_adder(n: int = 7, *, seed: int = 0, norm: str | None = None, d_mlp: int = 24) -> workbench.LensModel:
    """A one-layer model of random weights over the numbers 0 ... n - 1 and "=", with biases that are not zero."""
    torch.manual_seed(seed)
    config = SmallConfig(vocab_size=n + 2, n_ctx=6, n_layers=1, n_heads=2, d_model=16, d_head=8, d_mlp=d_mlp, norm=norm)
    module = SmallTransformer(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return workbench.adapt(module, word_tokenizer([*map(str, range(n)), "="]), name=f"random adder {seed}")


class Planted(torch.nn.Module):
    """Gives the last position the logits that a table (a, b, c) holds for the pair before the "="."""

    def __init__(self, model: workbench.LensModel, table: torch.Tensor) -> None:
        super().__init__()
        self.inner, self.table = model.module, table

    def hook(self, module: torch.nn.Module, inputs: tuple, output: object) -> object:
        ids = self.ids
        logits = torch.zeros(len(ids), ids.shape[1], self.table.shape[-1] + 2, dtype=self.table.dtype)
        logits[:, -1, : self.table.shape[-1]] = self.table[ids[:, 0], ids[:, 1]]
        output.logits = logits  # type: ignore[attr-defined]
        return output


def answering(table: torch.Tensor) -> workbench.LensModel:
    """A model that answers "a b =" with the logits table[a, b]; its insides are random."""
    model = random_adder(len(table))
    planted = Planted(model, table)

    def before(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        planted.ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]

    model.module.register_forward_pre_hook(before, with_kwargs=True)
    model.module.register_forward_hook(planted.hook)
    return model


def ideal(n: int, frequencies: tuple[int, ...], scale: float = 20.0) -> torch.Tensor:
    """Logits that are a sum of cos 2 pi k (a + b - c) / n."""
    at = torch.arange(n, dtype=torch.float64)
    turns = at[:, None, None] + at[:, None] - at
    return scale * sum(torch.cos(2 * torch.pi * k * turns / n) for k in frequencies)  # type: ignore[return-value]
