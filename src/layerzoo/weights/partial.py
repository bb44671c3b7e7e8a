"""A file on a server, of which this machine has the parts that were requested so far."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from layerzoo.disk import atomic_path
from layerzoo.errors import CacheError, ChangedError, DigestError, UnsafeWeightsError
from layerzoo.paths import cache_dir, download_folder, downloads_dir
from layerzoo.weights.cache import cache_errors, locked
from layerzoo.weights.digests import agrees, content_digest
from layerzoo.weights.network import Endpoint, RangesIgnoredError, fetch, fetch_all
from layerzoo.weights.progress import Progress, announce
from layerzoo.weights.sources import check_inside
from layerzoo.weights.spans import Span, bridged, joined, missing, pieces

_PIECE_BYTES = 8 << 20
_AT_ONCE = 8
_ABOUT, _JOURNAL = "about.json", "spans.jsonl"
_one_line_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class About:
    """The whole file of a partial one."""

    source: str
    """Its source, as errors name it."""
    name: str
    """The file's own, without folders."""
    size: int
    digest: str
    """Of the whole file, in hex: its sha256, the first digits of that, or git's sha1 of it."""


def known_size(source: str, digest: str) -> int | None:
    """Return the size of a partial file when it is complete; None if there is no such partial file."""
    about = read_about(download_folder(source, digest))
    return None if about is None else about.size


