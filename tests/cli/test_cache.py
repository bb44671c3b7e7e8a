"""zoo cache: cached files, their integrity and their removal, in the table and in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from tests.hub import Hub

from layerzoo.cli import main
from layerzoo.cli.output import size
from layerzoo.registry import registry
from layerzoo.weights import resolve
from layerzoo.weights.spans import Span

WEIGHTS = save({"a": np.arange(1_000_000, dtype=np.float32)})
REGISTRY = """
layerzoo: 1
models:
  mine/vit: {modality: vision, builder: timm, weights: "hf://acme/vit"}
  mine/early: {modality: vision, builder: timm, weights: "hf://acme/early/model.safetensors"}
"""


@dataclass(frozen=True)
class Done:
    """The result of a command. Paths are relative to the folder of the test, and the date is replaced."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> Any:
        return json.loads(self.out)


Zoo = Callable[[str], Done]


@pytest.fixture
def zoo(
    home: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Zoo:
    """Run a command, 160 columns wide, with one model cached completely and one in part."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("acme/vit", "acme/early"):
        hub.repository(name).commit({"config.json": "{}", "model.safetensors": WEIGHTS})
    (home / "registry.yaml").write_text(REGISTRY, encoding="utf-8")
    resolve(registry().model("mine/vit").weights, model="mine/vit")
    early = resolve(registry().model("mine/early").weights, model="mine/early", extent="partial")
    early.partial["model.safetensors"].ensure([Span(0, 1_000_000)])

    def run(line: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(line.split())
        captured = capsys.readouterr()
        return Done(int(caught.value.code or 0), captured.out, captured.err.replace(str(tmp_path), "…"))

    return run


def cells(done: Done, *, of: int) -> list[list[str]]:
    """Return the first cells of each row of a table that begins with the files of a repository."""
    lines = [line.replace(date.today().isoformat(), "today") for line in done.out.splitlines()]
    rows = [[cell for cell in line.split("  ") if cell] for line in lines]
    return [[cell.strip() for cell in row[:of]] for row in rows if row[0].startswith(("name", "hf://"))]


def damage(tmp_path: Path) -> None:
    """Change a byte of the checkpoint in huggingface_hub's cache."""
    (path,) = tmp_path.glob("huggingface/hub/models--acme--vit/snapshots/*/model.safetensors")
    path.write_bytes(WEIGHTS[:-1] + b"!")


def test_the_list_shows_the_cached_share_and_the_model_of_each_file(zoo: Zoo) -> None:
    done = zoo("cache list --format table")
    assert done.code == 0
    assert cells(done, of=6) == [
        ["name", "kind", "bytes", "share", "used", "models"],
        ["hf://acme/vit/config.json", "hub", "2 B", "100%", "today", "mine/vit"],
        ["hf://acme/vit/model.safetensors", "hub", "4 MB", "100%", "today", "mine/vit"],
        ["hf://acme/early/model.safetensors", "download", "1 MB", "25%", "today", "mine/early"],
    ]
    total = sum(row["bytes"] for row in zoo("cache list --format json").rows)
    assert total > 5_000_000  # the index is in the cache too
    assert done.err == f"5 entries, {size(total)} in …/cache and …/huggingface/hub\n"


def test_ids_are_paths(zoo: Zoo) -> None:
    paths = zoo("cache list --format ids").out.splitlines()
    assert len(paths) == 5
    assert all(Path(path).exists() for path in paths)


def test_json_contains_all_fields(zoo: Zoo) -> None:
    (row,) = [row for row in zoo("cache list --format json").rows if row["kind"] == "download"]
    assert {key: row[key] for key in ("name", "bytes", "of_bytes", "whole", "models", "useless")} == {
        "name": "hf://acme/early/model.safetensors",
        "bytes": 1_000_000,
        "of_bytes": len(WEIGHTS),
        "whole": False,
        "models": ["mine/early"],
        "useless": None,
    }
    assert row["used"].startswith("20")
    assert set(row) - {"name", "bytes", "of_bytes", "whole", "models", "useless"} == {
        "kind", "revision", "share", "digest", "path", "used",
    }  # fmt: skip


def test_an_empty_cache_is_reported(zoo: Zoo) -> None:
    zoo("cache prune --all --hub")
    assert zoo("cache verify").err == "No weights are kept in …/cache. To download some: zoo pull MODEL\n"
    assert zoo("cache prune --format table") == Done(0, "", "Nothing to remove in …/cache\n")


def test_intact_files_pass_verification(zoo: Zoo) -> None:
    done = zoo("cache verify --format table")
    assert (done.code, done.err) == (0, "2 ok, 1 partial\n")
    assert cells(done, of=3)[1:] == [
        ["hf://acme/vit/config.json", "hub", "ok"],
        ["hf://acme/vit/model.safetensors", "hub", "ok"],
        ["hf://acme/early/model.safetensors", "download", "partial"],
    ]


def test_a_damaged_file_is_reported_with_the_command_that_repairs_it(zoo: Zoo, tmp_path: Path) -> None:
    damage(tmp_path)
    done = zoo("cache verify --format json")
    assert done.code == 1
    assert [row["name"] for row in done.rows if row["state"] == "damaged"] == ["hf://acme/vit/model.safetensors"]
    assert done.err == "1 damaged, 1 ok, 1 partial\nNext: zoo cache prune --damaged --hub, then zoo pull mine/vit\n"
    assert zoo("cache prune --damaged --hub").err == "Removed 1 entry, 4 MB\n"
    assert zoo("pull mine/vit --no-lock").code == 0
    assert zoo("cache verify").code == 0


def test_only_the_files_of_the_given_model_are_verified(zoo: Zoo, tmp_path: Path) -> None:
    damage(tmp_path)
    assert zoo("cache verify mine/early").code == 0
    assert zoo("cache verify early").code == 0
    assert zoo("cache verify vit").code == 1
    assert zoo("cache verify mine/vitt").code == 3


def test_files_to_remove_are_listed_before_the_confirmation(zoo: Zoo) -> None:
    done = zoo("cache prune mine/early --dry-run --format table")
    assert (done.code, done.err) == (0, "Would remove 1 entry, 1 MB\n")
    assert cells(done, of=5)[1:] == [
        ["hf://acme/early/model.safetensors", "download", "would be removed", "1 MB", "asked for"]
    ]
    done = zoo("cache prune mine/early --format json")
    assert done.err == "Removed 1 entry, 1 MB\n"
    assert [(row["state"], row["freed"], row["reason"]) for row in done.rows] == [("removed", 1_000_000, "asked for")]


def test_files_shared_with_other_programs_are_kept_and_reported(zoo: Zoo) -> None:
    done = zoo("cache prune mine/vit")
    assert (done.code, done.rows) == (0, [])
    assert done.err == (
        "Nothing to remove in …/cache and …/huggingface/hub\n"
        "Kept in huggingface_hub's cache: 2 entries, 4 MB. To remove that for all programs: --hub\n"
    )
    assert zoo("cache prune mine/vit --hub").err == "Removed 1 entry, 4 MB\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--hub", "select files with MODEL, --damaged or --all"),
        ("--all mine/vit", "omit --all"),
        ("--all --damaged", "omit --all"),
        ("--older-than -1", "-1.0 is not in the range x>=0"),
    ],
)
def test_contradictory_options_are_refused(zoo: Zoo, line: str, message: str) -> None:
    done = zoo(f"cache prune {line}")
    assert done.code == 2
    assert message in done.err


def test_an_unreadable_cache_directory_is_reported(zoo: Zoo, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("LAYERZOO_CACHE", str(home / "file"))
    for verb in ("list", "verify", "prune"):
        done = zoo(f"cache {verb}")
        assert done.code == 6
        assert done.err.startswith("zoo: the cache folder …/home/file cannot be read: Not a directory. LAYERZOO_CACHE=")


def test_cache_commands_need_neither_torch_nor_a_connection(zoo: Zoo, hub: Hub, tmp_path: Path) -> None:
    hub.requests.clear()
    program = """
import sys
from layerzoo.cli import main
for verb in ("list", "verify", "prune"):
    try:
        main(["--offline", "cache", verb])
    except SystemExit as done:
        assert not done.code, verb
print("torch" in sys.modules)
"""
    code, printed = hub.run(program, tmp_path / "huggingface")
    assert (code, printed.splitlines()[-1]) == (0, "False")
    assert hub.requests == []
