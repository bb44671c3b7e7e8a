"""Every error layerzoo raises on purpose.

One tree, so that a program can catch as much or as little as it means to. Each error says what was asked, what
exists and the next step, and carries the facts as attributes. ``exit_code`` is what the command line exits with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from layerzoo.printable import printable_name

__all__ = [
    "AccessDeniedError",
    "CacheError",
    "ChangedError",
    "ConnectionFailedError",
    "CutError",
    "DeclarationError",
    "DigestError",
    "DriftError",
    "EmptyResultError",
    "EmptySampleError",
    "InputError",
    "LayerError",
    "LayerzooError",
    "LockError",
    "MissingLibraryError",
    "MissingOnServerError",
    "NotFoundError",
    "NotInstalledError",
    "OfflineError",
    "OutputError",
    "OutsideRepositoryError",
    "PluginError",
    "PoolingError",
    "ProcessorError",
    "RateLimitedError",
    "RegistryError",
    "RemoteCodeError",
    "RepositoryError",
    "SampleError",
    "ServerError",
    "TooLargeError",
    "TraceError",
    "UnavailableError",
    "UnidentifiedModelError",
    "UnknownLayerError",
    "UnknownModelError",
    "UnsafeWeightsError",
    "UsageError",
    "WeightsError",
]


_LONGEST_COMPARED = 200


class LayerzooError(Exception):
    """The root: every error of this package. All can be pickled, to be raised by a worker process."""

    exit_code = 2

    def __reduce__(self) -> tuple[Callable[..., LayerzooError], tuple[Any, ...]]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[LayerzooError], args: tuple[Any, ...], facts: dict[str, Any]) -> LayerzooError:
    """A pickled error. Exception's own way would call the class with the message alone, and fail."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


# ---------------------------------------------------------------- what was asked for makes no sense


class UsageError(LayerzooError):
    """An argument is wrong, whatever is installed."""


class LayerError(UsageError):
    """A layer was asked for in a way that cannot be answered (ambiguous, wrong output, never called)."""


class DeclarationError(LayerError):
    """A declaration contradicts the network: its axes, prefix tokens, shapes, frames or classification token.

    ``--trust-declaration`` (``trust_declaration=True``) keeps it.
    """


class PoolingError(UsageError):
    """A pooling does not fit the axes of the layer it was asked for."""


class RegistryError(LayerzooError):
    """A registry.yaml is not valid. ``diagnostics`` holds one text a problem: its place, and the line with a marker."""

    def __init__(self, message: str, diagnostics: Sequence[str] = ()) -> None:
        super().__init__("\n".join([message, *diagnostics]))
        self.diagnostics: tuple[str, ...] = tuple(diagnostics)


class LockError(LayerzooError):
    """A ``layerzoo.lock`` is not valid."""


# ---------------------------------------------------------------- it does not exist


class NotFoundError(LayerzooError):
    """A name that nothing answers to. ``asked`` is the name, ``nearest`` the closest ones there are."""

    exit_code = 3

    def __init__(self, message: str, *, asked: str, nearest: Sequence[str] = ()) -> None:
        if (shown := printable_name(asked)) != asked:  # a line break in a name must not look like one of the message
            message = message.replace(asked, shown)
        super().__init__(message)
        self.asked = asked
        self.nearest: tuple[str, ...] = tuple(nearest)


class UnknownModelError(NotFoundError):
    """No model has this id."""


class NotInstalledError(UnknownModelError):
    """A model that is known, and whose plugin is not installed. ``install`` is the command that brings it."""

    def __init__(self, message: str, *, asked: str, install: str) -> None:
        super().__init__(message, asked=asked)
        self.install = install


class UnidentifiedModelError(UnknownModelError):
    """An id that may be a repository of the hub, and nothing is known here of what that is. Who loads it finds out."""


class UnknownLayerError(NotFoundError):
    """The model has no layer of this name."""


# ---------------------------------------------------------------- a plugin or a network misbehaves


class PluginError(LayerzooError):
    """A plugin cannot be used. ``plugin`` names it; the cause, where there is one, is ``__cause__``."""

    exit_code = 4

    def __init__(self, message: str, *, plugin: str) -> None:
        super().__init__(message)
        self.plugin = plugin


class MissingLibraryError(LayerzooError, ImportError):
    """A library is needed that is not installed. ``library`` is its name, ``extra`` what brings it with layerzoo.

    needed_by: the model that needs it, where it is not layerzoo itself; ``extra`` is None then.
    """

    exit_code = 4

    def __init__(self, library: str, *, extra: str | None = None, needed_by: str = "this") -> None:
        brings = (
            f"'layerzoo[{extra}]', or 'layerzoo[starter]' for all that layerzoo can use and a pretrained model for "
            "every kind of input"
        )
        super().__init__(
            f"{needed_by} needs {library}, which is not installed. Next: pip install {brings if extra else library}"
        )
        self.library = library
        self.extra = extra


