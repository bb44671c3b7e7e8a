"""Imports one plugin at a time, and keeps what goes wrong as a value.

A plugin is imported when one of its hooks is needed: import, register, check; on any exception everything is rolled
back, and asking again gives the same failure without a second import. Other plugins notice nothing.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

from layerzoo.errors import LayerzooError, PluginError
from layerzoo.plugins import hookspecs
from layerzoo.registry import PluginManifest, registry

if TYPE_CHECKING:
    import torch

    from layerzoo.media.text import Tokenizer
    from layerzoo.spec import ModelSpec
    from layerzoo.weights import Files


class PluginHooks:
    """The hooks of one plugin. A method returns None where the plugin has no such hook, or no answer.

    Raises: PluginError for whatever a hook raises, with the exception as its cause; a LayerzooError passes unchanged.
    """

    def __init__(self, manifest: PluginManifest, manager: pluggy.PluginManager) -> None:
        self.manifest = manifest
        self._manager = manager

    def __reduce__(self) -> tuple[Callable[[PluginManifest], PluginHooks], tuple[PluginManifest]]:
        """A copy, in whatever process, asks the same plugin: modules cannot be pickled."""
        return hooks, (self.manifest,)

    def build(self, spec: ModelSpec, files: Files) -> torch.nn.Module | None:
        """The architecture of a spec."""
        network: torch.nn.Module | None = self._ask("layerzoo_build", spec=spec, files=files)
        return network

    def describe(self, spec: ModelSpec, files: Files) -> dict[str, Any] | None:
        """What the library knows of a model, as keys of registry.yaml."""
        facts: dict[str, Any] | None = self._ask("layerzoo_describe", spec=spec, files=files)
        return facts

    def preprocess(self, spec: ModelSpec, files: Files) -> Callable[..., Any] | Tokenizer | None:
        """Preprocessing where declared values are not enough."""
        part: Callable[..., Any] | Tokenizer | None = self._ask("layerzoo_preprocess", spec=spec, files=files)
        return part

    def read_weights(self, spec: ModelSpec, files: Files) -> Mapping[str, torch.Tensor] | None:
        """A checkpoint in a format of the plugin's own."""
        tensors: Mapping[str, torch.Tensor] | None = self._ask("layerzoo_read_weights", spec=spec, files=files)
        return tensors

    def state_dict(
        self, spec: ModelSpec, files: Files, tensors: Mapping[str, torch.Tensor]
    ) -> Mapping[str, torch.Tensor] | None:
        """A checkpoint under the network's own keys."""
        renamed: Mapping[str, torch.Tensor] | None
        renamed = self._ask("layerzoo_state_dict", spec=spec, files=files, tensors=tensors)
        return renamed

    def _ask(self, hook: str, **arguments: Any) -> Any:
        try:
            return getattr(self._manager.hook, hook)(**arguments)
        except LayerzooError:
            raise
        except (Exception, SystemExit) as error:
            name, model = self.manifest.namespace, arguments["spec"].id
            message = f"the plugin '{name}' failed in {hook} for {model}: {summary(error)}"
            raise PluginError(f"{message}\nNext: zoo plugin check {name}", plugin=name) from error


@dataclass(frozen=True, slots=True)
class _Failure:
    cause: BaseException


_loaded: dict[str, PluginHooks | _Failure] = {}
_locks: dict[str, threading.RLock] = {}
_locks_lock = threading.Lock()


def hooks(manifest: PluginManifest) -> PluginHooks:
    """The hooks of a plugin, whose module is imported for it the first time.

    Raises: PluginError when the plugin cannot be imported or registered, with the exception as its cause.
    """
    with _locks_lock:
        lock = _locks.setdefault(manifest.module, threading.RLock())
    with lock:
        if manifest.module not in _loaded:
            _loaded[manifest.module] = _load_and_record(manifest)
        outcome = _loaded[manifest.module]
    if isinstance(outcome, PluginHooks):
        return outcome
    name = manifest.namespace
    message = f"the plugin '{name}' ({_release(manifest)}) cannot be loaded: {summary(outcome.cause)}"
    raise PluginError(f"{message}\nNext: zoo plugin check {name}, or zoo doctor", plugin=name) from outcome.cause


def load(manifest: PluginManifest) -> PluginHooks:
    """Import a plugin's module, register it alone and check its hooks.

    Raises: whatever goes wrong; nothing of the plugin is left behind then.
    """
    before = set(sys.modules)
    manager = pluggy.PluginManager("layerzoo")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(importlib.import_module(manifest.module), name=manifest.namespace)
        manager.check_pending()
    except BaseException:
        _forget(manifest.module, before)
        raise
    return PluginHooks(manifest, manager)


def summary(error: BaseException) -> str:
    """An exception in one line: its type, and the first line of what it says."""
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _load_and_record(manifest: PluginManifest) -> PluginHooks | _Failure:
    start = time.monotonic()
    outcome: PluginHooks | _Failure
    try:
        outcome = load(manifest)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - an import runs foreign code, which may raise SystemExit and worse
        outcome = _Failure(error)
    cause = summary(outcome.cause) if isinstance(outcome, _Failure) else None
    record_import(manifest, cause, time.monotonic() - start)
    return outcome


def record_import(manifest: PluginManifest, cause: str | None, seconds: float) -> None:
    """Remember how an import went, for ``zoo plugin list``. cause: None when it went well."""
    state = "ok" if cause is None else "failed"
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    outcome = {"state": state, "cause": cause, "seconds": round(seconds, 3), "at": when, "version": manifest.version}
    registry().keep_outcome(manifest, outcome)


def _forget(module: str, before: set[str]) -> None:
    """Take a failed plugin's modules out again; half of it would pass for whole at the next import."""
    for name in set(sys.modules) - before:
        if name == module or name.startswith(f"{module}."):
            del sys.modules[name]


def _release(manifest: PluginManifest) -> str:
    return f"{manifest.distribution} {manifest.version}" if manifest.version else manifest.distribution
