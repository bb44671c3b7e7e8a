"""Read the tensors that a cut probably needs in threads, while the network is built.

A build is Python code of one thread; reading and hashing a file release the interpreter's lock. Which checkpoint keys
are needed is only known when the network exists, so they are guessed from the names in its trace. A wrong guess costs
time and no more: tensors that were not read ahead are read when they are requested.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from layerzoo.errors import WeightsError
from layerzoo.runtime.stored import THREADS, Converted, HashedTensor, Safetensors, Stored
from layerzoo.weights.progress import FileProgress

_CHUNK_BYTES = 1 << 22
"""Bytes of the tensors that one thread reads before it takes others."""


@contextlib.contextmanager
def reading_ahead(stored: Stored, needed: Collection[str], rename: Callable[[str], str]) -> Iterator[Stored]:
    """Read tensors of a checkpoint on disk inside the ``with`` block.

    Args:
        stored: the checkpoint.
        needed: names of the network's tensors that a cut needs.
        rename: returns the declared name of a checkpoint key.
    Yields: the checkpoint, which takes the tensors from the threads; the same one if nothing can be read ahead.
    """
    file = stored.file if isinstance(stored, Converted) else stored
    keys = _probable_keys(file.entries, needed, rename) if isinstance(file, Safetensors) and file.is_on_disk else []
    if not (keys and isinstance(file, Safetensors)):
        yield stored
        return
    with ThreadPoolExecutor(THREADS) as threads:
        pending: dict[str, Future[dict[str, HashedTensor]]] = {}
        for chunk in file.chunks(keys, _CHUNK_BYTES):
            pending |= dict.fromkeys(chunk, threads.submit(file.read_hashed, chunk))
        try:
            yield ReadAhead(stored, pending)
        finally:
            threads.shutdown(cancel_futures=True)


class ReadAhead:
    """A checkpoint of which some tensors are being read.

    Args:
        stored: the checkpoint.
        pending: results of the threads, by checkpoint key; each holds the tensors of one chunk.
    """

    def __init__(self, stored: Stored, pending: dict[str, Future[dict[str, HashedTensor]]]) -> None:
        self._stored = stored
        self._pending = pending
        self._meta = stored.meta()
        self.digests: dict[str, bytes] = {}
        """The sha256 of each tensor that was read ahead and handed out, by checkpoint key."""

    @property
    def label(self) -> str:
        return self._stored.label

    def meta(self) -> dict[str, Tensor]:
        return dict(self._meta)

    def fetch(self, names: Iterable[str], progress: FileProgress | None = None) -> None:
        self._stored.fetch(names, progress)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        requested = list(names)
        ahead = {name: tensor for name in requested if (tensor := self._take(name)) is not None}
        self.digests |= {name: tensor.sha256 for name, tensor in ahead.items() if tensor.sha256 is not None}
        remaining = [name for name in requested if name not in ahead]
        later = self._stored.read(remaining) if remaining else {}
        return {name: ahead[name].values if name in ahead else later[name] for name in requested}

    def _take(self, name: str) -> HashedTensor | None:
        """Return a tensor once; None if no thread could read it. Reading it again then raises the error."""
        future = self._pending.pop(name, None)
        if future is None or future.cancelled():
            return None
        try:
            return future.result().pop(name)
        except (WeightsError, OSError):
            return None


def _probable_keys(keys: Iterable[str], needed: Collection[str], rename: Callable[[str], str]) -> list[str]:
    """Return the checkpoint keys that probably hold the needed tensors: their names, or these after one prefix."""
    required = set(needed)
    names = {key: rename(key) for key in keys}
    prefixes = Counter(
        prefix
        for name in names.values()
        for prefix in ("", name.partition(".")[0] + ".")
        if name.removeprefix(prefix) in required
    )
    if not prefixes:
        return []
    prefix = max(prefixes, key=lambda prefix: (prefixes[prefix], prefix == ""))
    return [key for key, name in names.items() if name.startswith(prefix) and name.removeprefix(prefix) in required]
