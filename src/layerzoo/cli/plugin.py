"""`zoo plugin`: list, show, create, check, disable and enable plugins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from layerzoo.cli import candidates
from layerzoo.cli.choice import WordChoice
from layerzoo.cli.messages import say
from layerzoo.cli.output import Format, PrintedRow, format_option, print_lines, print_one, print_rows
from layerzoo.cli.plugin_check import check_command
from layerzoo.cli.streams import stdout
from layerzoo.errors import UsageError
from layerzoo.modalities import MODALITIES
from layerzoo.plugins.scaffold import LIBRARIES
from layerzoo.registry import Health, ImportOutcome, Installed, Registry, registry
from layerzoo.registry.installed.disabled import disable, enable
from layerzoo.registry.installed.environment import NO_PLUGINS

_LIST_COLUMNS = ("plugin", "state", "models", "cause", "fix", "distribution", "version", "builders", "last import")


@click.group("plugin")
def group() -> None:
    """List, show, create, check, disable and enable plugins."""


@group.command("list")
@format_option(piped="ids")
def list_command(format_: Format) -> None:
    """List the installed plugins.

    No plugin is imported. json has the keys namespace, distribution, version, module, path, project (the local
    folder that it was installed from, or null), state of the manifest (ok, incomplete, invalid, unsupported, no
    registry file, not found, conflict, disabled), cause and fix of a problem, models (the number of usable ones),
    builders, last_import (null, or state, cause, fix, seconds, at; the state is ok, failed, crashed or hung), and
    usable (false where its networks cannot be built).
    """
    zoo = registry()
    healths = [Health(plugin, zoo.outcome(plugin)) for plugin in zoo.plugins()]
    left_out = print_rows((_row(health) for health in healths), format_, _LIST_COLUMNS)
    _print_causes(healths, left_out)
    if format_ == "table" and any(health.plugin.is_usable and not health.is_usable for health in healths):
        say("To retry a failed import: zoo plugin check NAME")


@group.command("show")
@click.argument("name", shell_complete=candidates.plugins)
@format_option(piped="json")
def show_command(name: str, format_: Format) -> None:
    """Show one plugin: NAME is its namespace or its distribution.

    json has the keys of `zoo plugin list`, and model_ids.
    """
    zoo = registry()
    health = _health(name, zoo)
    fields = _health_fields(health)
    models = zoo.ids(plugin=name) if health.plugin.is_usable else []
    facts = {**fields, "model_ids": models}
    printed = {
        **facts,
        "state": health.state,
        "builders": ", ".join(fields["builders"]),
        "last_import": _last_import(health.last_import),
        "usable": "yes" if health.is_usable else "no",
        "model_ids": ", ".join(models),
    }
    cells = [(key.replace("_", " "), value) for key, value in printed.items() if value not in (None, "")]
    print_one(PrintedRow(health.plugin.namespace, lambda: facts, cells), format_)


@group.command("new")
@click.argument("name")
@click.option(
    "--modality",
    type=WordChoice(MODALITIES),
    required=True,
    help="The kind of input that the network takes.",
)
@click.option(
    "--library",
    type=WordChoice(LIBRARIES),
    default="own",
    show_default=True,
    help="The library that has the network; own: the plugin has it.",
)
@click.option("--yaml-only", is_flag=True, help="Declare a model of the library in a registry.yaml, without code.")
@click.option("--namespace", metavar="NAME", help="The prefix of the model ids. Default: NAME without -zoo.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    metavar="FOLDER",
    help="The folder to create the new folder in. Default: the working directory.",
)
def new_command(name: str, modality: Any, library: Any, yaml_only: bool, namespace: str | None, into: Path) -> None:
    """Write the project of a new plugin: NAME is its distribution.

    The folder NAME then has a pyproject.toml, a registry.yaml, a function that builds the network, a test, a README
    and a file for GitHub Actions. It can be installed and its model extracts features at once, with random weights.
    Nothing is downloaded. Prints the path of each file.

    \b
    Examples:
      zoo plugin new acme-zoo --modality vision
      zoo plugin new acme-zoo --modality text --library transformers --yaml-only
    """
    from layerzoo.plugins.scaffold import write_plugin

    new = write_plugin(name, modality, library, yaml_only=yaml_only, namespace=namespace, into=into)
    print_lines(str(new.folder / path) for path in new.files)
    stdout().flush()
    say(
        "Next:",
        f"  pip install --editable {new.folder}",
        f"  zoo extract {new.inputs} --model {new.model} --weights random:0 --out features.parquet",
        f"  zoo plugin check {new.namespace}",
    )


group.add_command(check_command)


@group.command("disable")
@click.argument("name", shell_complete=candidates.enabled_plugins)
def disable_command(name: str) -> None:
    """Disable a plugin: NAME is its namespace or its distribution.

    Its models are not listed and it is never imported, until `zoo plugin enable NAME`. It stays installed. This also
    works for broken plugins. The list is disabled-plugins.txt in your configuration directory.
    """
    if not (disabled := disable(name, _installed())):
        say(f"{name} is disabled already. To undo: zoo plugin enable {name}")
    for plugin in disabled:
        say(f"The plugin '{plugin.namespace}' ({plugin.release}) is disabled.")
    namespaces = {plugin.namespace for plugin in disabled}
    for successor in (plugin for plugin in registry().plugins() if plugin.namespace in namespaces and plugin.is_usable):
        say(f"The namespace '{successor.namespace}' now belongs to {successor.release}.")


@group.command("enable")
@click.argument("name", shell_complete=candidates.disabled_plugins)
def enable_command(name: str) -> None:
    """Enable a disabled plugin: NAME is its namespace or its distribution."""
    entries = enable(name, _installed())
    plugins = [plugin for plugin in registry().plugins() if plugin.is_called(name)]
    if not entries:
        say(f"{name} is not disabled.")
    elif not plugins:
        say(f"{name} is no longer disabled. It is not installed.")
    for plugin in plugins if entries else ():
        say(f"The plugin '{plugin.namespace}' ({plugin.release}) is enabled.")
        if not plugin.is_usable:
            say(f"It cannot be used: {plugin.cause}", f"Next: {plugin.fix}")


def _installed() -> tuple[Installed, ...]:
    """Return all plugins. Raises: UsageError where all are ignored: they are not discovered then."""
    environment = registry().environment
    if not environment.has_plugins:
        raise UsageError(f"all plugins are ignored. Next: try again without --no-plugins and {NO_PLUGINS}")
    return environment.plugins


def _health(name: str, zoo: Registry) -> Health:
    plugin = zoo.plugin(name)
    return Health(plugin, zoo.outcome(plugin))


def _print_causes(healths: Iterable[Health], left_out: Sequence[str]) -> None:
    """Print causes and fixes below a table that was too narrow for them."""
    if "fix" not in left_out:
        return
    from layerzoo.cli.table import fact_lines, terminal_width

    for health in (each for each in healths if each.cause):
        facts = [("plugin", health.plugin.release), ("cause", health.cause), ("fix", health.fix)]
        print_lines(["", *fact_lines(facts, width=terminal_width())])


def _row(health: Health) -> PrintedRow:
    plugin = health.plugin
    cells = (
        plugin.namespace,
        health.state,
        plugin.models,
        health.cause,
        health.fix,
        plugin.distribution,
        plugin.version,
        ", ".join(plugin.builders) or None,
        _last_import(health.last_import),
    )
    return PrintedRow(plugin.namespace, lambda: _health_fields(health), cells)


def _health_fields(health: Health) -> dict[str, Any]:
    return {
        **asdict(health.plugin),
        "builders": list(health.plugin.builders),
        "cause": health.cause,
        "fix": health.fix,
        "last_import": health.last_import and health.last_import.to_dict(),
        "usable": health.is_usable,
    }


def _last_import(outcome: ImportOutcome | None) -> str | None:
    return None if outcome is None else f"{outcome.state}, {outcome.seconds:.1f} s, {outcome.at}"
