"""Completion candidates for models, layers, poolings and plugins.

Each function has the signature of click's ``shell_complete=``: the context, the parameter, and the beginning of the
word. None imports more than browsing does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from layerzoo.printable import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Items: TypeAlias = "list[CompletionItem[str]]"
Complete: TypeAlias = Callable[[click.Context, click.Parameter, str], Items]

_MOST_MODELS = 500
_UNFINISHED = "partial"  # the scripts of `zoo completion` add no space after such a word


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return ids and aliases."""
    from layerzoo.registry.lookup import registry

    return _matching_items(registry().names(incomplete, limit=_MOST_MODELS), incomplete)


def layers(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return the layers of the named model in the order in which they run, then selectors."""
    from click.shell_completion import CompletionItem

    spec, model_layers = _layers_of(ctx.params.get("model"))
    layer_items = [CompletionItem(layer.name, help=_depth_text(layer.depth)) for layer in model_layers]
    selectors = _matching_items(_selectors([layer.name for layer in model_layers], spec), incomplete)
    modules = [CompletionItem("module:", type=_UNFINISHED)]
    if incomplete.startswith("module:"):
        modules = [CompletionItem(f"module:{layer.address}") for layer in model_layers]
    return [item for item in (*layer_items, *selectors, *modules) if item.value.startswith(incomplete)]


def poolings(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return poolings, alone and after `LAYER=`."""
    from click.shell_completion import CompletionItem

    from layerzoo.pooling import POOLINGS

    layer, equals, _ = incomplete.rpartition("=")
    items = [CompletionItem(f"{layer}{equals}{pooling.name}", help=pooling.summary) for pooling in POOLINGS.values()]
    if not equals:
        items += [CompletionItem(f"{name}=", type=_UNFINISHED) for name in ctx.params.get("layers") or ()]
    return [item for item in items if item.value.startswith(incomplete)]


def temporal_poolings(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return temporal poolings, with their default numbers."""
    from click.shell_completion import CompletionItem

    from layerzoo.pooling import TEMPORAL_POOLINGS, parse_temporal_pool

    items = [CompletionItem(str(parse_temporal_pool(p.name)), help=p.summary) for p in TEMPORAL_POOLINGS.values()]
    return [item for item in items if item.value.startswith(incomplete)]


def plugins(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return the namespaces of the installed plugins."""
    return _matching_items((namespace for namespace, _ in _plugin_states()), incomplete)


def checked(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return namespaces, ids of models once a slash is typed, and files."""
    items = models(ctx, param, incomplete) if "/" in incomplete else plugins(ctx, param, incomplete)
    return [*items, *files(ctx, param, incomplete)]


def tiers(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return the tiers of `zoo plugin check`."""
    from layerzoo.conformance.codes import TIERS

    return _matching_items(TIERS, incomplete)


def codes(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return the codes of the checks of `zoo plugin check`."""
    from layerzoo.conformance.codes import CHECKS

    return _matching_items(CHECKS, incomplete)


def enabled_plugins(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return the namespaces of the plugins that are not disabled."""
    return _matching_items((namespace for namespace, state in _plugin_states() if state != "disabled"), incomplete)


def disabled_plugins(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return the namespaces of the disabled plugins."""
    return _matching_items((namespace for namespace, state in _plugin_states() if state == "disabled"), incomplete)


def weights(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return files and `random:`."""
    from click.shell_completion import CompletionItem

    if incomplete and "random:".startswith(incomplete):
        return [CompletionItem("random:", type=_UNFINISHED, help="untrained, by a seed")]
    return [CompletionItem(incomplete, type="file")]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Return files and folders."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def tags(facet: Literal["tasks", "trained_on", "languages"]) -> Complete:
    """Return a function that completes a task, a data set or a language that some model declares."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        from layerzoo.registry.lookup import registry

        return _matching_items(registry().tags(facet), incomplete)

    return complete


def separated(words: Sequence[str]) -> Complete:
    """Return a function that completes a comma-separated list of these words."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        prefix, comma, _ = incomplete.rpartition(",")
        used_words = prefix.split(",")
        return _matching_items((f"{prefix}{comma}{word}" for word in words if word not in used_words), incomplete)

    return complete


def _matching_items(values: Iterable[str], incomplete: str) -> Items:
    from click.shell_completion import CompletionItem

    return [CompletionItem(value) for value in values if value.startswith(incomplete)]


def _plugin_states() -> list[tuple[str, str]]:
    from layerzoo.registry.lookup import registry

    return [(plugin.namespace, plugin.state) for plugin in registry().environment.installed]


def _layers_of(model: Any) -> tuple[str | None, Sequence[Any]]:
    """Return the id of a model and its layers; no layers where no model is named."""
    if not model:
        return None, ()
    from layerzoo.cli.names import named_model
    from layerzoo.facts import traced_layers

    spec = named_model(model)
    return spec.id, traced_layers(spec) or spec.layers


def _selectors(names: Sequence[str], model: str | None) -> Iterator[str]:
    repeated = [family for family in ("block", "stage") if any(name.startswith(f"{family}.") for name in names)]
    if repeated or model is None:
        yield from ("last", "final")
    if "head" in names or model is None:
        yield "penultimate"
    for family in repeated:
        yield f"{family}.-1"
        yield f"{family}.*"
    yield "@0.5"


def _depth_text(depth: float | None) -> str | None:
    return None if depth is None else printable(f"{depth:.0%} of the way")
