"""The cause of a failed import of a plugin, in a form that processes can exchange, and the next step."""

from __future__ import annotations

import errno
import signal
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import Any, Literal

from pluggy import PluginValidationError

from layerzoo.errors import MismatchedLibraryError, MissingLibraryError
from layerzoo.plugins import hookspecs
from layerzoo.plugins.source_line import chain_of, line_in
from layerzoo.printable import shorten
from layerzoo.registry import PluginManifest
from layerzoo.registry.installed import advice
from layerzoo.registry.installed.health import unmet_requirements

_LONGEST = 400

Kind = Literal["library", "file", "hook", "other"]
"""The origin of the exception: an import within the plugin; a file, such as a shared library; the check of the plugin's
hooks."""

_KINDS: dict[Kind, type[BaseException]] = {"library": ImportError, "file": OSError, "hook": PluginValidationError}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFailure:
    """The exception of a failed import, as data."""

    cause: str
    """Its type, and the first line of its message."""
    module: str | None = None
    """The module that could not be imported, or does not define the imported name."""
    extra: str | None = None
    """The extra of layerzoo that would bring it, as :func:`layerzoo.extras.needs` knows it."""
    mismatched: tuple[str, ...] = ()
    """The distributions whose versions do not match."""
    kind: Kind = "other"
    is_of_the_machine: bool = False
    """Whether the state of the machine is the cause, and not the plugin."""
    place: str | None = None
    """The line of the plugin's own code that raised, as FILE:LINE."""

    @classmethod
    def of(cls, error: BaseException, folder: str | None) -> ImportFailure:
        """folder: that of the plugin's package."""
        line = line_in(error, [folder]) if folder else None
        return cls(
            place=line.place if line else None,
            is_of_the_machine=is_of_the_machine(error),
            cause=summary(error),
            module=error.name if isinstance(error, ImportError) else None,
            extra=error.extra if isinstance(error, MissingLibraryError) else None,
            mismatched=tuple(error.versions) if isinstance(error, MismatchedLibraryError) else (),
            kind=next((kind for kind, type_ in _KINDS.items() if isinstance(error, type_)), "other"),
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def is_interruption(error: BaseException) -> bool:
    """Return whether an exception, or one that led to it, ends the process because a signal asked for it.

    That is Ctrl-C, and any exception that the program's own signal handler raised, often SystemExit.
    """
    handlers = _signal_handlers()
    return any(
        isinstance(exception, KeyboardInterrupt)
        or (exception.__traceback__ is not None and not handlers.isdisjoint(_code_of(exception.__traceback__)))
        for exception in chain_of(error)
    )


def is_of_the_machine(error: BaseException) -> bool:
    """Return whether an exception is about the state of the machine and not about code: no memory, a full disk."""
    return any(
        isinstance(exception, MemoryError) or (isinstance(exception, OSError) and exception.errno in _OF_THE_MACHINE)
        for exception in chain_of(error)
    )


_OF_THE_MACHINE = {errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EINTR}


def _signal_handlers() -> set[Any]:
    """Return the code of the functions that handle signals in this process."""
    codes = set()
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        handler = getattr(handler, "func", handler)  # functools.partial
        handler = getattr(handler, "__func__", handler)  # a bound method
        if code := getattr(handler, "__code__", None):
            codes.add(code)
    return codes


def _code_of(traceback: TracebackType) -> set[Any]:
    """Return the code that an exception went through."""
    return {frame.f_code for frame, _ in walk_tb(traceback)}


def summary(error: BaseException) -> str:
    """Return an exception in one line: its type and the beginning of its message; of a hook, its mistake."""
    if isinstance(error, PluginValidationError) and (reason := _unknown_arguments(error.plugin)):
        return reason
    lines = str(error).strip().splitlines() or [""]
    first = "; ".join(lines) if isinstance(error, PluginValidationError) else lines[0]
    first = shorten(first, _LONGEST)  # some libraries list all that they know
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _unknown_arguments(plugin: object) -> str | None:
    """Name required arguments of a plugin's hooks that these hooks do not receive; None if there are none."""
    for hook in filter(lambda name: name.startswith("layerzoo_"), hookspecs.__all__):
        parameters = signature(getattr(hookspecs, hook)).parameters
        unknown = _required(getattr(plugin, hook, None)) - parameters.keys()
        if unknown:
            names = ", ".join(sorted(unknown))
            return f"its hook {hook} asks for {names}, which is not given. Possible: {', '.join(parameters)}"
    return None


def _required(hook: object) -> set[str]:
    if not callable(hook):
        return set()
    parameters = signature(hook).parameters.values()
    is_named = {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}
    return {
        parameter.name
        for parameter in parameters
        if parameter.kind in is_named and parameter.default is Parameter.empty
    }


def folder_of(plugin: PluginManifest) -> str | None:
    """Return the folder of a plugin's package."""
    return None if plugin.path is None else str(Path(plugin.path).parent)


def fix(plugin: PluginManifest, failure: ImportFailure) -> str:
    """Return the next step after a failed import."""
    if unmet := unmet_requirements(plugin.distribution):
        return advice.install(*(dependency.requirement for dependency in unmet))
    if failure.mismatched:
        return advice.or_leave_out(plugin.namespace, plugin.distribution, advice.upgrade(*failure.mismatched))
    if failure.extra:
        return advice.install(f"layerzoo[{failure.extra}]")
    is_missing = (
        failure.module is not None and not _is_own(plugin, failure.module) and not _is_installed(failure.module)
    )
    if plugin.project is not None and not is_missing:
        return advice.correct_code(failure.place, folder_of(plugin) or plugin.project)
    if failure.kind in ("hook", "file"):
        step = advice.match_versions if failure.kind == "hook" else advice.install_again
        return advice.or_leave_out(plugin.namespace, plugin.distribution, step(plugin.distribution))
    distributions: list[str] = []
    if failure.module and not _is_own(plugin, failure.module):
        library = failure.module.partition(".")[0]
        if is_missing:
            return advice.install(library)
        distributions = _distributions_of(library)
    return advice.upgrade_or_leave_out(plugin.namespace, plugin.distribution, *distributions)


def _is_own(plugin: PluginManifest, module: str) -> bool:
    return module.partition(".")[0] == plugin.module


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module.partition(".")[0]) is not None
    except Exception:  # noqa: BLE001 - finders of other installed tools run here, and may raise anything
        return False


def _distributions_of(module: str) -> list[str]:
    """Return the distributions of a module; none for a module of Python."""
    import importlib.metadata

    try:
        return sorted(set(importlib.metadata.packages_distributions().get(module, ())))
    except Exception:  # noqa: BLE001 - metadata of whatever is installed is read here, and may be damaged
        return []
