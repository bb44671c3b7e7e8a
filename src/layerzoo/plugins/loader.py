"""Import one plugin at a time, and store failures as values.

A plugin is imported when one of its hooks is needed: import, register, check; on any exception everything is rolled
back, and asking again gives the same failure without a second import. Other plugins notice nothing.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

from layerzoo.bounds import check_counts, check_input
from layerzoo.errors import LayerzooError, PluginError
from layerzoo.isolation import without_network
from layerzoo.plugins import hookspecs
from layerzoo.plugins.failure import ImportFailure, fix, folder_of, is_interruption, is_of_the_machine, summary
from layerzoo.plugins.source_line import line_in
from layerzoo.registry import ImportOutcome, PluginManifest, registry
from layerzoo.registry.installed import advice

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from layerzoo.media.text import Tokenizer
    from layerzoo.plugins.pooling import PluginPooling
    from layerzoo.spec import ModelSpec
    from layerzoo.weights import Files


_PANIC = "PanicException"
"""The exception of an extension written in Rust, such as tokenizers: no subclass of Exception."""


class PluginHooks:
    """The hooks of one plugin. A method returns None where the plugin has no such hook, or no answer.

    Raises: PluginError for any exception of a hook, which is its cause; a LayerzooError passes unchanged.
        OutsideRepositoryError for a hook that asks for a connection: while it runs, it has no network.
    """

    def __init__(self, manifest: PluginManifest, manager: pluggy.PluginManager) -> None:
        self.manifest = manifest
        self._manager = manager
        self._poolings: dict[str, PluginPooling | None] = {}

    def __reduce__(self) -> tuple[Callable[[PluginManifest], PluginHooks], tuple[PluginManifest]]:
        """Pickle by the manifest, because modules cannot be pickled: a copy calls the same plugin in any process."""
        return hooks, (self.manifest,)

    @property
    def reads_files(self) -> bool:
        """Return whether a hook takes the files next to the checkpoint, to build the network or its preprocessing."""
        hooks = ("layerzoo_build", "layerzoo_describe", "layerzoo_preprocess")
        return any(
            "files" in implementation.argnames
            for hook in hooks
            for implementation in getattr(self._manager.hook, hook).get_hookimpls()
        )

    def build(self, spec: ModelSpec, files: Files) -> torch.nn.Module | None:
        """Return the architecture of a spec."""
        network: torch.nn.Module | None = self._ask("layerzoo_build", spec=spec, files=files)
        return network

    def describe(self, spec: ModelSpec, files: Files) -> dict[str, Any] | None:
        """Return keys of registry.yaml that the declaration of a model omits."""
        facts: dict[str, Any] | None = self._ask("layerzoo_describe", spec=spec, files=files)
        return facts

    def dtype(self, spec: ModelSpec, files: Files) -> str | None:
        """Return the dtype that the library computes in by default."""
        name: str | None = self._ask("layerzoo_dtype", spec=spec, files=files)
        return name

    def preprocess(self, spec: ModelSpec, files: Files) -> Callable[..., Any] | Tokenizer | None:
        """Preprocessing where declared values are not enough."""
        part: Callable[..., Any] | Tokenizer | None = self._ask("layerzoo_preprocess", spec=spec, files=files)
        return part

    def read_weights(self, spec: ModelSpec, files: Files) -> Mapping[str, torch.Tensor] | None:
        """Return a checkpoint in a format of the plugin's own."""
        tensors: Mapping[str, torch.Tensor] | None = self._ask("layerzoo_read_weights", spec=spec, files=files)
        return tensors

    def state_dict(
        self, spec: ModelSpec, files: Files, tensors: Mapping[str, torch.Tensor]
    ) -> Mapping[str, torch.Tensor] | None:
        """Return a checkpoint under the network's own keys."""
        renamed: Mapping[str, torch.Tensor] | None
        renamed = self._ask("layerzoo_state_dict", spec=spec, files=files, tensors=tensors)
        return renamed

    def identify(self, model: str, files: Files) -> Sequence[Mapping[str, Any]] | None:
        """Identify a repository of the hub: keys of registry.yaml, a model for each modality, the main one first."""
        models: Sequence[Mapping[str, Any]] | None = self._ask("layerzoo_identify", model=model, files=files)
        return models

    def catalogue(self) -> Mapping[str, Sequence[Mapping[str, Any]]] | None:
        """Return the models that the plugin's library knows of, by architecture."""
        models: Mapping[str, Sequence[Mapping[str, Any]]] | None = self._ask("layerzoo_catalogue")
        return models

    def pooling(self, name: str) -> PluginPooling | None:
        """Return a pooling of the plugin by its name, without the namespace."""
        if name not in self._poolings:  # every batch needs it, and it may have read files
            self._poolings[name] = self._ask("layerzoo_pooling", name=name)
        return self._poolings[name]

    def decode(self, path: Path, kind: str) -> Any:
        """Return a decoded file: any in-memory form of a sample. Raises: any exception of the plugin."""
        with without_network(f"the file {path.name}"):
            return self._manager.hook.layerzoo_decode(path=path, kind=kind)

    def _ask(self, hook: str, **arguments: Any) -> Any:
        spec: ModelSpec | None = arguments.get("spec")
        model = spec.id if spec else arguments.get("model", f"the plugin {self.manifest.namespace}")
        if spec is not None:
            check_counts(spec.args.to_dict(), of=model)
            check_input(spec.preprocess, of=model)
        try:
            with without_network(model):
                return getattr(self._manager.hook, hook)(**arguments)
        except LayerzooError:
            raise
        except (Exception, SystemExit) as error:
            if is_interruption(error):
                raise
            raise self._failed(hook, arguments, error) from error
        except BaseException as error:
            if type(error).__name__ != _PANIC:
                raise
            raise self._failed(hook, arguments, error) from error

    def _failed(self, hook: str, arguments: Mapping[str, Any], error: BaseException) -> PluginError:
        """Return the error about a hook that raised, with the next step: correct the checkpoint, the declaration, the
        repository or the plugin."""
        manifest, spec = self.manifest, arguments.get("spec")
        name = manifest.namespace
        model = spec.id if spec else arguments.get("model")
        cause = f"failed in {hook}{f' for {model}' if model else ''}: {_cause(manifest, error)}"
        step = self._fault_of_input(hook, spec, arguments)
        if step is None:
            step = advice.upgrade_or_leave_out(name, manifest.distribution)
            if manifest.project is not None:
                folder = folder_of(manifest) or manifest.project
                line = line_in(error, [folder])
                step = advice.correct_code(line.place if line else None, folder)
            is_its_own = spec is None or spec.plugin == manifest.distribution
            if is_its_own and not is_of_the_machine(error):
                registry().keep_outcome(manifest, ImportOutcome.failure("failed", cause, step, 0.0))
        return PluginError(f"the plugin '{name}' {cause}\nNext: {step}", plugin=name)

    def _fault_of_input(self, hook: str, spec: ModelSpec | None, arguments: Mapping[str, Any]) -> str | None:
        """Return the next step if the input of a hook is probably wrong, and not the plugin; else None.

        A checkpoint with the declared sha256 is the one that the plugin's author tested; another is not. A model that
        the plugin does not declare may need features that its library does not have.
        """
        distribution = self.manifest.distribution
        if hook == "layerzoo_identify":
            return advice.look_at_repository(str(arguments["model"]), distribution)
        if spec is None:
            return None
        if hook in ("layerzoo_read_weights", "layerzoo_state_dict"):
            files: Files = arguments["files"]
            checkpoint = files.checkpoint_name
            if checkpoint is not None and (checkpoint not in files.verified or spec.plugin != distribution):
                return advice.look_at_checkpoint(spec.id, str(files[checkpoint]))
        if (repository := registry().repository(spec.id)) is not None:
            return advice.look_at_repository(repository.source, distribution)
        if spec.plugin is None:
            return advice.correct_declaration(spec.id, registry().declared_at(spec.id))
        if spec.plugin != distribution:
            owner = registry().plugin(spec.namespace)
            if owner.project is None:
                return advice.upgrade_or_leave_out(owner.namespace, owner.distribution)
            return advice.correct_declaration(spec.id, registry().declared_at(spec.id))
        return None


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException
    fix: str


