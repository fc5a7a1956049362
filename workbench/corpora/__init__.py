"""Many inputs at once: texts, pictures or sounds from a list, a file, a folder, a public collection or a hub."""

from workbench.corpora.form import Corpus as Corpus
from workbench.corpora.sources import corpus as corpus
from workbench.corpora.tagging import position_tags as position_tags

__all__ = ["Corpus", "corpus", "position_tags"]
