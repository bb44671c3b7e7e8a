"""Messages about plugins: golden/ has a file for each command, with all plugins of tests/plugins_on_disk.

Paths, versions, times and the width of columns are replaced. After a change of messages, write the files again, and
read them before a commit: ``LAYERZOO_WRITE_GOLDEN=1 python -m pytest tests/plugins/test_messages.py``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from tests.terminal import Zoo

import layerzoo
from layerzoo.cli.doctor import MachineCheck, examine
from layerzoo.errors import LayerzooError, PluginError
from layerzoo.plugins.failure import summary
from layerzoo.registry import Environment, Registry, registry

ON_DISK = Path(__file__).parents[1] / "plugins_on_disk"
GOLDEN = Path(__file__).parent / "golden"
DISTRIBUTIONS = sorted(
    folder.name.removesuffix("-1.0.dist-info").replace("_", "-") for folder in ON_DISK.glob("*/*.dist-info")
)
# A plugin may crash or hang in a separate process, but must not be loaded in this one.
RAISING = ("exiting", "faulty", "lacking", "native", "raising", "renamed", "wrong")
UNREADABLE = ("bare", "demanding", "future", "inner", "shared", "torn")

OutputOf = Callable[..., str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Use a working directory with a separate cache and configuration, and every sample plugin on the path."""
    folder = tmp_path_factory.mktemp("messages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERZOO_CACHE", str(folder / "cache"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.setenv("COLUMNS", "2000")
        patch.chdir(folder)
        for sample in sorted(ON_DISK.iterdir()):
            patch.syspath_prepend(sample)
            patch.setenv("PYTHONPATH", str(sample), prepend=os.pathsep)
        yield folder
    for package in ON_DISK.glob("*/*_zoo"):
        sys.modules.pop(package.name, None)


@pytest.fixture
def output_of(home: Path, zoo: Zoo) -> OutputOf:
    """Return the output of a command on both streams, and its exit code if it is not 0."""

    def run(*arguments: str) -> str:
        code, out, err = zoo(*arguments)
        reported = f"exit code {code}\n" if code else ""
        return f"$ zoo {' '.join(arguments)}\n{_stable(out + err, home)}{reported}"

    return run


def test_a_check_of_each_plugin(output_of: OutputOf) -> None:
    names = [name for name in DISTRIBUTIONS if name not in ("hanging-zoo", "misbehaving-zoo")]
    checks = [output_of("plugin", "check", name, "--tier", "static", "--format", "table") for name in names]
    hung = output_of("plugin", "check", "hanging", "--tier", "static", "--time-limit", "0.5", "--format", "table")
    _compare("check", "\n".join([*checks, hung]))


def test_the_list_after_the_checks(output_of: OutputOf) -> None:
    """Only the rows of the sample plugins are compared; other installed plugins may vary."""
    heading, *rows = output_of("plugin", "list", "--format", "table").splitlines()[1:]
    ours = [row for row in rows if any(f"  {name}  " in row for name in DISTRIBUTIONS if name != "misbehaving-zoo")]
    _compare("list", "\n".join([heading, *ours, rows[-1], ""]))


def test_each_plugin_shown(output_of: OutputOf) -> None:
    names = [name for name in DISTRIBUTIONS if name != "misbehaving-zoo"]
    _compare("show", "\n".join(output_of("plugin", "show", name, "--format", "table") for name in names))


def test_the_report_of_the_doctor(home: Path) -> None:
    around = registry().environment
    left_out = ("hanging", "misbehaving")
    ours = tuple(each for each in around.plugins if each.folder is None or str(ON_DISK) in each.folder)
    few = (around.installed[0], *(each for each in ours if each.namespace not in left_out))
    findings = examine(Registry(Environment(few, ())), 60)
    _compare("doctor", _stable("\n".join(map(_line, filter(_is_of_a_plugin, findings))) + "\n", home))


@pytest.fixture
def loadable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exclude the plugin with damaged entry points: torch cannot be imported while it is installed."""
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if "damaged_entry_points" not in folder])


@pytest.mark.usefixtures("loadable")
@pytest.mark.parametrize("name", RAISING)
def test_a_failure_has_its_cause_and_is_stored(name: str) -> None:
    with pytest.raises(PluginError) as caught:
        layerzoo.load(f"{name}/net", weights="random:0")
    error = caught.value
    assert (error.plugin, error.exit_code) == (name, 4)
    assert error.__cause__ is not None
    assert summary(error.__cause__) in str(error)
    outcome = registry().outcome(registry().plugin(name))
    assert outcome is not None
    assert outcome.state == "failed"
    assert str(error).endswith(f"{outcome.cause}\nNext: {outcome.fix}")


@pytest.mark.usefixtures("loadable")
def test_the_errors_of_loading(home: Path) -> None:
    reported = []
    for name in (*RAISING, *UNREADABLE):
        with pytest.raises(LayerzooError) as caught:
            layerzoo.load(f"{name}/net", weights="random:0")
        reported.append(f'layerzoo.load("{name}/net")\n{type(caught.value).__name__}: {caught.value}\n')
    _compare("load", _stable("\n".join(reported), home))


def test_disabling_and_enabling(output_of: OutputOf) -> None:
    steps = [
        "plugin disable plain", "plugin disable plain-zoo", "show plain/next-word", "plugin show plain --format table",
        "plugin check plain --tier static --format table", "plugin enable plain", "plugin enable plain",
        "plugin disable torn", "plugin enable torn-zoo",
        "plugin disable first-zoo", "plugin enable first-zoo",
        "plugin disable layerzoo", "plugin disable plian", "plugin enable plian",
    ]  # fmt: skip
    _compare("disable", "\n".join(output_of(*step.split()) for step in steps))


def test_excluding_all_plugins(output_of: OutputOf) -> None:
    steps = ["list", "plugin list", "show acme/vit-shelf", "plugin show acme", "plugin disable acme"]
    _compare("no_plugins", "\n".join(output_of("--no-plugins", *step.split()) for step in steps))


def test_every_message_has_a_next_step(home: Path) -> None:
    for plugin in registry().plugins():
        assert (plugin.state == "ok") == (plugin.cause is None) == (plugin.fix is None), plugin


def _is_of_a_plugin(finding: MachineCheck) -> bool:
    return finding.what.startswith("plugin ")


def _line(finding: MachineCheck) -> str:
    return "  ".join(str(each) for each in (finding.what, finding.state, finding.detail, finding.fix) if each)


def _stable(text: str, home: Path) -> str:
    """Replace the parts of a text that depend on the machine or the run."""
    replaced = {str(ON_DISK): "PLUGINS", str(Path(click.__file__).parents[1]): "SITE-PACKAGES", str(home): "HOME"}
    for path, name in replaced.items():
        text = text.replace(path, name)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    text = re.sub(r"\b\d+\.\d+ s\b", "N s", text)
    text = re.sub(r"\d+\.\d+\.\d+ is installed", "X.Y.Z is installed", text)
    return re.sub(r" {2,}", "  ", re.sub(r" +\n", "\n", text))


def _compare(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if "LAYERZOO_WRITE_GOLDEN" in os.environ:
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
