"""The decode process: it decodes one sample after the other until its pipe is closed.

A decoder that crashes, hangs or takes too much memory ends this process, and costs its own sample only. It imports
no torch.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from layerzoo.errors import EmptySampleError, LayerzooError, MissingLibraryError, PluginError, SampleError
from layerzoo.media import framing, limits, operations, progress
from layerzoo.media.limits import Limits
from layerzoo.media.sample import UnusableError

_IDLE_S = 120.0
"""After so long without a request the process ends."""
_BEAT_S = 1.0
_MODULES = {"image": "layerzoo.media.image", "video": "layerzoo.media.video"}
"""The modules of the operations whose imports take longest."""


def main() -> None:
    """Serve requests from the standard input until it ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # for the main process
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    incoming, outgoing = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):  # output of a library is not an answer
        os.dup2(nowhere, standard)
    requests: queue.SimpleQueue[framing.Message] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(incoming, requests), daemon=True).start()
    _preload(sys.argv[2:])
    with contextlib.suppress(OSError):  # the pipe is closed
        framing.send(outgoing, {"ready": True})
        while True:
            try:
                request, payload = requests.get(timeout=_IDLE_S)
            except queue.Empty:
                break
            _Answer(outgoing).give(request, payload)
    os._exit(0)


def _preload(names: list[str]) -> None:
    """Import the modules of some operations before a sample is there."""
    for module in filter(None, map(_MODULES.get, names)):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)


def _listen(incoming: int, requests: queue.SimpleQueue[framing.Message]) -> None:
    """Receive requests. The end of the pipe ends the process, in the middle of a sample too."""
    try:
        while True:
            requests.put(framing.receive(incoming))
    finally:
        os._exit(0)


class _Answer:
    """The answer to one request."""

    def __init__(self, outgoing: int) -> None:
        self._outgoing = outgoing
        self._last_beat = time.monotonic()

    def give(self, request: Mapping[str, Any], payload: bytearray) -> None:
        limits.use(Limits(**request["limits"]))
        _apply(request["settings"])
        framing.send(self._outgoing, {"begun": True})
        source: Any = request["path"]
        if source is None:
            source = bytes(payload)
            payload.clear()
        progress.report_to(self._beat)
        try:
            with _limited(int(request["memory_bytes"]), float(request["limits"]["seconds"])) as clock:
                for part in operations.run(request["operation"], source, request["options"]):
                    with clock.stopped():  # it is the receiver that takes its time
                        framing.send_part(self._outgoing, part.facts, part.data)
                    del part
        except (LayerzooError, UnusableError) as error:
            answer: Mapping[str, Any] = _error_fields(error)
        except MemoryError:
            answer = {"error": "SampleError", "reason": operations.out_of_memory()}
        else:
            answer = {"done": True}
        if "error" in answer:
            gc.collect()  # the traceback of an error keeps objects alive: it may be an image of many megabytes
        framing.send(self._outgoing, answer)

    def _beat(self) -> None:
        if (now := time.monotonic()) - self._last_beat > _BEAT_S:
            self._last_beat = now
            framing.send(self._outgoing, {"beat": True})


def _error_fields(error: Exception) -> Mapping[str, Any]:
    if isinstance(error, MissingLibraryError):
        return {"error": "MissingLibraryError", "library": error.library, "extra": error.extra}
    if isinstance(error, PluginError):
        return {"error": "PluginError", "reason": str(error), "plugin": error.plugin}
    if isinstance(error, EmptySampleError):
        return {"error": "EmptySampleError", "reason": error.reason}
    if isinstance(error, SampleError):
        return {"error": "SampleError", "reason": error.reason}
    return {"error": "UnusableError" if isinstance(error, UnusableError) else "UsageError", "reason": str(error)}


def _apply(settings: Mapping[str, Any]) -> None:
    """Use the settings of Pillow that the process that computes has."""
    if not settings:
        return
    with contextlib.suppress(ImportError):
        from PIL import Image, ImageFile

        Image.MAX_IMAGE_PIXELS = settings["max_image_pixels"]
        ImageFile.LOAD_TRUNCATED_IMAGES = settings["load_truncated_images"]


class _Clock:
    """A time limit that the kernel enforces, even inside of a decoder's own code."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def start(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, max(0.001, self._left))

    def stop(self) -> None:
        self._left = signal.setitimer(signal.ITIMER_REAL, 0)[0]

    @contextlib.contextmanager
    def stopped(self) -> Any:
        self.stop()
        yield
        self.start()


@contextlib.contextmanager
def _limited(memory_bytes: int, seconds: float) -> Any:
    """Within, this process may allocate so many bytes more than it has, and take so long."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    clock = _Clock(seconds)
    _set_memory(memory_bytes)
    clock.start()
    try:
        yield clock
    finally:
        clock.stop()
        _set_memory(None)


def _set_memory(more_bytes: int | None) -> None:
    """Limit the memory that this process allocates from now on, where the kernel can; None removes the limit."""
    try:
        import resource
        from pathlib import Path

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if more_bytes is None:
            resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
            return
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        used_bytes = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:"))
        most = used_bytes + more_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    except (ImportError, OSError, ValueError, StopIteration):
        return  # another kernel than Linux: the other limits bound the memory of a sample


if __name__ == "__main__":
    main()
