"""`zoo pull`: downloads, messages and locks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save
from tests.hub import Hub, Repository
from tests.terminal import Zoo

FILE = "*.safetensors"


@pytest.fixture(scope="module")
def weights() -> bytes:
    torch.manual_seed(0)
    return save(timm.create_model("vit_tiny_patch16_224", depth=3).state_dict())


@pytest.fixture
def vit(connected: Hub, home: Path, weights: bytes) -> Repository:
    repository = connected.repository("acme/vit")
    repository.commit({"config.json": "{}", "model.safetensors": weights})
    args = {"name": "vit_tiny_patch16_224", "depth": 3}
    model = {"modality": "vision", "builder": "timm", "args": args, "weights": "hf://acme/vit"}
    (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": {"mine/vit": model}}))
    return repository


def test_pulled_weights_are_complete_and_locked_next_to_the_registry(
    connected: Hub, vit: Repository, zoo: Zoo, home: Path, weights: bytes
) -> None:
    result = zoo("pull", "mine/vit")
    (row,) = json.loads(result.out)
    assert result.code == 0
    assert (row["model"], row["revision"]) == ("mine/vit", vit.at("main").revision)
    assert Path(row["files"]["model.safetensors"]).read_bytes() == weights
    assert row["bytes"] == row["fetched"] == len(weights) + 2
    assert f"Locked in {home / 'layerzoo.lock'}: mine/vit" in result.err
    locked = json.loads((home / "layerzoo.lock").read_text())["models"]["mine/vit"]
    assert locked["revision"] == vit.at("main").revision
    assert locked["files"]["model.safetensors"]["size"] == len(weights)


def test_a_second_pull_sends_no_request(connected: Hub, vit: Repository, zoo: Zoo) -> None:
    zoo("pull", "mine/vit")
    connected.requests.clear()
    vit.commit({"config.json": "[]"})
    (row,) = json.loads(zoo("pull", "mine/vit").out)
    assert row["fetched"] == 0
    assert connected.requests == []


def test_the_locked_commit_is_the_pulled_one_even_if_the_branch_moves(
    connected: Hub, vit: Repository, zoo: Zoo, home: Path
) -> None:
    first = vit.at("main").revision
    connected.meanwhile(FILE, lambda: vit.commit({"config.json": "[]"}), times=1)
    zoo("pull", "mine/vit")
    assert json.loads((home / "layerzoo.lock").read_text())["models"]["mine/vit"]["revision"] == first


def test_without_a_lock_none_is_written(vit: Repository, zoo: Zoo, home: Path) -> None:
    assert zoo("pull", "mine/vit", "--no-lock").code == 0
    assert not (home / "layerzoo.lock").exists()


def test_without_a_registry_here_the_lock_is_in_the_configuration(
    vit: Repository, zoo: Zoo, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = home.parent / "config/layerzoo"
    configuration.mkdir(parents=True)
    (home / "registry.yaml").rename(configuration / "registry.yaml")
    assert zoo("pull", "mine/vit").code == 0
    assert (configuration / "layerzoo.lock").is_file()


def test_a_partial_pull_downloads_the_tensors_up_to_the_layer(
    connected: Hub, vit: Repository, zoo: Zoo, weights: bytes
) -> None:
    (row,) = json.loads(zoo("pull", "mine/vit", "--layer", "block.0", "--partial").out)
    assert row["fetched"] == row["bytes"] == connected.bytes_sent(FILE) + 2
    assert row["fetched"] < 0.6 * len(weights)
    (rest,) = json.loads(zoo("pull", "mine/vit").out)
    assert rest["fetched"] == len(weights) + 2 - row["fetched"]


@pytest.mark.parametrize("arguments", [("--partial",), ("--layer", "block.0")])
def test_partial_and_layer_require_each_other(vit: Repository, zoo: Zoo, arguments: tuple[str, ...]) -> None:
    result = zoo("pull", "mine/vit", *arguments)
    assert result.code == 2
    assert "give both, or neither for whole files" in result.err


@pytest.mark.parametrize("arguments", [("--offline", "pull", "mine/vit"), ("pull", "mine/vit", "--offline")])
def test_offline_no_request_is_sent_and_the_error_names_the_pull_command(
    connected: Hub, vit: Repository, zoo: Zoo, arguments: tuple[str, ...]
) -> None:
    result = zoo(*arguments)
    assert result.code == 6
    assert result.err.strip() == (
        "zoo: hf://acme/vit@main is not on this machine, and no connection may be opened (offline). "
        "Next, with a connection: zoo pull mine/vit"
    )
    assert connected.requests == []


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (lambda hub, vit: hub.fail("*", 404, code="RevisionNotFound"), 6, "has no such branch, tag or commit"),
        (lambda hub, vit: hub.fail("*", 503), 6, "the server answers 503, 5 times in a row. Next: try again later"),
        (lambda hub, vit: hub.corrupt(FILE), 5, "is not the declared file: its sha256 is"),
        (lambda hub, vit: hub.fail(FILE, 404), 6, "has no such file"),
    ],
)
def test_a_failed_pull_gives_one_message_and_locks_nothing(
    connected: Hub, vit: Repository, zoo: Zoo, home: Path, fault: Callable[..., None], code: int, message: str
) -> None:
    fault(connected, vit)
    result = zoo("pull", "mine/vit")
    assert result.code == code, result.err
    assert message in result.err
    assert "Traceback" not in result.err
    assert not (home / "layerzoo.lock").exists()
