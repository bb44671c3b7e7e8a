"""Samples are prepared ahead, in threads where that is faster, and come back in order."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

import layerzoo
from layerzoo.errors import SampleError
from layerzoo.runtime.prefetch import prefetch


def _thread(item: int) -> tuple[int, str]:
    return item, threading.current_thread().name


def test_short_work_is_done_by_the_caller_and_results_are_in_order() -> None:
    done = list(prefetch(range(50), _thread, ahead=4, may_be_short=lambda item: item % 5 > 0))
    assert [item for item, _ in done] == list(range(50))
    own = threading.current_thread().name
    assert {item for item, name in done if name != own} >= set(range(0, 50, 5))
    assert any(name == own for _, name in done)


def test_threads_are_used_after_several_items_in_a_row_took_long() -> None:
    def work(item: int) -> tuple[int, str]:
        if item >= 3:
            time.sleep(0.002)
        return _thread(item)

    done = list(prefetch(range(20), work, ahead=4, may_be_short=lambda item: True))
    assert [item for item, _ in done] == list(range(20))
    own = threading.current_thread().name
    assert done[0][1] == own
    assert all(name != own for _, name in done[7:])


def test_an_exception_of_short_work_is_raised_in_place_of_its_result() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    results = prefetch(range(9), work, ahead=4, may_be_short=lambda item: True)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_arrays_among_files_have_the_same_features_as_alone(home: Any, tmp_path: Any) -> None:
    pixels = list(np.random.default_rng(0).integers(0, 256, (6, 50, 40, 3), dtype=np.uint8))
    from PIL import Image

    mixed: list[Any] = list(pixels)
    for number in (1, 4):
        mixed[number] = tmp_path / f"{number}.png"
        Image.fromarray(pixels[number]).save(mixed[number])
    backbone = layerzoo.load("starter/efficientnet-lite0", layer="stage.0")
    expected = layerzoo.extract(backbone, pixels).values
    np.testing.assert_array_equal(layerzoo.extract(backbone, mixed).values, expected)
    broken = layerzoo.extract(backbone, [*mixed, np.zeros((0, 3), np.uint8)], errors="skip")
    assert [type(error) for error in broken.errors] == [SampleError]
    np.testing.assert_array_equal(broken.values, expected)
