"""What the tests of analyses share: models in double precision, TransformerLens bridges of the same weights."""

import copy
import warnings

import pytest

from workbench.testing import example_input, tiny_model


@pytest.fixture
def double():
    """Makes a tiny model in float64, so that exact claims can be held to twelve digits."""

    def make(family):
        model = tiny_model(family)
        model.module.double()
        return model, example_input(family)

    return make


@pytest.fixture
def bridge_of():
    """Makes a TransformerBridge of a copy of a model's module: an independent reference."""

    def make(model):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library's own imports
            from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

            module = copy.deepcopy(model.module)
            return build_bridge_from_module(
                module, type(module).__name__, hf_config=copy.deepcopy(module.config), tokenizer=None
            )

    return make
