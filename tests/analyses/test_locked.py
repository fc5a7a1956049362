"""Every forward pass of an analysis holds the model's lock: another thread's edits are in none of them."""

import pytest

import workbench

PROMPT = "the cat sat. the cat sat. the c"
DOMAINS = (["the cat sat on the mat", "a cat"], ["def f(x): return x", "x = 1"])


@pytest.mark.parametrize(
    ("name", "given", "options"),
    [
        ("attention_sinks", (PROMPT,), {}),
        ("massive_activations", (PROMPT,), {"texts": "example", "inputs": 2}),
        ("massive_interventions", (PROMPT,), {"top": 2, "draws": 1}),
        ("dormant_heads", DOMAINS, {"inputs": 2, "top_k": 2}),
        ("path_decomposition", (PROMPT,), {}),
        ("in_context_algorithms", (PROMPT,), {}),
        ("attention_operations", (PROMPT,), {"most": 20}),
        ("head_scores", (), {"sequences": 1, "remove": True}),
    ],
)
def test_each_pass_holds_the_lock(name, given, options):
    model = workbench.load("micro")
    held: list[bool] = []
    hook = model.module.register_forward_pre_hook(lambda *_: held.append(model.lock._is_owned()))
    try:
        getattr(workbench, name)(model, *given, **options)
    finally:
        hook.remove()
    assert held and all(held)
