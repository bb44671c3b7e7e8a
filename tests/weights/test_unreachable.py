"""A host that cannot be reached is named, with the next step."""

from __future__ import annotations

import httpx2
import pytest

from layerzoo.errors import ConnectionFailedError
from layerzoo.weights.network.connection import translated


def test_a_host_that_refuses_connections_is_named() -> None:
    expected = r"^Cannot reach 127\.0\.0\.1:1\. Check your connection\. a\.safetensors is not on this machine$"
    with pytest.raises(ConnectionFailedError, match=expected), translated("a.safetensors"):
        httpx2.get("http://127.0.0.1:1/a.safetensors", trust_env=False)
