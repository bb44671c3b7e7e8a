"""The HTTP server of a hub, on the loopback."""

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

_CHUNK_BYTES = 1 << 16


class Hub(Faults):
    """A hub that runs in a ``with`` block. The methods of :class:`Faults` inject faults.

    tls: serve https, with a certificate that the variables of :meth:`environment` trust.
    cdn: redirect requests for large files to another host, as https://huggingface.co does.
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
        poll_interval_s = 0.02
        self._thread = threading.Thread(target=self._server.serve_forever, args=(poll_interval_s,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._thread.join()
        self._folder.cleanup()

    # ------------------------------------------------------------ for tests

    @property
    def url(self) -> str:
        """The value for ``HF_ENDPOINT``."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    @property
    def authority(self) -> Path:
        """The certificate of the authority that signed the server's certificate (PEM), for ``SSL_CERT_FILE``."""
        return Path(self._folder.name) / "authority.pem"

    def repository(self, name: str, *, token: str | None = None, private: bool = False) -> Repository:
        """Create an empty repository; see :class:`Repository`."""
        repository = self._contents.repositories[name] = Repository(name, token=token, private=private)
        return repository

    def file(self, name: str, data: bytes) -> str:
        """Create or change a file outside of all repositories. Returns: its URL."""
        self._contents.files[name] = data
        return f"{self.url}/files/{quote(name)}"

    def bytes_sent(self, path: str = "*") -> int:
        """Return the number of bytes sent in bodies for requests whose path matches."""
        return sum(request.sent for request in self.requests if request.matches(path))

    def environment(self, home: Path, **variables: str) -> dict[str, str]:
        """Return environment variables for a process that uses only this hub and stores downloads in ``home``."""
        excluded = re.compile(r"HF_|HUGGING|TRANSFORMERS_|SSL_CERT_|.*_proxy$", re.IGNORECASE)
        environment = {name: value for name, value in os.environ.items() if not excluded.match(name)}
        environment |= {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        # No telemetry, and plain HTTP instead of Xet's protocol, which this hub does not support.
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_XET": "1"}
        if self.authority.exists():
            environment["SSL_CERT_FILE"] = str(self.authority)
        return environment | variables

    def run(self, program: str, home: Path, **variables: str) -> tuple[int, str]:
        """Run a Python program that uses only this hub. Returns: its exit code and its output."""
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
        """Return the answer to a request. Raises: ConnectionAbortedError if a fault closes the connection instead."""
        self.requests.append(request)
        return self.with_faults(request, self._contents.answer)


# ---------------------------------------------------------------- connections


class _Server(ThreadingHTTPServer):
    """A server whose threads end with it. Waiting clients find their connection closed."""

    daemon_threads = False
    request_queue_size = 128  # pending connections: clients request many ranges at once

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close without a shutdown, which a reset (``SO_LINGER`` of 0) requires."""
        self._open.discard(request)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect; report every other error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # the client may have closed it already
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes, and Nagle delays the second by 40 ms
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
        chunk = _CHUNK_BYTES if answer.bytes_per_second is None else max(1, int(answer.bytes_per_second / 20))
        for start in range(0, len(body), chunk):
            part = body[start : start + chunk]
            request.sent += len(part)  # counted before it is sent, so that it is counted when a client has read it
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
        """Print nothing: :attr:`Hub.requests` is the log."""
