"""`zoo plugin new` writes a plugin that installs, lists, checks and extracts at once, for each library and modality."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.distributions import Installation, install
from tests.page_session import session
from tests.readme import write_files
from tests.terminal import Zoo

from layerzoo.conformance.codes import TIERS, Tier
from layerzoo.errors import OutputError, UsageError
from layerzoo.modalities import MODALITIES, Modality
from layerzoo.plugins.scaffold import LIBRARIES, Library, NewPlugin, libraries, write_plugin


class Variant(NamedTuple):
    modality: Modality
    library: Library
    yaml_only: bool

    @property
    def name(self) -> str:
        """Return a name for the plugin that no other variant has."""
        return "-".join([self.modality, self.library, *["yaml"] * self.yaml_only, "zoo"])

    def write(self, into: Path) -> NewPlugin:
        return write_plugin(self.name, self.modality, self.library, yaml_only=self.yaml_only, into=into)


ALL = [
    Variant(modality, library, yaml_only)
    for modality in MODALITIES
    for yaml_only in (False, True)
    for library in libraries(modality, yaml_only=yaml_only)
]
ONE_PER_LIBRARY = [
    Variant("audio", "own", False),
    Variant("vision", "timm", True),
    Variant("text", "transformers", False),
    Variant("audio", "torchaudio", False),
    Variant("video", "torchvision", False),
]

PROGRAM = """
import contextlib, io, json, sys
from layerzoo.cli import main