_TRY_AGAIN = "free memory, disk space or open files, and try again"


# A module of the same name may be another plugin, or be mended in a new version.
_Key = tuple[str, str | None, str | None]
_loaded: dict[_Key, PluginHooks | _Failed] = {}
_locks: dict[_Key, threading.RLock] = {}
_locks_lock = threading.Lock()


def hooks(manifest: PluginManifest) -> PluginHooks:
    """Return the hooks of a plugin, whose module is imported for it the first time.

    Raises: PluginError when the plugin cannot be used as it is declared, and is then not imported; or when it cannot be
    imported or registered, with the exception as its cause.
    """
    if not manifest.is_usable:
        raise _unusable(manifest, str(manifest.cause), str(manifest.fix))
    key = (manifest.module, manifest.version, manifest.path)
    with _locks_lock:
        lock = _locks.setdefault(key, threading.RLock())
    with lock:
        if key not in _loaded:
            _loaded[key] = _load_and_record(manifest)
        loaded = _loaded[key]
    if isinstance(loaded, PluginHooks):
        return loaded
    raise _unusable(manifest, _cause(manifest, loaded.error), loaded.fix) from loaded.error


def load(manifest: PluginManifest) -> PluginHooks:
    """Import a plugin's module, register it alone and check its hooks.

    Raises: any exception of the import. None of the plugin's modules stays imported then.
    """
    modules_before = set(sys.modules)
    manager = pluggy.PluginManager("layerzoo")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(importlib.import_module(manifest.module), name=manifest.namespace)
        manager.check_pending()
    except BaseException:
        _forget(manifest.module, modules_before)
        raise
    return PluginHooks(manifest, manager)


