"""A stack of blocks done by hand in double precision, from the maps of a model as numbers: the slow second opinion."""

import torch

from workbench import functional
from workbench.hooks import reading


def double(norm, x):
    bias = None if norm.bias is None else norm.bias.double()
    return functional.final_norm(x, centred=norm.centred, eps=norm.eps, weight=norm.weight.double(), bias=bias)


def seen(model, batch, parts=("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")):
    """(site -> value of the first input in double, patterns (layer, head, query, key))."""
    sites = [site for part in parts for site in model.stream(part) if site in model.sites]
    patterns = model.attention_sites(None, "pattern")
    with torch.no_grad(), reading(model, [*sites, *patterns]) as values:
        model.module(**batch)
    return {site: values[site][0].double() for site in sites}, torch.stack([values[p][0] for p in patterns]).double()


class Maps:
    """The numbers of one layer."""

    def __init__(self, model, layer):
        self.order = model.main.row.order
        self.norms = model.norms(layer)
        self.mlp = model.mlp_map(layer)
        (w_v, b_v), (w_o, b_o) = model.value_map(None, layer), model.output_map(None, layer)
        self.w_o, self.b_o = w_o.double(), b_o.double()
        self.w_v = functional.repeat_kv(w_v.double(), len(w_o), dim=1)
        self.b_v = functional.repeat_kv(b_v.double(), len(w_o), dim=0)

    def head(self, h, pattern, x):
        return pattern[h] @ (x @ self.w_v[:, h] + self.b_v[h]) @ self.w_o[h]

    def attended(self, pattern, x):
        return sum(self.head(h, pattern, x) for h in range(len(self.w_o))) + self.b_o

    def mixed(self, x):
        linear = {k: getattr(self.mlp, k) for k in ("inner", "linear", "outer")}

        def through(one, y):
            return y @ one.weight.double() + (0 if one.bias is None else one.bias.double())

        hidden = self.mlp.activation(through(linear["inner"], x))
        if linear["linear"] is not None:
            hidden = hidden * through(linear["linear"], x)
        return through(linear["outer"], hidden)


def variant_states(model, first, patterns, *, skip, mlp):
    """States before the first block and after each, with these patterns, without the parts that are switched off.

    `patterns` is a function of (layer, what the attention reads) or a tensor (layer, head, query, key).
    """
    x, states = first, [first]
    for layer in range(model.n_blocks):
        maps = Maps(model, layer)
        norm1, norm2 = maps.norms.get("norm1"), maps.norms.get("norm2")
        keep = 1.0 if skip else 0.0
        reads = x if maps.order == "post" or norm1 is None else double(norm1, x)
        pattern = patterns(layer, reads) if callable(patterns) else patterns[layer]
        added = maps.attended(pattern, reads)
        if maps.order == "parallel":
            of_mlp = maps.mixed(double(norm2, x) if norm2 is not None else reads) if mlp else 0.0
            x = keep * x + added + of_mlp
        elif maps.order == "post":
            x = double(norm1, keep * x + added)
            x = double(norm2, keep * x + maps.mixed(x)) if mlp else double(norm2, x)
        else:
            x = keep * x + added
            if mlp and maps.mlp is not None:
                x = keep * x + maps.mixed(x if norm2 is None else double(norm2, x))
        states.append(x)
    return torch.stack(states)
