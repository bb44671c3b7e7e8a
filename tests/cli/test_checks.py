"""plugin list, plugin check and doctor: one row each, whatever a plugin does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerzoo.cli import main
from layerzoo.cli.doctor import command as doctor
from layerzoo.cli.doctor import examine
from layerzoo.registry import Registry, Surroundings, registry

Install = Callable[..., None]
Zoo = Callable[..., tuple[int, Any]]

BROKEN = ("invalid_yaml", "no_registry", "raises", "exits", "crashes", "wrong_hook", "half_valid")


@pytest.fixture
def zoo(install: Install, capsys: pytest.CaptureFixture[str]) -> Zoo:
    """Run the command line with one good plugin and many broken ones: exit code, and what JSON it prints."""
    install("good", *BROKEN)

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--format", "json"])
        return int(caught.value.code or 0), json.loads(capsys.readouterr().out)

    return run


def test_broken_plugins_cost_nothing_but_themselves(zoo: Zoo) -> None:
    code, models = zoo("list", "--plugin", "acme")
    assert (code, len(models)) == (0, 5)


def test_every_plugin_is_a_row(zoo: Zoo) -> None:
    code, rows = zoo("plugin", "list")
    states = {row["namespace"]: row["state"] for row in rows}
    assert code == 0
    assert {name: states[name] for name in ("acme", "torn", "bare", "raising", "half", "toy")} == {
        "acme": "ok",
        "torn": "invalid",
        "bare": "no registry file",
        "raising": "ok",
        "half": "incomplete",
        "toy": "ok",
    }
    assert set(rows[0]) == {
        "namespace", "distribution", "version", "module", "path", "state", "cause", "models", "builders", "last_import",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code", "state", "cause"),
    [
        ("acme", 0, "ok", None),
        ("half-zoo", 1, "ok", "unknown key 'sumary'"),
        ("raising", 1, "failed", "No module named 'a_library_that_is_not_there'"),
        ("crashing", 1, "crashed", "SIGKILL"),
        ("torn", 1, None, "not valid YAML"),
    ],
)
def test_a_check_is_a_row_and_an_exit_code(
    zoo: Zoo, name: str, code: int, state: str | None, cause: str | None
) -> None:
    found, (row,) = zoo("plugin", "check", name)
    assert (found, row["import"]) == (code, state)
    assert (row["cause"] is None) if cause is None else (cause in row["cause"])


def test_a_check_is_remembered_by_the_list(zoo: Zoo) -> None:
    zoo("plugin", "check", "exiting")
    (row,) = [row for row in zoo("plugin", "list")[1] if row["namespace"] == "exiting"]
    assert row["last_import"]["cause"] == "SystemExit: no licence found"


def test_one_plugin_is_shown_with_its_models(zoo: Zoo) -> None:
    _, shown = zoo("plugin", "show", "acme")
    assert shown["builders"] == ["acme"]
    assert "acme/vit-shelf" in shown["model_ids"]


def test_the_doctor_names_what_is_wrong_and_the_fix(install: Install, home: Path) -> None:
    install("raises", "no_registry")
    (home / "registry.yaml").write_text("layerzoo: 1\naliases: {a: toy/gone}\n", encoding="utf-8")
    around = registry().surroundings
    few = tuple(each for each in around.installed if each.namespace in ("toy", "raising", "bare"))
    findings = {finding.what: finding for finding in examine(Registry(Surroundings(few, around.user_files)), 60)}
    assert findings["python"].state == "ok"
    assert findings["cache directory"].state == "ok"
    assert findings["plugin toy"].state == "ok"
    assert findings["plugin raising"].fix == "pip install a_library_that_is_not_there"
    assert "bare_zoo/registry.yaml" in str(findings["plugin bare"].detail)
    assert "the alias 'a' stands for toy/gone" in str(findings["registry file"].detail)
    assert findings["default model for text"].state == "missing"
    assert "pip install layerzoo-starter" in str(findings["default model for text"].detail)
    assert all(finding.fix for finding in findings.values() if finding.state != "ok")


def test_the_doctor_sees_a_cache_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    (home / "file").touch()
    monkeypatch.setenv("LAYERZOO_CACHE", str(home / "file" / "cache"))
    with pytest.raises(SystemExit, match="1"):
        doctor.main(["--format", "json", "--time-limit", "0.1"], prog_name="zoo doctor")
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["cache directory"]["state"] == "wrong"
    assert "LAYERZOO_CACHE" in rows["cache directory"]["fix"]
