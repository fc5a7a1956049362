"""Small tables beside the route, as HTML: all text of tokens is escaped here."""

from html import escape
from typing import TYPE_CHECKING, Any

from apps.text import short, visible

if TYPE_CHECKING:
    import pandas as pd


def predicted(frame: "pd.DataFrame") -> str:
    """What a state would predict: token, probability, and how far the token came up since the state before."""
    head = ["would predict", "probability", *(["rank"] if "rise" in frame else [])]
    rows = []
    for row in frame.to_dict("records"):
        cells = [_token(row["token"]), f"{row['probability']:.3f}"]
        rows.append([*cells, _rise(int(row["rise"]))] if "rise" in row else cells)
    return _table(head, rows)


def promoted(frame: "pd.DataFrame") -> str:
    """Tokens that are raised most beside those that are lowered most, each with its logit."""
    every = frame.to_dict("records")
    sides = [[row for row in every if row["effect"] == effect] for effect in ("promoted", "suppressed")]
    rows = [
        [cell for one in pair for cell in (_token(one["token"]), f"{one['logit']:+.2f}")]
        for pair in zip(*sides, strict=True)
    ]
    return _table(["promotes", "logit", "suppresses", "logit"], rows)


def neurons(frame: "pd.DataFrame") -> str:
    """The neurons of an MLP: number, share, activation, and the token that each promotes most."""
    words = "promotes" in frame
    rows = []
    for row in frame.to_dict("records"):
        cells = [str(row["neuron"]), f"{row['contribution']:.3f}", f"{row['activation']:+.2f}"]
        rows.append([*cells, *([_token(row["promotes"])] if words else [])])
    return _table(["neuron", "share", "activation", *(["promotes"] if words else [])], rows)


def _rise(places: int) -> str:
    if not places:
        return '<span class="wb-same">–</span>'
    arrow, kind = ("▲", "wb-rise") if places > 0 else ("▼", "wb-fall")
    return f'<span class="{kind}">{arrow} {abs(places):,}</span>'


def _token(text: Any) -> str:
    whole = visible(str(text))
    return f'<span class="wb-token" title="{escape(whole)}">{escape(short(whole, 14))}</span>'


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="wb-route">{f"<tr>{top}</tr>"}{body}</table>'
