"""Hooks have no network access; the rest of the process keeps it."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
import torch
from huggingface_hub import HfApi, hf_hub_download
from tests.hub import Hub

import layerzoo
from layerzoo.errors import OutsideRepositoryError
from layerzoo.isolation import own_network, without_network

MODEL = "hf/acme/vit"


@pytest.fixture
def address(hub: Hub) -> tuple[str, int]:
    hub.repository("acme/other").commit({"config.json": "{}"})
    host, port = hub.url.removeprefix("http://").split(":")
    return host, int(port)


def with_socket(kind: socket.SocketKind, use: Callable[[socket.socket], object]) -> None:
    with socket.socket(socket.AF_INET, kind) as opened:
        use(opened)


def ways(hub: Hub, address: tuple[str, int]) -> dict[str, Callable[[], object]]:
    """Return ways to connect to a host, from low level to high level."""
    url = f"{hub.url}/acme/other/resolve/main/config.json"
    return {
        "a socket": lambda: with_socket(socket.SOCK_STREAM, lambda it: it.connect(address)),
        "a socket that does not wait": lambda: with_socket(socket.SOCK_STREAM, lambda it: it.connect_ex(address)),
        "a datagram": lambda: with_socket(socket.SOCK_DGRAM, lambda it: it.sendto(b"x", address)),
        "a look-up": lambda: socket.getaddrinfo("example.org", 443),
        "an older look-up": lambda: socket.gethostbyname("example.org"),
        "urllib": lambda: urllib.request.urlopen(url),
        "httpx": lambda: httpx2.get(url),
        "torch.hub": lambda: torch.hub.load_state_dict_from_url(url),
        "huggingface_hub": lambda: hf_hub_download("acme/other", "config.json", endpoint=hub.url, force_download=True),
        "its API": lambda: HfApi(endpoint=hub.url).model_info("acme/other"),
    }


@pytest.mark.parametrize("way", ["a socket", "a socket that does not wait", "a datagram", "a look-up"])
def test_a_hook_opens_no_connection(hub: Hub, address: tuple[str, int], way: str) -> None:
    with pytest.raises(OutsideRepositoryError, match=f"{MODEL}: its library asked for "), without_network(MODEL):
        ways(hub, address)[way]()


@pytest.mark.parametrize("way", ["urllib", "httpx", "torch.hub", "huggingface_hub", "its API"])
def test_the_error_names_the_second_repository(hub: Hub, address: tuple[str, int], way: str) -> None:
    with pytest.raises(OutsideRepositoryError) as caught, without_network(MODEL):
        ways(hub, address)[way]()
    assert "acme/other" in caught.value.reference
    assert hub.requests == []


def test_a_library_that_ignores_the_refused_connection_is_refused_too(hub: Hub, address: tuple[str, int]) -> None:
    def swallow() -> None:
        with contextlib.suppress(Exception):
            socket.create_connection(address)

    with pytest.raises(OutsideRepositoryError), without_network(MODEL):
        swallow()


def test_threads_of_a_hook_have_no_network(hub: Hub, address: tuple[str, int]) -> None:
    errors: list[Exception] = []

    def connect() -> None:
        try:
            socket.create_connection(address)
        except OutsideRepositoryError as error:
            errors.append(error)

    def connect_in_threads() -> None:
        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(connect).result()

    with pytest.raises(OutsideRepositoryError), without_network(MODEL):
        connect_in_threads()
    assert len(errors) == 2


def test_other_threads_keep_their_network(hub: Hub, address: tuple[str, int]) -> None:
    go_on, done = threading.Event(), []

    def connect() -> None:
        go_on.wait(10)
        socket.create_connection(address).close()
        done.append(True)

    thread = threading.Thread(target=connect)
    thread.start()
    with without_network(MODEL):
        go_on.set()
        thread.join()
    socket.create_connection(address).close()
    assert done == [True]


def test_requests_of_layerzoo_are_allowed(hub: Hub, address: tuple[str, int]) -> None:
    with without_network(MODEL), own_network():
        socket.create_connection(address).close()


def test_the_error_in_a_nested_hook_names_the_inner_hook(hub: Hub, address: tuple[str, int]) -> None:
    outer, inner = without_network(MODEL), without_network("hf/acme/inner")
    with pytest.raises(OutsideRepositoryError, match="hf/acme/inner"), outer, inner:
        socket.create_connection(address)


def test_local_sockets_are_allowed() -> None:
    with without_network(MODEL):
        left, right = socket.socketpair()
        left.close()
        right.close()


def test_a_network_and_its_preprocessing_open_no_connection(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> None:
        socket.create_connection(address).close()

    backbone = layerzoo.load("toy/next-word")
    hook = backbone.module.network.register_forward_pre_hook(connect)
    for run in (
        lambda: backbone.activations(backbone.preprocess(["the cat"])),
        lambda: layerzoo.extract(backbone, ["the cat", "milk"], errors="skip"),
    ):
        with pytest.raises(OutsideRepositoryError, match="toy/next-word"):
            run()
    hook.remove()
    rows = backbone.preprocess.rows
    monkeypatch.setattr(backbone.preprocess, "rows", lambda *given: (connect(), rows(*given))[1])
    with pytest.raises(OutsideRepositoryError, match="toy/next-word"):
        layerzoo.extract(backbone, ["the cat", "milk"], errors="skip")


def test_a_module_of_the_caller_keeps_its_network(address: tuple[str, int]) -> None:
    class Remote(torch.nn.Linear):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            if not values.is_meta:
                socket.create_connection(address).close()
            return super().forward(values)

    backbone = layerzoo.wrap(torch.nn.Sequential(Remote(3, 2)))
    assert layerzoo.extract(backbone, np.ones((4, 3), np.float32)).shape == (4, 2)
