"""A folder cannot change an experiment silently: a notice names the files that apply and what they change."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.terminal import Zoo

from layerzoo.errors import LockError, RegistryError
from layerzoo.lock import Lock, lock_path
from layerzoo.registry import changes, registry

OLD, NEW = "1" * 40, "2" * 40
OWN = """
layerzoo: 1
models:
  net: {modality: text, builder: toy, summary: one's own}
  child: {modality: text, base: mine/net, summary: inherits}
  far: {modality: text, base: short, summary: inherits by two aliases}
  apart: {modality: text, base: toy/next-word, summary: inherits from a model of layerzoo}
aliases: {pet: mine/net, short: pet}
"""


@pytest.fixture(autouse=True)
def _empty_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_logged", set())


@pytest.fixture
def config(home: Path) -> Path:
    """Return the configuration folder of the user, with a registry.yaml."""
    folder = home.parent / "config" / "layerzoo"
    folder.mkdir(parents=True)
    (folder / "registry.yaml").write_text(OWN, encoding="utf-8")
    return folder


@pytest.fixture
def notice(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    caplog.set_level(logging.WARNING, logger="layerzoo")
    lines: list[str] = []

    class _Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = _Kept()
    logging.getLogger("layerzoo").addHandler(handler)
    yield lines
    logging.getLogger("layerzoo").removeHandler(handler)


def declare(folder: Path, text: str) -> Path:
    path = folder / "registry.yaml"
    path.write_text(f"layerzoo: 1\n{text}", encoding="utf-8")
    return path


def lock(folder: Path, **models: tuple[str, str | None]) -> Path:
    """Write a lock. sources: source and commit by the name of a repository."""
    plain = {
        f"hf/acme/{name}": {"source": source, "revision": revision, "files": {}}
        for name, (source, revision) in models.items()
    }
    path = folder / "layerzoo.lock"
    path.write_text(json.dumps({"layerzoo_lock": 1, "models": plain}), encoding="utf-8")
    return path


# ---------------------------------------------------------------- the notice


def test_the_notice_names_the_file_and_its_models(home: Path, notice: list[str]) -> None:
    path = declare(home, "models: {net: {modality: text, builder: toy}}\naliases: {q: mine/net}\n")
    assert registry().model("toy/next-word")
    (line,) = notice
    assert line.startswith(f"using {path} (adds mine/net, q → mine/net). ")
    assert "--no-local-files" in line
    assert "LAYERZOO_NO_LOCAL_FILES=1" in line


def test_the_notice_is_printed_once(home: Path, notice: list[str]) -> None:
    declare(home, "models: {net: {modality: text, builder: toy}}\n")
    for _ in range(2):
        registry().models()
        registry().ids()
        registry().entries()
        registry().model("mine/net")
    assert len(notice) == 1


def test_a_changed_file_is_named_again(home: Path, notice: list[str]) -> None:
    declare(home, "models: {net: {modality: text, builder: toy}}\n")
    registry().ids()
    declare(home, "models: {other: {modality: text, builder: toy}}\n")
    registry().ids()
    assert ["adds mine/net" in notice[0], "adds mine/other" in notice[1]] == [True, True]


def test_without_files_there_is_no_notice(home: Path, notice: list[str]) -> None:
    registry().ids()
    assert registry().model("toy/next-word")
    assert notice == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: {net: {modality: text, builder: toy}}", "hides your own mine/net"),
        (
            "models: {net: {modality: text, builder: toy}}",
            "changes your own mine/child (by its base), mine/far (by its base)",
        ),
        ("aliases: {pet: toy/next-word}", "changes your own alias pet (mine/net → toy/next-word)"),
        ("aliases: {pet: toy/next-word}", "changes your own mine/far (by its base)"),
        ("aliases: {short: mine/child}", "changes your own alias short (mine/pet → mine/child)"),
        ("models: {pet: {modality: text, builder: toy}}", "hides your own pet"),
        ("disable: [mine/child]", "disables your own mine/child"),
        ("disable: [mine/net]", "changes your own mine/child (by its base), mine/far (by its base)"),
        ("disable: [mine/*]", "disables your own mine/apart, mine/child, mine/far, mine/net"),
        ("disable: [pet]", "disables your own mine/net"),
        ("disable: [toy/next-word]", "disables toy/next-word"),
        ("disable: [toy/next-word]", "changes your own mine/apart (by its base)"),
        ("disable: ['toy/*']", "disables toy/* (1 model)"),
        ("disable: ['toy/*']", "changes your own mine/apart (by its base)"),
        ("models: {}", "changes nothing"),
        ("models: [", "nothing of it counts"),
        ("requires: layerzoo>=99\nmodels: {}", "nothing of it counts"),
    ],
)
def test_the_notice_lists_changes_of_the_users_models(
    home: Path, config: Path, notice: list[str], text: str, message: str
) -> None:
    assert config.is_dir()
    declare(home, f"{text}\n")
    registry().ids()
    (line,) = notice
    assert message in line
    if "apart" not in message and "toy" not in text:
        assert "mine/apart" not in line


def test_a_local_file_takes_precedence_as_its_notice_says(home: Path, config: Path) -> None:
    """The notice is computed from the names alone, and the models are resolved completely."""
    assert config.is_dir()
    before = {spec.id: spec for spec in registry().models(plugin="mine")}
    declare(home, "models: {net: {modality: text, builder: toy, license: mit}}\n")
    after = {spec.id: spec for spec in registry().models(plugin="mine")}
    assert {name for name in before if before[name] != after[name]} == {"mine/net", "mine/child", "mine/far"}


def test_many_names_are_counted(home: Path, notice: list[str]) -> None:
    declare(home, "models:\n" + "".join(f"  net{at}: {{modality: text, builder: toy}}\n" for at in range(18)))
    registry().ids()
    assert "mine/net0, mine/net1, mine/net2, mine/net3, mine/net4, mine/net5 and 12 more" in notice[0]


def test_a_name_cannot_control_the_terminal(home: Path, notice: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "a\x1b[31m\nfailed: b\u202e"
    folder.mkdir()
    monkeypatch.chdir(folder)
    declare(folder, "models: {net: {modality: text, builder: toy}}\n")
    registry().ids()
    (line,) = notice
    assert line.isprintable()
    assert r"a\x1b[31m\nfailed: b\u202e" in line


# ---------------------------------------------------------------- the lock


def test_the_notice_of_a_lock_names_the_previous_and_the_new_revision(home: Path, notice: list[str]) -> None:
    path = lock(home, one=("hf://acme/one", NEW), two=("hf://acme/two@dev/f.safetensors", OLD))
    assert registry().model("toy/next-word")
    (line,) = notice
    assert f"using {path} (moves hf/acme/one (main → 222222222222), hf/acme/two (dev → 111111111111))" in line


def test_a_local_lock_is_compared_with_the_lock_of_the_user(home: Path, config: Path, notice: list[str]) -> None:
    lock(config, one=("hf://acme/one", OLD), two=("hf://acme/two", OLD), same=("hf://acme/same", OLD))
    lock(home, one=("hf://acme/one", NEW), same=("hf://acme/same", OLD))
    registry().ids()
    (line,) = notice
    assert "hf/acme/one (111111111111 → 222222222222)" in line
    assert "hf/acme/two (111111111111 → main)" in line
    assert "pins hf/acme/same" in line


def test_a_local_registry_excludes_the_lock_of_the_user(home: Path, config: Path, notice: list[str]) -> None:
    own = lock(config, one=("hf://acme/one", OLD))
    assert lock_path() == own
    declare(home, "models: {}\n")
    registry().ids()
    assert lock_path() == home / "layerzoo.lock"
    assert f"{own} is ignored" in notice[0]
    assert "hf/acme/one (111111111111 → main)" in notice[0]


def test_the_requested_model_is_named_first(home: Path, notice: list[str]) -> None:
    lock(home, **{f"net{at:02}": (f"hf://acme/net{at:02}", NEW) for at in range(20)})
    with pytest.raises(Exception, match="repository of the hub"):
        registry().model("hf/acme/net17")
    assert "(moves hf/acme/net17 (main → 222222222222), hf/acme/net00" in notice[0]
    assert "and 14 more" in notice[0]


def test_registry_and_lock_share_one_line(home: Path, notice: list[str]) -> None:
    registry_file, lock_file = declare(home, "aliases: {q: toy/next-word}\n"), lock(home, one=("hf://acme/one", NEW))
    registry().ids()
    assert registry().model("q").id == "toy/next-word"
    (line,) = notice
    assert str(registry_file) in line
    assert str(lock_file) in line


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop", "nowhere", "binary", "large", "twice", "size"])
def test_an_invalid_lock_stops_the_commands_that_need_it(home: Path, notice: list[str], kind: str) -> None:
    path = home / "layerzoo.lock"
    content = {
        "binary": b"\x00\xff",
        "large": b" " * 4_000_001,
        "twice": b'{"layerzoo_lock": 1, "models": {}, "models": {}}',
        "size": b'{"layerzoo_lock": 1, "models": {"m": {"source": "s", "revision": null, "files": '
        b'{"f": {"sha256": "%s", "size": 1e400}}}}}' % (b"a" * 64),
    }
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in content:
        path.write_bytes(content[kind])
    else:
        path.symlink_to({"device": "/dev/zero", "loop": "layerzoo.lock", "nowhere": "missing"}[kind])
    with pytest.raises(LockError, match=str(path)):
        registry().model("toy/next-word")
    assert "toy/next-word" in registry().ids()
    assert f"{path} (no model can be loaded: " in notice[0]


# ---------------------------------------------------------------- excluded files, and files of the user


def test_local_files_can_be_excluded(home: Path, notice: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    declare(home, "models: {net: {modality: text, builder: toy}}\n")
    lock(home, one=("hf://acme/one", NEW))
    monkeypatch.setenv("LAYERZOO_NO_LOCAL_FILES", "1")
    assert "mine/net" not in registry().ids()
    assert Lock.read().models == {}
    assert notice == []
    monkeypatch.setenv("LAYERZOO_NO_LOCAL_FILES", "0")
    assert "mine/net" in registry().ids()


def test_an_unreadable_file_can_be_excluded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(home / "registry.yaml")
    with pytest.raises(RegistryError, match="--no-local-files"):
        registry().ids()
    monkeypatch.setenv("LAYERZOO_NO_LOCAL_FILES", "1")
    assert "toy/next-word" in registry().ids()


def test_files_of_the_user_are_named_for_their_effects(home: Path, config: Path, notice: list[str]) -> None:
    assert home.is_dir()
    registry().ids()
    assert registry().model("toy/next-word")
    assert notice == []
    assert registry().model("pet").id == "mine/net"
    (line,) = notice
    assert line == f"using {config / 'registry.yaml'} (declares mine/net)."


def test_the_configuration_folder_is_not_a_local_folder(
    config: Path, notice: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config)
    monkeypatch.setenv("LAYERZOO_NO_LOCAL_FILES", "1")
    registry().ids()
    assert notice == []
    assert registry().model("mine/net")


# ---------------------------------------------------------------- the command line, and the digests


def test_the_notice_does_not_change_standard_output(home: Path, zoo: Zoo) -> None:
    before = zoo("list", "--plugin", "toy", "--format", "json")
    declare(home, "models: {net: {modality: text, builder: toy}}\n")
    after = zoo("list", "--plugin", "toy", "--format", "json")
    assert after.out == before.out
    ignored = zoo("--no-local-files", "list", "--format", "ids")
    assert "mine/net" not in ignored.out
    assert zoo("list", "--no-local-files", "--format", "ids").out == ignored.out
    assert "mine/net" in zoo("list", "--format", "ids").out


def test_a_process_prints_one_notice_on_standard_error(home: Path) -> None:
    declare(home, "models: {net: {modality: text, builder: toy}}\n")
    lock(home, one=("hf://acme/one", NEW))
    program = "import layerzoo; layerzoo.models(); layerzoo.model('mine/net'); layerzoo.model('toy/next-word')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert done.stderr.startswith(f"using {home / 'registry.yaml'} (adds mine/net) and {home / 'layerzoo.lock'} (moves")


def test_completion_prints_no_notice(home: Path) -> None:
    declare(home, "models: {net: {modality: text, builder: toy}}\n")
    command = [sys.executable, "-c", "from layerzoo.cli import main; main()"]
    environment = {**os.environ, "_ZOO_COMPLETE": "bash_complete", "COMP_WORDS": "zoo show mine/", "COMP_CWORD": "2"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    assert done.stdout == "plain\tnet\t\n"


def test_the_digests_of_the_files_are_reported(home: Path, config: Path) -> None:
    local, locked = declare(home, "models: {}\n"), lock(home, one=("hf://acme/one", NEW))
    found = [each.to_dict() for each in registry().user_files()]
    expected = [(local, "working directory"), (config / "registry.yaml", "configuration directory")]
    expected.append((locked, "working directory"))
    assert found == [
        {"file": path.name, "where": where, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path, where in expected
    ]
