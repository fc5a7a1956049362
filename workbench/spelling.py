"""The same run written down: as a line of Python, and as a shell command."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.errors import BadInput
from workbench.params import Param


def as_python(
    callee: str, params: Sequence[Param], model: str, values: Mapping[str, Any], load: Mapping[str, Any]
) -> str:
    """Lines that can be pasted anywhere: the import, and the call that makes `result`."""
    options = "".join(f", {name}={value!r}" for name, value in load.items() if value is not None)
    arguments = [f"workbench.load({model!r}{options})"]
    for p, value in _given(params, values):
        text = _python(p.name, value)
        arguments.append(f"{p.name}={text}" if p.keyword else text)
    call = f"{callee}({', '.join(arguments)})"
    imports = "import torch\nimport workbench" if "torch.tensor(" in call else "import workbench"
    return f"{imports}\nresult = {call}"


def as_command(
    name: str, params: Sequence[Param], model: str, values: Mapping[str, Any], load: Mapping[str, Any]
) -> str:
    """One shell line; prompts go last, in order, after `--` when one could be taken for an option."""
    words = ["workbench", "run", name, "--model", model]
    for option, value in load.items():
        if option == "checkpoint" and isinstance(value, int) and value >= 0:
            raise BadInput(
                f"A command line names a checkpoint by its step, as in checkpoint='1000', not by its place {value}."
            )
        if value is not None:
            words += [flag(option), str(value)]
    last: list[str] = []
    for p, value in _given(params, values):
        if p.kind == "prompt":
            if not isinstance(value, str) and not hasattr(value, "__fspath__"):
                raise BadInput(
                    f"{p.name} is a {type(value).__name__}, which a command line cannot hold; use a file or Python."
                )
            last.append(str(value))
        elif p.kind == "corpus" and not isinstance(value, str) and not hasattr(value, "__fspath__"):
            raise BadInput(
                f"{p.name} is a {type(value).__name__}, which a command line cannot hold; write the texts to a file, "
                "one a line, or use Python."
            )
        elif p.type is bool:
            words.append(flag(p.name) if value else f"--no-{flag(p.name)[2:]}")
        elif p.type is tuple:
            words += [f"{flag(p.name)}={item}" for item in value] if value else [f"{flag(p.name)}="]
        elif value is not None:
            words += [f"{flag(p.name)}={value}"] if str(value).startswith("-") else [flag(p.name), str(value)]
    return shlex.join([*words, *["--"][: any(text.startswith("-") for text in last)], *last])


def flag(name: str) -> str:
    """The option of a parameter: "top_k" is "--top-k"."""
    return "--" + name.replace("_", "-")


def _given(params: Sequence[Param], values: Mapping[str, Any]) -> list[tuple[Param, Any]]:
    """The parameters that are required or differ from their default."""
    if unknown := set(values) - {p.name for p in params}:
        raise BadInput(
            f"There is no parameter called {sorted(unknown)[0]!r}; there is {', '.join(p.name for p in params)}."
        )
    return [(p, values[p.name]) for p in params if p.name in values and (p.required or values[p.name] != p.default)]


def _python(name: str, value: Any) -> str:
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        items = [_python(name, item) for item in value]
        return f"({items[0]},)" if len(items) == 1 and isinstance(value, tuple) else _bracket(value, items)
    if hasattr(value, "__fspath__"):
        return repr(str(value))
    if hasattr(value, "tolist") and hasattr(value, "detach") and not value.is_floating_point():
        return f"torch.tensor({value.tolist()!r})"
    if line := getattr(value, "made_by", ""):  # a corpus knows where it came from
        return line
    raise BadInput(
        f"{name} is a {type(value).__name__} in memory, which a line of Python cannot hold; save it and give its path."
    )


def _bracket(value: Any, items: list[str]) -> str:
    return f"({', '.join(items)})" if isinstance(value, tuple) else f"[{', '.join(items)}]"
