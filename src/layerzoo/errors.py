"""Every error layerzoo raises on purpose.

One tree, so that a program can catch as much or as little as it means to. Each error says what was asked, what
exists and the next step, and carries the facts as attributes. ``exit_code`` is what the command line exits with.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class LayerzooError(Exception):
    """The root: every error of this package."""

    exit_code = 2


# ---------------------------------------------------------------- what was asked for makes no sense


class UsageError(LayerzooError):
    """An argument is wrong, whatever is installed."""


class LayerError(UsageError):
    """A layer was asked for in a way that cannot be answered (ambiguous, wrong output, never called)."""


class PoolingError(UsageError):
    """A pooling does not fit the axes of the layer it was asked for."""


class RegistryError(LayerzooError):
    """A registry.yaml is not valid. ``diagnostics`` holds one line a problem, each with its place."""

    def __init__(self, message: str, diagnostics: Sequence[str] = ()) -> None:
        super().__init__("\n".join([message, *diagnostics]))
        self.diagnostics = tuple(diagnostics)


# ---------------------------------------------------------------- it does not exist


class NotFoundError(LayerzooError):
    """A name that nothing answers to. ``asked`` is the name, ``nearest`` the closest ones there are."""

    exit_code = 3

    def __init__(self, message: str, *, asked: str, nearest: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.asked = asked
        self.nearest = tuple(nearest)


class UnknownModelError(NotFoundError):
    """No model has this id."""


class UnknownLayerError(NotFoundError):
    """The model has no layer of this name."""


# ---------------------------------------------------------------- a plugin or a network misbehaves


class PluginError(LayerzooError):
    """A plugin cannot be used. ``plugin`` names it; the cause, where there is one, is ``__cause__``."""

    exit_code = 4

    def __init__(self, message: str, *, plugin: str) -> None:
        super().__init__(message)
        self.plugin = plugin


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


class UnavailableError(WeightsError):
    """The weights cannot be had from here and now (not installed, no network)."""

    exit_code = 6


# ---------------------------------------------------------------- samples


class InputError(UsageError):
    """The inputs as a whole cannot be used: nothing there, mixed kinds, an unknown column."""


class SampleError(LayerzooError):
    """One sample cannot be turned into features. ``id`` names the sample, ``reason`` says why."""

    exit_code = 1

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(f"{id}: {reason}")
        self.id = id
        self.reason = reason


def nearest(asked: str, names: Sequence[str], *, limit: int = 3) -> list[str]:
    """The names closest to what was asked, best first; what follows the last slash counts as well as the whole."""
    lowered = {name.lower(): name for name in names}
    tails = {name.lower().rsplit("/", 1)[-1]: name for name in names}
    found = [lowered[key] for key in get_close_matches(asked.lower(), list(lowered), n=limit, cutoff=0.6)]
    tail = asked.lower().rsplit("/", 1)[-1]
    found += [tails[key] for key in get_close_matches(tail, list(tails), n=limit, cutoff=0.6)]
    return list(dict.fromkeys(found))[:limit]
