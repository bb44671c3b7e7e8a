"""All kinds of broken plugins installed at once: each one loses only its own models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerzoo.cli import main
from layerzoo.registry import registry

ON_DISK = Path(__file__).parents[1] / "plugins_on_disk"

Zoo = Callable[..., tuple[int, str]]

GOOD = {"acme": 5, "plain": 1, "misbehaving": 1, "dated": 1, "half": 1}
# Errors that are found without an import: (state, a part of the cause, a part of the fix).
BROKEN = {
    "bare-zoo": ("no registry file", "bare_zoo/registry.yaml", "pip install --force-reinstall bare-zoo"),
    "damaged-zoo": ("invalid", "METADATA is not UTF-8", "pip install --force-reinstall damaged-zoo"),
    "demanding-zoo": ("unsupported", "requires layerzoo>=9", "pip install -U layerzoo demanding-zoo"),
    "first-zoo": ("conflict", "first-zoo 1.0 and second-zoo 1.0", "zoo plugin disable first-zoo"),
    "future-zoo": ("unsupported", "version 2 of the format", "pip install -U layerzoo future-zoo"),
    "garbled-zoo": ("invalid", "entry_points.txt is damaged", "pip install --force-reinstall garbled-zoo"),
    "gone-zoo": (
        "not found",
        "names 'gone_zoo', but there is no such package",
        "pip install --force-reinstall gone-zoo",
    ),
    "half-zoo": ("incomplete", "unknown key 'sumary'", "zoo registry check"),
    "inner-zoo": ("invalid", "must name a top-level package", "pip install -U inner-zoo"),
    "mine-zoo": ("conflict", "that of the user's own models", "pip uninstall mine-zoo"),
    "nameless-zoo": ("invalid", "METADATA names no distribution", "pip install --force-reinstall nameless-zoo"),
    "odd-zoo": ("invalid", "'Odd' is not a valid namespace", "pip install -U odd-zoo"),
    "second-zoo": ("conflict", "first-zoo 1.0 and second-zoo 1.0", "zoo plugin disable second-zoo"),
    "torn-zoo": ("invalid", "not valid YAML", "zoo registry check"),
    "toy-zoo": ("conflict", "that of layerzoo itself", "pip uninstall toy-zoo"),
}
# Plugins without a visible error until they are imported.
UNTRIED = ("crashing", "exiting", "faulty", "hanging", "lacking", "native", "raising", "renamed", "wrong")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Use a working directory with a separate cache and configuration, and every sample plugin on the path."""
    folder = tmp_path_factory.mktemp("isolation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERZOO_CACHE", str(folder / "cache"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.chdir(folder)
        for sample in sorted(ON_DISK.iterdir()):
            patch.syspath_prepend(sample)
            patch.setenv("PYTHONPATH", str(sample), prepend=os.pathsep)
        yield folder


@pytest.fixture
def zoo(home: Path, capsys: pytest.CaptureFixture[str]) -> Zoo:
    """Run the command line in this process. Returns: exit code and standard output."""

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        return int(caught.value.code or 0), capsys.readouterr().out

    return run


@pytest.mark.parametrize("format_", ["ids", "json", "jsonl", "table"])
@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("list", "acme/vit-shelf"),
        ("search supermarket", "acme/vit-shelf"),
        ("show acme/vit-shelf", "acme/vit-shelf"),
        ("layers acme/vit-shelf", "block.11"),
        ("plugin list", "acme"),
        ("plugin show acme", "acme"),
        ("plugin show first-zoo", "shared"),
    ],
)
def test_browsing_works_with_any_broken_plugin_installed(zoo: Zoo, command: str, found: str, format_: str) -> None:
    code, out = zoo(*command.split(), "--format", format_)
    assert code == 0
    assert found in out


def test_all_models_of_working_plugins_are_listed(zoo: Zoo) -> None:
    models = zoo("list", "--format", "ids")[1].split()
    counts = {namespace: sum(model.startswith(f"{namespace}/") for model in models) for namespace in GOOD}
    assert counts == GOOD
    assert not [model for model in models if model.startswith(("shared/", "mine/", "torn/", "damaged/", "nameless/"))]


def test_each_broken_plugin_is_a_row_with_state_cause_and_fix(zoo: Zoo) -> None:
    rows = {row["distribution"]: row for row in _rows(zoo)}
    for distribution, (state, cause, fix) in BROKEN.items():
        row = rows[distribution]
        assert (row["state"], row["usable"]) == (state, state == "incomplete"), row
        assert cause in row["cause"], row
        assert fix in row["fix"], row


def test_a_plugin_that_was_never_imported_counts_as_ok(zoo: Zoo) -> None:
    rows = {row["namespace"]: row for row in _rows(zoo)}
    for namespace in (*UNTRIED, "acme", "plain", "dated"):
        row = rows[namespace]
        assert (row["state"], row["cause"], row["fix"], row["usable"]) == ("ok", None, None, True)


def test_a_row_has_the_documented_keys(zoo: Zoo) -> None:
    keys = "namespace distribution version module path project state cause fix models builders last_import usable"
    assert all(set(row) == set(keys.split()) for row in _rows(zoo))


def test_no_plugin_was_imported(zoo: Zoo) -> None:
    zoo("list")
    packages = {package.name for package in ON_DISK.glob("*/*_zoo")}
    assert not packages & sys.modules.keys()


@pytest.mark.parametrize("options", [[], ["--no-plugins"]])
def test_browsing_works_in_a_new_process_with_an_empty_cache(home: Path, options: list[str]) -> None:
    """Other libraries, such as pydantic, read the metadata of all installed distributions when they are imported."""
    command = [sys.executable, "-m", "layerzoo", *options, "list", "--format", "ids"]
    environment = {**os.environ, "LAYERZOO_CACHE": str(home / "-".join(["cold", *options]))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("acme/vit-shelf" in done.stdout) == (not options)
    assert "toy/next-word" in done.stdout


def test_the_core_answers_for_its_own_namespace(home: Path) -> None:
    assert registry().plugin("toy").distribution == "layerzoo"
    assert registry().plugin("toy-zoo").state == "conflict"
    assert registry().model("toy/next-word").plugin == "layerzoo"


def _rows(zoo: Zoo) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(zoo("plugin", "list", "--format", "json")[1])
    return rows
