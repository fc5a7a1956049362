"""Drafts in the tokens of a model: one token where it stands, equal lengths, the mask in its place."""

import math

import pytest
import torch

from tests.tasks.word_models import word_model
from workbench.errors import BadInput, MissingCapability
from workbench.models.adapters import adapt
from workbench.tasks import draft as reasons, draw
from workbench.tasks.draft import Draft, Unusable
from workbench.tasks.reader import Reader


def draft(clean: str, corrupted: str, target: str = " Paris", foil: str = " Rome", **more) -> Draft:
    return Draft(clean=clean, corrupted=corrupted, targets=(target,), foils=(foil,), **more)


FRANCE = "So the capital of France is", "So the capital of Italy is"


@pytest.mark.parametrize(
    ("example", "why"),
    [
        (draft(*FRANCE, target=" Paris Rome"), reasons.MANY_TOKENS),
        (draft(*FRANCE, target="Paris"), reasons.MANY_TOKENS),
        (draft(*FRANCE, foil=" nowhereland"), reasons.UNKNOWN),
        (draft("So the capital of France is", "So the capital of the Italy is"), reasons.LENGTHS),
        (draft(*FRANCE, foil=" Paris"), reasons.SAME_ANSWER),
        (draft("So the capital of France is", "So the capital of Nowhere is"), reasons.UNKNOWN),
        (draft("So the capital of France is", "So the capital of France is"), reasons.SAME_PROMPT),
        (draft("So" + " the" * 70, "So" + " a" * 70), reasons.TOO_LONG),
        (draft(*FRANCE), None),
    ],
)
def test_why_an_example_cannot_be_used(example, why):
    reader = Reader(word_model())
    if why is None:
        assert len(reader.read(example).clean) == 6
    else:
        with pytest.raises(Unusable, match=why):
            reader.read(example)


def test_sets_lose_only_the_answers_that_are_not_one_token():
    reader, model = Reader(word_model()), word_model()
    answers = (" Paris", " Atlantis", " Rome"), (" Oslo", " El Dorado")
    kept = reader.read(Draft(clean=FRANCE[0], corrupted=FRANCE[1], targets=answers[0], foils=answers[1], some=True))
    assert [model.token_text(n) for n in (*kept.targets, *kept.foils)] == [" Paris", " Rome", " Oslo"]
    with pytest.raises(Unusable, match=reasons.UNKNOWN):
        reader.read(Draft(clean=FRANCE[0], corrupted=FRANCE[1], targets=answers[0], foils=answers[1]))


def test_an_answer_that_changes_the_token_before_it_is_not_one_token():
    """Where numbers are cut three digits at a time, 17 and then 4 is 174: the prompt's own last token is another."""
    import transformers
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    vocab = {"[UNK]": 0, **{str(n): n + 1 for n in range(1000)}, "in ": 1001}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d{1,3}|\D+"), "isolated")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")
    config = transformers.GPT2Config(vocab_size=1002, n_layer=1, n_head=1, n_embd=4, n_positions=16)
    reader = Reader(adapt(transformers.GPT2LMHeadModel(config).eval(), tokenizer))
    assert reader.is_one_token("in 174", "5") and not reader.is_one_token("in 17", "4")


def test_an_answer_that_only_changes_what_stands_before_it_is_not_one_token(tiny):
    class Restless:
        """Spells the first character otherwise in a text that ends with an exclamation mark."""

        def __call__(self, texts, add_special_tokens=True):
            return tiny("gpt2").processor(["?" + t[1:] if t.endswith("!") else t for t in texts])

    reader = Reader(tiny("gpt2"))
    reader.tokenizer = Restless()
    assert reader.is_one_token("abc", ".") and not reader.is_one_token("abc", "!")


def test_the_mask_stands_where_the_answer_would():
    model = word_model("mask")
    reader, mask = Reader(model), model.processor.mask_token_id
    example = reader.read(draft(*FRANCE))
    assert example.texts == ("So the capital of France is [MASK].", "So the capital of Italy is [MASK].")
    assert example.clean[example.position] == example.corrupted[example.position] == mask
    assert [model.token_text(n) for n in (*example.targets, *example.foils)] == [" Paris", " Rome"]
    own = reader.read(draft("[MASK] is the capital of France.", "[MASK] is the capital of Italy.", "Paris", "Rome"))
    assert own.texts[0] == "[MASK] is the capital of France." and own.position == 1
    with pytest.raises(Unusable, match=reasons.MASKS):
        reader.read(draft("[MASK] is the capital.", "So [MASK] is capital."))
    with pytest.raises(Unusable, match=reasons.MASKS):
        reader.read(draft("[MASK] is the [MASK].", "[MASK] is a [MASK]."))
    (pair,) = draw("induction", model, examples=3).pairs(model)
    assert (pair.clean["input_ids"][:, 0] == model.processor.cls_token_id).all()
    assert (pair.clean["input_ids"][:, -1] == model.processor.sep_token_id).all()
    assert (pair.clean["input_ids"][:, -2] == mask).all() and (pair.position == 16).all()


