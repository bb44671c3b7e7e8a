"""The messages that layerzoo parses are those of the installed libraries."""

from __future__ import annotations

import resource
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import scan_cache_dir
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from layerzoo.library_messages import (
    cache_warnings_about,
    is_write_error,
    parse_extra_words,
    parse_load_state_dict_error,
    parse_truncated_chunks,
)


def test_torch_names_the_parameters_that_do_not_fit() -> None:
    state = nn.Linear(3, 2).state_dict() | {"weight": torch.zeros(5, 5)}
    del state["bias"]
    with pytest.raises(RuntimeError) as caught:
        nn.Linear(3, 2).load_state_dict(state)
    problems = parse_load_state_dict_error(caught.value)
    assert problems is not None
    assert {parameter for _, parameter in problems} == {"weight", None}


def test_torch_names_a_parameter_whose_value_cannot_be_copied() -> None:
    with pytest.raises(RuntimeError) as caught:
        nn.Linear(3, 2).load_state_dict({"weight": "text", "bias": torch.zeros(2)})
    problems = parse_load_state_dict_error(caught.value)
    assert problems is not None
    assert [parameter for _, parameter in problems] == ["weight"]


def test_an_error_of_a_hook_is_not_one_of_torch() -> None:
    assert parse_load_state_dict_error(RuntimeError("size mismatch for weight: it is the hook's own")) is None
    assert parse_load_state_dict_error(RuntimeError()) is None


def test_safetensors_tells_an_error_of_the_file_system_from_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"\xff" * 64)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, limits[1]))
    try:
        with pytest.raises(SafetensorError) as full:
            save_file({"weight": torch.zeros(1 << 16)}, tmp_path / "full.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(SafetensorError) as damaged:
        safe_open(tmp_path / "damaged.safetensors", "pt")
    assert (is_write_error(full.value), is_write_error(damaged.value)) == (True, False)


def test_libsndfile_states_the_sizes_of_a_truncated_chunk(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.zeros(8000, np.float32), 8000, subtype="PCM_16")
    whole = path.read_bytes()
    assert not parse_truncated_chunks(soundfile.SoundFile(path).extra_info)
    path.write_bytes(whole[:4044])
    assert (16_000, 4_000) in parse_truncated_chunks(soundfile.SoundFile(path).extra_info)


def test_huggingface_hub_names_the_damaged_folder(tmp_path: Path) -> None:
    for name in ("models--org--one", "models--org--other"):
        (tmp_path / name).mkdir()
    warnings = scan_cache_dir(tmp_path).warnings
    assert len(warnings) == 2
    assert len(cache_warnings_about(warnings, "models--org--one")) == 1


@pytest.mark.parametrize(("words", "extra"), [(["a", "b"], ["b"]), (["a", "b", "c"], ["b", "c"])])
def test_click_lists_the_words_that_are_too_many(words: list[str], extra: list[str]) -> None:
    command = click.Command("show", params=[click.Argument(["model"])])
    with pytest.raises(click.UsageError) as caught:
        command.make_context("show", words)
    assert parse_extra_words(caught.value.message) == extra
    assert parse_extra_words("Missing argument 'MODEL'.") is None
