"""Converted checkpoints are created once, by one process at a time."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from safetensors import SafetensorError

from layerzoo.errors import CacheError
from layerzoo.weights.cache import converted_path, make_once

SHA256 = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAYERZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_name_of_a_converted_checkpoint_depends_on_its_source_and_the_conversion(cache: Path):
    assert converted_path(SHA256, "torch-1") == cache / "converted" / f"{SHA256}.torch-1.safetensors"


@pytest.mark.parametrize("key", [("../x", "torch-1"), (SHA256, "../torch"), (SHA256, ""), (SHA256[:-1], "torch-1")])
def test_a_key_cannot_refer_to_a_path_outside_the_cache(key: tuple[str, str]):
    with pytest.raises(ValueError, match="no key of a converted checkpoint"):
        converted_path(*key)


def test_a_checkpoint_is_converted_once(cache: Path):
    calls = []

    def write(path: Path) -> None:
        calls.append(path)
        path.write_text("converted")

    target = converted_path(SHA256, "torch-1")
    assert make_once(target, write) == target
    assert make_once(target, write).read_text() == "converted"
    assert len(calls) == 1


def test_a_failed_conversion_leaves_nothing_and_can_be_tried_again():
    target = converted_path(SHA256, "torch-1")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise KeyError("weight")

    with pytest.raises(KeyError):
        make_once(target, fail)
    assert not list(target.parent.glob("*.part"))
    assert make_once(target, lambda path: path.touch()).exists()


def test_of_two_processes_one_converts(tmp_path: Path):
    script = """
        import os, sys, time
        from pathlib import Path
        from layerzoo.weights.cache import converted_path, make_once

        def write(path):
            with open(sys.argv[1], "a") as log:
                log.write("converted\\n")
            time.sleep(0.5)
            path.write_text("converted")

        make_once(converted_path("0" * 64, "torch-1"), write)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "log")]
    children = [subprocess.Popen(command) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "converted\n"


def test_a_cache_that_cannot_be_created_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LAYERZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheError, match=r"cannot be written: .*LAYERZOO_CACHE=FOLDER"):
        make_once(converted_path(SHA256, "torch-1"), lambda path: path.touch())


def test_a_full_disk_is_reported_also_by_safetensors():
    def write(path: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(CacheError, match="No space left on device"):
        make_once(converted_path(SHA256, "torch-1"), write)
