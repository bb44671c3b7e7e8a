"""The precision that `auto` chooses, and the notice about emulated bfloat16."""

from __future__ import annotations

import logging

import pytest
import torch

import layerzoo
from layerzoo.runtime.precision import announce_emulation, choose_precision, computes_bfloat16, has_bfloat16


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"amx_tile": True, "amx_int8": True}, False),
        ({}, False),
    ],
)
def test_bfloat16_is_native_with_its_instructions_only(capabilities: dict[str, object], expected: bool) -> None:
    assert has_bfloat16(capabilities) is expected


def test_auto_is_bfloat16_exactly_where_this_cpu_computes_it() -> None:
    is_native = computes_bfloat16(torch.device("cpu"))
    flags = torch.cpu.get_capabilities()
    assert is_native == (flags["avx512_bf16"] or flags["amx_bf16"])
    backbone = layerzoo.load("toy/next-word", precision="auto")
    assert backbone.precision == ("bfloat16" if is_native else "float32")
    assert layerzoo.extract("toy/next-word", ["cat"], precision="auto").provenance["dtype"] == backbone.precision


def test_a_notice_says_once_that_bfloat16_is_slow(caplog: pytest.LogCaptureFixture) -> None:
    announce_emulation.cache_clear()
    with caplog.at_level(logging.WARNING, "layerzoo"):
        choose_precision("bfloat16", torch.device("cpu"))
        choose_precision("auto", torch.device("cpu"))
        choose_precision("bfloat16", torch.device("cpu"))
    expected = 0 if computes_bfloat16(torch.device("cpu")) else 1
    assert len([record for record in caplog.records if "precision='auto'" in record.message]) == expected
    announce_emulation.cache_clear()
    with caplog.at_level(logging.WARNING, "layerzoo"):
        announce_emulation()
        announce_emulation()
    assert len([record for record in caplog.records if "precision='auto'" in record.message]) == expected + 1
