"""Errors can be pickled with their attributes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from layerzoo.errors import (
    DigestError,
    LayerzooError,
    MissingLibraryError,
    OutputError,
    PluginError,
    RegistryError,
    SampleError,
    UnknownModelError,
)

ERRORS = [
    SampleError("a.jpg", "truncated"),
    UnknownModelError("no such model", asked="vit", nearest=["vit2"]),
    PluginError("broken", plugin="acme"),
    RegistryError("invalid", ["line 1"]),
    OutputError("full", path=Path("x.parquet")),
    MissingLibraryError("torch", extra="torch"),
    DigestError(Path("m.bin"), declared="0", found="1", advice="Get it again"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_pickled_error_keeps_its_message_and_attributes(error: LayerzooError):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
