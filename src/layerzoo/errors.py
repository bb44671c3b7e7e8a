"""Every error that layerzoo raises on purpose, in one tree.

Each message says what was asked for, what exists and the next step. The same facts are attributes of the error.
``exit_code`` is the exit code of the command line; it is next to each name below::

    LayerzooError 2
        UsageError 2
            UnusableModelError 2
            LayerError 2
                DeclarationError 2
                UnknownLayerError 3
            PoolingError 2
            InputError 2
                UnfinishedRunError 2
            RunMismatchError 2
            SequenceDataError 2
            EstimatorDataError 2
            OutputError 2
                EmptyResultError 1
        RegistryError 2
        LockError 2
        NotFoundError 3
            UnknownModelError 3
                NotInstalledError 3
                UnidentifiedModelError 3
            UnknownLayerError 3
            UnknownRowError 3
        PluginError 4
        MissingLibraryError 4
        MismatchedLibraryError 4
        ProcessorError 4
        TraceError 4
        CutError 4
        ExportError 1
        WeightsError 4
            UnsafeWeightsError 5
                DigestError 5
                ChangedError 5
                DriftError 5
                RemoteCodeError 5
                OutsideRepositoryError 5
                TooLargeError 5
            RepositoryError 4
            UnavailableError 6
                OfflineError 6
                ConnectionFailedError 6
                AccessDeniedError 6
                MissingOnServerError 6
                RateLimitedError 6
                ServerError 6
        CacheError 6
        WorkerCrashedError 4
        SampleError 1
            EmptySampleError 1
            NoObjectsError 1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    "EstimatorDataError",
    "ExportError",
    "InputError",
    "LayerError",
    "LayerzooError",
    "LockError",
    "MismatchedLibraryError",
    "MissingLibraryError",
    "MissingOnServerError",
    "NoObjectsError",
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
    "RunMismatchError",
    "SampleError",
    "SequenceDataError",
    "ServerError",
    "TooLargeError",
    "TraceError",
    "UnavailableError",
    "UnfinishedRunError",
    "UnidentifiedModelError",
    "UnknownLayerError",
    "UnknownModelError",
    "UnknownRowError",
    "UnsafeWeightsError",
    "UnusableModelError",
    "UsageError",
    "WeightsError",
    "WorkerCrashedError",
]


_LONGEST_COMPARED = 200


class LayerzooError(Exception):
    """The base class of every error of this package. All can be pickled, so that a worker process can raise them.

    >>> try:
    ...     layerzoo.model("toy/next-wort")
    ... except layerzoo.LayerzooError as error:
    ...     print(error, error.exit_code)
    there is no model 'toy/next-wort'. Nearest: toy/next-word... 3
    """

    exit_code = 2

    def __reduce__(self) -> tuple[Callable[..., LayerzooError], tuple[Any, ...]]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[LayerzooError], args: tuple[Any, ...], facts: dict[str, Any]) -> LayerzooError:
    """Restore a pickled error. Exception would call the class with the message alone, which fails."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


# ---------------------------------------------------------------- wrong usage


class UsageError(LayerzooError):
    """An argument is not valid, independently of what is installed."""


class UnusableModelError(UsageError):
    """A model is listed although its network cannot be a backbone, as its declaration explains."""


class LayerError(UsageError):
    """A layer cannot be selected: the selector is ambiguous, or the module has no such output or is never called."""


class DeclarationError(LayerError):
    """A declaration contradicts the network: axes, prefix tokens, shapes, frames or the classification token.

    ``--trust-declaration`` (``trust_declaration=True``) uses the declaration anyway.
    """


class PoolingError(UsageError):
    """A pooling cannot be applied to the axes of a layer."""


class RegistryError(LayerzooError):
    """A registry.yaml is not valid. ``diagnostics`` has one text for each problem, with its position."""

    def __init__(self, message: str, diagnostics: Sequence[str] = ()) -> None:
        super().__init__("\n".join([message, *diagnostics]))
        self.diagnostics: tuple[str, ...] = tuple(diagnostics)


class LockError(LayerzooError):
    """A ``layerzoo.lock`` is not valid."""


# ---------------------------------------------------------------- not found


class NotFoundError(LayerzooError):
    """Nothing has this name. ``asked`` is the name, ``nearest`` the most similar existing names."""

    exit_code = 3

    def __init__(self, message: str, *, asked: str, nearest: Sequence[str] = ()) -> None:
        if (escaped := printable_name(asked)) != asked:  # a line break in a name must not look like one of the message
            message = message.replace(asked, escaped)
        super().__init__(message)
        self.asked = asked
        self.nearest: tuple[str, ...] = tuple(nearest)


class UnknownModelError(NotFoundError):
    """No model has this id."""


