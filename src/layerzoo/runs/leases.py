"""Leases: notes that a worker is at work on a shard, so that others take another one.

A lease only saves work. Two workers on one shard write the same part, one after the other, and a lease that is lost or
wrong costs the time of one shard. On one machine, the lock of the lease ends with its process. On another machine, or
without locks, a lease counts as abandoned when it has not changed for a minute of this machine's steady clock, whatever
time the clocks of the two machines show.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from layerzoo.disk import lock, machine

ABANDONED_AFTER_S = 60.0
BEAT_S = 10.0
_CRASHES = "crashes"
_own: set[Path] = set()
"""The leases of this process."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A shard that this worker may compute."""

    shard: int
    crashes: int
    """How many processes ended in the middle of this shard, one after the other."""


class Leases:
    """The leases of a run, as one worker sees them.

    Args:
        folder: of the leases. A folder that cannot be written has none, and all shards are free.
        clock: returns the seconds of a clock that never jumps.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._seen: dict[int, tuple[str, float]] = {}

    @contextmanager
    def taken(self, shard: int) -> Iterator[Lease | None]:
        """Yield the lease of a shard; None where another worker has it. It ends with the ``with`` block."""
        path = self._folder / lease_name(shard)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            yield Lease(shard, 0)
            return
        try:
            crashes = self._crashes(descriptor, shard)
            if crashes is None:
                yield None
                return
            _own.add(path)
            with _kept_alive(descriptor, crashes):
                yield Lease(shard, crashes)
            with contextlib.suppress(OSError):
                path.unlink()
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()  # an exception is not a crash
            raise
        finally:
            _own.discard(path)
            os.close(descriptor)

    def _crashes(self, descriptor: int, shard: int) -> int | None:
        """Return how many processes crashed with this lease; None where one is at work."""
        is_locked = lock(descriptor)
        text = os.pread(descriptor, 4096, 0).decode("utf-8", "replace")
        try:
            before = json.loads(text)
            owner, crashes = str(before["machine"]), int(before[_CRASHES])
        except (ValueError, KeyError, TypeError):
            owner, crashes = "", -1  # a new file, or one that was never written
        if is_locked is False:
            return None
        if is_locked and owner in ("", machine()):
            return crashes + 1
        if not owner:
            return 0
        beat, since = self._seen.get(shard, ("", 0.0))
        if beat != text:
            self._seen[shard] = (text, self._clock())
            return None
        return crashes + 1 if self._clock() - since > ABANDONED_AFTER_S else None

    def is_taken(self, shard: int) -> bool:
        """Return whether a worker on this machine is at work on a shard."""
        try:
            descriptor = os.open(self._folder / lease_name(shard), os.O_RDWR)
        except OSError:
            return False
        try:
            return lock(descriptor) is False
        finally:
            os.close(descriptor)


def remove_own_leases() -> None:
    """Remove the leases of this process, for one that is about to end in the middle of its work."""
    for path in list(_own):
        with contextlib.suppress(OSError):
            path.unlink()


def lease_name(shard: int) -> str:
    """Return the name of the file of a lease."""
    return f".lease-{shard:06d}"


def leased_shards(folder: Path) -> list[int]:
    """Return the shards with a file of a lease."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
        return sorted(int(name[7:]) for name in names if name.startswith(".lease-") and name[7:].isdecimal())
    return []


@contextmanager
def _kept_alive(descriptor: int, crashes: int) -> Iterator[None]:
    """Write the lease, and change it every few seconds until the end of the block."""
    stop = threading.Event()

    def beat() -> None:
        count = 0
        while True:
            text = json.dumps({"machine": machine(), "process": os.getpid(), _CRASHES: crashes, "beat": count})
            with contextlib.suppress(OSError):
                os.pwrite(descriptor, text.encode(), 0)  # never empty: it would look like one that nobody has
                os.ftruncate(descriptor, len(text))
            if stop.wait(BEAT_S):
                return
            count += 1

    thread = threading.Thread(target=beat, daemon=True, name="layerzoo-lease")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