class ProcessorError(LayerzooError):
    """A library's processor cannot make a model's input of one image or video alone. ``processor`` is its class."""

    exit_code = 4

    def __init__(self, message: str, *, processor: str) -> None:
        super().__init__(message)
        self.processor = processor


class TraceError(LayerzooError):
    """A network could not be run to learn its structure."""

    exit_code = 4


class CutError(LayerzooError):
    """A truncated network was used past its cut, or does not match its trace."""

    exit_code = 4


# ---------------------------------------------------------------- weights


class WeightsError(LayerzooError):
    """A checkpoint does not fit the network (a key is missing, a shape differs) or cannot be read."""

    exit_code = 4


class UnsafeWeightsError(WeightsError):
    """Refused for safety: a wrong digest, a pickle without one, a path that leaves its folder."""

    exit_code = 5


class DigestError(UnsafeWeightsError):
    """A file is not the declared one. ``path`` is the file, ``declared`` and ``found`` are the two sha256, in hex.

    label: what to call it, where it is not on this machine.
    """

    def __init__(self, path: Path, *, declared: str, found: str, advice: str, label: str | None = None) -> None:
        super().__init__(f"{label or path} is not the declared file: its sha256 is {found}, not {declared}. {advice}")
        self.path = path
        self.declared = declared
        self.found = found


class ChangedError(UnsafeWeightsError):
    """A file on a server changed while it was being read, or is no longer the one that was read before."""


class DriftError(UnsafeWeightsError):
    """A declaration and ``layerzoo.lock`` mean different weights. ``locked`` and ``found`` are the two revisions."""

    def __init__(self, message: str, *, locked: str, found: str) -> None:
        super().__init__(message)
        self.locked = locked
        self.found = found


class RepositoryError(WeightsError):
    """A repository holds no model that the plugin's library can make: it has no configuration or none that makes sense,
    or one for a network that the library does not know."""


class RemoteCodeError(UnsafeWeightsError):
    """Refused for safety: what a repository holds needs code that lies in it, and no such code is ever run."""


class OutsideRepositoryError(UnsafeWeightsError):
    """Refused for safety: a model's files or arguments name something outside of its repository, such as a second
    repository, a file elsewhere or a host. ``reference`` is that name."""

    def __init__(self, message: str, *, reference: str) -> None:
        super().__init__(message)
        self.reference = reference


class TooLargeError(UnsafeWeightsError):
    """Refused for safety: a file, or a network that a file describes, is larger than any that is in use."""


class UnavailableError(WeightsError):
    """The weights cannot be had from here and now (not installed, no network)."""

    exit_code = 6


class OfflineError(UnavailableError):
    """A file is not on this machine, and no connection may be opened to fetch it."""


class ConnectionFailedError(UnavailableError):
    """A server did not answer, or stopped answering."""


class AccessDeniedError(UnavailableError):
    """A server wants a token that has access (401, 403)."""


class MissingOnServerError(UnavailableError):
    """A server has no such repository, revision or file (404)."""


class RateLimitedError(UnavailableError):
    """A server wants fewer requests (429)."""


class ServerError(UnavailableError):
    """A server failed (5xx), or answered what makes no sense."""


class CacheError(LayerzooError):
    """The cache folder cannot be written (read-only, full). What would have been kept there can be done without it."""


# ---------------------------------------------------------------- samples


class InputError(UsageError):
    """The inputs as a whole cannot be used: nothing there, mixed kinds, an unknown column."""


class OutputError(UsageError):
    """The result cannot be written: no such folder, not writable, disk full. ``path`` is the file asked for."""

    def __init__(self, message: str, *, path: Path) -> None:
        super().__init__(message)
        self.path = path


class EmptyResultError(OutputError):
    """Every sample of a run failed, and its result would replace the features of an earlier run, which are kept."""

    exit_code = 1


class SampleError(LayerzooError):
    """One sample cannot be turned into features. ``id`` names the sample, ``reason`` says why."""

    exit_code = 1

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(f"{id}: {reason}")
        self.id = id
        self.reason = reason


class EmptySampleError(SampleError):
    """A sample holds nothing: no text, or nothing that its model has a token for."""


def nearest(asked: str, names: Sequence[str], *, limit: int = 3) -> list[str]:
    """Return the names closest to what was asked, best first.

    The whole name is compared, and the part after its last slash.

    Args:
        asked: an unknown name. One of more than 200 characters has no nearest names, since the comparison takes time
            that grows with the square of its length.
        names: the known names.
        limit: the largest number of names to return.
    """
    if len(asked) > _LONGEST_COMPARED:
        return []
    from difflib import get_close_matches

    names = [name for name in names if len(name) <= _LONGEST_COMPARED]
    lowered = {name.lower(): name for name in names}
    tails = {name.lower().rsplit("/", 1)[-1]: name for name in names}
    found = [lowered[key] for key in get_close_matches(asked.lower(), list(lowered), n=limit, cutoff=0.6)]
    tail = asked.lower().rsplit("/", 1)[-1]
    found += [tails[key] for key in get_close_matches(tail, list(tails), n=limit, cutoff=0.6)]
    return list(dict.fromkeys(found))[:limit]
