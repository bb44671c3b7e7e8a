"""`zoo lock`: pin weights, report drift, update and remove."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from tests.hub import Hub, Repository
from tests.terminal import Zoo as Terminal

WEIGHTS = save({"a": np.arange(10, dtype=np.float32)})
OTHER = save({"a": np.zeros(10, dtype=np.float32)})
Zoo = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def home(small_home: Path) -> Path:
    return small_home


def declare(home: Path, **sources: str) -> None:
    models = {
        f"mine/{name}": {
            "modality": "vision",
            "builder": "toy",
            "weights": source,
        }
        for name, source in sources.items()
    }
    (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": models}))


@pytest.fixture
def vit(connected: Hub, home: Path) -> Repository:
    repository = connected.repository("acme/vit")
    repository.commit({"config.json": "{}", "model.safetensors": WEIGHTS})
    declare(home, vit="hf://acme/vit")
    return repository


@pytest.fixture
def zoo(zoo: Terminal) -> Zoo:
    """Run the command line. Returns: exit code, the printed JSON, standard error."""

    def run(*arguments: str) -> tuple[int, Any, str]:
        code, out, err = zoo(*arguments)
        return code, json.loads(out) if out else None, err

    return run


def test_the_users_models_are_locked_at_the_current_commit(vit: Repository, zoo: Zoo, home: Path) -> None:
    code, (row,), err = zoo("lock")
    first = vit.at("main").revision
    assert (code, row) == (
        0,
        {"model": "mine/vit", "state": "locked", "revision": first, "files": 2, "detail": None},
    )
    assert err.strip() == f"1 model is locked in {home / 'layerzoo.lock'}"
    vit.commit({"config.json": "[]"})
    _, (row,), _ = zoo("lock")
    assert (row["state"], row["revision"]) == ("unchanged", first)


def test_an_update_reports_the_previous_and_the_new_commit(vit: Repository, zoo: Zoo) -> None:
    zoo("lock")
    first = vit.at("main").revision
    second = vit.commit({"config.json": "[]"})
    code, (row,), _ = zoo("lock", "--update", "mine/vit")
    assert (code, row["state"], row["revision"], row["detail"]) == (0, "updated", second, f"was {first}")
    code, (row,), _ = zoo("lock", "--update", "mine/vit")
    assert (code, row["state"]) == (0, "unchanged")


def test_a_check_without_drift_changes_nothing(vit: Repository, zoo: Zoo, home: Path) -> None:
    zoo("lock")
    before = (home / "layerzoo.lock").read_bytes()
    code, (row,), _ = zoo("lock", "--check")
    assert (code, row["state"]) == (0, "unchanged")
    assert (home / "layerzoo.lock").read_bytes() == before


def test_a_check_finds_models_that_are_not_locked(vit: Repository, zoo: Zoo, home: Path) -> None:
    code, (row,), _ = zoo("lock", "--check")
    assert (code, row["state"], row["detail"]) == (1, "not locked", "zoo lock mine/vit")
    assert not (home / "layerzoo.lock").exists()


def test_a_check_reports_drift_with_both_revisions(vit: Repository, zoo: Zoo) -> None:
    zoo("lock")
    first = vit.at("main").revision
    second = vit.commit({"model.safetensors": OTHER})
    code, (row,), _ = zoo("lock", "--check")
    assert (code, row["state"]) == (1, "drifted")
    assert first in row["detail"]
    assert second in row["detail"]


def test_a_check_continues_after_a_changed_declaration(vit: Repository, zoo: Zoo, home: Path) -> None:
    zoo("lock")
    declare(home, vit="file:./vit.safetensors")
    code, (row,), _ = zoo("lock", "--check")
    assert (code, row["state"]) == (1, "drifted")
    assert "are declared as file:" in row["detail"]


def test_a_model_with_a_changed_declaration_can_be_removed(vit: Repository, zoo: Zoo, home: Path) -> None:
    zoo("lock")
    declare(home, other="hf://acme/vit")
    code, (row,), err = zoo("lock", "--remove", "mine/vit")
    assert (code, row["state"]) == (0, "removed")
    assert "0 models are locked" in err


def test_the_error_for_a_missing_locked_model_explains_how_to_remove_it(vit: Repository, zoo: Zoo, home: Path) -> None:
    zoo("lock")
    declare(home, other="hf://acme/vit")
    code, rows, _ = zoo("lock", "--check")
    found = {row["model"]: row for row in rows}
    assert code == 1
    assert found["mine/vit"]["state"] == "unknown"
    assert found["mine/vit"]["detail"] == "no registry declares it. Next: zoo lock --remove mine/vit"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--check", "--update"), 2, "--check, --update and --remove cannot be combined"),
        (("--update",), 2, "name the models: zoo lock --update MODEL…"),
        (("--remove",), 2, "name the models: zoo lock --remove MODEL…"),
        (("--remove", "mine/vit"), 3, "mine/vit is not locked in"),
        (("mine/nothing",), 3, "mine/nothing"),
    ],
)
def test_contradictory_arguments_are_reported(
    vit: Repository, zoo: Zoo, arguments: tuple[str, ...], code: int, message: str
) -> None:
    found, _, err = zoo("lock", *arguments)
    assert found == code
    assert message in err


def test_a_damaged_lock_is_reported_and_kept(vit: Repository, zoo: Zoo, home: Path) -> None:
    (home / "layerzoo.lock").write_text("{")
    for arguments in (("lock",), ("lock", "--check"), ("pull", "mine/vit")):
        code, _, err = zoo(*arguments)
        assert code == 2
        assert "is not a valid lock" in err
    assert (home / "layerzoo.lock").read_text() == "{"


def test_offline_a_check_reports_that_it_needs_a_connection(connected: Hub, vit: Repository, zoo: Zoo) -> None:
    zoo("lock")
    connected.requests.clear()
    code, _, err = zoo("--offline", "lock", "--check")
    assert code == 6
    assert "no connection may be opened (offline)" in err
    assert connected.requests == []