def _load_and_record(manifest: PluginManifest) -> PluginHooks | _Failed:
    start = time.monotonic()
    loaded: PluginHooks | _Failed
    try:
        loaded = load(manifest)
        outcome = ImportOutcome.success(time.monotonic() - start)
    except BaseException as error:  # an import runs foreign code, which may raise SystemExit and worse
        if is_interruption(error):
            raise
        if is_of_the_machine(error):
            raise _unusable(manifest, _cause(manifest, error), _TRY_AGAIN) from error
        loaded = _Failed(error, fix(manifest, ImportFailure.of(error, folder_of(manifest))))
        outcome = ImportOutcome.failure("failed", _cause(manifest, error), loaded.fix, time.monotonic() - start)
    registry().keep_outcome(manifest, outcome)
    return loaded


def _forget(module: str, modules_before: set[str]) -> None:
    """Remove the modules of a failed plugin: the next import would take a partly imported one as complete."""
    for name in set(sys.modules) - modules_before:
        if name == module or name.startswith(f"{module}."):
            del sys.modules[name]


def _cause(manifest: PluginManifest, error: BaseException) -> str:
    """Return an exception in one line; for the plugin's author with the line of the plugin's code that raised it."""
    folder = folder_of(manifest)
    line = line_in(error, [folder]) if manifest.project is not None and folder else None
    return f"{summary(error)} (at {line})" if line else summary(error)


def _unusable(manifest: PluginManifest, cause: str, fix: str) -> PluginError:
    name = manifest.namespace
    message = f"the plugin '{name}' ({manifest.release}) cannot be used: {cause}"
    return PluginError(f"{message}\nNext: {fix}", plugin=name)
