"""What is printed as JSON, by real commands about real models, has the shape that docs/reference/json.md tells."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator
from tools.reference.json_page import SCHEMA_FILE
from tools.reference.pages import FOLDER

import layerzoo
from layerzoo.cli import main, zoo
from layerzoo.weights.cache import converted_path

Install = Callable[..., None]
Run = Callable[..., Any]

SCHEMA = json.loads((FOLDER / SCHEMA_FILE).read_text(encoding="utf-8"))
BROKEN = ("invalid_yaml", "no_registry", "raises", "crashes", "half_valid")
FILE = """
layerzoo: 1
models:
  one: {modality: text, builder: toy, summry: A key that is misspelt}
  two: {modality: sound}
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
    ("tokens", "starter/minilm-l6", "registry.yaml"): "TokensOfTexts",
    ("tokens", "starter/minilm-l6", "registry.yaml", "--each"): "TokensOfText",
    ("pull", "starter/minilm-l6", "--no-lock"): "Pulled",
    ("lock", "starter/minilm-l6"): "Locked",
    ("cache", "list"): "Kept",
    ("cache", "verify"): "Verified",
    ("cache", "prune"): "Pruned",
    ("cache", "prune", "--all", "--dry-run"): "Pruned",
    ("plugin", "list"): "Plugin",
    ("plugin", "show", "acme"): "PluginWithModels",
    ("plugin", "show", "half-zoo"): "PluginWithModels",
    ("plugin", "show", "torn"): "PluginWithModels",
    ("plugin", "check", "acme"): "Check",
    ("plugin", "check", "raising"): "Check",
    ("plugin", "check", "crashing"): "Check",
    ("plugin", "check", "torn"): "Check",
    ("registry", "check", "registry.yaml"): "Diagnostic",
    ("--no-plugins", "doctor"): "Finding",
}
"""What each command prints, or prints an array of."""


@pytest.fixture
def run(install: Install, home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line with good and broken plugins and a file of the user's that is wrong: what it prints."""
    install("good", *BROKEN)
    (home / "registry.yaml").write_text(FILE, encoding="utf-8")
    kept = converted_path("0" * 64, "torch-1")
    kept.parent.mkdir(parents=True)
    kept.touch()

    def printed(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(arguments)
        return capsys.readouterr().out

    return printed


@pytest.mark.parametrize(("arguments", "kind"), PRINTED.items(), ids=map(" ".join, PRINTED))
def test_what_a_command_prints_has_the_shape(arguments: tuple[str, ...], kind: str, run: Run) -> None:
    answer = json.loads(run(*arguments, "--format", "json"))
    objects = answer if isinstance(answer, list) else [answer]
    assert objects
    for each in objects:
        _check(each, kind)


@pytest.mark.parametrize("arguments", [("list",), ("layers", "toy/next-word"), ("plugin", "list")], ids=" ".join)
def test_json_lines_are_the_same_objects(arguments: tuple[str, ...], run: Run) -> None:
    lines = run(*arguments, "--format", "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(run(*arguments, "--format", "json"))


def test_what_is_remembered_of_an_import_has_the_shape(run: Run) -> None:
    run("plugin", "check", "acme")
    run("plugin", "check", "raising")
    plugins = json.loads(run("plugin", "list", "--format", "json"))
    assert sum(each["last_import"] is not None for each in plugins) >= 2
    for each in plugins:
        _check(each, "Plugin")


@pytest.mark.parametrize("weights", [None, "random:0"])
def test_provenance_has_the_shape(weights: str | None, tmp_path: Path) -> None:
    features = layerzoo.extract("toy/next-word", ["the cat drinks"], layer=["block.0", "head"], weights=weights)
    _check(features.provenance, "ProvenanceOfFeatures")
    features.save(tmp_path / "features.npz")
    _check(layerzoo.Features.load(tmp_path / "features.npz").provenance, "ProvenanceOfFeatures")


def test_provenance_of_a_model_with_a_checkpoint_has_the_shape(home: Path) -> None:
    backbone = layerzoo.load("starter/whisper-tiny-en", layer="block.0")
    assert backbone.provenance["weights"]["sha256"]
    _check(backbone.provenance, "Provenance")


def test_every_command_that_prints_json_is_tried() -> None:
    tried = [[word for word in arguments if not word.startswith("-")] for arguments in PRINTED]
    commands = list(_with_format(zoo, click.Context(zoo)))
    assert [words for words in commands if words not in [each[: len(words)] for each in tried]] == []


def _check(instance: Any, kind: str) -> None:
    validator = Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{kind}"})
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)] == []


def _with_format(group: click.Group, context: click.Context, *path: str) -> Iterator[list[str]]:
    """The commands that have the option --format, each by its words."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _with_format(command, context, *path, name)
        elif command is not None and any(parameter.name == "format_" for parameter in command.params):
            yield [*path, name]
