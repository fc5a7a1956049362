"""One token a character: a tokenizer for printable ASCII that accepts any typed text and needs no download."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workbench.errors import BadInput

BOS, UNKNOWN = 0, 1
TOKENS = ("<bos>", "\ufffd", *map(chr, range(32, 127)), "\n")  # ids are the positions in this row


class CharacterTokenizer:
    """Turns text into character ids and back, called like a transformers tokenizer.

    Ids: 0 is the start-of-text mark `<bos>` (also the padding, then with mask 0), 1 stands for every character that
    has no id of its own, 2 to 96 are the printable ASCII characters in order, 97 is the line break. The start mark
    is put first unless `add_special_tokens=False`; text that spells "<bos>" is five ordinary characters.
    """

    bos_token, pad_token, unk_token = TOKENS[BOS], TOKENS[BOS], TOKENS[UNKNOWN]
    bos_token_id, pad_token_id, unk_token_id = BOS, BOS, UNKNOWN
    eos_token = eos_token_id = cls_token = cls_token_id = sep_token = sep_token_id = mask_token = mask_token_id = None
    all_special_tokens, all_special_ids = (TOKENS[BOS], TOKENS[UNKNOWN]), (BOS, UNKNOWN)
    model_input_names = ("input_ids", "attention_mask")
    name_or_path = "characters"
    is_fast = False

    def __init__(self, *, padding_side: str = "right", model_max_length: int | None = None) -> None:
        if padding_side not in ("left", "right"):
            raise BadInput(f"padding_side is 'left' or 'right', not {padding_side!r}.")
        self.padding_side = padding_side
        self.model_max_length = model_max_length
        self._ids = {token: number for number, token in enumerate(TOKENS)}

    def __len__(self) -> int:
        return len(TOKENS)

    def __repr__(self) -> str:
        return f"CharacterTokenizer({len(TOKENS)} characters, padding_side={self.padding_side!r})"

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return len(TOKENS)

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id."""
        return dict(self._ids)

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text, without the start mark."""
        return [TOKENS[number] for number in self.encode(text, add_special_tokens=False)]

    def encode(self, text: str, *, add_special_tokens: bool = True, return_tensors: str | None = None) -> Any:
        """The ids of one text."""
        return self(text, add_special_tokens=add_special_tokens, return_tensors=return_tensors)["input_ids"]

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        return_tensors: str | None = None,
        padding: bool | str = False,
        padding_side: str | None = None,
        truncation: bool | str = False,
        max_length: int | None = None,
        add_special_tokens: bool = True,
        return_attention_mask: bool = True,
        return_token_type_ids: bool = False,
    ) -> dict[str, Any]:
        """Ids and attention mask of a text or of a list of texts.

        Lists of integers, or tensors of shape (batch, pos) with `return_tensors="pt"`; texts of different lengths
        then need `padding=True`. `padding="max_length"` fills up to `max_length`; `truncation=True` cuts there.
        """
        if isinstance(text, str):
            texts = [text]
        elif isinstance(text, Sequence) and text and all(isinstance(one, str) for one in text):
            texts = list(text)
        else:
            raise BadInput(f"The character tokenizer reads a text or a list of texts, not {text!r}.")
        if return_tensors not in (None, "pt"):
            raise BadInput(f"return_tensors is None or 'pt', not {return_tensors!r}.")
        limit = self.model_max_length if max_length is None else max_length
        start = [BOS] if add_special_tokens else []
        rows = [[*start, *(self._character(character) for character in one)] for one in texts]
        if truncation and limit is not None:
            rows = [row[:limit] for row in rows]
        masks = [[1] * len(row) for row in rows]
        if padding:
            width = max(map(len, rows))
            if padding == "max_length" and limit is not None:
                width = max(width, limit)
            side = self.padding_side if padding_side is None else padding_side
            rows, masks = _padded(rows, width, side, BOS), _padded(masks, width, side, 0)
        found: dict[str, Any] = {"input_ids": rows}
        if return_attention_mask:
            found["attention_mask"] = masks
        if return_token_type_ids:
            found["token_type_ids"] = [[0] * len(row) for row in rows]
        if return_tensors == "pt":
            return _as_tensors(found)
        return {name: rows[0] for name, rows in found.items()} if isinstance(text, str) else found

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of one id, or the tokens of many (a list or a tensor)."""
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        if isinstance(ids, int):
            return self._token(ids)
        return [self._token(one) for one in ids if not (skip_special_tokens and one == BOS)]

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """The id of one token, or the ids of many; what is no token is the unknown character."""
        if isinstance(tokens, str):
            return self._ids.get(tokens, UNKNOWN)
        return [self._ids.get(token, UNKNOWN) for token in tokens]

    def decode(self, ids: Any, skip_special_tokens: bool = False, **_: Any) -> str:
        """The text of some ids."""
        tokens = self.convert_ids_to_tokens(ids, skip_special_tokens)
        return tokens if isinstance(tokens, str) else "".join(tokens)

    def batch_decode(self, rows: Iterable[Any], skip_special_tokens: bool = False, **_: Any) -> list[str]:
        """The texts of several rows of ids."""
        return [self.decode(row, skip_special_tokens) for row in rows]

    def _character(self, character: str) -> int:
        return self._ids.get(character, UNKNOWN)

    def _token(self, number: int) -> str:
        if not 0 <= number < len(TOKENS):
            raise BadInput(f"There is no token {number}: the ids run from 0 to {len(TOKENS) - 1}.")
        return TOKENS[number]


def _padded(rows: list[list[int]], width: int, side: str, fill: int) -> list[list[int]]:
    gaps = [[fill] * (width - len(row)) for row in rows]
    return [gap + row if side == "left" else row + gap for row, gap in zip(rows, gaps, strict=True)]


def _as_tensors(rows: Mapping[str, list[list[int]]]) -> dict[str, Any]:
    import torch  # only those who ask for tensors pay for it

    lengths = sorted({len(row) for row in rows["input_ids"]})
    if len(lengths) > 1:
        raise BadInput(f"Texts of {lengths} tokens do not fit one tensor: give padding=True.")
    return {name: torch.tensor(value, dtype=torch.long) for name, value in rows.items()}
