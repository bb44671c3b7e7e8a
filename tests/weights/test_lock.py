"""The lock file: its location and content, and errors for damaged files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from layerzoo.errors import LockError, OutputError
from layerzoo.lock import Lock, LockedFile, LockedModel, lock_path

MODEL = LockedModel("hf://acme/vit", "a" * 40, {"model.safetensors": LockedFile("b" * 64, 7)})
PLAIN = {
    "layerzoo_lock": 1,
    "models": {
        "mine/vit": {
            "source": "hf://acme/vit",
            "revision": "a" * 40,
            "files": {"model.safetensors": {"sha256": "b" * 64, "size": 7}},
        }
    },
}


def test_the_lock_is_next_to_the_registry_of_the_working_directory_or_in_the_configuration(home: Path) -> None:
    assert lock_path() == home.parent / "config/layerzoo/layerzoo.lock"
    (home / "registry.yaml").write_text("layerzoo: 1")
    assert lock_path() == home / "layerzoo.lock"


def test_a_written_lock_is_read_and_has_a_digest(home: Path) -> None:
    written = Lock.read().with_models({"mine/vit": MODEL}).write()
    assert Lock.read() == written
    assert written.sha256 == hashlib.sha256(written.path.read_bytes()).hexdigest()
    assert json.loads(written.path.read_text()) == PLAIN


def test_the_file_does_not_depend_on_the_order_of_models(home: Path) -> None:
    first = Lock.read().with_models({"b": MODEL}).with_models({"a": MODEL}).write().sha256
    assert Lock.read().without("a", "b").with_models({"a": MODEL}).with_models({"b": MODEL}).write().sha256 == first


def test_without_a_file_nothing_is_locked(home: Path) -> None:
    assert (Lock.read().models, Lock.read().sha256) == ({}, None)


def changed(**model: object) -> str:
    return json.dumps({"layerzoo_lock": 1, "models": {"mine/vit": {**PLAIN["models"]["mine/vit"], **model}}})  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a valid lock"),
        ("{", "is not a valid lock"),
        ("[" * 100_000, "is not a valid lock"),
        ("[]", "is not a valid lock"),
        ("null", "is not a valid lock"),
        ("{}", "is not a valid lock .it has no 'layerzoo_lock'"),
        (
            '{"layerzoo_lock": 2, "models": {}}',
            r"is of format 2, and this layerzoo reads 1\. Next: pip install --upgrade",
        ),
        ('{"layerzoo_lock": 1, "models": []}', "is not a valid lock"),
        (changed(revision="main"), "'main' should be 40 hex digits"),
        (changed(revision="../../../etc/passwd"), "should be 40 hex digits"),
        (changed(files={"a": {"sha256": "no", "size": 1}}), "'no' should be 64 hex digits"),
        (changed(files={"a": {"sha256": "b" * 64, "size": "much"}}), "is not a valid lock"),
        (changed(files=7), "is not a valid lock"),
        ("<<<<<<< HEAD\n{}\n", "Next: take it from version control, or remove it and zoo lock"),
    ],
)
def test_an_invalid_lock_is_an_error_with_the_next_step(home: Path, text: str, message: str) -> None:
    (home / "layerzoo.lock").write_text(text)
    with pytest.raises(LockError, match=message) as caught:
        Lock.read()
    assert str(home / "layerzoo.lock") in str(caught.value)


def test_bytes_that_are_not_text_are_an_error(home: Path) -> None:
    (home / "layerzoo.lock").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LockError, match="is not a valid lock"):
        Lock.read()


def test_an_unreadable_lock_is_reported(home: Path) -> None:
    (home / "layerzoo.lock").mkdir()
    with pytest.raises(LockError, match="cannot be read: Is a directory"):
        Lock.read(home / "layerzoo.lock")


def test_a_failed_write_keeps_the_previous_lock(home: Path) -> None:
    blocked = home / "file"
    blocked.touch()
    with pytest.raises(OutputError, match="cannot be written: File exists") as caught:
        Lock(blocked / "layerzoo.lock", {"mine/vit": MODEL}).write()
    assert caught.value.path == blocked / "layerzoo.lock"


def test_a_removed_working_directory_is_tolerated(home: Path) -> None:
    home.rmdir()
    assert lock_path().parent.name == "layerzoo"
    os.chdir(home.parent)
