"""A small model of two modalities that look at each other: it says which colour the shape in question has.

Nine image tokens, each a colour and a shape; one of them alone has the shape asked for. The question is a start mark,
a filler and the shape's name, and the answer is read off the start mark. As in LXMERT, each side has a layer of
self-attention of its own, then come two layers of cross-attention both ways at once, self-attention and MLP.
"""

import torch
from torch import Tensor, nn

COLOURS, SHAPES, OBJECTS, FILLERS = 6, 6, 9, 3
TEXT, IMAGE = 3, OBJECTS
D_MODEL, HEADS, CROSS_LAYERS = 32, 4, 2


def scenes(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(text ids, image (object, [colour, shape]), answers, which object is asked for)."""
    asked = torch.randint(SHAPES, (n,), generator=generator)
    others = torch.randint(1, SHAPES, (n, OBJECTS), generator=generator)
    shapes = (asked[:, None] + others) % SHAPES  # never the one asked for
    right = torch.randint(OBJECTS, (n,), generator=generator)
    shapes[torch.arange(n), right] = asked
    colours = torch.randint(COLOURS, (n, OBJECTS), generator=generator)
    filler = 1 + torch.randint(FILLERS, (n,), generator=generator)
    text = torch.stack([torch.zeros_like(asked), filler, 1 + FILLERS + asked], -1)
    return text, torch.stack([colours, shapes], -1), colours[torch.arange(n), right], right


class Attention(nn.Module):
    """Post-norm attention that keeps its patterns (batch, head, query, key)."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(D_MODEL, D_MODEL) for _ in range(4))
        self.norm = nn.LayerNorm(D_MODEL)
        self.pattern = torch.empty(0)

    def forward(self, own: Tensor, other: Tensor, shown: Tensor | None = None) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part, x in ((self.q, own), (self.k, other), (self.v, other))
        )
        scores = q @ k.mT / (D_MODEL // HEADS) ** 0.5
        if shown is not None:
            scores = scores.masked_fill(~shown[:, None, None], -torch.inf)
        self.pattern = scores.softmax(-1)
        return self.norm(own + self.o((self.pattern @ v).transpose(1, 2).flatten(2)))


class Feed(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(D_MODEL, 2 * D_MODEL), nn.Linear(2 * D_MODEL, D_MODEL)
        self.norm = nn.LayerNorm(D_MODEL)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.down(torch.relu(self.up(x))))


class CrossLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.text_cross, self.image_cross, self.text_self, self.image_self = (Attention() for _ in range(4))
        self.text_feed, self.image_feed = Feed(), Feed()

    def forward(self, text: Tensor, image: Tensor, shown: Tensor | None) -> tuple[Tensor, Tensor]:
        text, image = self.text_cross(text, image, shown), self.image_cross(image, text)
        text, image = self.text_self(text, text), self.image_self(image, image, shown)
        return self.text_feed(text), self.image_feed(image)


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(1 + FILLERS + SHAPES, D_MODEL)
        self.places = nn.Embedding(TEXT, D_MODEL)
        self.colours, self.shapes = nn.Embedding(COLOURS, D_MODEL), nn.Embedding(SHAPES, D_MODEL)
        self.text_self, self.image_self = Attention(), Attention()
        self.text_feed, self.image_feed = Feed(), Feed()
        self.layers = nn.ModuleList(CrossLayer() for _ in range(CROSS_LAYERS))
        self.answer = nn.Linear(D_MODEL, COLOURS)

    def embedded(self, image: Tensor) -> Tensor:
        return self.colours(image[..., 0]) + self.shapes(image[..., 1])

    def forward(self, text: Tensor, objects: Tensor, shown: Tensor | None = None) -> Tensor:
        """Logits of the colours. `objects` is what `embedded` gives; only those `shown` can be looked at."""
        t, i = self.words(text) + self.places.weight, objects
        t, i = self.text_feed(self.text_self(t, t)), self.image_feed(self.image_self(i, i, shown))
        for layer in self.layers:
            t, i = layer(t, i, shown)
        return self.answer(t[:, 0])


def trained(seed: int, steps: int = 300) -> Toy:
    """The toy after training on fresh scenes, about six seconds of one core; it then answers all of them.

    On one thread: sums over several are rounded as the machine's load has it, and training carries that on.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _trained(seed, steps)
    finally:
        torch.set_num_threads(threads)


def _trained(seed: int, steps: int) -> Toy:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    toy = Toy()
    optimiser = torch.optim.AdamW(toy.parameters(), lr=5e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    for _ in range(steps):
        text, image, answers, _ = scenes(64, generator)
        loss = nn.functional.cross_entropy(toy(text, toy.embedded(image)), answers)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return toy.eval()
