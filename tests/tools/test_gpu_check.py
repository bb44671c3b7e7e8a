"""``make gpu-check``: its checks run on a CPU, too, and without a GPU it says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tools.gpu_check import Outcome

import layerzoo
from tools import gpu_check

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_exit_code_says_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main([]) == gpu_check.NO_GPU == 77
    assert "no GPU" in capsys.readouterr().out


def test_models_are_compared_on_generated_inputs(tmp_path: Path) -> None:
    found = {spec.id: spec for spec in gpu_check.small_models()}
    assert {"toy/next-word", "starter/efficientnet-lite0", "starter/minilm-l6"} <= found.keys()
    outcome = gpu_check.equals_the_cpu(found["toy/next-word"], CPU, tmp_path)
    assert outcome.is_reached, outcome


@pytest.mark.slow
def test_all_checks_run_on_a_cpu(tmp_path: Path) -> None:
    outcomes = [gpu_check.equals_the_cpu(spec, CPU, tmp_path) for spec in gpu_check.small_models()]
    outcomes += [gpu_check.padded_clips(CPU), gpu_check.several_devices(CPU)]
    assert all(outcome.is_reached for outcome in outcomes), "\n".join(map(str, outcomes))
    for check in (gpu_check.image_speed, gpu_check.text_speed):
        assert "peak memory" in check(CPU, "float32", 16).message


def test_a_difference_is_reported() -> None:
    one = layerzoo.extract("toy/next-word", ["the cat"])
    other = layerzoo.extract("toy/next-word", ["milk"])
    assert gpu_check.largest_error(one, one) == 0
    assert not gpu_check.verdict("texts", gpu_check.largest_error(one, other)).is_reached
    assert "MISSED" in str(Outcome("x", is_reached=False))
    assert np.isfinite(gpu_check.clips()[0][0]).all()


def test_what_is_not_installed_is_skipped() -> None:
    def check() -> Outcome:
        import absent_library  # type: ignore[import-not-found]

        return Outcome(str(absent_library), is_reached=True)

    outcome = gpu_check.skipping("videos", check)
    assert outcome.is_reached is None
    assert "skipped" in outcome.message
