"""The JSON output of real commands on real models matches the schema in docs/reference."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from tools.reference.json_output import json_schema

import layerzoo
from layerzoo import Features
from layerzoo.cli import main, zoo
from layerzoo.heads import labels_of_folders, train_head
from layerzoo.weights.cache import converted_path

Install = Callable[..., None]
Run = Callable[..., Any]

SCHEMA = json_schema()
BROKEN = ("invalid_yaml", "no_registry", "raises", "crashes", "half_valid")
FILE = """
layerzoo: 1
models:
  one: {modality: text, builder: toy, summry: A misspelt key}
  two: {modality: image}
aliases: {three: mine/nothing}
"""

PRINTED = {
    ("list", "--all"): "Entry",
    ("search", "t"): "Entry",
    ("show", "starter/minilm-l6"): "ModelSpec",
    ("show", "starter/efficientnet-lite0-video"): "ModelSpec",
    ("show", "acme/vit-shelf"): "ModelSpec",
    ("layers", "starter/whisper-tiny-en"): "Layer",
    ("layers", "acme/vit-shelf", "block.*"): "Layer",
    ("compare", "starter/minilm-l6", "toy/next-word", "acme/vit-shelf"): "Comparison",
    ("tokens", "starter/minilm-l6", "registry.yaml"): "TokenReport",
    ("tokens", "starter/minilm-l6", "registry.yaml", "--each"): "TextReport",
    ("pull", "starter/minilm-l6", "--no-lock"): "Pulled",
    ("lock", "starter/minilm-l6"): "Locked",
    ("cache", "list"): "CacheEntry",
    ("cache", "verify"): "Verified",
    ("cache", "prune"): "Pruned",
    ("cache", "prune", "--all", "--dry-run"): "Pruned",
    ("plugin", "list"): "Plugin",
    ("plugin", "show", "acme"): "PluginWithModels",
    ("plugin", "show", "half-zoo"): "PluginWithModels",
    ("plugin", "show", "torn"): "PluginWithModels",
    ("plugin", "check", "toy/next-word"): "CheckReport",
    ("plugin", "check", "raising"): "CheckReport",
    ("plugin", "check", "torn"): "CheckReport",
    ("explain", "law-cut"): "Explanation",
    ("explain",): "Explanation",
    ("registry", "check", "registry.yaml"): "Diagnostic",
    ("features", "verify", "features.npz", "absent.npz"): "FeaturesFile",
    ("--no-plugins", "doctor"): "MachineCheck",
    ("run", "--status", "words-run"): "RunStatus",
    ("train", "texts", "--labels", "folders", "--model", "toy/next-word", "--out", "new.head"): "Training",
    ("predict", "texts.head", "texts"): "HeadPrediction",
    ("sweep", "texts", "--labels", "folders", "--model", "toy/next-word", "--no-baselines"): "SweptRow",
}
"""The definition of the objects that each command prints, alone or in an array."""


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with texts of two labels, and a head that was trained on them."""
    folder = tmp_path_factory.mktemp("labelled")
    for label, text in (("animal", "the cat"), ("food", "milk meat")):
        (folder / "texts" / label).mkdir(parents=True)
        for number in range(4):
            (folder / "texts" / label / f"{number}.txt").write_text(f"{text}{' the' * number}", encoding="utf-8")
    head, _ = train_head("toy/next-word", folder / "texts", labels_of_folders)
    head.save(folder / "texts.head")
    layerzoo.run("toy/next-word", ["the cat"], out=folder / "words-run")
    return folder


@pytest.fixture
def run(labelled: Path, install: Install, home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the command line with good and broken plugins and an invalid user file.

    It returns the standard output.
    """
    install("good", *BROKEN)
    (home / "registry.yaml").write_text(FILE, encoding="utf-8")
    Features(("a",), {"block.0": np.ones((1, 2), np.float32)}).save(home / "features.npz")
    shutil.copytree(labelled, home, dirs_exist_ok=True)
    converted = converted_path("0" * 64, "torch-1")
    converted.parent.mkdir(parents=True)
    converted.touch()

    def printed(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(arguments)
        return capsys.readouterr().out

    return printed


@pytest.mark.parametrize(("arguments", "kind"), PRINTED.items(), ids=map(" ".join, PRINTED))
def test_the_output_of_a_command_matches_the_schema(arguments: tuple[str, ...], kind: str, run: Run) -> None:
    output = json.loads(run(*arguments, "--format", "json"))
    objects = output if isinstance(output, list) else [output]
    assert objects
    for item in objects:
        _check(item, kind)


@pytest.mark.parametrize("arguments", [("list",), ("layers", "toy/next-word"), ("plugin", "list")], ids=" ".join)
def test_json_lines_contain_the_same_objects(arguments: tuple[str, ...], run: Run) -> None:
    lines = run(*arguments, "--format", "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(run(*arguments, "--format", "json"))


def test_the_stored_result_of_an_import_matches_the_schema(run: Run) -> None:
    run("plugin", "check", "acme")
    run("plugin", "check", "raising")
    plugins = json.loads(run("plugin", "list", "--format", "json"))
    assert sum(plugin["last_import"] is not None for plugin in plugins) >= 2
    for plugin in plugins:
        _check(plugin, "Plugin")


@pytest.mark.parametrize("weights", [None, "random:0"])
def test_provenance_matches_the_schema(weights: str | None, tmp_path: Path) -> None:
    features = layerzoo.extract("toy/next-word", ["the cat drinks"], layer=["block.0", "head"], weights=weights)
    _check(features.provenance, "FeaturesProvenance")
    features.save(tmp_path / "features.npz")
    _check(layerzoo.Features.load(tmp_path / "features.npz").provenance, "FeaturesProvenance")


def test_provenance_of_a_model_with_a_checkpoint_matches_the_schema(home: Path) -> None:
    backbone = layerzoo.load("starter/whisper-tiny-en", layer="block.0")
    assert backbone.provenance["weights"]["sha256"]
    _check(backbone.provenance, "Provenance")


def test_every_command_that_prints_json_is_tested() -> None:
    tested = [[word for word in arguments if not word.startswith("-")] for arguments in PRINTED]
    commands = list(_with_format(zoo, click.Context(zoo)))
    assert [words for words in commands if words not in [command[: len(words)] for command in tested]] == []


def _check(instance: Any, kind: str) -> None:
    validator = Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{kind}"})
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)] == []


def _with_format(group: click.Group, context: click.Context, *path: str) -> Iterator[list[str]]:
    """Return the words of every command with the option --format."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _with_format(command, context, *path, name)
        elif command is not None and any(parameter.name == "format_" for parameter in command.params):
            yield [*path, name]