def test_an_encoder_decoder_goes_on_from_its_sentinel():
    model = word_model("sentinel")
    sentinel = model.processor.convert_tokens_to_ids("<extra_id_0>")
    (pair,) = draw("induction", model, examples=3).pairs(model)
    assert (pair.clean["input_ids"][:, -1] == sentinel).all()
    assert pair.clean["decoder_input_ids"].tolist() == [[0, sentinel]] * 3
    assert model.logits(pair.clean).shape[1] == 2 and pair.position.tolist() == [1, 1, 1]


def test_an_end_mark_is_not_what_a_model_goes_on_from():
    import transformers

    model = word_model()

    class Ending:
        """Puts an end mark after every text, as some tokenizers do."""

        eos_token_id, unk_token_id, all_special_ids = 0, 1, (0, 1)

        def __call__(self, texts, add_special_tokens=True):
            rows = model.processor(texts, add_special_tokens=False)["input_ids"]
            return {"input_ids": [[*row, 0] if add_special_tokens else row for row in rows]}

        def __getattr__(self, name):
            return getattr(model.processor, name)

    module = transformers.GPT2LMHeadModel(model.module.config).eval()
    example = Reader(adapt(module, Ending())).read(draft(*FRANCE))
    assert example.clean == Reader(model).read(draft(*FRANCE)).clean


def test_unknown_characters_that_a_tokenizer_leaves_out_are_no_answer():
    model = word_model()

    class Deaf:
        """Hears only the last letter of a word that it does not know."""

        def __call__(self, texts, add_special_tokens=True):
            return model.processor([t.replace(" Babylon", " on") for t in texts], add_special_tokens=False)

        def __getattr__(self, name):
            return getattr(model.processor, name)

    reader = Reader(word_model())
    reader.tokenizer = Deaf()
    assert reader.is_one_token("the war went", " on") and not reader.is_one_token("the war went", " Babylon")


@pytest.mark.parametrize("family", ["vit", "whisper", "clip", "dinov2"])
def test_models_that_do_not_read_text_are_refused(family, tiny):
    with pytest.raises(MissingCapability, match="A task needs"):
        draw("induction", tiny(family))


def test_classifiers_are_refused():
    import transformers

    config = transformers.BertConfig(
        vocab_size=98, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    model = adapt(transformers.BertForSequenceClassification(config).eval(), word_model("mask").processor)
    with pytest.raises(MissingCapability, match=r"needs|answers with a class"):
        draw("induction", model)


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox", "bert", "roberta", "albert", "t5", "bart", "mamba"])
def test_every_family_that_reads_text_has_induction(model, family):
    for pair in draw("induction", model, examples=5).pairs(model):
        logits = model.logits(pair.clean)
        assert logits[torch.arange(len(pair)), pair.position].shape == (len(pair), model.vocab_size)


def test_a_task_without_a_usable_example_says_what_became_of_all(tiny):
    with pytest.raises(
        BadInput, match=r"ioi has no example that can be used here. 400 were tried, left out: 400 because"
    ):
        draw("ioi", tiny("gpt2"), examples=10)


def test_what_is_left_out_is_counted():
    without = tuple(f" {name}" for name in ("Mary", "John", "Anna", "Peter", "Tom", "Laura", "Emma", "James"))
    task = draw("ioi", word_model(without=without), examples=100)
    assert set(task.dropped) == {reasons.UNKNOWN}
    assert task.made == 100 + sum(task.dropped.values())
    assert not any(name.strip() in text.split() for name in without for text in task.clean)
    assert task.said.startswith(f"100 of {task.made} examples of ioi can be used with words:next, left out: ")
    assert f"{task.dropped[reasons.UNKNOWN]} because {reasons.UNKNOWN}" in task.said
    known = math.prod(104 - i for i in range(5)) / math.prod(112 - i for i in range(5))  # two names and three others
    assert task.dropped[reasons.UNKNOWN] / task.made == pytest.approx(1 - known, abs=0.08)
