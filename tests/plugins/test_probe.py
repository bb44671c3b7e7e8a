"""Importing a plugin in a child process: crashes and hangs are results too."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from layerzoo.plugins.probe import probe
from layerzoo.registry import registry

Install = Callable[..., None]


@pytest.mark.parametrize(
    ("sample", "namespace", "state", "cause", "fix"),
    [
        ("good", "acme", "ok", "", ""),
        ("raises", "raising", "failed", "No module named 'a_library_tha", "pip install a_library_that_is_not_there"),
        ("missing_library", "lacking", "failed", "No module named 'onnxoid'", "pip install 'onnxoid>=1.17'"),
        ("import_error", "renamed", "failed", "ImportError: cannot import name", "pip install -U renamed-zoo click;"),
        ("broken_shared_library", "native", "failed", "OSError: ", "pip install --force-reinstall native-zoo;"),
        ("exits", "exiting", "failed", "SystemExit: no licence found", "pip install -U exiting-zoo;"),
        (
            "wrong_hook",
            "wrong",
            "failed",
            "its hook layerzoo_build asks for colour",
            "pip install -U layerzoo wrong-zoo;",
        ),
        ("crashes", "crashing", "crashed", "the interpreter ended by SIGKILL", "pip install -U crashing-zoo;"),
    ],
)
def test_a_probe_reports_the_result_of_an_import(
    install: Install, sample: str, namespace: str, state: str, cause: str, fix: str
) -> None:
    install(sample)
    zoo = registry()
    manifest = zoo.plugin(namespace)
    result = probe(manifest)
    assert result.state == state
    assert cause in (result.cause or "")
    assert (result.fix or "").startswith(fix)
    assert manifest.module not in sys.modules
    assert zoo.outcome(manifest) == result


def test_an_import_that_hangs_ends_at_the_time_limit(install: Install) -> None:
    install("hangs")
    result = probe(registry().plugin("hanging"), time_limit_s=1.5)
    assert (result.state, result.cause) == ("hung", "the import took longer than 1.5 s")
