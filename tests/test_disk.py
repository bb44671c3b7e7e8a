"""Atomic writes, scratch paths and the cache folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from layerzoo.disk import atomic_path, remove_leftover, remove_leftovers, scratch_path
from layerzoo.paths import cache_dir


def test_a_file_is_replaced_only_when_it_is_complete(tmp_path: Path):
    target = tmp_path / "x.txt"
    with atomic_path(target) as path:
        path.write_text("whole")
        assert not target.exists()
        assert path.parent == tmp_path
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_keeps_the_previous_content(error: type[BaseException], tmp_path: Path):
    target = tmp_path / "x.txt"
    target.write_text("before")

    def interrupted() -> None:
        with atomic_path(target) as path:
            path.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_has_default_permissions(tmp_path: Path):
    (tmp_path / "usual").touch()
    with atomic_path(tmp_path / "x.txt") as path:
        path.touch()
    assert (tmp_path / "x.txt").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_very_long_file_name_is_supported(tmp_path: Path):
    target = tmp_path / ("x" * 251 + ".txt")
    with atomic_path(target) as path:
        path.touch()
    assert target.exists()


def test_scratch_files_are_removed_and_may_be_unused(tmp_path: Path):
    with scratch_path(tmp_path) as used, scratch_path(tmp_path) as unused:
        used.touch()
        assert used != unused
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from layerzoo.disk import scratch_path
with scratch_path(Path(sys.argv[1])) as path:
    path.write_bytes(bytes(1000))
    print(path.name, flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def test_files_of_a_killed_process_are_removed_at_the_next_use_of_the_folder(tmp_path: Path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "kill"], check=False, capture_output=True)
    (left,) = tmp_path.iterdir()
    assert remove_leftover(left, dry_run=True)
    with scratch_path(tmp_path) as path:
        assert list(tmp_path.iterdir()) == [path]


def test_files_of_a_running_process_are_kept(tmp_path: Path):
    run = [sys.executable, "-c", KILLED, str(tmp_path), "wait"]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writing:
        assert writing.stdout is not None
        path = tmp_path / writing.stdout.readline().strip()
        assert not remove_leftover(path)
        remove_leftovers(tmp_path)
        assert path.stat().st_size == 1000
        writing.communicate("")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_machine_is_removed_after_a_day(tmp_path: Path):
    path = tmp_path / ".layerzoo-0123456789abcdef.part"
    path.touch()
    remove_leftovers(tmp_path)
    assert path.exists()
    os.utime(path, (0, 0))
    remove_leftovers(tmp_path)
    assert not path.exists()


def test_links_and_files_with_similar_names_are_kept(tmp_path: Path):
    target, link = tmp_path / "precious", tmp_path / ".layerzoo-0123456789abcdef.part"
    target.touch()
    link.symlink_to(target)
    os.mkfifo(tmp_path / ".layerzoo-1.part")
    (tmp_path / ".layerzoo-2.part").mkdir()
    (tmp_path / ".layerzoo-notes.txt").touch()
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0), follow_symlinks=False)
    before = set(tmp_path.iterdir())
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == before


def test_concurrent_writing_and_cleaning_do_not_interfere(tmp_path: Path):
    script = """
import sys
from pathlib import Path
from layerzoo.disk import atomic_path
folder, name = Path(sys.argv[1]), sys.argv[2]
for number in range(100):
    with atomic_path(folder / name) as path:
        path.write_text(f"{name} {number}" * 1000)
"""
    running = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {n: f"{n} 99" * 1000 for n in "abc"}


def test_a_file_and_its_folder_are_synced_before_and_after_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    order: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        order.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    with atomic_path(tmp_path / "x.txt") as path:
        path.write_text("whole")
    assert order == ["file", "rename", "folder"]


def test_the_cache_folder_follows_the_environment_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LAYERZOO_CACHE", str(tmp_path / "cache"))
    assert cache_dir() == tmp_path / "cache"


def test_the_default_cache_folder_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("LAYERZOO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir().name == "layerzoo"
    assert cache_dir().is_absolute()
