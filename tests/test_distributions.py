"""The published distributions: content of the wheels, the core alone, each plugin alone, and the starter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.distributions import (
    CORE,
    FOLDERS,
    Installation,
    Wheel,
    build,
    install_with_links,
    open_wheel,
)
from tests.readme import ROOT, write_files

from layerzoo import Features

Wheels = dict[str, Wheel]

# ---------------------------------------------------------------- content of the wheels


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name if folder != ROOT else CORE)
def test_a_wheel_contains_its_package_registry_and_license(folder: Path, wheels: Wheels):
    (wheel,) = (wheel for wheel in wheels.values() if wheel.folder == folder)
    source = folder / "src" / wheel.package
    modules = {f"{wheel.package}/{path.relative_to(source).as_posix()}" for path in source.rglob("*.py")}
    data = {f"{wheel.package}/{name}" for name in ("registry.yaml", "py.typed")}
    data |= {f"{wheel.package}/{path.name}" for path in [*source.glob("*.jsonl"), *source.glob("*.toml")]}
    templates = {f"{wheel.package}/{path.relative_to(source).as_posix()}" for path in source.rglob("template/**/*.txt")}
    page_parts = {f"{wheel.package}/{path.relative_to(source).as_posix()}" for path in source.rglob("report.*s")}
    assert {name for name in wheel.files if ".dist-info/" not in name} == modules | data | templates | page_parts
    registry = folder / "registry.yaml" if folder == ROOT else source / "registry.yaml"
    assert wheel.file("/registry.yaml") == registry.read_bytes()
    assert wheel.file(".dist-info/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_all_wheels_have_complete_metadata_and_one_version(wheels: Wheels):
    for wheel in wheels.values():
        facts = wheel.metadata
        assert facts["Summary"]
        assert facts["Keywords"]
        assert facts["License-Expression"] == "Apache-2.0"
        assert facts["Requires-Python"] == ">=3.11"
        assert "Typing :: Typed" in facts.get_all("Classifier", ())
        assert facts["Description-Content-Type"] == "text/markdown"
        assert str(facts.get_payload()).startswith(f"# {wheel.name}\n")
    assert len({wheel.metadata["Version"] for wheel in wheels.values()}) == 1


def test_the_wheels_require_existing_versions_and_extras_of_each_other(wheels: Wheels):
    requirements = (requirement for wheel in wheels.values() for requirement in wheel.requires)
    for requirement in (requirement for requirement in requirements if requirement.name.startswith(CORE)):
        required = wheels[requirement.name].metadata
        assert requirement.specifier.contains(required["Version"])
        assert requirement.extras <= set(required.get_all("Provides-Extra", ()))


@pytest.mark.parametrize(
    ("extra", "plugins"),
    [
        ("starter", {"layerzoo-starter"}),
        ("timm", {"layerzoo-timm"}),
        ("hf", {"layerzoo-hf"}),
        ("torchvision", {"layerzoo-torchvision"}),
        ("video", {"layerzoo-video"}),
        ("torchaudio", {"layerzoo-torchaudio"}),
        (
            "all",
            {f"layerzoo-{name}" for name in ("starter", "timm", "hf", "torchaudio", "torchvision", "video")},
        ),
    ],
)
def test_an_extra_installs_its_plugin(extra: str, plugins: set[str], wheels: Wheels):
    assert _plugins_of_extra(extra, wheels[CORE]) == plugins


def test_the_extra_all_installs_every_plugin(wheels: Wheels):
    assert _plugins_of_extra("all", wheels[CORE]) == set(wheels) - {CORE}


def test_a_plugin_has_one_name(wheels: Wheels):
    for wheel in (wheel for wheel in wheels.values() if wheel.name != CORE):
        name = wheel.folder.name
        assert (wheel.name, wheel.package) == (f"layerzoo-{name}", f"layerzoo_{name}")
        assert wheel.file("/entry_points.txt").decode().split() == [f"[{CORE}]", name, "=", wheel.package]
        assert _plugins_of_extra(name, wheels[CORE]) == {wheel.name}
        assert f'pip install "layerzoo[{name}]"' in (wheel.folder / "README.md").read_text(encoding="utf-8")


def test_the_registry_lists_the_published_plugins(wheels: Wheels):
    listed = yaml.safe_load(wheels[CORE].file("/registry.yaml"))["plugins"]
    plugins = [wheel for wheel in wheels.values() if wheel.name != CORE]
    lines = {wheel.name: wheel.file("/entry_points.txt").decode().split() for wheel in plugins}
    assert {name: facts["package"] for name, facts in listed.items()} == {line[1]: name for name, line in lines.items()}
    assert all(line == [f"[{CORE}]", line[1], "=", wheels[name].package] for name, line in lines.items())


def test_a_source_archive_builds_the_same_wheel(wheels: Wheels, tmp_path: Path):
    assert build(ROOT, tmp_path).files == wheels[CORE].files


def test_an_editable_install_contains_no_copy_of_the_registry(tmp_path: Path):
    program = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, tmp_path], cwd=ROOT, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.whl")
    assert not [name for name in open_wheel(ROOT, path).files if name.startswith("layerzoo/")]


def _plugins_of_extra(extra: str, core: Wheel) -> set[str]:
    """Return the plugins that an extra installs, directly or through other extras."""
    required = [
        requirement
        for requirement in core.requires
        if requirement.marker and requirement.marker.evaluate({"extra": extra})
    ]
    other_extras = {other for requirement in required if requirement.name == CORE for other in requirement.extras}
    direct = {requirement.name for requirement in required if requirement.name != CORE}
    return direct.union(*(_plugins_of_extra(other, core) for other in other_extras))


# ---------------------------------------------------------------- the core alone


@pytest.fixture(scope="module")
def core(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Install the core alone, with its requirements."""
    return install_with_links(tmp_path_factory.mktemp("core"), CORE, wheels)


