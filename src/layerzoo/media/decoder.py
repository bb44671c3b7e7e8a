"""Decode samples in another process, so that a file that crashes a decoder, or makes it hang or take too much memory,
costs itself and nothing else.

A Decoder runs the operations of :mod:`layerzoo.media.operations`. InProcess runs them where it is called. Workers has
them run by decode processes (:mod:`layerzoo.media.worker`), which are started when they are first needed, kept for
later, and replaced after a crash. Both give the same parts, in the same order.

Later work on time limits and seeking needs no more than this: an operation is a generator of parts, and a reading may
be closed before its end.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol, TypeVar

from layerzoo.errors import EmptySampleError, MissingLibraryError, PluginError, SampleError, UsageError
from layerzoo.media import framing, operations
from layerzoo.media.framing import DisconnectedError, StalledError
from layerzoo.media.limits import Limits, is_set, limits, usable_cores, variable_of
from layerzoo.media.operations import Part
from layerzoo.media.plugin_formats import with_decoder
from layerzoo.media.sample import UnusableError, name_of
from layerzoo.media.source import Encoded, encoded_bytes, is_encoded
from layerzoo.stopping import signals_blocked

__all__ = ["IN_PROCESS", "Decoder", "InProcess", "Workers"]

Result = TypeVar("Result")
Assemble = Callable[[Iterator[Part]], Result]
"""Makes a result of the parts of a sample. The result may read on after it was returned."""
_Named = str | os.PathLike[str] | bytes | bytearray | memoryview
"""A source that another process can take: a path, or bytes."""

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from layerzoo.media.worker import main; main()"
_FEW = 8
"""Samples after which a second process may be worth its start."""
_STARTS = 3
"""So many processes are started before it is clear that none can be."""
_PIPE_BYTES = 1 << 20
_RETIRED_AFTER = 2000
"""A process is replaced after this number of samples, so that memory leaks of libraries do not accumulate."""


class Decoder(Protocol):
    """Runs operations."""

    def result(self, operation: str, source: Any, options: Mapping[str, Any], assemble: Assemble[Result]) -> Result:
        """Return the result of ``assemble`` for the parts of a sample.

        Args:
            operation: a name of :data:`layerzoo.media.operations.OPERATIONS`.
            source: the input of the operation.
            options: of the operation; :func:`layerzoo.media.operations.portable` makes them JSON.
            assemble: may be called a second time, from the first part on.
        Raises: SampleError; the exceptions of ``assemble``.
        """

    def stream(self, operation: str, source: Any, options: Mapping[str, Any]) -> Iterator[Part]:
        """Yield the parts of a sample that is read during the whole run."""

    def want_more(self) -> None:
        """Note that the network had to wait for a sample."""


class InProcess:
    """Runs operations where it is called."""

    def result(self, operation: str, source: Any, options: Mapping[str, Any], assemble: Assemble[Result]) -> Result:
        return assemble(operations.run(operation, source, with_decoder(operation, source, options)))

    def stream(self, operation: str, source: Any, options: Mapping[str, Any]) -> Iterator[Part]:
        return operations.run(operation, source, with_decoder(operation, source, options))

    def want_more(self) -> None:
        return


IN_PROCESS = InProcess()


class Workers:
    """Runs operations on files and bytes in decode processes, and those on other objects where it is called.

    Several threads may call it. One process is used until the network waits for samples, then up to
    ``Limits.processes``. A context manager: leaving it ends running operations.

    Args:
        all_cores: use up to one process for each core, unless the environment sets ``Limits.processes``.

    A sample is decoded next to others first, with a part of the memory. One that fails is decoded again, alone, with
    all of it, and that outcome counts. So neither a result nor an error depends on the other samples.
    """

    def __init__(self, *, all_cores: bool = False) -> None:
        self._limits = limits()
        self._first_try_bytes = self._limits.first_try_bytes
        if all_cores and not is_set("processes"):
            self._limits = replace(self._limits, processes=usable_cores())
        self._turns = _Turns()
        self._requests = 0
        self._readings: set[_Reading] = set()
        self._lock = threading.Lock()

    @property
    def processes(self) -> int:
        """The number of processes that decode at most; 0: samples are decoded where they are requested."""
        return self._limits.processes

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End running operations. Threads that wait for a process get a CancelledError."""
        self._turns.cancel()
        with self._lock:
            unfinished = list(self._readings)
        for reading in unfinished:
            reading.kill()

    def want_more(self) -> None:
        if self._requests > _FEW:
            self._turns.allow(max(1, self._limits.processes))

    def result(self, operation: str, source: Any, options: Mapping[str, Any], assemble: Assemble[Result]) -> Result:
        if not is_encoded(source):
            return assemble(operations.run(operation, source, options))
        options = with_decoder(operation, source, options)
        if not self._limits.processes or _Pool.refusal is not None:
            return assemble(operations.run(operation, source, options))
        self._requests += 1
        handed_over = self._handed_over(source)
        try:
            with self._turns.hold():
                with contextlib.suppress(_AgainError), self._turns.shared():
                    return self._once(operation, handed_over, options, assemble, self._first_try_bytes)
                with self._turns.alone():
                    return self._once(operation, handed_over, options, assemble, self._limits.memory_bytes)
        except _NotStartedError:
            return assemble(operations.run(operation, source, options))

    def _once(
        self,
        operation: str,
        source: _Named,
        options: Mapping[str, Any],
        assemble: Assemble[Result],
        memory_bytes: int,
    ) -> Result:
        reading = self._begun(operation, source, options, memory_bytes)
        try:
            result = assemble(reading)
        except (SampleError, UnusableError) as error:
            reading.close()
            if memory_bytes < self._limits.memory_bytes and not reading.is_final:
                raise _AgainError from error
            raise
        except BaseException:
            reading.close()
            raise
        return result

    def stream(self, operation: str, source: Any, options: Mapping[str, Any]) -> Iterator[Part]:
        options = with_decoder(operation, source, options)
        if not self._limits.processes or not is_encoded(source) or _Pool.refusal is not None:
            yield from operations.run(operation, source, options)
            return
        try:
            reading = self._begun(operation, self._handed_over(source), options, self._limits.memory_bytes)
        except _NotStartedError:
            yield from operations.run(operation, source, options)
            return
        try:
            yield from reading
        finally:
            reading.close()

    def _begun(self, operation: str, source: _Named, options: Mapping[str, Any], memory_bytes: int) -> _Reading:
        path: str | None = None
        payload: bytes | bytearray | memoryview = b""
        if isinstance(source, str | os.PathLike):
            path = os.path.abspath(os.fspath(source))  # noqa: PTH100
        else:
            payload = source
        request = {
            "operation": operation,
            "path": path,
            "options": operations.portable(options),
            "memory_bytes": memory_bytes + 2 * len(payload),
            "limits": asdict(self._limits),
            "settings": _pillow_settings(),
        }
        process = _pool.lent(request, payload)
        reading = _Reading(process, source, self._limits, self._forget)
        with self._lock:
            self._readings.add(reading)
        if self._turns.is_cancelled:
            reading.kill()
        return reading

    def _forget(self, reading: _Reading) -> None:
        with self._lock:
            self._readings.discard(reading)

    def _handed_over(self, source: Encoded) -> _Named:
        """Return a path, or bytes that may be passed to another process. Raises: SampleError."""
        if isinstance(source, str | os.PathLike):
            return source
        try:
            return encoded_bytes(source)
        except UnusableError as refusal:
            raise SampleError(name_of(source), str(refusal)) from refusal.__cause__


