"""What a corpus is: inputs in order, what is known of them, and what was left out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.errors import BadInput

Span = tuple[int, int, str]
"""(start, end, tag): characters start to end of a text have that tag."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """Inputs for one kind of model, in the order of their source."""

    name: str
    """Such as "example", "brown" or the name of a file."""
    reads: str
    """"text", "image", "audio" or "text+image": what each input is."""
    inputs: tuple[Any, ...]
    """Texts; paths or PIL images; paths or waveforms; or pairs (text, picture)."""
    tags: tuple[tuple[Span, ...], ...] | None = None
    """For each text its tagged characters, in order and not overlapping; None where no tags are known."""
    groups: tuple[str, ...] = ()
    """For each input its topic, genre, folder or label; "" where that is not known."""
    note: str = ""
    """What was left out and why, and what the tags are; "" when there is nothing to say."""
    made_by: str = ""
    """The Python that makes it again; "" when it was made of things in memory."""

    def __post_init__(self) -> None:
        if not self.groups:
            object.__setattr__(self, "groups", ("",) * len(self.inputs))
        if len(self.groups) != len(self.inputs) or (self.tags is not None and len(self.tags) != len(self.inputs)):
            raise BadInput(f"The corpus {self.name} needs one group, and one list of tags, for each of its inputs.")

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def titles(self) -> tuple[str, ...]:
        """For each input what a person reads: the text itself, the path, or the name of what is in memory."""
        return tuple(_title(x, f"{self.name} {number}") for number, x in enumerate(self.inputs))

    @property
    def digest(self) -> str:
        """The sha256 of all inputs in order, in hexadecimal: equal exactly when a model reads the same."""
        found = hashlib.sha256(self.reads.encode())
        for x in self.inputs:
            found.update(hashlib.sha256(_bytes_of(x)).digest())
        return found.hexdigest()

    def chosen(self, places: Sequence[int]) -> "Corpus":
        """The same with only the inputs at `places`."""
        return replace(
            self,
            inputs=tuple(self.inputs[i] for i in places),
            tags=None if self.tags is None else tuple(self.tags[i] for i in places),
            groups=tuple(self.groups[i] for i in places),
            made_by="",
        )


def _title(x: Any, otherwise: str) -> str:
    if isinstance(x, tuple):
        return f"{_title(x[0], otherwise)} @ {_title(x[1], otherwise)}"
    if isinstance(x, str | Path):
        return str(x)
    return str(getattr(x, "info", {}).get("title", otherwise))


def _bytes_of(x: Any) -> bytes:
    if isinstance(x, tuple):
        return b"".join(hashlib.sha256(_bytes_of(part)).digest() for part in x)
    if isinstance(x, str):
        return b"text" + x.encode("utf-8", "surrogatepass")
    if isinstance(x, Path):
        return b"file" + x.read_bytes()
    if hasattr(x, "mode") and hasattr(x, "tobytes"):  # a PIL image
        return f"picture {x.mode} {x.size}".encode() + x.tobytes()
    if hasattr(x, "detach"):
        x = x.detach().cpu().numpy()
    return f"array {x.dtype} {x.shape}".encode() + x.tobytes()
