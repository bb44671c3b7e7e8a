"""An import in a child process: a crash and a hang are results like any other."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from layerzoo.plugins.probe import probe
from layerzoo.registry import registry

Install = Callable[..., None]


@pytest.mark.parametrize(
    ("sample", "namespace", "state", "cause"),
    [
        ("good", "acme", "ok", None),
        ("raises", "raising", "failed", "ModuleNotFoundError: No module named 'a_library_that_is_not_there'"),
        ("exits", "exiting", "failed", "SystemExit: no licence found"),
        ("wrong_hook", "wrong", "failed", "PluginValidationError: Plugin 'wrong' for hook 'layerzoo_build'"),
        ("crashes", "crashing", "crashed", "the interpreter ended by SIGKILL during the import"),
    ],
)
def test_a_probe_tells_how_an_import_goes(
    install: Install, sample: str, namespace: str, state: str, cause: str | None
) -> None:
    install(sample)
    zoo = registry()
    manifest = zoo.plugin(namespace)
    result = probe(manifest)
    assert (result.state, result.cause) == (state, cause)
    assert manifest.module not in sys.modules
    outcome = zoo.outcome(manifest)
    assert outcome is not None
    assert outcome["cause"] == cause


def test_an_import_that_hangs_ends_at_the_time_limit(install: Install) -> None:
    install("hangs")
    result = probe(registry().plugin("hanging"), time_limit_s=1.5)
    assert (result.state, result.cause) == ("hung", "the import took longer than 1.5 s")
