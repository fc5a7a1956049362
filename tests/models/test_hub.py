"""The hub path, against a small hub on this machine: revisions, checkpoints, faults, and one that never answers."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.models.hub_server import REPO, Hub, serving
from tests.models.tiny_folders import llama, saved
from workbench import progress
from workbench.errors import BadInput, Stopped, Unavailable
from workbench.models.catalogue import CATALOGUE, HubSource
from workbench.models.loading import checkpoints, load
from workbench.models.sources import fetch_catalogued, fetch_hub, hub

SEEDS = {"main": 0, "v2": 2, "step1000": 1000, "step20": 20, "step300": 300}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("repo")
    return {revision: saved(base / revision, llama(seed)) for revision, seed in SEEDS.items()}


@pytest.fixture
def server(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that serves them, and an empty cache."""
    for name in ("HF_HUB_OFFLINE", "WORKBENCH_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    with serving(Hub(folders)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A hub that takes connections and never answers."""
    for name in ("HF_HUB_OFFLINE", "WORKBENCH_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        yield endpoint


def head(seed: int) -> torch.Tensor:
    return llama(seed).lm_head.weight


def test_a_hub_id_loads_and_says_where_it_comes_from(server: Hub) -> None:
    seen: list[tuple[str, int, int | None]] = []
    with progress.reporting(lambda *report: seen.append(report)):
        model = load(REPO)
    assert torch.equal(model.module.lm_head.weight, head(0))
    assert model.processor("the cat").input_ids == [2, 3]
    assert (model.info["source"], model.info["revision"]) == (f"hub {REPO}", server.commits["main"])
    sizes = [(done, total) for label, done, total in seen if label == f"downloading {REPO}"]
    assert sizes[-1][0] == sizes[-1][1] == sum(map(len, server.files["main"].values()))
    assert [done for done, _ in sizes] == sorted(done for done, _ in sizes)


def test_what_was_fetched_is_used_again_without_asking(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fetch_hub(REPO)
    server.asked.clear()
    assert fetch_hub(REPO) == first
    assert server.asked == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert torch.equal(load(f"hf:{REPO}").module.lm_head.weight, head(0))
    with pytest.raises(Unavailable, match=r"org/tiny.*skipped, HF_HUB_OFFLINE is set"):
        load(REPO, revision="v2")


def test_two_revisions(server: Hub) -> None:
    assert torch.equal(load(REPO, revision="v2").module.lm_head.weight, head(2))
    assert torch.equal(load(REPO).module.lm_head.weight, head(0))
    by_commit = load(REPO, revision=server.commits["v2"])
    assert torch.equal(by_commit.module.lm_head.weight, head(2))
    assert by_commit.info["revision"] == server.commits["v2"]


def test_training_checkpoints_by_index_and_by_value(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkpoints(REPO) == {20: "step20", 300: "step300", 1000: "step1000"}
    assert torch.equal(load(REPO, checkpoint=1).module.lm_head.weight, head(300))
    assert torch.equal(load(REPO, checkpoint=-1).module.lm_head.weight, head(1000))
    assert torch.equal(load(REPO, checkpoint="step20").module.lm_head.weight, head(20))
    with pytest.raises(BadInput, match="no training checkpoint '40'; it has step20, step300, step1000"):
        load(REPO, checkpoint="40")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert checkpoints(REPO) == {20: "step20", 300: "step300", 1000: "step1000"}  # all three are in the cache


def test_what_the_hub_does_not_have(server: Hub) -> None:
    with pytest.raises(Unavailable, match="the hub has no model 'org/other'"):
        load("org/other")
    with pytest.raises(Unavailable, match=r"org/tiny at v3 could not be had.* has no such revision"):
        load(REPO, revision="v3")


def test_a_damaged_file_is_deleted_and_the_next_try_works(server: Hub) -> None:
    right = server.files["main"]["model.safetensors"]
    server.wrong["model.safetensors"] = right[:-1] + bytes([right[-1] ^ 1])
    with pytest.raises(Unavailable, match=r"model\.safetensors of org/tiny arrived damaged"):
        load(REPO)
    assert hub.cached(REPO) is None
    server.wrong.clear()
    assert torch.equal(load(REPO).module.lm_head.weight, head(0))


def test_a_dropped_connection_is_resumed(server: Hub) -> None:
    server.cut["model.safetensors"] = 1000
    assert torch.equal(load(REPO).module.lm_head.weight, head(0))
    assert server.asked.count(f"GET /{REPO}/resolve/{server.commits['main']}/model.safetensors") == 2


def test_a_stopped_download_is_not_used_and_can_be_taken_up(server: Hub) -> None:
    def stop(label: str, done: int, total: int | None) -> None:
        if done > 3000:
            raise Stopped("stopped")

    with progress.reporting(stop), pytest.raises(Stopped):
        load(REPO)
    assert hub.cached(REPO) is None
    assert torch.equal(load(REPO).module.lm_head.weight, head(0))


def test_two_processes_at_once(server: Hub) -> None:
    code = f"from workbench.models.sources import fetch_hub; print(fetch_hub({REPO!r}).path)"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(said) == 1
    assert {p.name for p in Path(said.pop()).iterdir()} == set(server.files["main"])


def test_pickled_weights_are_left_alone_when_there_are_safe_ones() -> None:
    names = [
        "pytorch_model.bin",
        "model.safetensors",
        "model.fp16.safetensors",
        "tf_model.h5",
        "onnx/model.onnx",
        "own.py",
        "config.json",
        "tokenizer.json",
    ]
    assert hub.wanted(names) == ["tokenizer.json", "model.safetensors", "config.json"]
    assert "own.py" in hub.wanted(names, code=True)
    assert "pytorch_model.bin" in hub.wanted(["pytorch_model.bin", "config.json"])
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    assert hub.wanted([*shards, "pytorch_model.bin", "config.json"]) == [*shards, "config.json"]


def test_a_repository_without_a_model_says_so(server: Hub) -> None:
    del server.files["main"]["model.safetensors"]
    with pytest.raises(Unavailable, match=r"no weights as safetensors or pytorch_model\.bin"):
        load(REPO)


@pytest.mark.timeout(60)
def test_a_hub_that_never_answers_is_given_up(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.TIMEOUT <= 5
    monkeypatch.setattr(hub, "TIMEOUT", 0.3)
    with pytest.raises(Unavailable, match=rf"{silent}: no answer within 0\.3 seconds"):
        load(REPO)
    with pytest.raises(Unavailable, match=r"no answer within 0\.3 seconds"):
        checkpoints(REPO)


@pytest.mark.timeout(60)
def test_after_a_silent_hub_the_next_source_is_tried(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "TIMEOUT", 0.3)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": silent.removeprefix("http:")}.items():
        monkeypatch.setenv(name, value)
    entry = CATALOGUE["rxnmapper-albert"]
    entry = replace(entry, sources=(HubSource(id=REPO), *entry.sources))
    with pytest.raises(Unavailable) as caught:
        fetch_catalogued(entry)
    said = str(caught.value)
    assert said.index(f"hub {REPO}: {silent}: no answer within 0.3 seconds") < said.index("package rxnmapper==0.4.3: ")


def test_a_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("WORKBENCH_OFFLINE", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(Unavailable, match=rf"http://127\.0\.0\.1:{port}: .*refused"):
        load(REPO)
