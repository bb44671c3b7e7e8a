"""Partially downloaded files: which bytes are downloaded, which are downloaded again, and every failure in between."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from tests.hub import Hub

from layerzoo.errors import (
    ChangedError,
    DigestError,
    LayerzooError,
    UnavailableError,
    WeightsError,
)
from layerzoo.weights.network import Endpoint, web_endpoint
from layerzoo.weights.partial import About, PartialFile
from layerzoo.weights.spans import Span
from layerzoo.weights.tensors import fetch_header

MB = 1_000_000
FILE = "/files/*"


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


DATA = noise(3 * MB)
LARGE = noise(40 * MB)


def file(hub: Hub, data: bytes = DATA, name: str = "model.safetensors", *, size: int | None = None) -> PartialFile:
    url = hub.file(name, data)
    about = About(url, name, len(data) if size is None else size, hashlib.sha256(data).hexdigest())
    return PartialFile(about, web_endpoint(url))


def bytes_at(part: PartialFile, span: Span) -> bytes:
    return part.path.read_bytes()[span.start : span.stop]


# ---------------------------------------------------------------- only requested bytes


def test_only_missing_requested_bytes_are_downloaded(hub: Hub, home: Path) -> None:
    part, wanted = file(hub), Span(1000, 5000)
    part.ensure([wanted])
    assert bytes_at(part, wanted) == DATA[1000:5000]
    assert hub.bytes_sent() == 4000
    part.ensure([Span(2000, 6000)])
    assert bytes_at(part, Span(1000, 6000)) == DATA[1000:6000]
    assert hub.bytes_sent() == 5000
    assert part.here_bytes == 5000
    assert not part.is_whole


def test_completing_a_file_downloads_only_the_rest(hub: Hub, home: Path) -> None:
    part = file(hub)
    part.ensure([Span(100, 2 * MB)])
    assert part.complete().read_bytes() == DATA
    assert hub.bytes_sent() == len(DATA)
    assert part.is_whole


def test_adjacent_ranges_share_one_request(hub: Hub, home: Path) -> None:
    file(hub).ensure([Span(at, at + 990) for at in range(0, 1000 * 1000, 1000)])
    assert len(hub.requests) == 1 + 9  # ten bytes in a hundred cost less than a request, but the limit is one percent


def test_a_large_file_is_downloaded_over_several_connections(hub: Hub, home: Path) -> None:
    together = Barrier(5, timeout=20)  # none of the five is answered before all have arrived
    hub.meanwhile(FILE, together.wait)
    assert file(hub, LARGE).complete().read_bytes() == LARGE
    assert len(hub.requests) == 5


def test_progress_counts_every_byte_once(hub: Hub, home: Path) -> None:
    came: list[int] = []
    file(hub, LARGE).complete(came.append)
    assert sum(came) == len(LARGE)


def test_an_empty_file_is_complete(hub: Hub, home: Path) -> None:
    assert file(hub, b"").complete().read_bytes() == b""
    assert hub.requests == []


# ---------------------------------------------------------------- uncooperative servers


@pytest.mark.parametrize("fault", [Hub.ignore_ranges, Hub.wrong_content_range])
def test_a_server_without_ranges_sends_the_whole_file(hub: Hub, home: Path, fault: Callable[[Hub, str], None]) -> None:
    fault(hub, FILE)
    part = file(hub)
    part.ensure([Span(1000, 5000)])
    assert part.path.read_bytes() == DATA
    assert part.is_whole


def test_an_interrupted_download_continues_at_the_same_byte(hub: Hub, home: Path) -> None:
    hub.cut(FILE, after_bytes=MB, times=2)
    assert file(hub).complete().read_bytes() == DATA
    assert hub.bytes_sent() == len(DATA)


def test_a_busy_server_is_retried(hub: Hub, home: Path) -> None:
    hub.fail(FILE, 503, times=2)
    hub.fail(FILE, 429, times=2)
    assert file(hub).complete().read_bytes() == DATA


@pytest.mark.parametrize(
    ("plan", "kind", "message"),
    [
        (
            lambda hub: hub.fail(FILE, 500),
            "ServerError",
            "the server answers 500, 5 times in a row. Next: try again later",
        ),
        (lambda hub: hub.fail(FILE, 429), "RateLimitedError", "the server answers 429, 5 times in a row"),
        (lambda hub: hub.fail(FILE, 501), "ServerError", "the server answers 501"),
        (
            lambda hub: hub.fail(FILE, 401),
            "AccessDeniedError",
            r"requires a password \(401\)",
        ),
        (
            lambda hub: hub.fail(FILE, 403),
            "AccessDeniedError",
            r"requires a password \(403\)",
        ),
        (lambda hub: hub.fail(FILE, 404), "MissingOnServerError", r"the server has no such file \(404\)"),
        (lambda hub: hub.redirect_loop(FILE), "ServerError", "sends those who ask for it in circles"),
        (lambda hub: hub.truncate(FILE, 0), "ServerError", "the server sent nothing of bytes 0 to 2999999"),
        (lambda hub: hub.set_header(FILE, "Content-Encoding", "gzip"), "ServerError", "the server sends it compressed"),
    ],
)
def test_a_failing_server_has_a_specific_error(
    hub: Hub, home: Path, plan: Callable[[Hub], None], kind: str, message: str
) -> None:
    plan(hub)
    part = file(hub)
    with pytest.raises(UnavailableError, match=message) as caught:
        part.complete()
    assert type(caught.value).__name__ == kind
    assert hub.url in str(caught.value)
    hub.heal()
    assert part.complete().read_bytes() == DATA


def test_a_silent_server_times_out(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.1")
    hub.slow("/files/slow.safetensors", bytes_per_second=1)
    hub.hang_up("/files/rude.safetensors", after=1)
    hub.slow("/files/drip.safetensors", bytes_per_second=200)
    slow, rude, drip = (file(hub, name=f"{name}.safetensors") for name in ("slow", "rude", "drip"))
    rude.ensure([Span(0, 1000)])

    def refused(part: PartialFile) -> str:
        with pytest.raises(UnavailableError) as caught:
            part.ensure([Span(0, 2000)])
        return str(caught.value)

    with ThreadPoolExecutor() as pool:
        reported = list(pool.map(refused, (slow, rude, drip)))
    assert all("is not available now: " in each and "Next: try again later" in each for each in reported)
    assert ["5 times in a row" in each for each in reported] == [True, True, False]  # slow servers are tried less often
    assert rude.here_bytes == 1000


# ---------------------------------------------------------------- changed files


def test_a_changed_size_is_detected_and_nothing_is_kept(hub: Hub, home: Path) -> None:
    part = file(hub, size=len(DATA) + 1)
    with pytest.raises(ChangedError, match="its size was 3000001, and is 3000000 now"):
        part.ensure([Span(0, 1000)])
    assert not part.folder.exists()


def test_a_changed_etag_is_detected_and_nothing_is_kept(hub: Hub, home: Path) -> None:
    part = file(hub)
    part.ensure([Span(0, 1000)])
    hub.file("model.safetensors", noise(len(DATA), seed=1))
    with pytest.raises(ChangedError, match=r"its etag was .*, and is .* now. Nothing of it is used. Next: try again"):
        part.ensure([Span(0, 2000)])
    assert not part.folder.exists()


def test_changed_bytes_with_the_same_etag_are_detected_in_the_complete_file(hub: Hub, home: Path) -> None:
    part = file(hub)
    hub.corrupt(FILE, at=17, times=1)
    with pytest.raises(
        DigestError, match=r"All of it came from http.*, and it was removed\. Next: try again"
    ) as caught:
        part.complete()
    assert caught.value.declared == part.about.digest
    assert not part.folder.exists()
    assert part.complete().read_bytes() == DATA


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_a_complete_file_of_the_wrong_length_is_not_kept(hub: Hub, home: Path, size: int) -> None:
    hub.ignore_ranges(FILE)
    part = file(hub, size=size)
    with pytest.raises(ChangedError, match=f"its size was {size}, and is 3000000 now"):
        part.complete()
    assert not part.folder.exists()


def test_an_endless_response_is_abandoned(hub: Hub, home: Path) -> None:
    hub.ignore_ranges(FILE)
    hub.set_header(FILE, "Content-Length", None)
    with pytest.raises(LayerzooError):
        file(hub, size=MB).complete()


def test_parts_from_a_changed_file_also_invalidate_the_earlier_parts(hub: Hub, home: Path) -> None:
    part = file(hub)
    part.ensure([Span(0, 1000)])
    hub.ignore_ranges(FILE)
    hub.file("model.safetensors", noise(5))
    with pytest.raises(ChangedError):
        part.complete()
    assert not part.folder.exists()


# ---------------------------------------------------------------- headers


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has only 0 bytes"),
        (b"1234567", "it has only 7 bytes"),
        (
            (2**40).to_bytes(8, "little") + bytes(100),
            r"its header claims 1,099,511,627,776 bytes, and the file has 108",
        ),
    ],
)
def test_a_header_with_an_excessive_length_is_not_downloaded(hub: Hub, home: Path, data: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=f"is not a safetensors file: {message}"):
        fetch_header(file(hub, data))
    assert hub.bytes_sent() <= 8


def test_a_header_of_gigabytes_is_not_downloaded(hub: Hub, home: Path) -> None:
    """The header is as long as the file, so only the limit of headers detects it."""
    part = file(hub, size=10**10)
    hub.inject(FILE, lambda request, respond: respond(request).with_headers(Content_Range="bytes 0-7/10000000000"))
    hub.file("model.safetensors", (10**9).to_bytes(8, "little"))
    with pytest.raises(WeightsError, match="claims 1,000,000,000 bytes, and one has at most 100,000,000"):
        fetch_header(part)


# ---------------------------------------------------------------- interrupted


def test_any_behaviour_of_a_server_gives_the_right_bytes_or_a_layerzoo_error(hub: Hub, home: Path) -> None:
    """Thirty servers that fail at random run at once, because a failing one makes its clients wait."""

    def one(seed: int) -> str:
        data = noise(200_000, seed)
        part = file(hub, data, f"{seed}.safetensors")
        hub.misbehave(f"/files/{seed}.safetensors", seed, rate=0.4)
        spans = [Span(start, start + 20_000) for start in random.Random(seed).sample(range(180_000), 4)]
        outcome = ""
        for ask in (lambda: part.ensure(spans), part.complete):
            try:
                ask()
            except LayerzooError as error:
                outcome += type(error).__name__
                assert not part.is_whole
                continue
            for span in part.fetched_spans():
                assert bytes_at(part, span) == data[span.start : span.stop], seed
        if part.is_whole:
            assert part.path.read_bytes() == data, seed
        return outcome

    with ThreadPoolExecutor(30) as pool:
        outcomes = list(pool.map(one, range(30)))
    assert outcomes.count("") >= 20


PULL = """
import sys
from layerzoo.weights.network import web_endpoint
from layerzoo.weights.partial import About, PartialFile
url, name, size, digest = sys.argv[1:]
part = PartialFile(About(url, name, int(size), digest), web_endpoint(url))
print("ready", flush=True)
sys.stdin.readline()
try:
    print(part.complete())
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def start(part: PartialFile, place: Path, prefix: tuple[str, ...] = (), **options: object) -> subprocess.Popen[str]:
    """Start a process that downloads the file on request."""
    about = part.about
    command = [*prefix, sys.executable, "-c", PULL, about.source, about.name, str(about.size), about.digest]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, cwd=place, **pipes, **options)  # type: ignore[call-overload]
    assert process.stdout.readline() == "ready\n"
    return process  # type: ignore[no-any-return]


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_a_killed_download_continues(hub: Hub, home: Path) -> None:
    """A process killed repeatedly at random moments never stores a wrong byte, and finally completes the file."""
    part = file(hub, LARGE)
    hub.slow(FILE, bytes_per_second=30 * MB)
    moments = random.Random(os.urandom(8))
    for _ in range(4):
        process = start(part, home)
        go(process)
        time.sleep(moments.uniform(0.05, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for span in part.fetched_spans():
            assert bytes_at(part, span) == LARGE[span.start : span.stop]
        if part.is_whole:
            break
    hub.heal()
    time.sleep(0.5)  # the server may still be accepting connections of dead processes, and sending to them
    hub.requests.clear()
    here = part.here_bytes
    assert part.complete().read_bytes() == LARGE
    assert hub.bytes_sent() == len(LARGE) - here


@pytest.mark.parametrize("count", [2, 4])
def test_concurrent_processes_download_a_file_once(hub: Hub, home: Path, count: int) -> None:
    part = file(hub, LARGE)
    processes = [start(part, home) for _ in range(count)]
    for process in processes:
        go(process)
    reported = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * count, reported
    assert part.path.read_bytes() == LARGE
    assert hub.bytes_sent() == len(LARGE)


def test_a_part_removed_by_another_process_is_detected(hub: Hub, home: Path) -> None:
    part = file(hub)
    part.ensure([Span(0, 1000)])
    part.require([Span(0, 1000)])
    part.forget()
    with pytest.raises(ChangedError, match="while it was being read: by another process"):
        part.require([Span(0, 1000)])


# ---------------------------------------------------------------- the disk


def test_a_full_disk_is_reported_and_leaves_no_file_that_seems_complete(hub: Hub, home: Path) -> None:
    part = file(hub, LARGE)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10 * MB, 10 * MB))

    process = start(part, home, preexec_fn=limit)
    go(process)
    _, error = process.communicate()
    assert error.startswith("CacheError: the cache folder ")
    assert "LAYERZOO_CACHE=FOLDER chooses another one" in error
    assert not part.is_whole
    assert part.complete().read_bytes() == LARGE


