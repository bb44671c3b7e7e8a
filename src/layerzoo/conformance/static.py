"""The tier `static`: the declaration, the module with the hooks, and where weights come from. No network is built."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from layerzoo.conformance.codes import CHECKS
from layerzoo.conformance.packaging import is_left_out
from layerzoo.conformance.report import Finding
from layerzoo.conformance.source import heavy_imports, hook_functions, imported_names, known_hooks, parsed
from layerzoo.conformance.subject import ModelSubject, PluginSubject, Skip, split_place
from layerzoo.errors import LayerzooError, nearest, nearest_hint
from layerzoo.registry import Diagnostic
from layerzoo.registry.installed import advice
from layerzoo.registry.installed.health import unmet_requirements

_COMMIT = re.compile(r"@[0-9a-f]{40}(/|$)")
_SAFE = (".safetensors", ".safetensors.index.json")


def entry_point(plugin: PluginSubject) -> Iterator[Finding]:
    """Find an entry point without a package, a package without a registry.yaml, and a namespace that is taken."""
    manifest = plugin.manifest
    if manifest.state in ("not found", "no registry file", "conflict", "disabled") or (
        manifest.state == "invalid" and not _problems(plugin)
    ):
        yield finding(plugin, "static-entry-point", str(manifest.cause), place=manifest.project, fix=manifest.fix)
    elif _is_left_out(plugin):
        cause = f"the wheel of {manifest.project} does not include registry.yaml"
        fix = "Include it: with setuptools in [tool.setuptools.package-data], with hatchling without an `exclude`."
        place = plugin.place(Path(str(manifest.project)) / "pyproject.toml")
        yield finding(plugin, "static-entry-point", cause, place=place, fix=fix)


def _is_left_out(plugin: PluginSubject) -> bool:
    """Return whether the wheel of a local project has no registry.yaml."""
    path = plugin.manifest.path
    return path is not None and not plugin.is_core and is_left_out(plugin.manifest, Path(path))


def schema(plugin: PluginSubject) -> Iterator[Finding]:
    """Find the problems of registry.yaml and its catalogue."""
    yield from _of_code(plugin, "static-schema")


def duplicate(plugin: PluginSubject) -> Iterator[Finding]:
    """Find duplicates."""
    yield from _of_code(plugin, "static-duplicate")


def _of_code(plugin: PluginSubject, code: str) -> Iterator[Finding]:
    for problem in _problems(plugin):
        if ("static-duplicate" if problem.code == "duplicate" else "static-schema") != code:
            continue
        hint = nearest_hint(problem.nearest).strip()
        cause = f"{problem.message}. {hint}" if hint and hint not in problem.message else problem.message
        is_digest = code == "static-schema" and "need a sha256" in problem.message
        yield finding(
            plugin,
            "static-sha256" if is_digest else code,
            cause,
            place=plugin.place(problem.path, problem.line),
            model=problem.model,
        )


def _problems(plugin: PluginSubject) -> list[Diagnostic]:
    folder = plugin.folder
    return (
        [] if folder is None else [problem for problem in plugin.zoo.problems() if Path(problem.path).parent == folder]
    )


def builder(plugin: PluginSubject) -> Iterator[Finding]:
    """Find builders that no plugin offers, and builders of this plugin without a hook."""
    specs = {spec.builder: spec for spec in reversed(plugin.specs)}
    for name, spec in specs.items():
        try:
            plugin.zoo.builder_plugin(name)
        except LayerzooError as error:
            text = str(error)
            line = plugin.zoo.declared_at(spec.id)
            place = plugin.place(*split_place(line)) if line else None
            yield finding(plugin, "static-builder", text.split("\n", 1)[0], place=place, model=spec.id)
    if not plugin.manifest.builders or plugin.is_core or (module := _module(plugin)) is None:
        return
    path, tree = module
    has_hook = any(function.name == "layerzoo_build" for function in hook_functions(tree))
    if not has_hook and "layerzoo_build" not in imported_names(tree) and not _misspelt(plugin, "layerzoo_build"):
        names = ", ".join(plugin.manifest.builders)
        cause = f"registry.yaml offers the builder {names}, and the module has no hook layerzoo_build"
        yield finding(plugin, "static-builder", cause, place=plugin.place(path, 1))


def _misspelt(plugin: PluginSubject, hook: str) -> bool:
    """Return whether another function is probably meant to be a hook: static-hook reports it."""
    module = _module(plugin)
    names = [function.name for function in hook_functions(module[1])] if module else []
    return bool(nearest(hook, [name for name in names if name not in known_hooks()]))


def hook(plugin: PluginSubject) -> Iterator[Finding]:
    """Find hooks with an unknown name or unknown arguments."""
    path, tree = _module_or_skip(plugin)
    hook_arguments = known_hooks()
    for function in hook_functions(tree):
        place = plugin.place(path, function.line)
        if function.name not in hook_arguments:
            hint = nearest_hint(nearest(function.name, list(hook_arguments)))
            cause = f"there is no hook {function.name}. {hint}".rstrip()
            yield finding(plugin, "static-hook", cause, place=place)
        elif unknown := [name for name in function.arguments if name not in hook_arguments[function.name]]:
            possible = ", ".join(hook_arguments[function.name])
            cause = f"{function.name} asks for {', '.join(unknown)}, which is not given. Possible: {possible}"
            yield finding(plugin, "static-hook", cause, place=place)


def hookimpl(plugin: PluginSubject) -> Iterator[Finding]:
    """Find hooks without the mark ``@hookimpl``."""
    path, tree = _module_or_skip(plugin)
    for function in hook_functions(tree):
        if function.name in known_hooks() and not function.is_marked:
            cause = f"{function.name} is not marked with @hookimpl, so that it is never called"
            yield finding(plugin, "static-hookimpl", cause, place=plugin.place(path, function.line))


def import_(plugin: PluginSubject) -> Iterator[Finding]:
    """Find a failing import, and missing requirements."""
    if not plugin.manifest.is_usable or not plugin.manifest.module:
        raise Skip("the declaration cannot be used")
    if _module(plugin) is not None and any(hook(plugin)):
        raise Skip("its hooks are not valid: static-hook")
    unmet = unmet_requirements(plugin.manifest.distribution)
    outcome = plugin.imported.outcome
    if outcome.state != "ok":
        yield finding(plugin, "static-import", str(outcome.cause), place=_module_place(plugin), fix=outcome.fix)
    elif unmet:
        step = advice.install(*(dependency.requirement for dependency in unmet))
        yield finding(plugin, "static-import", "; ".join(map(str, unmet)), fix=step)


def heavy_import(plugin: PluginSubject) -> Iterator[Finding]:
    """Find large libraries that the module with the hooks imports at its top."""
    path, tree = _module_or_skip(plugin)
    for library, line in heavy_imports(tree):
        cause = f"the module imports {library} whenever it is imported"
        yield finding(plugin, "static-heavy-import", cause, place=plugin.place(path, line))


def network(plugin: PluginSubject) -> Iterator[Finding]:
    """Find connections that the import of the plugin asks for."""
    if not plugin.manifest.is_usable or not plugin.manifest.module:
        raise Skip("the declaration cannot be used")
    if plugin.is_core:
        raise Skip("it is layerzoo itself")
    for host in dict.fromkeys(plugin.imported.connections):
        cause = f"the import of {plugin.manifest.module} asks for a connection to {host}"
        yield finding(plugin, "static-network", cause, place=_module_place(plugin))


def pin(subject: ModelSubject) -> Iterator[Finding]:
    """Find weights on the hub without a commit."""
    source = _source(subject)
    if source.startswith("hf:") and not _COMMIT.search(source):
        cause = f"the weights {source} name no commit"
        yield finding(subject, "static-pin", cause)


def sha256(subject: ModelSubject) -> Iterator[Finding]:
    """Find weights in a file without a sha256. On the hub, the commit is the digest."""
    source, weights = _source(subject), subject.spec.weights
    assert weights is not None
    has_digest = weights.sha256 or weights.sha256_prefix or weights.lock
    if not source.startswith("hf:") and not source.endswith("/") and not has_digest:
        yield finding(subject, "static-sha256", f"the weights {source} have no sha256")


def license_(subject: ModelSubject) -> Iterator[Finding]:
    """Find weights without a license."""
    source = _source(subject)
    if subject.spec.license is None:
        yield finding(subject, "static-license", f"the weights {source} have no license")


def safetensors(subject: ModelSubject) -> Iterator[Finding]:
    """Find checkpoints in other formats."""
    source, weights = _source(subject), subject.spec.weights
    assert weights is not None
    names = [source, *(name for name, _ in weights.sha256)]
    suffix = Path(source.rsplit("/", 1)[-1]).suffix
    if any(name.endswith(_SAFE) for name in names) or not suffix:
        return
    yield finding(subject, "static-safetensors", f"the checkpoint {source} is a {suffix} file, not a safetensors file")


def _source(subject: ModelSubject) -> str:
    """Return where the weights come from. Raises: Skip for a model without its own weights."""
    spec = subject.spec
    if spec.weights is None:
        raise Skip("it declares no weights")
    if subject.owner.is_catalogued(spec.id):
        raise Skip("it is in a catalogue that was generated from its library; `zoo pull` locks its weights")
    if spec.base is not None and subject.owner.zoo.model(spec.base).weights == spec.weights:
        raise Skip(f"its weights are those of {spec.base}")
    return spec.weights.source


def _module_or_skip(plugin: PluginSubject) -> tuple[Path, ast.Module]:
    if plugin.is_core:
        raise Skip("it is layerzoo itself")
    module = _module(plugin)
    if module is None:
        raise Skip("there is no module to read: static-import")
    return module


def _module(plugin: PluginSubject) -> tuple[Path, ast.Module] | None:
    """Return the file of the module with the hooks, and its syntax tree."""
    if plugin.folder is None:
        return None
    path = plugin.folder / "__init__.py"
    tree = parsed(path)
    return None if tree is None else (path, tree)


def _module_place(plugin: PluginSubject) -> str | None:
    """Return the file of the module with the hooks, for a message; None if there is none to read."""
    module = _module(plugin)
    return None if module is None else plugin.place(module[0])


def finding(
    subject: PluginSubject | ModelSubject,
    code: str,
    cause: str,
    *,
    place: str | None = None,
    fix: str | None = None,
    model: str | None = None,
) -> Finding:
    """Return a finding.

    Args:
        subject: the plugin or the model.
        code: of the check.
        cause: the problem, with the values.
        place: FILE:LINE; None: the declaration of the model.
        fix: the next step; None: that of the check.
        model: the id of the model that it concerns, if the subject is a plugin.
    """
    owner = subject.owner if isinstance(subject, ModelSubject) else subject
    declared = subject.declared_at if isinstance(subject, ModelSubject) else None
    return Finding(
        code=code,
        plugin=subject.plugin,
        model=model or subject.model,
        place=place or declared,
        cause=owner.shown(cause),
        fix=owner.shown(fix or CHECKS[code].fix),
    )


PLUGIN_CHECKS = {
    "static-entry-point": entry_point,
    "static-schema": schema,
    "static-duplicate": duplicate,
    "static-builder": builder,
    "static-hook": hook,
    "static-hookimpl": hookimpl,
    "static-import": import_,
    "static-heavy-import": heavy_import,
    "static-network": network,
}
MODEL_CHECKS = {
    "static-pin": pin,
    "static-sha256": sha256,
    "static-license": license_,
    "static-safetensors": safetensors,
}
