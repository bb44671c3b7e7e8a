"""Checkpoint keys as training wrappers write them: DistributedDataParallel, torch.compile, FSDP, Lightning.

A wrapper holds the network as a submodule, so every checkpoint key has one more segment than in the network itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

_ANYWHERE = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})
"""Segments that torch.compile, FSDP, activation checkpointing and Lightning insert, of submodules too."""
_LEADING = ("module", *sorted(_ANYWHERE))
"""First segments that only a wrapper writes, unless the network has a submodule of that name."""
_OWNERS = ("model", "net", "network")
"""First segments of a training class that holds the network in an attribute. Networks use these names themselves, so
the unchanged keys are preferred."""
_DEEPEST = 3
"""Number of nested wrappers that are recognised."""

Rename = Callable[[str], str]


def unwrappings(keys: Collection[str], own: Collection[str]) -> Iterator[tuple[str | None, Rename]]:
    """Yield the possible renamings of checkpoint keys, the most likely first.

    Args:
        keys: of the checkpoint.
        own: names of the network's tensors.
    Yields: the removed prefix, such as ``module.``, or None for unchanged keys; and the function that renames a key.
    """
    wrappers = [segment for segment in _LEADING if not _heads(own, segment)]
    inserted = {segment for segment in _ANYWHERE if not any(segment in name.split(".") for name in own)}
    removed = _leading(keys, wrappers)
    bases: list[Rename] = [lambda key: _without(_without_leading(key, removed), inserted), lambda key: key]
    if all(bases[0](key) == key for key in keys):
        del bases[0]
    elif not set(own).isdisjoint(keys):  # a copy of the network under a prefix, next to the network itself
        bases.reverse()
    for rename in bases:
        yield _label(keys, rename), rename
    for base in bases:
        owners = _leading([base(key) for key in keys], (*_OWNERS, *wrappers))
        for count in range(1, len(owners) + 1):
            rename = _then(base, owners[:count], inserted)
            yield _label(keys, rename), rename


def _then(rename: Rename, owners: list[str], inserted: Collection[str]) -> Rename:
    return lambda key: _without(_without_leading(rename(key), owners), inserted)


def _label(keys: Collection[str], rename: Rename) -> str | None:
    """Return the segments that are removed from the key that loses most."""
    removed = max((_removed(key.split("."), rename(key).split(".")) for key in keys), key=len, default=[])
    return "".join(f"{segment}." for segment in removed) or None


def _removed(original: list[str], renamed: list[str]) -> list[str]:
    """Return the segments of a key that are not in the renamed one, in order."""
    remaining, removed = list(renamed), list[str]()
    for segment in reversed(original):
        if remaining and remaining[-1] == segment:
            remaining.pop()
        else:
            removed.insert(0, segment)
    return removed


def _leading(keys: Collection[str], segments: Collection[str]) -> list[str]:
    """Return the segments that all keys begin with, one after the other. Keys with another first segment are
    ignored."""
    leading: list[str] = []
    remaining = list(keys)
    while len(leading) < _DEEPEST and (
        first := next((segment for segment in segments if _heads(remaining, segment)), None)
    ):
        leading.append(first)
        remaining = [key.removeprefix(f"{first}.") for key in remaining if key.startswith(f"{first}.")]
    return leading


def _heads(keys: Collection[str], segment: str) -> bool:
    return any(key.startswith(f"{segment}.") for key in keys)


def _without_leading(key: str, segments: list[str]) -> str:
    for segment in segments:
        key = key.removeprefix(f"{segment}.")
    return key


def _without(key: str, segments: Collection[str]) -> str:
    return ".".join(part for part in key.split(".") if part not in segments)
