"""Names become models: folders, classes, heads, damaged weights, and sentences for what cannot be loaded."""

import json
import subprocess
import sys
from logging import Handler as StdHandler, LogRecord
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.tiny_folders import bert, llama, saved
from workbench.cli.main import main
from workbench.errors import BadFile, BadInput, BadWeights, Unavailable, UnknownName, UnsupportedModel
from workbench.models.catalogue import CATALOGUE
from workbench.models.folder import check_finite, load_folder
from workbench.models.loading import checkpoints, load, load_or_micro


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "tiny-llama", llama())


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Replace (or with None drop) tensors of a saved model; dots are written as __."""
    path = folder / "model.safetensors"
    state = load_file(path)
    for name, tensor in tensors.items():
        name = name.replace("__", ".")
        assert name in state
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    save_file(state, path, metadata={"format": "pt"})


def test_a_local_folder_gives_the_same_logits_as_transformers(folder: Path) -> None:
    model = load(str(folder))
    batch = model.encode("the cat sat")
    with torch.no_grad():
        expected = llama()(input_ids=torch.tensor([[2, 3, 4]])).logits
        assert torch.equal(model.module(**batch).logits, expected)
    assert model.name == "tiny-llama"
    assert model.info["source"] == f"folder {folder}"
    assert model.info["dtype"] == "float32"
    assert "readout" in model.capabilities


def test_the_dtype_asked_for_is_the_dtype_loaded(folder: Path) -> None:
    assert load(str(folder), dtype="bfloat16").module.lm_head.weight.dtype == torch.bfloat16
    with pytest.raises(BadInput, match="No dtype 'float8'; choose from float32"):
        load(str(folder), dtype="float8")


def test_a_device_that_is_not_here_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match="No device 'tpu' here; there is cpu"):
        load(str(folder), device="tpu")


def test_a_checkpoint_without_a_head_gets_none(tmp_path: Path) -> None:
    model = load(str(saved(tmp_path / "bert", bert())))
    assert type(model.module).__name__ == "BertModel"
    assert "readout" not in model.capabilities


def test_a_random_head_is_never_a_readout(tmp_path: Path) -> None:
    folder = saved(tmp_path / "bert", bert())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    loaded = load_folder(folder)
    assert any(name.startswith("cls.predictions") for name in loaded.untrained)
    assert "readout" not in load(str(folder)).capabilities


def test_tied_heads_count_as_trained(tmp_path: Path) -> None:
    module = llama()
    module.config.tie_word_embeddings = True
    module.tie_weights()
    folder = saved(tmp_path / "tied", module)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert load_folder(folder).untrained == frozenset()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(folder: Path, bad: float) -> None:
    weight = load_file(folder / "model.safetensors")["model.layers.1.mlp.up_proj.weight"]
    weight[3, 2] = bad
    change(folder, model__layers__1__mlp__up_proj__weight=weight)
    with pytest.raises(BadWeights, match=r"model\.layers\.1\.mlp\.up_proj\.weight holds 1 values"):
        load(str(folder))


def test_finite_weights_of_any_size_pass() -> None:
    module = torch.nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.fill_(torch.finfo(torch.float32).max)  # their sum would overflow
    check_finite(module)


def test_missing_weights_of_the_body_are_an_error(folder: Path) -> None:
    change(folder, model__layers__0__self_attn__q_proj__weight=None)
    with pytest.raises(BadFile, match=r"lacks 1 weights of LlamaForCausalLM, such as model\.layers\.0\.self_attn"):
        load(str(folder))


def test_a_missing_head_is_no_readout(folder: Path) -> None:
    change(folder, lm_head__weight=None)
    assert load_folder(folder).untrained == {"lm_head.weight"}
    assert "readout" not in load(str(folder)).capabilities


def test_weights_cut_short_are_an_error(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadFile, match="cannot be loaded"):
        load(str(folder))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "llama", "architectures": ["LlamaForCausalLM"]'])
def test_a_damaged_config_is_an_error(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises((BadFile, UnsupportedModel)):
        load(str(folder))


def test_a_folder_that_is_no_model_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"has no config\.json"):
        load(str(tmp_path))
    with pytest.raises(BadFile, match="is not a folder"):
        load(str(tmp_path / "nothing"))


def test_an_unknown_class_is_named(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["FancyForCausalLM"]}))
    with pytest.raises(UnsupportedModel, match="FancyForCausalLM"):
        load(str(folder))


def test_code_in_a_folder_runs_only_when_asked(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    config |= {"architectures": ["Own"], "model_type": "own", "auto_map": own}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('this code ran')")
    with pytest.raises(UnsupportedModel, match="trust_remote_code=True"):
        load(str(folder))


def test_a_folder_without_a_tokenizer_still_loads(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path)
    assert load_folder(tmp_path).processor is None


def test_training_checkpoints_in_a_folder(tmp_path: Path) -> None:
    for step in (1000, 20, 300):
        saved(tmp_path / f"checkpoint-{step}", llama(seed=step))
    (tmp_path / "notes").mkdir()
    assert checkpoints(str(tmp_path)) == {20: "checkpoint-20", 300: "checkpoint-300", 1000: "checkpoint-1000"}
    for chosen, step in ((0, 20), (-1, 1000), ("300", 300), ("step300", 300)):
        head = load(str(tmp_path), checkpoint=chosen).module.lm_head.weight
        assert torch.equal(head, llama(seed=step).lm_head.weight)
    with pytest.raises(BadInput, match="no training checkpoint 'step40'; it has step20, step300, step1000"):
        load(str(tmp_path), checkpoint="step40")
    with pytest.raises(BadInput, match="3 training checkpoints, so no number 3"):
        load(str(tmp_path), checkpoint=3)


def test_a_folder_of_checkpoints_alone_opens_the_last_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for step in (1000, 20, 300):
        saved(folder / f"checkpoint-{step}", llama(seed=step))
    model = load(folder)
    assert torch.equal(model.module.lm_head.weight, llama(seed=1000).lm_head.weight)
    assert model.name == "run checkpoint-1000" and model.info["checkpoint"] == "checkpoint-1000"
    assert "last of 3 checkpoints" in model.info["note"]
    assert load(folder, checkpoint="300").name == "run"
    assert load_or_micro(folder)[1] is None
    assert main(["check", str(folder)]) == 0
    saved(folder, llama(seed=7))
    model = load(folder)
    assert model.name == "run" and torch.equal(model.module.lm_head.weight, llama(seed=7).lm_head.weight)


def test_a_folder_without_checkpoints_says_so(folder: Path) -> None:
    with pytest.raises(BadInput, match="has no training checkpoints"):
        load(str(folder), checkpoint=0)
    with pytest.raises(BadInput, match="has no revision 'main'"):
        load(str(folder), revision="main")
    with pytest.raises(BadInput, match="not both"):
        load(str(folder), revision="main", checkpoint=0)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'smollm2-135m'.*hf:smollm-135m"):
        load("smollm-135m")


def test_the_bundled_model_needs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKBENCH_OFFLINE", "1")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "empty"))
    model = load("micro")
    assert model.n_params == CATALOGUE["micro"].n_params
    assert {"text", "readout", "pattern"} <= model.capabilities
    with pytest.raises(BadInput, match="micro takes no revision="):
        load("micro", revision="main")


def test_the_app_falls_back_to_the_micro_model_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WORKBENCH_CACHE", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("WORKBENCH_OFFLINE", "1")
    with pytest.raises(Unavailable, match="WORKBENCH_OFFLINE is set"):
        load("minilm-l6")
    model, said = load_or_micro("minilm-l6")
    assert model.name == "micro"
    assert said is not None
    assert said.startswith("Showing the model 'micro' instead of 'minilm-l6': ")
    assert load_or_micro("micro")[1] is None


def test_tiny_models_of_a_family() -> None:
    assert load("tiny:gpt2").family == "gpt2"
    with pytest.raises(UnknownName, match="gpt2"):
        load("tiny:gpt3")


def test_the_catalogue_is_read_without_torch() -> None:
    code = "import sys, workbench.models.catalogue, workbench.models.sources; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'torch'" not in loaded
    assert "'transformers'" not in loaded


def test_a_folder_may_be_given_as_a_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(folder).name == "tiny-llama"
    monkeypatch.chdir(folder.parents[1])
    assert load(Path(folder.parent.name) / folder.name).name == "tiny-llama"  # not an id on the hub
    assert checkpoints(folder) == {}


@pytest.mark.parametrize("name", [None, 5, b"micro", ""])
def test_a_name_that_is_none_is_a_sentence(name: object) -> None:
    for function in (load, checkpoints):
        with pytest.raises(BadInput, match="A model is named by a text"):
            function(name)  # type: ignore[arg-type]


def test_a_torch_dtype_and_device_are_names_too() -> None:
    assert load("tiny:gpt2", dtype=torch.bfloat16, device=torch.device("cpu")).dtype == torch.bfloat16
    with pytest.raises(BadInput, match="No dtype 'int8'"):
        load("tiny:gpt2", dtype=torch.int8)


def test_the_tokenizer_of_a_folder_does_not_warn_by_itself(folder: Path) -> None:
    from transformers.utils import logging

    model = load(folder)
    seen: list[str] = []
    logger = logging.get_logger("transformers.tokenization_utils_base")
    handler = Handler(seen)
    logger.addHandler(handler)
    try:
        model.processor.model_max_length = 2
        model.encode("the cat sat")
    finally:
        logger.removeHandler(handler)
    assert seen == []


class Handler(StdHandler):
    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def emit(self, record: LogRecord) -> None:
        self.seen.append(record.getMessage())
