"""Parts of speech of the Brown corpus: its 472 tags made into the thirteen that a legend can show.

The classes are those of Petrov, Das and McDonald (2012), "A Universal Part-of-Speech Tagset", with names apart from
other nouns. Marks for titles, headlines, cited and foreign words are taken off first; "$" (possessive) keeps the class
of its word. A tag of several words in one (`ppss+md`, "I'll") has no entry here: `brown` splits the word.
"""

import re

_CLASSES = {
    "noun": "nn nns nr nrs",
    "proper noun": "np nps",
    "verb": "vb vbd vbg vbn vbz md be bed bedz beg bem ben ber bez do dod doz hv hvd hvg hvn hvz",
    "adjective": "jj jjr jjs jjt ap od",
    "adverb": "rb rbr rbt rn ql qlp wrb wql",
    "pronoun": "pn pp$$ ppl ppls ppo pps ppss wpo wps ex",
    "determiner": "at abl abn abx dt dti dts dtx pp$ wdt wp$",
    "preposition": "in",
    "conjunction": "cc cs",
    "number": "cd",
    "particle": "rp to *",
    "punctuation": ". , : -- ( ) `` '' ' `",
    "other": "uh nil",
}
_MARKS = re.compile(r"(?<=.)(-(tl|hl|nc|t|n))+$")
PARTS = tuple(_CLASSES)
"""The parts of speech, as they stand in `Corpus.tags`."""
TABLE = {tag: name for name, tags in _CLASSES.items() for tag in tags.split()}
"""Brown tag to part of speech."""


def bare(tag: str) -> str:
    """A tag without its marks: "fw-nn-tl" is "nn"."""
    return _MARKS.sub("", tag.lower().removeprefix("fw-"))


def part_of(tag: str) -> str:
    """The part of speech of one tag; "" for a tag that is not in the table."""
    tag = bare(tag)
    return TABLE.get(tag) or TABLE.get(tag.removesuffix("$"), "")
