"""Verify the files of the cache by reading every byte of them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from layerzoo.errors import WeightsError
from layerzoo.weights.digests import agrees, content_digest
from layerzoo.weights.inventory import Inventory, Item, Kind, has_digests
from layerzoo.weights.partial import read_about
from layerzoo.weights.tensors import check_tensors
from layerzoo.weights.uses import Use

State = Literal["ok", "damaged", "drifted", "partial", "gone"]
"""``damaged``: unreadable, or not the file that was fetched. ``drifted``: intact, and not the declared or locked file.
``partial``: incomplete, without a digest to compare. ``gone``: a model uses it and it is missing; the next pull fetches
it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of verifying one file."""

    item: Item
    state: State
    detail: str | None = None
    """The reason, if the state is not ``ok``."""


def verdicts(inventory: Inventory) -> Iterator[Verdict]:
    """Verify every file of weights, one after the other; then report those that are missing.

    Traces, file lists, the index and the digests are not verified: if one is damaged, it is computed again when it is
    read.

    Args:
        inventory: the content of the cache.
    """
    for item in inventory.items:
        if item.kind in _CHECKS:
            yield _checked(item, inventory)
    yield from (Verdict(item, "gone") for item in inventory.missing)


def _checked(item: Item, inventory: Inventory) -> Verdict:
    try:
        return _CHECKS[item.kind](item, inventory)
    except FileNotFoundError:
        return Verdict(item, "gone", "another process removed it just now")
    except OSError as error:
        return Verdict(item, "damaged", f"it cannot be read: {error.strerror}")


def _hub_file(item: Item, inventory: Inventory) -> Verdict:
    if damage := _damage(item):
        return Verdict(item, "damaged", damage)
    for use in inventory.uses:
        if use.model in item.models and (drift := _drift(item, use)):
            return Verdict(item, "drifted", drift)
    return Verdict(item, "ok")


def _drift(item: Item, use: Use) -> str | None:
    declared = use.declared_sha256(item.name.removeprefix(f"hf://{use.source.owner}/"))
    if declared is None:
        return None
    # Of a large file the hub's own digest is a sha256, and was found to be right just now.
    is_known = item.digest is not None and len(item.digest) == len(declared)
    digest = item.digest if is_known else content_digest(item.path, like=declared)
    if digest is None or digest == declared:
        return None
    return f"its sha256 is {digest[:12]}…; declared or locked for {use.model} is {declared[:12]}…"


def _download(item: Item, inventory: Inventory) -> Verdict:
    about = read_about(item.path)
    if about is None and not item.bytes:
        return Verdict(item, "partial", item.useless)
    if about is None:
        return Verdict(item, "damaged", "its about.json does not say what it is part of")
    path = item.path / about.name
    if not path.is_file() or path.stat().st_size != about.size:
        return Verdict(item, "damaged", f"{about.name} is not there with the {about.size:,} bytes of the whole")
    if item.bytes < about.size:
        return Verdict(item, "partial")
    digest = content_digest(path, like=about.digest)
    return (
        Verdict(item, "ok") if agrees(digest, about.digest) else Verdict(item, "damaged", _unlike(digest, about.digest))
    )


def _converted(item: Item, inventory: Inventory) -> Verdict:
    try:
        if not check_tensors(item.path) and has_digests(item.path):
            return Verdict(item, "damaged", "the digests that were written with it are missing")
    except WeightsError as error:
        return Verdict(item, "damaged", str(error))
    return Verdict(item, "ok")


_CHECKS: Mapping[Kind, Callable[[Item, Inventory], Verdict]] = {
    "hub": _hub_file,
    "download": _download,
    "converted": _converted,
}


def _damage(item: Item) -> str | None:
    """Return the damage of a file with a known digest; None if it is intact."""
    assert item.digest is not None
    if item.bytes != item.of_bytes:
        return f"it has {item.bytes:,} bytes, and the repository's file has {item.of_bytes:,}"
    digest = content_digest(item.path, like=item.digest)
    return None if digest == item.digest else _unlike(digest, item.digest)


def _unlike(digest: str, stated: str) -> str:
    return f"its digest is {digest[:12]}…, and should be {stated[:12]}…"
