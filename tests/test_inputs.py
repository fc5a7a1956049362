"""What a person types or hands over, and the labels and answers they get back."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.errors import BadInput
from workbench.testing import FAMILIES, example_input, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
def test_what_encode_gives_the_module_takes(family):
    model = tiny_model(family)
    batch = model.encode(example_input(family))
    with torch.no_grad():
        model.module(**batch)
    for stack in model.stacks:
        labels = model.labels(batch, side=stack.side)
        site = model.stream("resid_post", stack.prefix)[0]
        from workbench.hooks import reading

        with torch.no_grad(), reading(model, [site]) as values:
            model.module(**batch)
        assert len(labels) == values[site].shape[1]


@pytest.mark.parametrize(
    "family", ["gpt2", "llama", "neox", "bert", "roberta", "distilbert", "electra", "albert", "micro"]
)
def test_padding_changes_no_answer(family):
    """Each prompt of a batch gets what it gets alone."""
    model = tiny_model(family)
    texts = ["abcdefgh", "abc", "the cat"]
    together = model.logits(model.encode(texts))
    for row, text in enumerate(texts):
        alone = model.logits(model.encode(text))[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, rtol=0, atol=1e-5)


def test_no_special_token_that_the_processor_does_not_add():
    model = tiny_model("gpt2")
    ids = model.encode("ab")["input_ids"][0].tolist()
    assert ids == model.processor("ab")["input_ids"] and ids[0] == 0
    assert model.encode("ab", bos=False)["input_ids"][0].tolist() == ids[1:]
    assert model.encode("ab", bos=True)["input_ids"][0].tolist() == ids  # not a second one
    assert model.labels(model.encode(["abc", "a"]), row=1) == ("<bos>", "a")


def test_token_ids_in_every_shape():
    model = tiny_model("gpt2")
    for ids in (torch.tensor([2, 3, 4]), torch.tensor([[2, 3, 4]]), [2, 3, 4]):
        assert model.encode(ids)["input_ids"].tolist() == [[2, 3, 4]]


def test_encoder_and_decoder_texts():
    model = tiny_model("t5")
    for typed in ("abc => de", ("abc", "de")):
        batch = model.encode(typed)
        assert model.labels(batch) == ("<bos>", "a", "b", "c")
        assert model.labels(batch, side="target") == ("<bos>", "d", "e")
    assert model.encode("abc")["decoder_input_ids"].tolist() == [[0]]


def test_images_of_every_kind(tmp_path):
    model = tiny_model("vit")
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    for given in (pixels, Image.fromarray(pixels), tmp_path / "a.png", str(tmp_path / "a.png"), expected):
        torch.testing.assert_close(model.encode(given)["pixel_values"], expected)
    assert model.labels(model.encode(pixels)) == ("CLS", "0,0", "0,1", "1,0", "1,1")


def test_an_array_of_floats_is_a_picture_of_0_to_1():
    model = tiny_model("vit")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    expected = model.encode(pixels)["pixel_values"]
    assert expected.max() > 0.9
    for dtype in (np.float16, np.float32, np.float64):  # half an 8-bit step is more than float16 rounds
        torch.testing.assert_close(model.encode((pixels / 255).astype(dtype))["pixel_values"], expected)
    for dtype in (np.int64, np.uint16):
        torch.testing.assert_close(model.encode(pixels.astype(dtype))["pixel_values"], expected)
    mask = pixels > 127
    torch.testing.assert_close(model.encode(mask)["pixel_values"], model.encode(np.uint8(255) * mask)["pixel_values"])
    grey = pixels[..., :1] / 255
    torch.testing.assert_close(model.encode(grey)["pixel_values"], model.encode(pixels[..., 0])["pixel_values"])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((4, 4, 3), np.nan), "holds 48 of 48 values that are NaN or infinite"),
        (np.where(np.arange(16).reshape(4, 4) == 5, np.inf, 0.5), "holds 1 of 16 values that are NaN or infinite"),
        (np.full((4, 4, 3), 200.0), "floating-point numbers is 0..1; this one is 200 to 200. Divide 0..255 by 255"),
        (np.full((4, 4, 3), -0.1), "floating-point numbers is 0..1; this one is -0.1 to -0.1"),
        (np.full((4, 4, 3), 256), "whole numbers is 0..255; this one is 256 to 256."),
        (np.full((4, 4, 3), -1), "whole numbers is 0..255; this one is -1 to -1."),
        (np.zeros((3, 16, 16)), "shape (height, width, 3) or (height, width), not (3, 16, 16)"),
        (np.zeros((0, 4, 3)), "not (0, 4, 3)"),
        (np.full((4, 4), "x"), "holds numbers, not <U1"),
    ],
)
def test_an_array_that_is_no_picture_is_a_sentence(array, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        tiny_model("vit").encode(array)


@pytest.mark.parametrize(("dtype", "middle", "most"), [(np.int16, 0, 32767), (np.uint8, 128, 127)])
def test_whole_numbers_of_a_sound_are_the_same_in_a_file_and_in_an_array(tmp_path, dtype, middle, most):
    from scipy.io import wavfile

    model = tiny_model("ast")
    wave = np.sin(np.arange(800) / 20)
    samples = (np.rint(wave * most) + middle).astype(dtype)
    wavfile.write(tmp_path / "a.wav", 400, samples)
    expected = model.encode(wave)["input_values"]
    for given in (samples, tmp_path / "a.wav"):
        torch.testing.assert_close(model.encode(given)["input_values"], expected, rtol=0, atol=1 / most)


def test_a_sound_that_holds_nan_is_a_sentence():
    with pytest.raises(BadInput, match="1 of the 800 samples of the sound are NaN or infinite"):
        tiny_model("ast").encode(np.where(np.arange(800) == 3, np.nan, 0.1))


def test_sound_from_a_wav_file(tmp_path):
    from scipy.io import wavfile

    model = tiny_model("ast")
    wave = (np.sin(np.arange(800) / 20) * 32767).astype(np.int16)  # two seconds at the model's own rate
    wavfile.write(tmp_path / "a.wav", 400, wave)
    features = model.encode(tmp_path / "a.wav")["input_values"]
    torch.testing.assert_close(features.flatten(), torch.tensor(wave[:512] / 32767).float(), rtol=0, atol=1e-4)


def test_answers_by_text_and_number():
    model = tiny_model("gpt2")
    assert model.token_text(model.token_id("Q")) == "Q"
    assert model.token_id(" ") == 2 and model.token_id(5) == 5 and model.token_id("<bos>") == 0
    vit = tiny_model("vit")
    assert vit.token_text(3) == "LABEL_3" and vit.token_id("LABEL_3") == 3


def test_answer_positions():
    assert (m := tiny_model("gpt2")).answer_position(m.encode("abc")) == 3
    assert (m := tiny_model("gpt2")).answer_position(m.encode(["abc", "abcdef"])) == 3  # padding is not last
    assert (m := tiny_model("vit")).answer_position(m.encode("example")) == 0
    assert (m := tiny_model("t5")).answer_position(m.encode("abc => de")) == 2


@pytest.mark.parametrize(
    ("family", "given", "message"),
    [
        ("gpt2", "", "prompt is empty"),
        ("gpt2", "x" * 64, "65 tokens long, and tiny:gpt2 reads at most 64. Shorten it by 1 tokens"),
        ("gpt2", [], "an empty list"),
        ("gpt2", 3.5, "not float"),
        ("gpt2", torch.tensor([[1, 99]]), "run from 0 to 97; got 1 to 99"),
        ("gpt2", torch.tensor([0.5]), "Token ids are integers"),
        ("bart", "abc => " + "x" * 70, "target is 71 tokens long"),
        ("vit", "no/such/file.png", "No image could be read from 'no/such/file.png'"),
        ("ast", "no/such/file.wav", "No sound could be read"),
        ("vit", 3, "reads images"),
    ],
)
def test_bad_input_is_a_sentence(family, given, message):
    with pytest.raises(BadInput, match=message.replace("(", r"\(")):
        tiny_model(family).encode(given)


@pytest.mark.parametrize("answer", ["ab", "", "\u00e9", 98, -1])
def test_a_token_that_is_not_one(answer):
    with pytest.raises(BadInput):
        tiny_model("gpt2").token_id(answer)


def test_a_ready_batch_is_taken_as_it_is_and_lists_become_tensors():
    model = tiny_model("gpt2")
    batch = model.encode("abc")
    assert all(model.encode(batch)[name] is value for name, value in batch.items())
    found = model.encode({"input_ids": [[1, 2, 3]]})
    assert found["input_ids"].tolist() == [[1, 2, 3]]
    assert model.logits(found).shape == (1, 3, 98)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_encode_gave_it_takes_again(family):
    model = tiny_model(family)
    batch = model.encode(example_input(family))
    assert model.encode(batch) == batch


IDS = torch.tensor([[1, 2, 3]])


@pytest.mark.parametrize(
    ("family", "given", "message"),
    [
        ("gpt2", {}, "needs 'input_ids'; it holds nothing"),
        ("gpt2", {"foo": 1}, "needs 'input_ids'; it holds foo"),
        ("gpt2", {"input_ids": [[1, 2, 99]]}, "run from 0 to 97; got 1 to 99"),
        ("gpt2", {"input_ids": torch.tensor([[-1, 2]])}, "run from 0 to 97; got -1 to 2"),
        ("gpt2", {"input_ids": [[1], [2, 3]]}, "'input_ids' of the batch"),
        ("gpt2", {"input_ids": "abc"}, "'input_ids' of the batch"),
        ("gpt2", {"input_ids": [1, 2, 3]}, "shape (batch, pos)"),
        ("gpt2", {"input_ids": torch.zeros((1, 65), dtype=torch.long)}, "65 tokens long"),
        ("gpt2", {"input_ids": IDS.bool()}, "Token ids are integers"),
        ("gpt2", {"input_ids": IDS, "attention_mask": [[1, 1]]}, "attention_mask has the shape (1, 2)"),
        ("gpt2", [True, False], "not a list of bool"),
        ("gpt2", torch.tensor([True, False]), "Token ids are integers"),
        ("t5", {"input_ids": IDS}, "needs 'decoder_input_ids'"),
        ("t5", {"input_ids": IDS, "decoder_input_ids": [[99]]}, "run from 0 to 97"),
        ("vit", {"input_ids": IDS}, "needs 'pixel_values'; it holds input_ids"),
        ("vit", {"pixel_values": torch.zeros(1, 4, 16, 16)}, "(batch, 3, height, width), not (1, 4, 16, 16)"),
        ("vit", torch.zeros(4, 16, 16), "(batch, 3, height, width), not (1, 4, 16, 16)"),
        ("ast", {"input_features": torch.zeros(1, 3)}, "needs 'input_values'"),
        ("clip", {"input_ids": IDS}, "needs 'pixel_values'"),
        ("micro", {"ids": IDS}, "needs 'input_ids'"),
    ],
)
def test_a_batch_that_cannot_be_used_is_a_sentence(family, given, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        tiny_model(family).encode(given)