def test_the_core_alone_can_be_browsed(core: Installation):
    assert core.program("import importlib.util; print(importlib.util.find_spec('torch'))") == "None"
    assert core.zoo("list") == (0, "toy/next-word\n")
    assert core.zoo("layers", "toy/next-word") == (0, "block.0\nhead\n")
    code, shown = core.zoo("show", "toy/next-word")
    assert (code, json.loads(shown)["params"]) == (0, 48)
    code, shown = core.zoo("--help")
    assert (code, shown.splitlines()[0]) == (0, "Usage: zoo [OPTIONS] VERB …")
    assert core.program("import layerzoo; print([spec.id for spec in layerzoo.models()])") == "['toy/next-word']"


def test_the_core_alone_loads_features(core: Installation):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    Features(("a", "b"), {"block.0": values}).save(core.home / "features.parquet")
    program = "import layerzoo; print(layerzoo.Features.load('features.parquet').values.tolist())"
    assert json.loads(core.program(program)) == values.tolist()


def test_the_core_alone_names_the_missing_plugin(core: Installation, samples: Path):
    advice = "Next: pip install layerzoo-starter"
    code, printed = core.zoo("show", "starter/minilm-l6")
    assert (code, printed.splitlines()[-1]) == (3, advice)
    assert printed.startswith("zoo: starter/minilm-l6 is not installed. It is a model for text")
    image = str(samples / "skimage/data/coffee.png")
    code, printed = core.zoo("extract", image, "--out", "f.parquet")
    assert (code, printed.splitlines()[-1]) == (3, advice)
    assert "starter/efficientnet-lite0 is not installed" in printed
    assert not (core.home / "f.parquet").exists()


@pytest.mark.parametrize("use", ["load('toy/next-word')", "extract('toy/next-word', ['the cat'])", "Backbone"])
def test_the_core_alone_reports_that_torch_is_missing(use: str, core: Installation):
    program = f"import layerzoo\ntry: layerzoo.{use}\nexcept layerzoo.LayerzooError as error: print(error)"
    advice = "this needs torch, which is not installed. Next: pip install 'layerzoo[torch]'"
    assert core.program(program).startswith(advice)


