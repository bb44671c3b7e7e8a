"""The server: a hub's contents and faults, on a loopback connection."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlsplit

import trustme
from tests.hub.contents import Contents
from tests.hub.exchange import Answer, Request
from tests.hub.faults import Faults
from tests.hub.repository import Repository

_PIECE_BYTES = 1 << 16


class Hub(Faults):
    """A hub, while its ``with`` block runs. Faults are planned with the methods of :class:`Faults`.

    tls: serve https, under a certificate that :meth:`environment` makes trusted. cdn: send those who ask for a large
    file to another host, as https://huggingface.co does.
    """

    def __init__(self, *, tls: bool = False, cdn: bool = False) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._server = _Server(self)
        self._folder = tempfile.TemporaryDirectory(prefix="hub-")
        self._scheme = "https" if tls else "http"
        cdn_url = f"{self._scheme}://localhost:{self._server.server_port}/cdn" if cdn else None
        self._contents = Contents(cdn_url)
        if tls:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(str(self.authority))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    def __enter__(self) -> Self:
        # It looks that often for its end, in seconds.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._thread.join()
        self._folder.cleanup()

    # ------------------------------------------------------------ for tests

    @property
    def url(self) -> str:
        """What ``HF_ENDPOINT`` is to be."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    @property
    def authority(self) -> Path:
        """The certificate of who signed the server's (PEM), for ``SSL_CERT_FILE``."""
        return Path(self._folder.name) / "authority.pem"

    def repository(self, name: str, *, token: str | None = None, private: bool = False) -> Repository:
        """A new, empty repository; see :class:`Repository`."""
        repository = self._contents.repositories[name] = Repository(name, token=token, private=private)
        return repository

    def file(self, name: str, data: bytes) -> str:
        """Put a file outside of all repositories, or another content into it. Returns: its URL."""
        self._contents.files[name] = data
        return f"{self.url}/files/{quote(name)}"

    def bytes_sent(self, path: str = "*") -> int:
        """Bytes of all bodies sent for requests whose path matches."""
        return sum(request.sent for request in self.requests if request.matches(path))

    def environment(self, home: Path, **variables: str) -> dict[str, str]:
        """Variables under which a process uses this hub alone, and keeps what it fetches in a home of its own."""
        foreign = re.compile(r"HF_|HUGGING|TRANSFORMERS_|SSL_CERT_|.*_proxy$", re.IGNORECASE)
        ours = {name: value for name, value in os.environ.items() if not foreign.match(name)}
        ours |= {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        # No word to anybody about who is asking, and plain HTTP in place of Xet's protocol, which this hub has not.
        ours |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_XET": "1"}
        if self.authority.exists():
            ours["SSL_CERT_FILE"] = str(self.authority)
        return ours | variables

    def run(self, program: str, home: Path, **variables: str) -> tuple[int, str]:
        """Run a Python program that knows this hub only. Returns: its exit code, and what it printed."""
        environment = self.environment(home, **variables)
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout.strip()

    def answer(self, request: Request) -> Answer:
        """What is sent for a request. Raises: ConnectionAbortedError where a fault closes the connection instead."""
        self.requests.append(request)
        return self.with_faults(request, self._contents.answer)


# ---------------------------------------------------------------- connections


class _Server(ThreadingHTTPServer):
    """Threads end with the server: whoever still waits on a connection finds it closed."""

    daemon_threads = False
    request_queue_size = 128  # connections that wait to be accepted: clients ask for many ranges at once

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close without saying goodbye first, which a reset (``SO_LINGER`` of 0) must not."""
        self._open.discard(request)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of the server's; anything else is, and shows."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # the client may have been quicker
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: a client would wait 40 ms for the second
    server: _Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        request = Request(self.command, url.path, parse_qs(url.query), self.headers.get("Range"), token, parse_qs(form))
        try:
            answer = self.server.hub.answer(request)
        except ConnectionAbortedError:
            self.close_connection = True
            return
        request.status = answer.status
        self._send(request, answer)

    do_HEAD = do_POST = do_GET

    def _send(self, request: Request, answer: Answer) -> None:
        self.send_response_only(answer.status)
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = b"" if request.method == "HEAD" else answer.body[: answer.close_after]
        piece = _PIECE_BYTES if answer.bytes_per_second is None else max(1, int(answer.bytes_per_second / 20))
        for start in range(0, len(body), piece):
            part = body[start : start + piece]
            request.sent += len(part)  # before it goes out: whoever has read it finds it counted
            self.wfile.write(part)
            if answer.bytes_per_second and self.server.closing.wait(len(part) / answer.bytes_per_second):
                break
        if request.method != "HEAD" and str(len(body)) != headers["Content-Length"]:
            self._close(reset=answer.reset)

    def _close(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: :attr:`Hub.requests` is the log."""
