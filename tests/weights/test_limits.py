"""Limits apply to everything that a hub states and sends."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hub import Hub
from tests.hub.exchange import Answer, Request, Respond

from layerzoo.errors import ConnectionFailedError, LayerzooError, ServerError, TooLargeError
from layerzoo.spec import Weights
from layerzoo.weights import Files, resolve

FILES: dict[str, bytes | str] = {"config.json": "{}", "vocab.txt": "a\nb", "model.safetensors": b"\2\0\0\0\0\0\0\0{}"}


def take(source: str = "hf://acme/vit") -> Files:
    return resolve(Weights(source=source))


@pytest.fixture
def vit(connected: Hub) -> Hub:
    connected.repository("acme/vit").commit(FILES)
    return connected


def say(hub: Hub, change: Any) -> None:
    """Make the hub send a changed list of a repository's files, or other bytes."""

    def fault(request: Request, respond: Respond) -> Answer:
        body = change if isinstance(change, bytes) else json.dumps(change(json.loads(respond(request).body))).encode()
        return Answer(200, {"Content-Type": "application/json"}, body)

    hub.inject("/api/models/*", fault)


def sized(size: Any, name: str = "config.json") -> Any:
    def change(plain: dict[str, Any]) -> dict[str, Any]:
        for each in plain["siblings"]:
            if each["rfilename"] == name:
                each["size"] = size
        return plain

    return change


@pytest.mark.parametrize("size", [1e400, float("nan"), 1.5, "3", [3], -1])
def test_an_invalid_size_raises_a_layerzoo_error(vit: Hub, size: Any) -> None:
    say(vit, sized(size))
    with pytest.raises(ServerError, match=r"config\.json is said to have"):
        take()


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"sha": 1e400}', b"null", b"\xff\xfe", b'{"sha": "x", "siblings": 7}', b""]
)
def test_an_invalid_list_raises_a_layerzoo_error(vit: Hub, body: bytes) -> None:
    say(vit, body)
    with pytest.raises(ServerError, match=r"not a model hub|names no commit"):
        take()


def test_an_endless_list_is_not_read_completely(vit: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerzoo.weights.network.hub._LARGEST_LISTING_BYTES", 100_000)
    say(vit, b'{"siblings": [' + b"1," * 20_000_000)
    with pytest.raises(ServerError, match="larger than 100,000 bytes"):
        take()
    assert vit.bytes_sent("/api/models/*") < 20_000_000


@pytest.mark.parametrize(
    ("name", "size"), [("config.json", 16_000_001), ("vocab.txt", 128_000_001), ("tokenizer_config.json", 10**15)]
)
def test_a_large_configuration_file_is_refused_before_the_download(vit: Hub, name: str, size: int) -> None:
    vit.repository("acme/vit").commit({**FILES, name: "{}"})
    say(vit, sized(size, name))
    with pytest.raises(TooLargeError, match=f"its {name} has {size:,} bytes"):
        take()
    assert vit.bytes_sent("*/resolve/*") == 0


def test_a_large_index_is_refused(vit: Hub) -> None:
    index = "model.safetensors.index.json"
    vit.repository("acme/vit").commit({"config.json": "{}", index: "{}"})
    say(vit, sized(128_000_001, index))
    with pytest.raises(TooLargeError, match=r"its model\.safetensors\.index\.json has 128,000,001 bytes"):
        take()


def test_a_large_file_that_no_library_reads_is_ignored(vit: Hub) -> None:
    vit.repository("acme/vit").commit({**FILES, "data.json": "{}"})
    say(vit, sized(10**15, "data.json"))
    assert set(take()) == set(FILES)


def test_too_many_files_are_refused(vit: Hub) -> None:
    def many(plain: dict[str, Any]) -> dict[str, Any]:
        first = plain["siblings"][0]
        return {
            **plain,
            "siblings": [*plain["siblings"], *({**first, "rfilename": f"{at}.json"} for at in range(3000))],
        }

    say(vit, many)
    with pytest.raises(TooLargeError, match="3,002 small files"):
        take()


def test_a_local_configuration_has_the_same_limit(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(16_000_001)
    with pytest.raises(TooLargeError, match="16,000,001 bytes"):
        resolve(None, tmp_path)


@pytest.mark.parametrize("header", ["X-Repo-Commit", "X-Linked-Etag", "ETag"])
@pytest.mark.parametrize("value", ["../../x", "/etc/x"])
def test_no_header_creates_a_file_outside_the_cache(vit: Hub, home: Path, header: str, value: str) -> None:
    vit.set_header("*/resolve/*", header, value)
    try:
        take()
    except LayerzooError as error:
        assert value in str(error) or "digest" in str(error)  # noqa: PT017 - or the header is not used
    assert not [path for path in home.parent.rglob("x") if path.is_file()]


@pytest.mark.parametrize("path", ["*/config.json", "/api/models/*"])
def test_a_very_slow_hub_is_abandoned(vit: Hub, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerzoo.weights.network.ranges.timeout_s", lambda: 0.3)
    vit.repository("acme/vit").commit({**FILES, "config.json": "{}" + " " * 1000})
    vit.slow(path, bytes_per_second=10)
    started = time.monotonic()
    with pytest.raises(ConnectionFailedError, match=r"only \d bytes came in"):
        take()
    assert time.monotonic() - started < 20


@pytest.fixture
def dripping() -> Iterator[str]:
    """Run a server that sends its headers slowly, one byte at a time, without end."""
    stop = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)

    def drip() -> None:
        clients = []
        while not stop.wait(0.05):
            with contextlib.suppress(TimeoutError):
                clients.append(server.accept()[0])
            for client in clients:
                with contextlib.suppress(OSError):
                    client.sendall(b"H")

    thread = threading.Thread(target=drip)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    stop.set()
    thread.join()
    server.close()


def test_endless_headers_are_abandoned(connected: Hub, dripping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", dripping)
    monkeypatch.setattr("layerzoo.weights.network.ranges.timeout_s", lambda: 0.2)
    with pytest.raises(ConnectionFailedError, match=r"did not begin in 0\.8 s"):
        take()