class NotInstalledError(UnknownModelError):
    """The plugin of a known model is not installed. ``install`` is the command that installs it."""

    def __init__(self, message: str, *, asked: str, install: str) -> None:
        super().__init__(message, asked=asked)
        self.install = install


class UnidentifiedModelError(UnknownModelError):
    """An id may be a repository of the hub that was not identified yet. Loading it identifies it."""


class UnknownLayerError(NotFoundError, LayerError):
    """The model has no layer of this name."""


class UnknownRowError(NotFoundError, IndexError):
    """Features have no row at this position."""


# ---------------------------------------------------------------- a plugin or a network misbehaves


class PluginError(LayerzooError):
    """A plugin cannot be used. ``plugin`` is its namespace; ``__cause__`` is the cause, if there is one."""

    exit_code = 4

    def __init__(self, message: str, *, plugin: str) -> None:
        super().__init__(message)
        self.plugin = plugin


STARTER_EXTRAS = frozenset({"audio", "hf", "hub", "image", "timm", "torch", "video"})
"""The extras whose libraries ``layerzoo[starter]`` installs, too."""


class MissingLibraryError(LayerzooError, ImportError):
    """A required library is not installed. ``library`` is its name, ``extra`` the extra of layerzoo that installs it.

    Args:
        library: the name of the library.
        extra: the extra of layerzoo; None if a model requires the library.
        needed_by: the id of the model that requires it.
    """

    exit_code = 4

    def __init__(self, library: str, *, extra: str | None = None, needed_by: str = "this") -> None:
        requirement = f"'layerzoo[{extra}]'" if extra else library
        if extra in STARTER_EXTRAS:
            requirement += ", or 'layerzoo[starter]' for pretrained models for every kind of input, too"
        super().__init__(f"{needed_by} needs {library}, which is not installed. Next: pip install {requirement}")
        self.library = library
        self.extra = extra


class MismatchedLibraryError(LayerzooError, ImportError):
    """Two installed libraries do not match, so that one cannot be imported. ``versions`` are theirs, by name.

    Args:
        library: the library that cannot be imported.
        other: the library that it was built for.
        versions: the version of each, by name.
        reason: what the import raised, in one line.
    """

    exit_code = 4

    def __init__(self, library: str, other: str, versions: Mapping[str, str], *, reason: str) -> None:
        release, needed = (f"{name} {versions[name]}" for name in (library, other))
        super().__init__(
            f"{release} does not match {needed} and cannot be imported ({reason})\n"
            f"Next: pip install -U {other} {library}"
        )
        self.library = library
        self.versions = dict(versions)


class ProcessorError(LayerzooError):
    """A library's processor cannot prepare a single image or video. ``processor`` is the name of its class."""

    exit_code = 4

    def __init__(self, message: str, *, processor: str) -> None:
        super().__init__(message)
        self.processor = processor


class TraceError(LayerzooError):
    """A network could not be traced."""

    exit_code = 4


class CutError(LayerzooError):
    """A cut network was used past its cut, or does not match its trace."""

    exit_code = 4


# ---------------------------------------------------------------- weights


class ExportError(LayerzooError):
    """A network cannot be exported, or the exported file differs from the cut. ``model`` is the id of its model."""

    exit_code = 1

    def __init__(self, message: str, *, model: str) -> None:
        super().__init__(message)
        self.model = model


class WeightsError(LayerzooError):
    """A checkpoint cannot be read, or does not match the network: a key is missing or a shape differs."""

    exit_code = 4


class UnsafeWeightsError(WeightsError):
    """Refused for safety: a wrong digest, a pickle without a digest, a path that leaves its folder."""

    exit_code = 5


class DigestError(UnsafeWeightsError):
    """A file is not the declared one. ``path`` is the file; ``declared`` and ``found`` are the two sha256, in hex.

    Args:
        path: the file.
        declared: the declared sha256.
        found: the sha256 of the file.
        advice: the next step, the end of the message.
        label: the name of the file in the message, if it is not on this machine.
    """

    def __init__(self, path: Path, *, declared: str, found: str, advice: str, label: str | None = None) -> None:
        super().__init__(f"{label or path} is not the declared file: its sha256 is {found}, not {declared}. {advice}")
        self.path = path
        self.declared = declared
        self.found = found


class ChangedError(UnsafeWeightsError):
    """A file on a server changed while it was read, or since it was read before."""


class DriftError(UnsafeWeightsError):
    """A declaration and ``layerzoo.lock`` name different weights. ``locked`` and ``found`` are the two revisions."""

    def __init__(self, message: str, *, locked: str, found: str) -> None:
        super().__init__(message)
        self.locked = locked
        self.found = found


class RepositoryError(WeightsError):
    """A repository holds no model that the plugin's library can build.

    Its configuration is missing or not valid, or describes a network that the library does not know.
    """


