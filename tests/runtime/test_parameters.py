"""`extract` and `stream` have the same parameters."""

from __future__ import annotations

import inspect

import layerzoo


def test_extract_has_the_parameters_of_stream() -> None:
    extract, stream = inspect.signature(layerzoo.extract), inspect.signature(layerzoo.stream)
    assert list(extract.parameters.values()) == list(stream.parameters.values())
    assert extract.return_annotation == "Features"
