"""Creating a lock, and comparing it with the current state of the hub."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from tests.hub import Hub, Repository

from layerzoo.errors import LockError
from layerzoo.lock import Lock, LockedFile, LockedModel
from layerzoo.spec import ModelSpec, Weights
from layerzoo.weights.locking import can_be_locked, change_lock, drifts, lock_model

WEIGHTS = save({"a": np.arange(40_000, dtype=np.float32)})
OTHER = save({"a": np.zeros(40_000, dtype=np.float32)})
SPEC = ModelSpec(id="mine/vit", modality="vision", builder="timm", weights=Weights(source="hf://acme/vit"))


@pytest.fixture
def vit(connected: Hub) -> Repository:
    repository = connected.repository("acme/vit")
    repository.commit({"config.json": "{}", "model.safetensors": WEIGHTS})
    return repository


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def declared(source: str) -> ModelSpec:
    return replace(SPEC, weights=Weights(source=source))


def test_a_lock_contains_the_commit_and_the_files_without_downloading_the_checkpoint(
    connected: Hub, vit: Repository
) -> None:
    assert lock_model(SPEC) == LockedModel(
        "hf://acme/vit",
        vit.at("main").revision,
        {
            "config.json": LockedFile(sha256(b"{}"), 2),
            "model.safetensors": LockedFile(sha256(WEIGHTS), len(WEIGHTS)),
        },
    )
    assert connected.bytes_sent("*.safetensors") == 0


def test_a_checkpoint_in_shards_is_locked_with_all_of_them(connected: Hub) -> None:
    index = '{"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}'
    shards = {"a.safetensors": WEIGHTS, "b.safetensors": OTHER}
    connected.repository("acme/vit").commit({"model.safetensors.index.json": index, **shards})
    assert set(lock_model(SPEC).files) == {"model.safetensors.index.json", *shards}


@pytest.mark.parametrize("source", ["file:/vit.safetensors", "package://acme/vit.safetensors"])
def test_other_sources_are_pinned_by_their_declaration(source: str) -> None:
    assert not can_be_locked(declared(source))
    assert not can_be_locked(replace(SPEC, weights=None))
    assert can_be_locked(SPEC)


def nothing(vit: Repository) -> None:
    """Has happened."""


def moved(vit: Repository) -> None:
    vit.commit({"config.json": "[]"})


def rewritten(vit: Repository) -> None:
    vit.rewrite(vit.at("main").revision, {"model.safetensors": OTHER})


def removed(vit: Repository) -> None:
    first = vit.at("main").revision
    vit.commit({"config.json": "[]"})
    del vit.commits[first]


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (nothing, None),
        (moved, "hf://acme/vit is at {now} now, and was locked at {locked}. Next: zoo lock --update mine/vit"),
        (
            rewritten,
            "hf://acme/vit was locked at {locked}, and at the same revision model.safetensors is another file now. "
            "Next, if that is intended: zoo lock --update mine/vit",
        ),
        (
            removed,
            "hf://acme/vit was locked at {locked}, and the hub has no such commit any more; it is at {now} now. "
            "Next, if that is intended: zoo lock --update mine/vit",
        ),
    ],
)
def test_changes_are_reported_with_both_revisions(
    vit: Repository, happens: Callable[[Repository], None], message: str | None
) -> None:
    locked = lock_model(SPEC)
    happens(vit)
    reported = [drift.message for drift in drifts(SPEC, locked)]
    expected = message and message.format(locked=locked.revision, now=vit.at("main").revision)
    assert reported == ([expected] if expected else [])


def test_a_tag_that_moved_is_drift(vit: Repository) -> None:
    vit.tag("v1")
    locked = lock_model(declared("hf://acme/vit@v1"))
    vit.tag("v1", vit.commit({"config.json": "[]"}))
    (drift,) = drifts(declared("hf://acme/vit@v1"), locked)
    assert (drift.locked, drift.found) == (locked.revision, vit.at("v1").revision)


def test_another_declaration_is_drift(vit: Repository) -> None:
    locked = lock_model(SPEC)
    (drift,) = drifts(declared("hf://acme/other@v2"), locked)
    assert drift.message == (
        "the weights of mine/vit are declared as hf://acme/other@v2, and were locked as hf://acme/vit at "
        f"{locked.revision}. Next, if the change is intended: zoo lock --update mine/vit"
    )


def test_concurrent_locking_loses_no_model(home: Path) -> None:
    """Each process adds twenty models, one at a time."""
    program = """
import sys
from layerzoo.lock import LockedModel
from layerzoo.weights.locking import change_lock
for number in range(20):
    name = f"{sys.argv[1]}/{number}"
    change_lock(lambda lock: lock.with_models({name: LockedModel("hf://a/b", None, {})}))
"""
    (home / "registry.yaml").write_text("layerzoo: 1")
    processes = [subprocess.Popen([sys.executable, "-c", program, name], cwd=home) for name in "abc"]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(Lock.read(home / "layerzoo.lock").models) == 60
    assert sorted(path.name for path in home.iterdir()) == ["layerzoo.lock", "registry.yaml"]


def test_a_damaged_lock_is_not_overwritten(home: Path) -> None:
    (home / "layerzoo.lock").write_text("{")
    with pytest.raises(LockError):
        change_lock(lambda lock: lock)
    assert (home / "layerzoo.lock").read_text() == "{"
