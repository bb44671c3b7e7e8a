"""Errors form the tree that is drawn at the top of their module, and can be pickled with their attributes."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from layerzoo import errors
from layerzoo.errors import (
    CacheError,
    DigestError,
    LayerError,
    LayerzooError,
    MissingLibraryError,
    NotFoundError,
    OutputError,
    PluginError,
    RegistryError,
    SampleError,
    UnavailableError,
    UnknownLayerError,
    UnknownModelError,
    UsageError,
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


def drawn(error: type[LayerzooError], depth: int = 0) -> list[str]:
    """Draw an error and the errors derived from it, as at the top of errors.py."""
    children = [
        line
        for child in error.__subclasses__()
        if child.__module__ == errors.__name__
        for line in drawn(child, depth + 1)
    ]
    return [f"{'    ' * (depth + 1)}{error.__name__} {error.exit_code}", *children]


def test_the_tree_at_the_top_of_the_module_is_the_tree_of_its_classes():
    assert errors.__doc__ is not None
    _, _, tree = errors.__doc__.partition("below::\n\n")
    assert tree.rstrip().splitlines() == drawn(LayerzooError)


def test_an_unknown_layer_is_an_error_of_a_layer_and_is_not_found():
    error = UnknownLayerError("vit has no layer 'blok.3'", asked="blok.3", nearest=["block.3"])
    assert isinstance(error, LayerError)
    assert isinstance(error, NotFoundError)
    assert error.exit_code == 3


def test_a_cache_that_cannot_be_written_is_not_wrong_usage():
    assert CacheError("the disk is full").exit_code == UnavailableError.exit_code != UsageError.exit_code


def test_no_message_has_an_article_before_the_name_of_a_type() -> None:
    source = Path(errors.__file__).parent
    lines = [line for path in source.rglob("*.py") for line in path.read_text(encoding="utf-8").splitlines()]
    assert not [line for line in lines if re.search(r"\b(a|an) \{type\(", line)]
