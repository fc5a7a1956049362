"""What every analysis of a corpus asks for in the same words: which inputs, how many, and where they are kept."""

from typing import Annotated, Literal

from workbench.registry import Seed, Texts, Within

CorpusOf = Annotated[Texts, "What the model reads: a corpus by name, a file or folder, or a list"]
Inputs = Annotated[int, Within(1, 1_000_000), "Inputs drawn from the corpus"]
PointCount = Annotated[int, Within(3, 200_000), "Rows placed: whole inputs are drawn until they have as many"]
Method = Literal["pca", "tsne", "umap"]
Neighbours = Annotated[int, Within(2, 200), "Neighbours that umap keeps, and that quality is measured by"]
Perplexity = Annotated[float, Within(2, 200), "How many neighbours tsne attends to"]
SampleSeed = Annotated[Seed, "Seed of all draws, and of tsne and umap"]
Store = Annotated[
    str | None, "Folder that keeps queries and keys of all layers for the next run, or 'cache' for one of our own"
]
Translate = Annotated[
    bool, "Bring the centre of the keys to that of the queries: a vector added to every key, which no softmax sees"
]