def zoo(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main(arguments)
        except SystemExit as exit:
            return [exit.code or 0, out.getvalue()]

def outcome(namespace, model, inputs, tiers):
    check = {"check": zoo("plugin", "check", namespace, *(f"--tier={tier}" for tier in tiers))} if tiers else {}
    return check | {
        "list": zoo("list", "--plugin", namespace, "--format", "ids"),
        "layers": zoo("layers", model, "--format", "json"),
        "trace": zoo("layers", model, "--trace", "--format", "json"),
        "extract": zoo("extract", inputs, "--model", model, "--weights", "random:0", "--out", f"{namespace}.npz"),
    }

print(json.dumps([outcome(*plugin) for plugin in json.loads(sys.argv[1])]))
"""


def install_variants(
    variants: Sequence[Variant], folder: Path, samples: Path, index: Path
) -> tuple[Installation, list[NewPlugin]]:
    """Install the folder of each variant into a new environment with the packages of this one, and not editable."""
    plugins = [variant.write(folder) for variant in variants]
    installation = session(folder, index)
    install(installation, "--no-deps", "--no-index", "--no-build-isolation", *(plugin.folder for plugin in plugins))
    write_files(installation.home, samples)
    (installation.home / "tweets.txt").rename(installation.home / "texts.txt")
    return installation, plugins


def check_variants(
    variants: Sequence[Variant], folder: Path, samples: Path, index: Path, checked: Mapping[Variant, Sequence[Tier]]
) -> None:
    """Run the verbs on the installed plugins, and check their results.

    checked: the variants to run `zoo plugin check` on, too, each with the tiers.
    """
    installation, plugins = install_variants(variants, folder, samples, index)
    asked = [
        (plugin.namespace, plugin.model, plugin.inputs, checked.get(variant, ()))
        for variant, plugin in zip(variants, plugins, strict=True)
    ]
    done = subprocess.run(
        [installation.python, "-c", PROGRAM, json.dumps(asked)],
        cwd=installation.home, env=installation.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for plugin, outcome in zip(plugins, json.loads(done.stdout.splitlines()[-1]), strict=True):
        check_outcome(plugin, outcome, done.stderr)
        assert (installation.home / f"{plugin.namespace}.npz").is_file()


def check_outcome(plugin: NewPlugin, outcome: dict[str, Any], messages: str) -> None:
    assert {verb: code for verb, (code, _) in outcome.items()} == dict.fromkeys(outcome, 0), (outcome, messages)
    assert plugin.model in outcome["list"][1].split()
    declared, traced = (json.loads(outcome[verb][1]) for verb in ("layers", "trace"))
    modules = {row["name"]: row["module"] for row in traced}
    assert {row["name"]: row["module"] for row in declared}.items() <= modules.items(), plugin.model


def test_a_new_plugin_of_each_library_installs_lists_and_extracts(tmp_path: Path, samples: Path, index: Path) -> None:
    assert {variant.library for variant in ONE_PER_LIBRARY} == set(LIBRARIES)
    check_variants(ONE_PER_LIBRARY, tmp_path, samples, index, checked={ONE_PER_LIBRARY[0]: ["static"]})


@pytest.mark.slow
@pytest.mark.parametrize("modality", MODALITIES)
def test_each_variant_installs_lists_checks_and_extracts(
    modality: Modality, tmp_path: Path, samples: Path, index: Path
) -> None:
    variants = [variant for variant in ALL if variant.modality == modality]
    check_variants(variants, tmp_path, samples, index, checked=dict.fromkeys(variants, TIERS))


@pytest.mark.slow
@pytest.mark.parametrize("modality", MODALITIES)
def test_the_test_of_a_new_plugin_passes(modality: Modality, tmp_path: Path, samples: Path, index: Path) -> None:
    installation, (plugin,) = install_variants([Variant(modality, "own", False)], tmp_path, samples, index)
    code, printed = installation._replace(home=plugin.folder).run([installation.python, "-m", "pytest", "-q"])
    assert code == 0, printed
    assert " passed" in printed


def test_the_code_of_each_variant_is_formatted_and_without_mistakes(tmp_path: Path) -> None:
    for variant in ALL:
        variant.write(tmp_path)
    rules = ["--select", "E,F,W,I,UP,B,SIM,RUF,N"]
    for command in (["check", *rules], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length", "120", tmp_path],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_plugin_has_all_files_of_a_project(zoo: Zoo, home: Path) -> None:
    result = zoo("plugin", "new", "acme-zoo", "--modality", "text")
    assert result.code == 0
    assert result.out.splitlines() == [
        "acme-zoo/.github/workflows/test.yml",
        "acme-zoo/.gitignore",
        "acme-zoo/README.md",
        "acme-zoo/pyproject.toml",
        "acme-zoo/src/acme_zoo/__init__.py",
        "acme-zoo/src/acme_zoo/network.py",
        "acme-zoo/src/acme_zoo/registry.yaml",
        "acme-zoo/src/acme_zoo/tokenizer.py",
        "acme-zoo/tests/test_conformance.py",
    ]
    assert "zoo plugin check acme" in result.err
    for path in result.out.splitlines():
        assert "@" not in (home / path).read_text(encoding="utf-8").replace("@hookimpl", "").replace("@v", "").replace(
            "REPO@COMMIT", ""
        )


def test_the_names_of_a_plugin_follow_from_its_distribution(tmp_path: Path) -> None:
    plugin = write_plugin("Big.Acme-zoo", "vision", into=tmp_path)
    assert (plugin.namespace, plugin.model) == ("big-acme", "big-acme/small-cnn")
    package = tmp_path / "Big.Acme-zoo/src/big_acme_zoo"
    assert "from big_acme_zoo.network" in (package / "__init__.py").read_text(encoding="utf-8")
    assert "builders: [big-acme]" in (package / "registry.yaml").read_text(encoding="utf-8")
    assert "class TestBigAcmeZoo(" in (plugin.folder / "tests/test_conformance.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("x! --modality text", "not the name of a distribution"),
        ("class --modality text", "cannot be imported"),
        ("3d-zoo --modality text", "cannot be imported"),
        ("json --modality text", "a module 'json' exists already"),
        ("timm --modality vision", "a module 'timm' exists already"),
        ("mine-zoo --modality text", "that of the user's own models"),
        ("toy-zoo --modality text", "that of layerzoo itself"),
        ("timm-zoo --modality vision", "the namespace 'timm' is that of layerzoo-timm"),
        ("acme --modality text --namespace A", "not a valid namespace"),
        ("acme --modality text --namespace 3d", "a letter first"),
        ("acme --modality text --namespace null", "not a valid namespace"),
        ("frames-zoo --modality video", "the namespace 'frames' is that of layerzoo-video"),
        (f"{'a' * 300} --modality text", "at most 100"),
        ("acme-zoo --modality text --library timm", "--library own or transformers"),
        ("acme-zoo --modality text --yaml-only", "--library transformers"),
        ("acme-zoo --modality smell", "not one of text, vision, audio, video"),
        ("acme-zoo", "--modality"),
    ],
)
def test_a_wrong_name_or_variant_is_refused_with_the_next_step(
    zoo: Zoo, home: Path, arguments: str, message: str
) -> None:
    result = zoo("plugin", "new", *arguments.split())
    assert result.code == 2
    assert message in result.err
    assert list(home.iterdir()) == []


def test_an_existing_folder_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "acme-zoo").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        write_plugin("acme-zoo", "text", into=tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        write_plugin("acme-zoo", "text", into=tmp_path / "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["acme-zoo"]


def test_a_variant_without_a_template_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no template for audio models of timm"):
        write_plugin("acme-zoo", "audio", "timm", into=tmp_path)
