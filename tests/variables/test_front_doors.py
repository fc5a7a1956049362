"""A variable is asked for in Python, on the command line and in a form; `workbench variables` says what there is."""

import subprocess
import sys
from typing import Annotated, get_type_hints

import pytest

import workbench
from workbench.cli import main
from workbench.errors import BadInput
from workbench.params import params_of
from workbench.variables import BUILTIN


def shown(model: workbench.LensModel, variable: Annotated[workbench.VariableName, "What is ordered"] = "days"): ...


def left_out(model: workbench.LensModel, variable: Annotated[workbench.VariableName | None, "Or nothing"] = None): ...


def optional():
    (param,) = params_of(left_out, get_type_hints(left_out, include_extras=True))
    return param


def declared():
    (param,) = params_of(shown, get_type_hints(shown, include_extras=True))
    return param


def test_the_declaration(tmp_path):
    param = declared()
    assert (param.kind, param.type, param.default, param.help) == ("variable", str, "days", "What is ordered")
    assert param.check("0-99") == "0-99" and param.check(tmp_path) == str(tmp_path)
    for bad in ("", " ", None, 3, ("days",), b"days"):
        with pytest.raises(BadInput, match=r"variable must be a variable: 'days' \(`workbench variables` lists"):
            param.check(bad)


def test_the_form_offers_the_names_and_takes_another():
    from streamlit.testing.v1 import AppTest

    def script() -> None:
        import streamlit as st

        from apps import widgets
        from tests.variables.test_front_doors import declared
        from workbench.testing import tiny_model

        asked = st.query_params.get("variable", "")
        value = widgets.ask(declared(), asked, widgets.Context(model=tiny_model("gpt2")), key="k")
        st.session_state["said"] = (value, widgets.to_text(declared(), value))

    app = AppTest.from_function(script, default_timeout=30)
    app.run()
    assert not app.exception
    assert app.session_state["said"] == ("days", "")  # the default is not in the address
    assert app.selectbox(key="k").options == list(BUILTIN)
    app.selectbox(key="k").select("months").run()
    assert app.session_state["said"] == ("months", "months")
    app = AppTest.from_function(script, default_timeout=30)
    app.query_params["variable"] = "red,<b>,blue"
    app.run()
    assert app.session_state["said"] == ("red,<b>,blue", "red,<b>,blue")


def test_a_form_starts_empty_where_a_variable_may_be_left_out():
    from streamlit.testing.v1 import AppTest

    def script() -> None:
        import streamlit as st

        from apps import widgets
        from tests.variables.test_front_doors import optional
        from workbench.testing import tiny_model

        value = widgets.ask(optional(), "", widgets.Context(model=tiny_model("gpt2")), key="k")
        st.session_state["said"] = (value, widgets.to_text(optional(), value))

    app = AppTest.from_function(script, default_timeout=30)
    app.run()
    assert not app.exception and app.session_state["said"] == (None, "")
    app.selectbox(key="k").select("months").run()
    assert app.session_state["said"] == ("months", "months")


def test_variables_are_named_without_torch():
    code = "import sys; from workbench.cli import main; code = main(['variables']);"
    code += "assert 'torch' not in sys.modules; sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in BUILTIN) and "0-100:10" in done.stdout


def test_one_in_the_tokens_of_a_model(capsys):
    assert main(["variables", "letters", "--model", "tiny:gpt2"]) == 0
    printed = capsys.readouterr().out
    assert "26 values, 'a' to 'z', one token each, without a space before" in printed and "'q'" in printed
    assert main(["variables", "days", "--model", "tiny:gpt2"]) == 0
    assert "'Monday' is 6 tokens" in capsys.readouterr().out
    assert main(["variables", "dayz", "--model", "tiny:gpt2"]) == 2
    assert "Did you mean 'days'" in capsys.readouterr().err
