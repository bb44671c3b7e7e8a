"""plugin list, plugin check and doctor: one row for each plugin, however it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from layerzoo.cli import main
from layerzoo.cli.doctor import command as doctor
from layerzoo.cli.doctor import examine
from layerzoo.conformance.codes import CHECKS
from layerzoo.plugins.checkup import check_up
from layerzoo.registry import Installed, Registry, registry
from layerzoo.registry.installed.disabled import disable

Install = Callable[..., None]
Zoo = Callable[..., tuple[int, Any]]

ON_DISK = Path(__file__).parents[1] / "plugins_on_disk"
BROKEN = ("invalid_yaml", "no_registry", "raises", "exits", "crashes", "wrong_hook", "half_valid")


@pytest.fixture
def zoo(install: Install, capsys: pytest.CaptureFixture[str]) -> Zoo:
    """Run the command line with one good plugin and many broken ones. Returns: exit code and the printed JSON."""
    install("good", *BROKEN)

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--format", "json"])
        return int(caught.value.code or 0), json.loads(capsys.readouterr().out)

    return run


def test_broken_plugins_affect_only_their_own_models(zoo: Zoo) -> None:
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
        "namespace", "distribution", "version", "module", "path", "project", "state", "cause", "fix", "models",
        "builders", "last_import", "usable",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code", "cause"),
    [
        ("half-zoo", "static-schema", "unknown key 'sumary'"),
        ("raising", "static-import", "No module named 'a_library_that_is_not_there'"),
        ("crashing", "static-import", "SIGKILL"),
        ("torn", "static-schema", "not valid YAML"),
        ("bare", "static-entry-point", "bare_zoo/registry.yaml"),
    ],
)
def test_a_check_finds_what_is_broken_and_sets_the_exit_code(zoo: Zoo, name: str, code: str, cause: str) -> None:
    exit_code, report = zoo("plugin", "check", name, "--tier", "static")
    assert (exit_code, report["ok"]) == (1, False)
    found = [finding for finding in report["findings"] if finding["code"] == code]
    assert cause in found[0]["cause"]
    assert all(finding["fix"] for finding in found)


def test_a_check_of_a_correct_plugin_reports_what_ran_and_exits_with_zero(zoo: Zoo) -> None:
    exit_code, report = zoo("plugin", "check", "toy/next-word", "--tier", "shape", "--tier", "law")
    counts = report["counts"]
    assert (exit_code, report["ok"], report["findings"], report["gaps"]) == (0, True, [], [])
    assert counts["collected"] == counts["ran"] + counts["skipped"]
    assert counts["passed"] == counts["ran"] > 20
    assert {each["code"] for each in report["skipped"]} == {"shape-frames", "shape-stale"}


def test_a_run_that_checked_too_little_fails(zoo: Zoo) -> None:
    exit_code, report = zoo("plugin", "check", "toy/next-word", "--tier", "weights")
    assert (exit_code, report["counts"]["ran"], report["findings"]) == (1, 0, [])
    assert report["gaps"] == ["toy: no check ran (it declares no weights)"]


def test_the_list_shows_the_result_of_the_last_check(zoo: Zoo) -> None:
    zoo("plugin", "check", "exiting")
    (row,) = [row for row in zoo("plugin", "list")[1] if row["namespace"] == "exiting"]
    assert row["last_import"]["cause"] == row["cause"] == "SystemExit: no licence found"
    assert (
        row["last_import"]["fix"] == row["fix"] == "pip install -U exiting-zoo; until then: zoo plugin disable exiting"
    )
    assert (row["state"], row["usable"]) == ("ok", False)


def test_a_successful_import_replaces_a_stored_failure(install: Install, home: Path) -> None:
    site = home / "site"
    shutil.copytree(ON_DISK / "raises", site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        assert [health.state for health in check_up([registry().plugin("raising")])] == ["failed"]
        (site / "raising_zoo" / "__init__.py").write_text("", encoding="utf-8")
        assert [health.state for health in check_up([registry().plugin("raising")])] == ["ok"]
        outcome = registry().outcome(registry().plugin("raising"))
    assert outcome is not None
    assert (outcome.state, outcome.cause) == ("ok", None)


def test_checking_all_plugins_ends_if_one_hangs(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("good", "hangs", "crashes")
    for plugin in registry().environment.plugins:
        if plugin.namespace not in ("acme", "hanging", "crashing"):
            disable(plugin.distribution, [plugin])
    with pytest.raises(SystemExit, match="1"):
        main(["plugin", "check", "--time-limit", "2", "--format", "json"])
    causes = {row["plugin"]: row["cause"] for row in json.loads(capsys.readouterr().out)["findings"]}
    assert {"hanging", "crashing"} <= causes.keys()
    assert causes["hanging"] == "the import took longer than 2 s"


def test_missing_requirements_are_found_without_slowing_the_list(install: Install) -> None:
    install("old_library")
    (health,) = check_up([registry().plugin("dated")])
    assert (health.plugin.state, health.state, health.is_usable) == ("ok", "missing library", True)
    assert health.fix == "pip install 'click>=999'"
    program = (
        "import sys; from layerzoo.cli import zoo; zoo.main(['plugin', 'list', '--format', 'json'], "
        "standalone_mode=False); assert not sys.modules.keys() & {'importlib.metadata', 'packaging.requirements'}"
    )
    for _ in range(2):  # the first run compiles the index
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_one_plugin_is_shown_with_its_models(zoo: Zoo) -> None:
    _, shown = zoo("plugin", "show", "acme")
    assert shown["builders"] == ["acme"]
    assert "acme/vit-shelf" in shown["model_ids"]


def test_the_doctor_reports_each_problem_with_its_fix(install: Install, home: Path) -> None:
    install("raises", "no_registry", "crashes")
    disable("crashing", registry().environment.plugins)
    disable("gone", [Installed(namespace="gone", distribution="gone-zoo", version=None, module="gone_zoo")])
    (home / "registry.yaml").write_text("layerzoo: 1\naliases: {a: toy/gone}\n", encoding="utf-8")
    around = registry().environment
    few = tuple(each for each in around.installed if each.namespace in ("toy", "raising", "bare", "crashing"))
    findings = {finding.what: finding for finding in examine(Registry(around._replace(installed=few)), 60)}
    assert findings["python"].state == "ok"
    assert findings["cache directory"].state == "ok"
    assert findings["plugin toy"].state == "ok"
    assert findings["plugin raising"].fix == "pip install a_library_that_is_not_there"
    assert "bare_zoo/registry.yaml" in str(findings["plugin bare"].detail)
    assert (findings["plugin crashing"].state, findings["plugin crashing"].fix) == (
        "disabled",
        "zoo plugin enable crashing",
    )
    assert findings["disabled plugins"].fix == "zoo plugin enable gone"
    assert "the alias 'a' leads to toy/gone" in str(findings["registry file"].detail)
    assert findings["default model for text"].state == "missing"
    assert "pip install layerzoo-starter" in str(findings["default model for text"].detail)
    assert all(finding.fix for finding in findings.values() if finding.state != "ok")


def test_the_doctor_detects_a_read_only_cache(home: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    (home / "file").touch()
    monkeypatch.setenv("LAYERZOO_CACHE", str(home / "file" / "cache"))
    with pytest.raises(SystemExit, match="1"):
        doctor.main(["--format", "json", "--time-limit", "0.1"], prog_name="zoo doctor")
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["cache directory"]["state"] == "wrong"
    assert "LAYERZOO_CACHE" in rows["cache directory"]["fix"]


def test_causes_and_fixes_are_printed_below_a_narrow_table(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("good", "no_registry")
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit):
        main(["plugin", "list", "--format", "table"])
    message = capsys.readouterr().out
    assert "plugin  bare-zoo 1.0\ncause   there is no\n" in message
    assert "fix     pip install --force-reinstall\n        bare-zoo; if it was never\n" in message


def test_a_finding_is_printed_with_place_cause_and_fix(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("half_valid")
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit, match="1"):
        main(["plugin", "check", "half-zoo", "--tier", "static", "--format", "table"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "static-schema  half/broken"
    assert lines[1].startswith("  place  ")
    assert "  cause  unknown key 'sumary'. Nearest: summary. Possible:" in lines
    assert "  fix    Correct the line. `zoo registry check FILE` marks" in lines
    assert lines[-1] == "13 checks collected, 9 ran: 8 passed, 1 failed; 4 skipped"


def test_a_report_in_the_form_of_junit_has_a_case_for_each_check(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("half_valid")
    with pytest.raises(SystemExit, match="1"):
        main(["plugin", "check", "half-zoo", "--tier", "static", "--format", "junit"])
    suite = ElementTree.fromstring(capsys.readouterr().out.encode()).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("13", "1", "4")
    failures = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failures == ["static-schema"]


def test_a_code_is_explained_and_an_unknown_one_names_the_nearest(zoo: Zoo, capsys: pytest.CaptureFixture[str]) -> None:
    _, explained = zoo("explain", "law-padding")
    assert (explained["code"], explained["tier"]) == ("law-padding", "law")
    assert "attention mask" in explained["fix"]
    assert [each["code"] for each in zoo("explain")[1]] == list(CHECKS)
    with pytest.raises(SystemExit, match="3"):
        main(["explain", "law-pading"])
    assert "Nearest: law-padding" in capsys.readouterr().err