class RemoteCodeError(UnsafeWeightsError):
    """Refused for safety: a model requires code from its repository. layerzoo never runs such code."""


class OutsideRepositoryError(UnsafeWeightsError):
    """Refused for safety: a model's files or arguments name something outside of its repository.

    That is a second repository, a file elsewhere or a host. ``reference`` is that name.
    """

    def __init__(self, message: str, *, reference: str) -> None:
        super().__init__(message)
        self.reference = reference


class TooLargeError(UnsafeWeightsError):
    """Refused for safety: a file, or a network that a file describes, exceeds a limit on its size."""


class UnavailableError(WeightsError):
    """The weights are not available now: not installed, or no connection."""

    exit_code = 6


class OfflineError(UnavailableError):
    """A file is not on this machine, and connections are switched off."""


class ConnectionFailedError(UnavailableError):
    """A server did not answer, or stopped answering."""


class AccessDeniedError(UnavailableError):
    """A server requires a token with access (401, 403)."""


class MissingOnServerError(UnavailableError):
    """A server has no such repository, revision or file (404)."""


class RateLimitedError(UnavailableError):
    """A server refuses further requests for now (429)."""


class ServerError(UnavailableError):
    """A server failed (5xx), or its answer is not valid."""


class CacheError(LayerzooError):
    """The cache folder cannot be read or written: it is read-only, or its disk is full."""

    exit_code = 6


class WorkerCrashedError(LayerzooError):
    """The processes of a run end again and again, and no sample causes it."""

    exit_code = 4


# ---------------------------------------------------------------- samples


class InputError(UsageError):
    """The inputs as a whole cannot be used: there are none, they are of several kinds, or a column is unknown."""


class UnfinishedRunError(InputError):
    """The folder of a run has shards without a part. ``missing`` is their number, ``shards`` that of all shards."""

    def __init__(self, message: str, *, missing: int, shards: int) -> None:
        super().__init__(message)
        self.missing = missing
        self.shards = shards


class RunMismatchError(UsageError):
    """A folder holds the run of another request. ``differences`` has, by setting, the value of the run and the value
    that was requested."""

    def __init__(self, message: str, *, differences: Mapping[str, tuple[Any, Any]]) -> None:
        super().__init__(message)
        self.differences = dict(differences)


class SequenceDataError(UsageError, ValueError):
    """The data of an estimator for sequences cannot be used: their shapes, values or labels. Also a ``ValueError``, as
    scikit-learn raises it."""


class EstimatorDataError(UsageError, ValueError):
    """The container of the samples of an estimator cannot be used: it is empty, a scalar, or has several columns. Also
    a ``ValueError``, as scikit-learn raises it."""


class OutputError(UsageError):
    """The result cannot be written: the folder is missing or read-only, or the disk is full. ``path`` is the file."""

    def __init__(self, message: str, *, path: Path) -> None:
        super().__init__(message)
        self.path = path


class EmptyResultError(OutputError):
    """Every sample of a run failed. The features of an earlier run, which the result would replace, are kept."""

    exit_code = 1


class SampleError(LayerzooError):
    """The features of one sample cannot be computed. ``id`` is the id of the sample, ``reason`` the reason."""

    exit_code = 1

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(f"{id}: {reason}")
        self.id = id
        self.reason = reason


class EmptySampleError(SampleError):
    """A sample is empty: it has no text, or none that its model has a token for."""


class NoObjectsError(SampleError):
    """A detector finds no object in an image, so that there are no objects to pool over."""


def nearest(asked: str, names: Sequence[str], *, limit: int = 3) -> list[str]:
    """Return the names that are most similar to a mistyped one, best first.

    Args:
        asked: the mistyped name. The part after its last slash is compared as well as the whole.
        names: the existing names.
        limit: the largest number of names to return.
    Returns: similar names; none for a name of more than 200 characters, because the time grows with its square.
    """
    if len(asked) > _LONGEST_COMPARED:
        return []
    from difflib import get_close_matches

    names = [name for name in names if len(name) <= _LONGEST_COMPARED]
    lowered = {name.lower(): name for name in names}
    tails = {name.lower().rsplit("/", 1)[-1]: name for name in names}
    matches = [lowered[key] for key in get_close_matches(asked.lower(), list(lowered), n=limit, cutoff=0.6)]
    tail = asked.lower().rsplit("/", 1)[-1]
    matches += [tails[key] for key in get_close_matches(tail, list(tails), n=limit, cutoff=0.6)]
    return list(dict.fromkeys(matches))[:limit]


def nearest_hint(close: Sequence[str]) -> str:
    """Return the sentence that names the nearest names, such as ``"Nearest: block.3. "``; empty without any.

    Args:
        close: the result of :func:`nearest`.
    """
    return f"Nearest: {', '.join(close)}. " if close else ""
