"""`zoo plugin`: what is installed, and whether it works."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from layerzoo.cli.output import Format, Row, format_option, print_one, print_rows
from layerzoo.registry import PluginManifest, Registry, registry

_LIST_COLUMNS = ("plugin", "distribution", "version", "state", "models", "builders", "last import", "cause")
_CHECK_COLUMNS = ("plugin", "manifest", "import", "seconds", "cause")


@click.group("plugin")
def group() -> None:
    """List, show and check plugins."""


@group.command("list")
@format_option(piped="ids")
def list_command(format_: Format) -> None:
    """List the plugins that are installed.

    None of them is imported. json has the keys namespace, distribution, version, module, path, state (ok, incomplete,
    invalid, unsupported, no registry file, not found, conflict), cause, models (how many can be used), builders, and
    last_import (null, or state, cause, seconds, at, version).
    """
    zoo = registry()
    print_rows((_row(plugin, zoo) for plugin in zoo.plugins()), format_, _LIST_COLUMNS)


@group.command("show")
@click.argument("name")
@format_option(piped="json")
def show_command(name: str, format_: Format) -> None:
    """Show one plugin: NAME is its namespace or its distribution.

    json has the keys of `zoo plugin list`, and model_ids.
    """
    zoo = registry()
    plugin = zoo.plugin(name)
    models = zoo.ids(plugin=plugin.namespace)
    facts = {**_plain(plugin, zoo), "model_ids": models}
    shown = {
        **facts,
        "builders": ", ".join(plugin.builders),
        "last_import": _last_import(zoo.outcome(plugin)),
        "model_ids": ", ".join(models),
    }
    cells = [(key.replace("_", " "), value) for key, value in shown.items() if value not in (None, "")]
    print_one(Row(plugin.namespace, lambda: facts, cells), format_)


@group.command("check")
@click.argument("name", required=False)
@click.option(
    "--time-limit", type=click.FloatRange(min=0.1), metavar="SECONDS", help="For each import; 120 if not given."
)
@format_option(piped="json")
@click.pass_context
def check_command(ctx: click.Context, name: str | None, time_limit: float | None, format_: Format) -> None:
    """Check a plugin, or all of them.

    First its manifest, then its import in a process of its own. Exits with 1 when something is wrong. json has the
    keys plugin, manifest, import (ok, failed, crashed, hung, or null where there is nothing to import), seconds, cause.
    """
    zoo = registry()
    plugins = zoo.plugins() if name is None else [zoo.plugin(name)]
    rows = [_checked(plugin, time_limit) for plugin in plugins]
    print_rows(rows, format_, _CHECK_COLUMNS)
    ctx.exit(0 if all(row.cells[1:3] == ("ok", "ok") for row in rows) else 1)


def _checked(plugin: PluginManifest, time_limit: float | None) -> Row:
    from layerzoo.plugins.probe import TIME_LIMIT_S, probe

    if not plugin.is_usable:
        return _check_row(plugin, None, None, plugin.cause)
    result = probe(plugin, time_limit_s=time_limit or TIME_LIMIT_S)
    return _check_row(plugin, result.state, round(result.seconds, 2), result.cause or plugin.cause)


def _check_row(plugin: PluginManifest, import_state: str | None, seconds: float | None, cause: str | None) -> Row:
    facts = (plugin.namespace, plugin.state, import_state, seconds, cause)
    return Row(plugin.namespace, lambda: dict(zip(_CHECK_COLUMNS, facts, strict=True)), facts)


def _row(plugin: PluginManifest, zoo: Registry) -> Row:
    cells = (
        plugin.namespace,
        plugin.distribution,
        plugin.version,
        plugin.state,
        plugin.models,
        ", ".join(plugin.builders) or None,
        _last_import(zoo.outcome(plugin)),
        plugin.cause,
    )
    return Row(plugin.namespace, lambda: _plain(plugin, zoo), cells)


def _plain(plugin: PluginManifest, zoo: Registry) -> dict[str, Any]:
    return {**asdict(plugin), "builders": list(plugin.builders), "last_import": zoo.outcome(plugin)}


def _last_import(outcome: dict[str, Any] | None) -> str | None:
    if outcome is None:
        return None
    if outcome["state"] == "ok":
        return f"ok, {outcome['seconds']:.1f} s"
    return f"failed: {outcome['cause']}"
