"""`zoo doctor`: what works on this machine, what does not, and the fix."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal

import click

from layerzoo.cli.output import Format, Row, format_option, print_rows
from layerzoo.disk import cache_dir
from layerzoo.errors import LayerzooError, UnknownModelError
from layerzoo.plugins.probe import TIME_LIMIT_S, probe
from layerzoo.registry import PluginManifest, Registry, registry
from layerzoo.spec import MODALITIES, Modality

_PROBES_AT_ONCE = 2
_OLDEST_PYTHON = (3, 11)
_STARTER = "pip install 'layerzoo[starter]'"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: Literal["ok", "missing", "wrong"]
    """``missing``: nothing is broken, and something could be installed."""
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
    json has the keys what, state (ok, missing, wrong), detail, fix.
    """
    findings = examine(registry(), time_limit)
    print_rows(map(_row, findings), format_, ("what", "state", "detail", "fix"))
    ctx.exit(1 if any(finding.state == "wrong" for finding in findings) else 0)


def examine(zoo: Registry, time_limit_s: float) -> list[Finding]:
    """Look at this machine and at a zoo. time_limit_s: for the import of each plugin."""
    return [_python(), *_dependencies(), _cache(), *_plugins(zoo, time_limit_s), *_files(zoo), *_defaults(zoo)]


def _row(finding: Finding) -> Row:
    return Row(finding.what, lambda: asdict(finding), (finding.what, finding.state, finding.detail, finding.fix))


def _python() -> Finding:
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("python", "wrong", platform.python_version(), "install Python 3.11 or newer")
    return Finding("python", "ok", f"{platform.python_version()}, {platform.platform()}")


def _dependencies() -> Iterator[Finding]:
    """What the core itself asks for in its metadata."""
    from packaging.requirements import Requirement

    try:
        release = importlib.metadata.version("layerzoo")
        wanted = [Requirement(text) for text in importlib.metadata.requires("layerzoo") or ()]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("layerzoo", "wrong", "it is not installed, only found in a folder", "pip install layerzoo")
        return
    yield Finding("layerzoo", "ok", release)
    for requirement in wanted:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            try:
                version = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                yield Finding(requirement.name, "wrong", "it is not installed", f"pip install '{requirement}'")
                continue
            if not requirement.specifier.contains(version, prereleases=True):
                yield Finding(requirement.name, "wrong", f"{version} is installed", f"pip install '{requirement}'")


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
    with ThreadPoolExecutor(_PROBES_AT_ONCE) as pool:
        return list(pool.map(lambda plugin: _plugin(plugin, time_limit_s), zoo.plugins()))


def _plugin(plugin: PluginManifest, time_limit_s: float) -> Finding:
    what = f"plugin {plugin.namespace}"
    release = f"{plugin.distribution} {plugin.version or ''}".strip()
    if not plugin.is_usable:
        return Finding(what, "wrong", plugin.cause, f"pip install -U {plugin.distribution}, or tell its author")
    if plugin.distribution == "layerzoo" and importlib.util.find_spec("torch") is None:
        # Alone, the core is whole without torch: it is for browsing then.
        return Finding(what, "missing", "torch is not installed: models can be browsed and not run", _STARTER)
    result = probe(plugin, time_limit_s=time_limit_s)
    if result.state != "ok":
        return Finding(what, "wrong", f"{result.state}: {result.cause}", _import_fix(plugin, result.cause or ""))
    if plugin.state == "incomplete":
        return Finding(what, "wrong", plugin.cause, f"pip install -U {plugin.distribution}, or tell its author")
    return Finding(what, "ok", f"{release}, imported in {result.seconds:.1f} s")


def _import_fix(plugin: PluginManifest, cause: str) -> str:
    if missing := re.search(r"No module named '(\w+)", cause):
        return f"pip install {missing[1]}"
    return f"pip install --force-reinstall {plugin.distribution}, or pip uninstall it"


def _files(zoo: Registry) -> Iterator[Finding]:
    """What is wrong in files that are no plugin's, and names that lead nowhere."""
    shown_with_plugins = {plugin.path for plugin in zoo.plugins() if plugin.state != "ok"}
    for problem in zoo.problems():
        if problem.path not in shown_with_plugins:
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
