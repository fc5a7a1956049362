"""What every method of attribution asks for in the same words: the answer, what it is set against, and where."""

from typing import Annotated

from workbench.registry import Position, Token

Answer = Annotated[Token, "Answer that is explained; none: the model's own top answer"]
Foil = Annotated[Token, "Answer against which it is explained; none: the answer alone"]
ReadAt = Annotated[Position | None, "Where the answer is read; none: the model's last (or masked) position"]
