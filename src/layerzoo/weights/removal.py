"""Remove files from the cache directories. Nothing outside of them and no file that is being written is removed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from layerzoo.disk import remove_leftover
from layerzoo.errors import LayerzooError, MissingLibraryError, UnsafeWeightsError
from layerzoo.paths import cache_dir
from layerzoo.weights import network
from layerzoo.weights.cache import locked
from layerzoo.weights.hub_cache import remove_file, remove_revision
from layerzoo.weights.inventory import Inventory, Item
from layerzoo.weights.verdicts import verdicts

Choice = Literal["useless", "damaged", "all"]
"""The files to remove: those that nothing can use any more, those that are damaged, or all."""
State = Literal["removed", "would be removed", "gone", "in use", "failed"]
"""``gone``: another process removed it first. ``in use``: another process is writing it."""

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Removal:
    """One item to remove."""

    item: Item
    reason: str


@dataclass(frozen=True, slots=True)
class Removed:
    """The outcome of a removal."""

    removal: Removal
    state: State
    bytes: int
    """The number of bytes that were freed, or would be in a dry run."""
    detail: str | None = None
    """The reason why it was not removed."""


def removals(
    inventory: Inventory, choice: Choice, *, hub: bool = False, unused_days: float | None = None
) -> list[Removal]:
    """Choose the items to remove.

    Args:
        inventory: the items.
        choice: which of them.
        hub: whether to include the cache of huggingface_hub, which other programs share: damaged files one by one,
            anything else as whole revisions.
        unused_days: only items that were not used for this number of days.
    """
    candidates = [removal for removal in _CHOICES[choice](inventory) if hub or removal.item.kind != "hub"]
    if choice == "all":
        candidates = [*(removal for removal in candidates if removal.item.kind != "hub"), *_revisions(candidates)]
    # Of a temporary file, only the lock tells whether a process is writing it: one that is being written stays.
    settled = [removal for removal in candidates if removal.item.kind != "scratch" or removal.item.useless]
    return [removal for removal in settled if not _is_used(removal.item, unused_days)]


def _useless(inventory: Inventory) -> Iterator[Removal]:
    return (Removal(item, item.useless) for item in inventory.items if item.useless)


def _damaged(inventory: Inventory) -> Iterator[Removal]:
    for verdict in verdicts(inventory):
        if verdict.state == "damaged":
            yield Removal(verdict.item, verdict.detail or "it is damaged")


def _all(inventory: Inventory) -> Iterator[Removal]:
    return (Removal(item, item.useless or "asked for") for item in inventory.items)


_CHOICES: Mapping[Choice, Callable[[Inventory], Iterator[Removal]]] = {
    "useless": _useless,
    "damaged": _damaged,
    "all": _all,
}


def _revisions(removals: Iterable[Removal]) -> Iterator[Removal]:
    """Combine the files of each revision into one item."""
    together: dict[tuple[str, str | None], list[Item]] = {}
    for removal in removals:
        if removal.item.kind == "hub":
            together.setdefault((_repo(removal.item), removal.item.revision), []).append(removal.item)
    for (repo, commit), items in together.items():
        revision = replace(
            items[0],
            name=f"hf://{repo}",
            bytes=sum(item.bytes for item in items),
            models=tuple(dict.fromkeys(model for item in items for model in item.models)),
            digest=None,
            path=network.snapshot_folder(repo, str(commit)),
            used=max((item.used for item in items if item.used), default=None),
        )
        yield Removal(revision, "asked for")


def _repo(item: Item) -> str:
    return "/".join(item.name.removeprefix("hf://").split("/")[:2])


def _is_used(item: Item, within_days: float | None) -> bool:
    return within_days is not None and time.time() - (item.used or 0) < within_days * _DAY_S


# ---------------------------------------------------------------- doing it


def remove(removal: Removal, *, dry_run: bool = False) -> Removed:
    """Remove one item, unless another process is writing it or it must not be removed.

    Args:
        removal: the item of the cache, and the reason for which it may be removed.
        dry_run: report the result and remove nothing.
    """
    item = removal.item
    try:
        freed = _removed_from_hub(item, dry_run) if item.kind == "hub" else _removed(item, dry_run)
    except TimeoutError:
        return Removed(removal, "in use", 0, "another process is writing it")
    except FileNotFoundError:
        return Removed(removal, "gone", 0)
    except OSError as error:
        return Removed(removal, "failed", 0, f"it cannot be removed: {error.strerror}")
    except LayerzooError as error:
        return Removed(removal, "failed", 0, str(error))
    return Removed(removal, "would be removed" if dry_run else "removed", freed)


def _removed_from_hub(item: Item, dry_run: bool) -> int:
    if item.digest is None:
        return remove_revision(_repo(item), str(item.revision), dry_run=dry_run)
    return remove_file(_repo(item), item.path, dry_run=dry_run)


def _removed(item: Item, dry_run: bool) -> int:
    for path in item.parts or (item.path,):
        _require_inside(path)
    if dry_run:
        return item.bytes
    if item.kind == "scratch":
        if not remove_leftover(item.path):
            raise TimeoutError
        return item.bytes
    with contextlib.ExitStack() as alone:
        for name in _locks(item):
            alone.enter_context(locked(name, wait=False))
        item.path.lstat()  # where another process was faster, that is an error
        if not item.parts:
            shutil.rmtree(item.path)
        for path in item.parts:
            path.unlink(missing_ok=True)
    return item.bytes


def _locks(item: Item) -> tuple[Path, ...]:
    """Return the files that are locked while the item is written."""
    if item.kind == "download":
        return item.path.with_suffix(".whole"), item.path
    return (item.path,) if item.kind == "converted" else ()


def _require_inside(path: Path) -> None:
    """Raise UnsafeWeightsError for a link, and for a path that a link leads out of the cache."""
    if path.is_symlink() or not any(path.parent.resolve().is_relative_to(root) for root in _roots()):
        raise UnsafeWeightsError(f"{path} is not removed: it leads out of the cache directory {cache_dir()}")


def _roots() -> Iterator[Path]:
    yield cache_dir().resolve()
    with contextlib.suppress(MissingLibraryError):
        yield network.hub_cache().resolve()