def test_a_command_reports_missing_torch_without_a_traceback(core: Installation):
    code, printed = core.zoo("layers", "--trace", "toy/next-word")
    assert (code, printed.count("\n")) == (4, 1)
    assert printed.startswith("zoo: this needs torch, which is not installed.")


def test_the_doctor_finds_no_problem_with_the_core_alone(core: Installation):
    code, printed = core.zoo("doctor", "--format", "json")
    (toy,) = (finding for finding in json.loads(printed) if finding["what"] == "plugin toy")
    assert (code, toy["state"], toy["fix"]) == (0, "missing", "pip install 'layerzoo[starter]'")


# ---------------------------------------------------------------- one plugin alone, with only its requirements


@pytest.mark.parametrize(
    ("extra", "sample", "model"),
    [
        pytest.param(
            "timm", "skimage/data/coffee.png",
            {"modality": "vision", "builder": "timm", "args": {"name": "test_vit"}}, marks=pytest.mark.slow,
        ),
        ("hf", "moonshine_onnx/assets/beckett.wav", {
            "modality": "audio",
            "builder": "transformers",
            "args": {"model_type": "wav2vec2", "config": {"hidden_size": 32, "num_attention_heads": 2}},
            "preprocess": {"sample_rate_hz": 16_000},
        }),
    ],
)  # fmt: skip
def test_a_plugin_alone_extracts(
    extra: str, sample: str, model: dict[str, Any], wheels: Wheels, samples: Path, tmp_path: Path
):
    alone = install_with_links(tmp_path, f"layerzoo[{extra}]", wheels)
    (alone.home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": {"mine/small": model}}))
    options = ("--model", "mine/small", "--weights", "random:0", "--out", "features.parquet")
    code, printed = alone.zoo("extract", str(samples / sample), *options)
    assert code == 0, printed


def test_the_video_plugin_alone_can_be_imported(wheels: Wheels, tmp_path: Path):
    video = install_with_links(tmp_path, "layerzoo[video]", wheels)
    assert video.program("import layerzoo_video, layerzoo.runtime, layerzoo.media.video") == ""


# ---------------------------------------------------------------- the starter plugin with all its requirements


@pytest.fixture(scope="module")
def starter(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Installation:
    installation = install_with_links(tmp_path_factory.mktemp("starter"), "layerzoo[starter]", wheels)
    write_files(installation.home, samples)
    return installation


def test_the_starter_installs_its_requirements_and_uses_nothing_of_the_checkout(starter: Installation, wheels: Wheels):
    program = "import importlib.util as u; print(*(s.origin for name in {!r} if (s := u.find_spec(name))))"
    origins = starter.program(program.format([wheel.package for wheel in wheels.values()])).split()
    environment = starter.python.parents[1]
    assert all(Path(origin).is_relative_to(environment) for origin in origins)
    packages = {Path(origin).parent.name for origin in origins}
    assert packages == {"layerzoo", "layerzoo_hf", "layerzoo_starter", "layerzoo_timm", "layerzoo_video"}


def test_features_are_extracted_from_a_file_of_every_modality_without_a_connection(starter: Installation):
    expected = {
        "photos/cat.png": ("starter/efficientnet-lite0", (1, 1280)),
        "speech.wav": ("starter/whisper-tiny-en", (1, 384)),
        "tweets.txt": ("starter/minilm-l6", (3, 384)),
        "clip.mp4": ("starter/efficientnet-lite0-video", (1, 1280)),
    }
    # One process for all four: importing torch and transformers takes longer than the extraction.
    printed = starter.program(
        "import contextlib, sys\n"
        "def refuse(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.sendto'):\n"
        "        print('CONNECTION', event, arguments)\n"
        "        raise OSError('no network')\n"
        "sys.addaudithook(refuse)\n"
        "from layerzoo.cli import main\n"
        f"for number, sample in enumerate({list(expected)}):\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main(['extract', sample, '--out', f'{number}.parquet'])\n"
    )
    assert "CONNECTION" not in printed
    for number, (model, shape) in enumerate(expected.values()):
        features = Features.load(starter.home / f"{number}.parquet")
        assert features.provenance["model"] == model
        assert features.values.shape == shape
        assert np.isfinite(features.values).all()
