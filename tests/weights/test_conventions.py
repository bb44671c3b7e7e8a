"""The names of files that plugins declare are those that the installed libraries use."""

from __future__ import annotations

import os
from pathlib import Path

import huggingface_hub.constants
import pytest
import transformers.trainer as trainer
from transformers.utils import ADAPTER_SAFE_WEIGHTS_NAME, ADAPTER_WEIGHTS_NAME

from layerzoo.weights import conventions, files
from layerzoo.weights.conventions import FileConventions, file_conventions


def test_the_usual_checkpoints_are_those_of_the_hub() -> None:
    names = (huggingface_hub.constants.SAFETENSORS_SINGLE_FILE, huggingface_hub.constants.PYTORCH_WEIGHTS_NAME)
    assert names == files.TENSOR_FILES


def test_files_of_a_training_are_no_checkpoints() -> None:
    names = [getattr(trainer, name) for name in ("TRAINING_ARGS_NAME", "OPTIMIZER_NAME", "OPTIMIZER_NAME_BIN")]
    names.append(trainer.SCHEDULER_NAME)
    assert not any(files.is_checkpoint(name, file_conventions()) for name in names)


@pytest.mark.parametrize("name", [ADAPTER_WEIGHTS_NAME, ADAPTER_SAFE_WEIGHTS_NAME])
def test_adapters_are_refused(name: str) -> None:
    assert "merge" in (file_conventions().refusal(name) or "")


@pytest.mark.parametrize(
    ("name", "most"),
    [("config.json", 16), ("tokenizer_config.json", 16), ("tokenizer.json", 128), ("spm.model", 128), ("a.json", None)],
)
def test_small_files_have_a_limit_by_their_name(name: str, most: int | None) -> None:
    assert file_conventions().most_bytes(name) == (None if most is None else most * 1_000_000)


def test_without_a_plugin_a_checkpoint_is_chosen_by_the_names_of_the_hub() -> None:
    names = ["model.safetensors", "pytorch_model.bin", "training_args.bin"]
    assert files.checkpoint_of(names, FileConventions()) == "model.safetensors"


@pytest.mark.parametrize(
    "text", ["other = 3", "other = 'x'", "[[sizes]]\nnames = ['a']", "[[refused]]", "other = ", "\0"]
)
def test_a_damaged_declaration_is_ignored_with_a_warning(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "files.toml"
    path.write_text(text)
    os.utime(path, ns=(0, 0))
    assert conventions._read(path, 0) == FileConventions()
    assert "files.toml is ignored" in caplog.text
