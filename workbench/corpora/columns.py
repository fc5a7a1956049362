"""Which column of a table holds the inputs, and which one says to what group each belongs."""

from collections.abc import Sequence

from workbench.errors import BadInput

INPUTS = {
    "text": ("text", "sentence", "sentences", "content", "sentence1", "question", "prompt", "document"),
    "image": ("image", "img", "picture", "photo"),
}
GROUPS = ("label", "labels", "group", "category", "class", "topic", "genre", "fine_label")


def input_column(names: Sequence[str], fitting: Sequence[str], reads: str, wanted: str | None, where: str) -> str:
    """The column `wanted`, or the usual one, of those `fitting` what the model reads."""
    known = ", ".join(names)
    if wanted is not None:
        if wanted not in names:
            raise BadInput(f"{where} has no column {wanted!r}; it has {known}.")
        if wanted not in fitting:
            raise BadInput(f"The column {wanted!r} of {where} does not hold {reads}s; its columns are {known}.")
        return wanted
    if reads not in INPUTS:
        raise BadInput(f"A table holds texts or images, and this model reads {reads}.")
    usual = [name for name in INPUTS[reads] if name in fitting]
    if not fitting:
        raise BadInput(f"{where} has no column of {reads}s; its columns are {known}.")
    return (usual or list(fitting))[0]


def group_column(names: Sequence[str], taken: str) -> str | None:
    """The column that says which group an input belongs to, if there is a usual one."""
    return next((name for name in GROUPS if name in names and name != taken), None)
