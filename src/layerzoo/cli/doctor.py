"""`zoo doctor`: what works on this machine, what does not, and the fix."""

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
from layerzoo.registry import Health, Registry, advice, registry
from layerzoo.registry.requirements import unmet_requirements
from layerzoo.spec import MODALITIES, Modality

_OLDEST_PYTHON = (3, 11)
_STARTER = "pip install 'layerzoo[starter]'"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

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
    help="For the import of each plugin.",
)
@format_option(piped="json")
@click.pass_context
def command(ctx: click.Context, time_limit: float, format_: Format) -> None:
    """Tell what works on this machine, and how to fix the rest.

    Plugins are imported in processes of their own, and nothing is downloaded. Exits with 1 when something is wrong.
    json has the keys what, state (ok, missing, disabled, wrong), detail, fix.
    """
    zoo = registry()
    findings = examine(zoo, time_limit)
    print_rows(map(_row, findings), format_, ("what", "state", "detail", "fix"))
    if format_ == "table":
        # A marker below a line would not stay there in a column of a table.
        for problem in zoo.problems():
            print_lines(["", *problem.marked().split("\n")])
    ctx.exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


def examine(zoo: Registry, time_limit_s: float) -> list[Finding]:
    """Look at this machine and at a zoo. time_limit_s: for the import of each plugin."""
    return [_python(), *_dependencies(), _cache(), *_plugins(zoo, time_limit_s), *_files(zoo), *_defaults(zoo)]


def _row(finding: Finding) -> PrintedRow:
    return PrintedRow(finding.what, lambda: asdict(finding), (finding.what, finding.state, finding.detail, finding.fix))


def _python() -> Finding:
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("python", "wrong", platform.python_version(), "install Python 3.11 or newer")
    return Finding("python", "ok", f"{platform.python_version()}, {platform.platform()}")


def _dependencies() -> Iterator[Finding]:
    """What the core itself asks for in its metadata."""
    try:
        release = importlib.metadata.version("layerzoo")
    except importlib.metadata.PackageNotFoundError:
        yield Finding("layerzoo", "wrong", "it is not installed, only found in a folder", "pip install layerzoo")
        return
    yield Finding("layerzoo", "ok", release)
    for unmet in unmet_requirements("layerzoo"):
        yield Finding(unmet.name, "wrong", f"layerzoo: {unmet}", advice.install(unmet.requirement))


def _cache() -> Finding:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return Finding("cache directory", "ok", str(folder))
    except OSError as error:
        fix = "make it writable, or name another one in LAYERZOO_CACHE"
        return Finding("cache directory", "wrong", f"{folder}: {error.strerror}", fix)


def _plugins(zoo: Registry, time_limit_s: float) -> list[Finding]:
    can_run = importlib.util.find_spec("torch") is not None
    plugins = [plugin for plugin in zoo.plugins() if can_run or plugin.distribution != "layerzoo"]
    findings = [_plugin(health) for health in check_up(plugins, time_limit_s=time_limit_s)]
    # Alone, the core is whole without torch: it is for browsing then.
    browsing = "torch is not installed: models can be browsed and not run"
    return findings if can_run else [Finding("plugin toy", "missing", browsing, _STARTER), *findings]


def _plugin(health: Health) -> Finding:
    plugin, outcome = health.plugin, health.last_import
    what = f"plugin {plugin.namespace}"
    if health.is_good and outcome is not None:
        return Finding(what, "ok", f"{plugin.release}, imported in {outcome.seconds:.1f} s")
    state: Literal["disabled", "wrong"] = "disabled" if health.state == "disabled" else "wrong"
    return Finding(what, state, f"{plugin.release}, {health.state}: {health.cause}", health.fix)


def _files(zoo: Registry) -> Iterator[Finding]:
    """What is wrong in files that are no plugin's, and names that lead nowhere."""
    shown_with_plugins = {plugin.path for plugin in zoo.plugins() if plugin.state != "ok"}
    disabled = zoo.surroundings.disabled
    for problem in zoo.problems():
        if problem.path == disabled.path:
            name = disabled.name_at(problem.line)
            yield Finding(
                "disabled plugins", "wrong", str(problem), advice.enable(name) if name else f"edit {problem.path}"
            )
        elif problem.path not in shown_with_plugins:
            yield Finding("registry file", "wrong", str(problem), f"edit {problem.path}")


def _defaults(zoo: Registry) -> Iterator[Finding]:
    for modality in MODALITIES:
        yield _default(zoo, modality)


def _default(zoo: Registry, modality: Modality) -> Finding:
    """Whether the model that is used when none is named is here, weights included."""
    from layerzoo.weights import resolve

    model = zoo.default_model(modality)
    what = f"default model for {modality}"
    try:
        resolve(zoo.model(model).weights)
    except UnknownModelError as error:
        return Finding(what, "missing", str(error), _STARTER)
    except LayerzooError as error:
        return Finding(what, "wrong", str(error), f"zoo show {model}")
    return Finding(what, "ok", model)
