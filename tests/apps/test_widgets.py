"""Parameters in the address: every declared default and value survives the way there and back."""

from typing import Annotated, Literal

import pytest
from hypothesis import given, strategies as st

from apps.widgets import from_text, to_text
from workbench.params import Position, Seed, Sites, Token, Within, params_of


def declared(
    model,
    *,
    number: Annotated[int, Within(1, 20), "A number"] = 5,
    share: Annotated[float, Within(0, 1), "A share"] = 0.5,
    switch: Annotated[bool, "A switch"] = False,
    how: Annotated[Literal["a", "b"], "A choice"] = "a",
    token: Annotated[Token, "A token"] = None,
    sites: Annotated[Sites, "Sites"] = (),
    position: Annotated[Position | None, "A position"] = None,
    seed: Annotated[Seed, "A seed"] = 0,
    words: Annotated[tuple[str, ...], "Words"] = (),
    numbers: Annotated[tuple[int, ...], "Numbers"] = (),
): ...


PARAMS = {p.name: p for p in params_of(declared, __import__("typing").get_type_hints(declared, include_extras=True))}
plain = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
VALUES = {
    "number": st.integers(1, 20),
    "share": st.floats(0, 1),
    "switch": st.booleans(),
    "how": st.sampled_from("ab"),
    "token": plain,
    "sites": st.lists(plain, max_size=3).map(tuple),
    "position": st.integers(-5, 5) | st.none(),
    "seed": st.integers(0, 2**32 - 1),
    "words": st.lists(plain, max_size=3).map(tuple),
    "numbers": st.lists(st.integers(), max_size=3).map(tuple),
}


@pytest.mark.parametrize("name", VALUES)
@given(data=st.data())
def test_a_value_comes_back_from_the_address(name, data):
    value = data.draw(VALUES[name])
    assert from_text(PARAMS[name], to_text(PARAMS[name], value)) == value


@pytest.mark.parametrize("name", VALUES)
def test_a_default_leaves_the_address_empty(name):
    assert to_text(PARAMS[name], PARAMS[name].default) == ""


@pytest.mark.parametrize("name", VALUES)
@given(text=st.text(max_size=20))
def test_any_text_gives_a_value_that_is_allowed(name, text):
    value = from_text(PARAMS[name], text)
    assert value == PARAMS[name].check(value)
