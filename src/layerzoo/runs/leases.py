"""Leases: files that record which worker computes a shard, so that other workers take other shards.

A lease only saves work. Two workers on one shard write the same part, one after the other, and a lease that is lost or
wrong costs the time of one shard. On one machine, the lock of the lease ends with its process. On another machine, or
without locks, a lease counts as abandoned when it has not changed for a minute of this machine's steady clock, whatever
time the clocks of the two machines show.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, slots=True)
class WorkerProgress:
    """The work of one worker since it took its first shard."""

    samples: int
    seconds: float
    """On its steady clock."""

    @property
    def samples_per_s(self) -> float:
        """The rate; 0 before the first samples are done."""
        return self.samples / self.seconds if self.seconds > 0 else 0.0


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
        self._began_s: float | None = None
        self._samples = 0

    def count(self, samples: int) -> None:
        """Add samples that this worker has just finished. Its lease has them from its next change on."""
        self._samples += samples

    def _work(self) -> WorkerProgress:
        return WorkerProgress(self._samples, self._clock() - (self._began_s or 0.0))

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
            self._began_s = self._clock() if self._began_s is None else self._began_s
            with _kept_alive(descriptor, crashes, self._work):
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
            fields = json.loads(text)
            owner, crashes = str(fields["machine"]), int(fields[_CRASHES])
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

    def progress_at(self, shard: int) -> WorkerProgress | None:
        """Return the progress of the worker on this machine that is at work on a shard; None where there is none."""
        try:
            descriptor = os.open(self._folder / lease_name(shard), os.O_RDWR)
        except OSError:
            return None
        try:
            if lock(descriptor) is not False:
                return None
            fields = json.loads(os.pread(descriptor, 4096, 0))
            return WorkerProgress(int(fields["samples"]), float(fields["seconds"]))
        except (OSError, ValueError, KeyError, TypeError):  # it was just taken, or by another version of layerzoo
            return WorkerProgress(0, 0.0)
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
def _kept_alive(descriptor: int, crashes: int, progress: Callable[[], WorkerProgress]) -> Iterator[None]:
    """Write the lease, and change it every few seconds until the end of the block."""
    stop = threading.Event()

    def write(beat: int) -> None:
        owner = {"machine": machine(), "process": os.getpid(), _CRASHES: crashes, "beat": beat}
        text = json.dumps({**owner, **asdict(progress())})
        with contextlib.suppress(OSError):
            os.pwrite(descriptor, text.encode(), 0)  # never empty: it would look like one without an owner
            os.ftruncate(descriptor, len(text))

    def beats() -> None:
        for beat in itertools.count(1):
            if stop.wait(BEAT_S):
                return
            write(beat)

    write(0)
    thread = threading.Thread(target=beats, daemon=True, name="layerzoo-lease")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