def read_about(folder: Path) -> About | None:
    """Return the description of the partial file in a folder; None if it is missing, or belongs to another folder."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, UnsafeWeightsError):
        fields = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        about = About(str(fields["source"]), str(fields["name"]), int(fields["size"]), str(fields["digest"]))
        is_of_here = download_folder(about.source, about.digest).name == folder.name
        if is_of_here and "/" not in check_inside(about.name, of=str(folder)):
            return about
    return None


class PartialFile:
    """A sparse file of the full length, and a journal of the parts that were fetched.

    A piece is written to the journal after its bytes are on the disk, so that a killed process loses a piece at most.
    The file counts as complete only when all of it was fetched and its digest was verified.
    """

    def __init__(self, about: About, endpoint: Endpoint, progress: Progress | None = None) -> None:
        """Describe a partial file.

        Args:
            about: the whole file.
            endpoint: its URL.
            progress: the default callback of :meth:`ensure` and :meth:`complete`.
        """
        self.about = about
        self._progress = progress
        self._endpoint = endpoint
        self.folder = download_folder(about.source, about.digest)
        """Where its bytes and its journal are."""

    @property
    def path(self) -> Path:
        """The file, which has holes where nothing was fetched yet."""
        return self.folder / self.about.name

    @property
    def is_whole(self) -> bool:
        """Return whether the file is complete and its digest was verified."""
        return self._is_begun() and any("whole" in line for line in self._journal())

    def fetched_spans(self) -> list[Span]:
        """Return the spans of bytes that were fetched."""
        return joined(line["span"] for line in self._journal() if "span" in line) if self._is_begun() else []

    @property
    def here_bytes(self) -> int:
        """The number of bytes that were fetched."""
        return sum(span.size for span in self.fetched_spans())

    def ensure(self, wanted: Iterable[Span], progress: Progress | None = None) -> None:
        """Fetch the missing ones of some bytes, by one process at a time.

        Raises: UnavailableError of the kind that fits, ChangedError when the file on the server is another one now,
        DigestError when it is complete and its digest is wrong, CacheError when it cannot be written.
        """
        spans = joined(wanted)
        if not missing(spans, self.fetched_spans()):
            return
        with cache_errors(self.path), locked(self.folder):
            if gaps := missing(spans, self.fetched_spans()):
                self._require_room(gaps)
                self._begin()
                announce(progress or self._progress, sum(gap.size for gap in gaps))
                self._fetch(gaps, progress or self._progress)
            self._settle()

    def require(self, wanted: Iterable[Span]) -> None:
        """Raises: ChangedError if some of these bytes were removed: zeros may have been read in their place."""
        if missing(wanted, self.fetched_spans()):
            message = f"{self.about.source} was removed from {downloads_dir()}, or moved, while it was being read"
            raise ChangedError(f"{message}: by another process? Nothing of it is used. Next: try again")

    def complete(self, progress: Progress | None = None) -> Path:
        """Return the whole file, its digest verified. Raises: as :meth:`ensure`."""
        if not self.is_whole:
            self.ensure([Span(0, self.about.size)], progress)
            with cache_errors(self.path), locked(self.folder):
                self._begin()  # a file of no bytes
                self._settle()
        return self.path

    # ------------------------------------------------------------ fetching

    def _begin(self) -> None:
        """Create the file and its journal, unless they exist and are usable."""
        if self._is_begun():
            return
        self.forget()
        self.folder.mkdir(parents=True)
        with atomic_path(self.folder / _ABOUT) as temporary:
            temporary.write_text(json.dumps(asdict(self.about)), encoding="utf-8")
        with self.path.open("wb") as file:
            file.truncate(self.about.size)
        (self.folder / _JOURNAL).touch()

    def _fetch(self, gaps: list[Span], progress: Progress | None) -> None:
        requested = missing(bridged(gaps), self.fetched_spans())
        with self.path.open("r+b", buffering=0) as file:
            writer = _Writer(file.fileno(), progress)
            try:
                try:
                    self._fetch_pieces(list(pieces(requested, _PIECE_BYTES)), writer)
                except RangesIgnoredError:
                    self._fetch_whole(writer)
            except ChangedError:
                self.forget()  # the earlier bytes belong to another file
                raise

    def _fetch_pieces(self, work: list[Span], writer: _Writer) -> None:
        with ThreadPoolExecutor(min(_AT_ONCE, len(work))) as pool:
            futures = [pool.submit(self._fetch_piece, piece, writer) for piece in work]
            try:
                finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                writer.stop()  # after a failure or Ctrl-C the other pieces end at their next bytes
                pool.shutdown(cancel_futures=True)
        for future in finished:
            future.result()

    def _fetch_piece(self, piece: Span, writer: _Writer) -> None:
        etag = fetch(self._endpoint, piece, self.about.size, writer)
        writer.sync()
        self._add_to_journal({"span": [piece.start, piece.stop], "etag": etag})

    def _fetch_whole(self, writer: _Writer) -> None:
        """Fetch the whole file from a server that does not support ranges."""
        self._require_room(missing([Span(0, self.about.size)], self.fetched_spans()))
        writer.resume()
        fetch_all(self._endpoint, self.about.size, writer)
        writer.sync()
        self._add_to_journal({"span": [0, self.about.size], "etag": None})

    def _require_room(self, spans: Iterable[Span]) -> None:
        """Raise CacheError if the disk has no room for some bytes, before they are fetched."""
        extra, free = sum(span.size for span in spans), shutil.disk_usage(self.folder.parent).free
        if extra > free:
            raise CacheError(
                f"{self.about.source} needs {extra:,} bytes more on the disk, and {free:,} are free in {cache_dir()}. "
                "Next: make room, or choose another folder with LAYERZOO_CACHE=FOLDER"
            )

    def _add_to_journal(self, line: dict[str, Any]) -> None:
        with _one_line_at_a_time:
            self._require_same_etag(line.get("etag"))
            with (self.folder / _JOURNAL).open("a", encoding="utf-8") as journal:
                journal.write(f"\n{json.dumps(line)}\n")  # the line before may have been cut off by a kill

    def _require_same_etag(self, etag: str | None) -> None:
        """Raise ChangedError if a server sends another etag than for an earlier piece."""
        for line in self._journal():
            if etag is not None and line.get("etag") not in (None, etag):
                message = f"{self.about.source} changed on the server: its etag was {line['etag']}, and is {etag} now"
                raise ChangedError(f"{message}. Nothing of it is used. Next: try again")

    def _settle(self) -> None:
        """Verify the file once it is complete."""
        if self.is_whole or missing([Span(0, self.about.size)], self.fetched_spans()):
            return
        digest = content_digest(self.path, like=self.about.digest)
        if not agrees(digest, self.about.digest):
            path = self.path
            self.forget()
            advice = f"All of it came from {self.about.source}, and it was removed. Next: try again, or ask its owner"
            raise DigestError(path, declared=self.about.digest, found=digest, advice=advice)
        self._add_to_journal({"whole": True})

    # ------------------------------------------------------------ the journal

    def _is_begun(self) -> bool:
        """Return whether the file exists with the right length. Another program may have changed it."""
        try:
            return self.path.stat().st_size == self.about.size and (self.folder / _JOURNAL).is_file()
        except OSError:
            return False

    def _journal(self) -> Iterator[dict[str, Any]]:
        try:
            lines = (self.folder / _JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:  # another process has it whole by now, and has moved it
            return
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):  # cut off by a kill
                entry = dict(json.loads(line))
                if "span" in entry:
                    start, stop = entry["span"]
                    entry["span"] = Span(int(start), int(stop))
                yield entry

    def forget(self) -> None:
        """Remove the file and its journal."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Writer:
    """Puts bytes at their place in a file, from several threads, until it is stopped."""

    def __init__(self, descriptor: int, progress: Progress | None) -> None:
        self._descriptor = descriptor
        self._progress = progress
        self._one_at_a_time = threading.Lock()
        self._is_stopped = threading.Event()

    def __call__(self, at: int, data: bytes) -> None:
        if self._is_stopped.is_set():
            raise _StoppedError
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, at)
            at, view = at + written, view[written:]
        if self._progress is not None:
            with self._one_at_a_time:
                self._progress(len(data))

    def sync(self) -> None:
        """Wait until the bytes are on the disk."""
        os.fsync(self._descriptor)

    def stop(self) -> None:
        self._is_stopped.set()

    def resume(self) -> None:
        self._is_stopped.clear()


class _StoppedError(Exception):
    """Another piece of the same file failed."""