class CancelledError(Exception):
    """The run that a sample belongs to has ended."""


class _AgainError(Exception):
    """A sample failed with a part of the memory."""


class _NotStartedError(Exception):
    """No decode process can be started."""


class _Turns:
    """Who may decode: up to a number of threads next to each other, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._most = 1
        self._held = 0
        self._shared = 0
        self._waiting_alone = 0
        self._is_alone = False
        self.is_cancelled = False

    def allow(self, most: int) -> None:
        if most > self._most:
            with self._changed:
                self._most = most
                self._changed.notify_all()

    def cancel(self) -> None:
        with self._changed:
            self.is_cancelled = True
            self._changed.notify_all()

    def _wait(self, is_free: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self.is_cancelled or is_free())
        if self.is_cancelled:
            raise CancelledError

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Hold one of the turns."""
        with self._changed:
            self._wait(lambda: self._held < self._most)
            self._held += 1
        try:
            yield
        finally:
            with self._changed:
                self._held -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Decode next to others. A thread that waits to decode alone comes first."""
        with self._changed:
            self._wait(lambda: not self._is_alone and not self._waiting_alone)
            self._shared += 1
        try:
            yield
        finally:
            with self._changed:
                self._shared -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Decode while no other thread does."""
        with self._changed:
            self._waiting_alone += 1
            try:
                self._wait(lambda: not self._is_alone and not self._shared)
                self._is_alone = True
            finally:
                self._waiting_alone -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._changed.notify_all()


