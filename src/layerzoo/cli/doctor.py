"""`zoo doctor`: check this machine, and suggest fixes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import click

from layerzoo.cli.output import Format, PrintedRow, format_option, print_lines, print_rows
from layerzoo.errors import LayerzooError, UnknownModelError
from layerzoo.paths import cache_dir
from layerzoo.plugins.checkup import check_up
from layerzoo.plugins.probe import TIME_LIMIT_S
from layerzoo.registry import Health, Registry, registry
from layerzoo.registry.installed import advice
from layerzoo.registry.installed.health import unmet_requirements
from layerzoo.spec import MODALITIES, Modality

_OLDEST_PYTHON = (3, 11)
_STARTER = "pip install 'layerzoo[starter]'"


@dataclass(frozen=True, slots=True)
class MachineCheck:
    """The result of one check."""

    what: str
    state: Literal["ok", "missing", "disabled", "wrong"]
    """``missing``: nothing is broken, and something could be installed. ``disabled``: a plugin, by the user."""
    detail: str | None = None
    fix: str | None = None


@click.command("doctor")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0.1),
    default=TIME_LIMIT_S,
    show_default=True,
    metavar="SECONDS",
    help="The limit for the import of each plugin.",
)
@format_option(piped="json")
@click.pass_context
def command(ctx: click.Context, time_limit: float, format_: Format) -> None:
    """Check this machine, and suggest fixes.

    Plugins are imported in separate processes, and nothing is downloaded. Exits with 1 when a check fails.
    json has the keys what, state (ok, missing, disabled, wrong), detail, fix.
    """
    zoo = registry()
    findings = examine(zoo, time_limit)
    print_rows(map(_row, findings), format_, ("what", "state", "detail", "fix"))
    if format_ == "table":
        # A marker below a line of YAML would be misaligned in a column of a table.
        for problem in zoo.problems():
            print_lines(["", *problem.marked().split("\n")])
    ctx.exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


def examine(zoo: Registry, time_limit_s: float) -> list[MachineCheck]:
    """Check this machine and a registry. time_limit_s: the limit for the import of each plugin."""
    return [_python(), *_dependencies(), _cache(), *_plugins(zoo, time_limit_s), *_files(zoo), *_defaults(zoo)]


def _row(finding: MachineCheck) -> PrintedRow:
    return PrintedRow(finding.what, lambda: asdict(finding), (finding.what, finding.state, finding.detail, finding.fix))


def _python() -> MachineCheck:
    if sys.version_info < _OLDEST_PYTHON:
        return MachineCheck("python", "wrong", platform.python_version(), "install Python 3.11 or newer")
    return MachineCheck("python", "ok", f"{platform.python_version()}, {platform.platform()}")


def _dependencies() -> Iterator[MachineCheck]:
    """Check the requirements of layerzoo itself."""
    try:
        release = importlib.metadata.version("layerzoo")
    except importlib.metadata.PackageNotFoundError:
        yield MachineCheck(
            "layerzoo", "wrong", "it is imported from a folder, and not installed", "pip install layerzoo"
        )
        return
    yield MachineCheck("layerzoo", "ok", release)
    for unmet in unmet_requirements("layerzoo"):
        yield MachineCheck(unmet.name, "wrong", f"layerzoo: {unmet}", advice.install(unmet.requirement))


def _cache() -> MachineCheck:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return MachineCheck("cache directory", "ok", str(folder))
    except OSError as error:
        fix = "make it writable, or set LAYERZOO_CACHE to another folder"
        return MachineCheck("cache directory", "wrong", f"{folder}: {error.strerror}", fix)


def _plugins(zoo: Registry, time_limit_s: float) -> list[MachineCheck]:
    can_run = importlib.util.find_spec("torch") is not None
    plugins = [plugin for plugin in zoo.plugins() if can_run or plugin.distribution != "layerzoo"]
    findings = [_plugin(health) for health in check_up(plugins, time_limit_s=time_limit_s)]
    # Browsing requires no torch: its absence is not an error without plugins.
    browsing = "torch is not installed: models can be listed but not run"
    return findings if can_run else [MachineCheck("plugin toy", "missing", browsing, _STARTER), *findings]


def _plugin(health: Health) -> MachineCheck:
    plugin, outcome = health.plugin, health.last_import
    subject = f"plugin {plugin.namespace}"
    if health.is_good and outcome is not None:
        return MachineCheck(subject, "ok", f"{plugin.release}, imported in {outcome.seconds:.1f} s")
    state: Literal["disabled", "wrong"] = "disabled" if health.state == "disabled" else "wrong"
    return MachineCheck(subject, state, f"{plugin.release}, {health.state}: {health.cause}", health.fix)


def _files(zoo: Registry) -> Iterator[MachineCheck]:
    """Check files that belong to no plugin, and dangling references."""
    shown_with_plugins = {plugin.path for plugin in zoo.plugins() if plugin.state != "ok"}
    disabled = zoo.environment.disabled
    for problem in zoo.problems():
        if problem.path == disabled.path:
            name = disabled.name_at(problem.line)
            yield MachineCheck(
                "disabled plugins", "wrong", str(problem), advice.enable(name) if name else f"edit {problem.path}"
            )
        elif problem.path not in shown_with_plugins:
            yield MachineCheck("registry file", "wrong", str(problem), f"edit {problem.path}")


def _defaults(zoo: Registry) -> Iterator[MachineCheck]:
    for modality in MODALITIES:
        yield _default(zoo, modality)


def _default(zoo: Registry, modality: Modality) -> MachineCheck:
    """Check that the default model of a modality and its weights are on this machine."""
    from layerzoo.weights import resolve

    model = zoo.default_model(modality)
    subject = f"default model for {modality}"
    try:
        resolve(zoo.model(model).weights)
    except UnknownModelError as error:
        return MachineCheck(subject, "missing", str(error), _STARTER)
    except LayerzooError as error:
        return MachineCheck(subject, "wrong", str(error), f"zoo show {model}")
    return MachineCheck(subject, "ok", model)