def under_mount(part: PartialFile, place: Path, mount: str) -> str:
    """Download in a process for which the cache folder is a separate disk. Returns: its output."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("only root can mount a disk, and only where it may")
    Path(os.environ["LAYERZOO_CACHE"]).mkdir(exist_ok=True)
    process = start(part, place, ("unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"))
    go(process)
    return "".join(process.communicate())


def test_insufficient_disk_space_is_reported_before_the_download(hub: Hub, home: Path) -> None:
    part = file(hub, LARGE)
    reported = under_mount(part, home, 'mount -t tmpfs -o size=20m tmpfs "$LAYERZOO_CACHE"')
    assert reported.startswith(f"CacheError: {part.about.source} needs 40,000,000 bytes more on the disk, and ")
    assert "Next: make room, or choose another folder with LAYERZOO_CACHE=FOLDER" in reported
    assert hub.requests == []


def test_a_read_only_cache_is_reported_unless_it_is_complete(hub: Hub, home: Path) -> None:
    part = file(hub)
    read_only = 'mount --bind "$LAYERZOO_CACHE" "$LAYERZOO_CACHE" && mount -o remount,bind,ro "$LAYERZOO_CACHE"'
    reported = under_mount(part, home, read_only)
    assert reported.startswith("CacheError: the cache folder ")
    assert "Read-only file system" in reported
    part.complete()
    hub.requests.clear()
    assert Path(under_mount(part, home, read_only).strip()).read_bytes() == DATA
    assert hub.requests == []


# ---------------------------------------------------------------- a damaged cache


def test_a_truncated_line_of_the_journal_invalidates_only_its_part(hub: Hub, home: Path) -> None:
    part = file(hub)
    part.ensure([Span(0, 1000)])
    with (part.folder / "spans.jsonl").open("a") as journal:
        journal.write('{"span": [0, 30000')
    part.ensure([Span(0, 2000)])
    assert bytes_at(part, Span(0, 2000)) == DATA[:2000]
    assert hub.bytes_sent() == 2000


@pytest.mark.parametrize("line", ['{"span": [0, "x"]}', '{"span": 7}', '{"span": [5]}', "[1, 2]", "null"])
def test_an_invalid_journal_is_ignored(hub: Hub, home: Path, line: str) -> None:
    part = file(hub)
    part.ensure([Span(0, 1000)])
    (part.folder / "spans.jsonl").write_text(f"{line}\n")
    assert part.complete().read_bytes() == DATA


def test_a_truncated_file_is_downloaded_again(hub: Hub, home: Path) -> None:
    part = file(hub)
    os.truncate(part.complete(), 1000)
    assert not part.is_whole
    assert part.complete().read_bytes() == DATA


def test_identifying_headers_are_compared_at_every_request(hub: Hub, home: Path) -> None:
    """Headers that identify a file are compared at every request."""
    url = hub.file("model.safetensors", DATA)
    place = Endpoint(url, "hf://acme/vit", {"x-repo-commit": "1" * 40}, is_on_hub=True)
    hub.set_header(FILE, "X-Repo-Commit", "2" * 40)
    part = PartialFile(About("hf://acme/vit", "model.safetensors", len(DATA), "0" * 64), place)
    with pytest.raises(ChangedError, match=f"its x-repo-commit was {'1' * 40}, and is {'2' * 40} now"):
        part.ensure([Span(0, 10)])


def test_the_journal_is_readable_without_the_code_that_wrote_it(hub: Hub, home: Path) -> None:
    part = file(hub)
    part.ensure([Span(0, 10)])
    assert json.loads((part.folder / "about.json").read_text()) == {
        "source": part.about.source,
        "name": "model.safetensors",
        "size": len(DATA),
        "digest": part.about.digest,
    }
