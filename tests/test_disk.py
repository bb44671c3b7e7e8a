"""Atomic writes, scratch paths and the cache folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerzoo.disk import atomic_path, cache_dir, scratch_path


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


def test_the_cache_folder_follows_the_environment_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LAYERZOO_CACHE", str(tmp_path / "cache"))
    assert cache_dir() == tmp_path / "cache"


def test_the_default_cache_folder_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("LAYERZOO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir().name == "layerzoo"
    assert cache_dir().is_absolute()