class _Reading(Iterator[Part]):
    """The parts of one sample, as a decode process sends them."""

    def __init__(self, process: _Process, source: Encoded, bounds: Limits, forget: Callable[[_Reading], None]) -> None:
        self._process: _Process | None = process
        self._source = source
        self._limits = bounds
        self._forget = forget
        self.is_final = False
        """Whether a failure would be the same with more memory."""

    def __next__(self) -> Part:
        process = self._process
        if process is None:
            raise StopIteration
        try:
            return self._next(process)
        except StalledError:
            self.kill()
            self.is_final = True
            raise self._failure(self._too_slow(self._limits.stalled_s, "without decoding anything further")) from None
        except DisconnectedError:
            self.kill()
            raise self._failure(self._why_it_ended(process.exit_code())) from None

    def _next(self, process: _Process) -> Part:
        while True:
            header, payload = process.receive(self._limits.stalled_s, self._limits.memory_bytes)
            if "part" in header:
                facts = header["part"]
                data = framing.received_data(
                    (header, payload),
                    lambda: process.receive(self._limits.stalled_s, self._limits.memory_bytes)[1],
                )
                return Part(facts, data)
            if "done" in header or "error" in header:
                self._process = None
                _pool.give_back(process)
                self._forget(self)
                if "error" in header:
                    raise self._error(header)
                raise StopIteration

    def _error(self, header: Mapping[str, Any]) -> Exception:
        kind, reason = header["error"], str(header.get("reason"))
        if kind == "PluginError":
            return PluginError(reason, plugin=str(header["plugin"]))
        if kind == "MissingLibraryError":
            return MissingLibraryError(str(header["library"]), extra=header["extra"])
        if kind == "EmptySampleError":
            return EmptySampleError(name_of(self._source), reason)
        if kind == "UnusableError":
            return UnusableError(reason)
        return UsageError(reason) if kind == "UsageError" else self._failure(reason)

    def _failure(self, reason: str) -> SampleError:
        return SampleError(name_of(self._source), reason)

    def _too_slow(self, seconds: float, phrase: str) -> str:
        return (
            f"decoding it took {seconds:g} s {phrase}, which is the limit. Next: raise it with {variable_of('seconds')}"
        )

    def _why_it_ended(self, exit_code: int | None) -> str:
        if exit_code == -signal.SIGALRM:
            self.is_final = True
            return self._too_slow(self._limits.seconds, "altogether")
        if exit_code is not None and exit_code < 0:
            return f"its decoder crashed ({signal.Signals(-exit_code).name}), so it is damaged or made to do that"
        return f"its decoder ended with code {exit_code}"

    def kill(self) -> None:
        """End the process, in the middle of the sample."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
        self._forget(self)

    def close(self) -> None:
        """Read no further."""
        self.kill()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self.kill()


_SETTINGS = ("LAYERZOO_", "XDG_", "HOME")
"""How the variables begin that select plugins, caches and settings."""


def _environment() -> tuple[list[str], dict[str, str]]:
    """Return the settings that a decode process inherits at its start: the path of modules, and the variables of
    settings."""
    path = [entry for entry in sys.path if entry and os.path.isabs(entry)]  # noqa: PTH117
    return path, {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)}


class _Process:
    """A decode process."""

    def __init__(self, operation: str) -> None:
        self.environment = _environment()
        path = json.dumps(self.environment[0])
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        # Freed memory is returned to the system, so that it does not count as memory of the next sample.
        memory = {
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MALLOC_ARENA_MAX": "2",
            "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
            "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
        }
        with signals_blocked():
            self._popen = subprocess.Popen(
                # -P, and the path of this process: a module in the working directory is never imported.
                [sys.executable, "-P", "-c", _START, path, operation],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **single, **memory},
                bufsize=0,
            )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._in, self._out = self._popen.stdin.fileno(), self._popen.stdout.fileno()
        _enlarge(self._in, self._out)
        self._is_ready = False
        self.samples = 0

    def begin(self, request: Mapping[str, Any], payload: Any) -> None:
        """Have a sample decoded. Raises: DisconnectedError, StalledError where the process does not begin."""
        if not self._is_ready:
            self.receive(60, 0)
            self._is_ready = True
        try:
            framing.send(self._in, request, payload)
        except OSError as error:
            raise DisconnectedError(str(error)) from error
        self.receive(60, 0)
        self.samples += 1

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def receive(self, seconds: float, most_bytes: int) -> framing.Message:
        return framing.receive(self._out, seconds=seconds, most_bytes=most_bytes)

    def exit_code(self) -> int | None:
        """Return the exit code of the process."""
        return self._popen.wait()

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def forget(self) -> None:
        """Close the pipes of a process that belongs to the parent of this one."""
        self._close_pipes()
        self._popen.returncode = 0


class _Pool:
    """The idle decode processes."""

    refusal: str | None = None
    """Why no process can be started here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._all: weakref.WeakSet[_Process] = weakref.WeakSet()

    def lent(self, request: Mapping[str, Any], payload: Any) -> _Process:
        """Return a process that has begun a request. Raises: _NotStartedError."""
        starts = 0
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is not None and process.environment != _environment():
                process.kill()  # it would find other plugins, or other settings
                continue
            starts += process is None
            try:
                process = process or _Process(str(request["operation"]))
                process.begin(request, payload)
            except (OSError, DisconnectedError, StalledError) as error:
                if process is not None:
                    process.kill()
                if starts == _STARTS:
                    raise self._refused(error) from error
                continue  # an idle one that has ended
            with self._lock:
                self._all.add(process)
            return process

    def _refused(self, error: Exception) -> _NotStartedError:
        if _Pool.refusal is None:
            _Pool.refusal = str(error) or type(error).__name__
            logging.getLogger("layerzoo").warning(
                "no decode process can be started (%s): files are decoded in this process, where one that crashes a "
                "decoder ends it",
                _Pool.refusal,
            )
        return _NotStartedError()

    def give_back(self, process: _Process) -> None:
        if process.samples >= _RETIRED_AFTER or not process.is_running:
            process.kill()
            return
        with self._lock:
            self._idle.append(process)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.kill()

    def forget(self) -> None:
        """In the child of a fork: the processes are those of the parent."""
        self._lock = threading.Lock()
        processes, self._all, self._idle = list(self._all), weakref.WeakSet(), []
        for process in processes:
            process.forget()


_pool = _Pool()
atexit.register(_pool.close)
os.register_at_fork(after_in_child=_pool.forget)


def _enlarge(*pipes: int) -> None:
    """Have pipes hold more, so that an image takes few turns between the processes."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import fcntl

        for pipe in pipes:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _pillow_settings() -> dict[str, Any]:
    """Return the settings of Pillow that a program may have changed."""
    image, files = sys.modules.get("PIL.Image"), sys.modules.get("PIL.ImageFile")
    if image is None:
        return {}
    return {
        "max_image_pixels": image.MAX_IMAGE_PIXELS,
        "load_truncated_images": bool(files is not None and files.LOAD_TRUNCATED_IMAGES),
    }
