"""The catalogued size of a published checkpoint is the one that its name states, or is unknown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import layerzoo_hf
from layerzoo.runtime.catalogue import models_to_list
from layerzoo_hf.stated import stated_params

CATALOGUE = Path(layerzoo_hf.__file__).with_name("models.jsonl")


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    lines = CATALOGUE.read_text(encoding="utf-8").splitlines()[1:]
    return {row["id"]: row for row in map(json.loads, lines)}


def offenders(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return the rows whose id states a number of parameters that differs by a factor of 2 or more. Written
    independently of the plugin."""
    found = []
    for name, row in rows.items():
        stated = [
            float(number) * {"m": 1e6, "b": 1e9}[unit.lower()] * int(times or 1)
            for times, number, unit in re.findall(r"(?<![\w.])(?:(\d+)x)?(\d+(?:\.\d+)?)([mMbB])(?=[-_.:]|$)", name)
        ]
        if stated and "params" in row and not max(stated) / 2 < row["params"] < max(stated) * 2:
            found.append(f"{name}: {row['params']:,}")
    return found


def test_no_row_has_a_size_that_contradicts_its_id(rows: dict[str, dict[str, Any]]) -> None:
    assert offenders(rows) == []


def test_a_contradicting_row_is_detected() -> None:
    assert offenders({"acme/net-7b": {"params": 1_300_000_000}, "acme/net-1.3b": {"params": 1_300_000_000}}) == [
        "acme/net-7b: 1,300,000,000"
    ]


def test_a_checkpoint_has_a_size_only_if_its_name_states_one(rows: dict[str, dict[str, Any]]) -> None:
    for name, row in rows.items():
        if "weights" in row and "params" in row:
            stated = stated_params(row["weights"])
            assert stated is not None, name
            assert stated[0] <= row["params"] <= stated[1], name


def test_a_checkpoint_of_unknown_size_has_no_facts_of_its_architecture(rows: dict[str, dict[str, Any]]) -> None:
    published, architecture = rows["bigscience/bloom"], rows["bloom"]
    assert not {"params", "flops", "layers", "aliases"} & published.keys()
    assert published["summary"] == "BloomModel, size unknown until inspected"
    assert published["weights"] == "hf://bigscience/bloom"
    assert "weights" not in architecture
    with torch.device("meta"):
        network = transformers.BloomModel(transformers.BloomConfig())
    assert architecture["params"] == sum(parameter.numel() for parameter in network.parameters())
    assert architecture["layers"]
    assert architecture["args"] == published["args"]


@pytest.mark.parametrize(
    ("checkpoint", "millions"),
    [
        ("facebook/opt-350m", 350),
        ("mistralai/Mixtral-8x7B-v0.1", 56_000),
        ("allenai/OLMoE-1B-7B-0924", 7_000),
        ("Qwen/Qwen3-30B-A3B-Base", 30_000),
        ("microsoft/bitnet-b1.58-2B-4T", 2_000),
        ("facebook/m2m100_418M", 418),
    ],
)
def test_a_number_with_a_unit_is_a_size(checkpoint: str, millions: float) -> None:
    stated = stated_params(checkpoint)
    assert stated is not None
    assert stated[0] < millions * 1e6 < stated[1]
    assert stated[1] < 1.6 * stated[0]


@pytest.mark.parametrize(
    "checkpoint",
    [
        "bigscience/bloom",
        "openai-community/gpt2",
        "google/gemma-3n-E4B",
        "microsoft/Phi-3-mini-4k-instruct",
        "a-7b/net",
    ],
)
def test_other_names_state_no_size(checkpoint: str) -> None:
    assert stated_params(checkpoint) is None


def test_a_traced_row_is_split_if_its_weights_have_another_size() -> None:
    row = {"id": "acme/net-7b", "aliases": ["net", "net_text"], "summary": "Net", "weights": "hf://acme/net-7b"}
    traced = {**row, "params": 7, "flops": 9, "layers": [["norm", "norm"]]}
    unknown = {"id": "acme/net-7b", "summary": "Net?", "weights": "hf://acme/net-7b"}
    architecture = {key: value for key, value in traced.items() if key != "weights"}
    architecture |= {"id": "net", "aliases": ["net_text"]}
    assert models_to_list(traced) == [traced]
    assert models_to_list({**traced, "published": {"summary": "Net?", "params": [5, 8]}}) == [traced]
    assert models_to_list({**traced, "published": {"summary": "Net?", "params": [8, 9]}}) == [unknown, architecture]
    assert models_to_list({**traced, "published": {"summary": "Net?"}}) == [unknown, architecture]
    assert models_to_list({**row, "failed": "x", "published": {"summary": "Net?"}}) == [
        {**row, "summary": "Net?", "failed": "x"}
    ]
