"""Each error about a plugin, a network or a checkpoint states the location of the mistake once."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.terminal import Zoo

import layerzoo
from layerzoo.errors import LayerzooError, PluginError, TraceError

PLUGIN = """
    from torch import nn

    from layerzoo import hookimpl


    class Net(nn.Conv2d):
        def __init__(self, fails):
            super().__init__(3, 4, 1)
            self.fails = fails

        def forward(self, x):
            if self.fails == "shape":
                return nn.functional.linear(x, self.weight[:, :, 0, 0].repeat(1, 7))  # the line of a shape
            if self.fails == "key":
                raise KeyError("mine")  # the line of a key
            return super().forward(x)


    @hookimpl
    def layerzoo_build(spec):
        if spec.args.get("fails") == "build":
            return {}["nothing"]  # the line of a build
        return nn.Sequential(Net(spec.args.get("fails")))


    @hookimpl
    def layerzoo_state_dict(spec, tensors):
        return {name: tensors["0." + name] for name in ("weight", "bias")}  # the line of a checkpoint
"""
REGISTRY = """
    layerzoo: 1
    builders: [own]
    models:
"""
MODEL = """
      {name}:
        modality: vision
        builder: own
        args: {{fails: {fails}}}
        preprocess: {{size_px: 8, resize: nearest, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}
"""

NewPlugin = Callable[..., Path]


@pytest.fixture
def new_plugin(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewPlugin:
    """Install the plugin. Returns: the file with its code."""

    def make(origin: dict[str, object] | None, code: str = PLUGIN) -> Path:
        project = tmp_path / "project"
        package, metadata = project / "own_zoo", project / "own_zoo-1.0.dist-info"
        package.mkdir(parents=True)
        metadata.mkdir()
        models = [MODEL.format(name=name, fails=name) for name in ("shape", "key", "build", "nothing")]
        (package / "__init__.py").write_text(textwrap.dedent(code), encoding="utf-8")
        (package / "registry.yaml").write_text(textwrap.dedent(REGISTRY + "".join(models)), encoding="utf-8")
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-zoo\nVersion: 1.0\n", encoding="utf-8")
        (metadata / "entry_points.txt").write_text("[layerzoo]\nown = own_zoo\n", encoding="utf-8")
        if origin is not None:
            (metadata / "direct_url.json").write_text(json.dumps(origin), encoding="utf-8")
        monkeypatch.syspath_prepend(project)
        monkeypatch.setenv("PYTHONPATH", str(project))
        return package / "__init__.py"

    yield make
    sys.modules.pop("own_zoo", None)


def editable(tmp_path: Path) -> dict[str, object]:
    return {"url": (tmp_path / "project").as_uri(), "dir_info": {"editable": True}}


def place(file: Path, text: str) -> str:
    """Return FILE:LINE of the line that contains a text."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return f"{file}:{next(number for number, line in enumerate(lines, start=1) if text in line)}"


@pytest.mark.parametrize(("model", "printed"), [("shape", "RuntimeError: "), ("key", "KeyError: 'mine'")])
@pytest.mark.parametrize("is_own", [True, False])
def test_a_forward_that_fails_shows_its_line_once_without_torchs_log(
    new_plugin: NewPlugin, tmp_path: Path, zoo: Zoo, model: str, printed: str, is_own: bool
) -> None:
    logged = logging.handlers.BufferingHandler(1000)
    logging.getLogger("torch._subclasses.fake_tensor").addHandler(logged)
    code = new_plugin(editable(tmp_path) if is_own else None)
    line = place(code, f"the line of a {model}")
    for act in (
        lambda: layerzoo.load(f"own/{model}", weights="random:0"),
        lambda: layerzoo.runtime.trace_layers(f"own/{model}"),
    ):
        with pytest.raises(TraceError) as caught:
            act()
        message = str(caught.value)
        assert message.startswith(f"own/{model} could not be traced: ")
        assert message.count(printed) == message.count(f"{line}: ") == message.count("does not run") == 1
        assert message.endswith(f"# the line of a {model}")
    assert logged.buffer == []
    shown = zoo("layers", "--trace", f"own/{model}")
    first, *others = message.split("\n")
    assert (shown.code, shown.err) == (4, "\n".join([f"zoo: {first}", *(f"  {other.strip()}" for other in others), ""]))


def test_the_author_of_a_plugin_sees_the_line_and_no_advice_to_upgrade(
    new_plugin: NewPlugin, tmp_path: Path, zoo: Zoo
) -> None:
    line = place(new_plugin(editable(tmp_path)), "the line of a build")
    with pytest.raises(PluginError) as caught:
        layerzoo.load("own/build", weights="random:0")
    message = str(caught.value)
    assert "KeyError: 'nothing'" in message
    assert message.endswith(f"Next: correct {line}")
    assert "pip" not in message
    assert "disable" not in message
    assert f"correct {line}" in zoo("plugin", "show", "own", "--format", "json").out


def test_the_user_of_a_plugin_is_advised_to_upgrade(new_plugin: NewPlugin) -> None:
    new_plugin(None)
    with pytest.raises(PluginError, match="Next: pip install -U own-zoo; until then: zoo plugin disable own"):
        layerzoo.load("own/build", weights="random:0")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os\nraise RuntimeError('no')  # here", "# here"),
        ("x = (\n", "x = ("),
        ("from . import gone  # here", "# here"),
    ],
)
def test_an_import_that_fails_shows_the_line_to_its_author(
    new_plugin: NewPlugin, tmp_path: Path, zoo: Zoo, code: str, text: str
) -> None:
    line = place(new_plugin(editable(tmp_path), code), text)
    with pytest.raises(PluginError) as caught:
        layerzoo.load("own/nothing", weights="random:0")
    assert str(caught.value).endswith(f"Next: correct {line}")
    assert f"correct {line}" in zoo("plugin", "check", "own", "--format", "json").out


def test_an_invalid_registry_file_shows_its_author_the_line(new_plugin: NewPlugin, tmp_path: Path, zoo: Zoo) -> None:
    code = new_plugin(editable(tmp_path))
    file = code.with_name("registry.yaml")
    file.write_text(file.read_text(encoding="utf-8").replace("nearest", "nearst", 1), encoding="utf-8")
    (shown,) = (
        each for each in json.loads(zoo("plugin", "list", "--format", "json").out) if each["namespace"] == "own"
    )
    assert place(file, "nearst") in shown["cause"]
    assert shown["fix"] == f"correct {file}; to list all problems: zoo registry check {file}"


def test_a_bad_checkpoint_is_not_reported_as_an_error_of_the_plugin(
    new_plugin: NewPlugin, tmp_path: Path, home: Path, zoo: Zoo
) -> None:
    new_plugin(None)
    save_file({"x": torch.ones(2)}, home / "bad.safetensors")
    with pytest.raises(LayerzooError) as caught:
        layerzoo.load("own/nothing", layer="module:0", weights="bad.safetensors")
    assert str(home / "bad.safetensors") in str(caught.value)
    assert "check that" in str(caught.value)
    assert "pip" not in str(caught.value)
    assert json.loads(zoo("plugin", "show", "own", "--format", "json").out)["usable"]


def test_a_wrong_declaration_is_reported_with_its_line(new_plugin: NewPlugin, home: Path) -> None:
    new_plugin(None)
    file = home / "registry.yaml"
    file.write_text(
        textwrap.dedent("    layerzoo: 1\n    models:\n" + MODEL.format(name="net", fails="build")), encoding="utf-8"
    )
    with pytest.raises(PluginError) as caught:
        layerzoo.load("mine/net", weights="random:0")
    assert "KeyError: 'nothing'" in str(caught.value)
    assert f"Next: correct the declaration of mine/net at {place(file, 'net:')}" in str(caught.value)
    assert "pip" not in str(caught.value)


def test_a_network_that_fails_later_shows_its_line(new_plugin: NewPlugin) -> None:
    code = new_plugin(None)
    backbone = layerzoo.load("own/nothing", layer="module:0", weights="random:0")
    backbone.module.network.get_submodule("0").fails = "key"
    with pytest.raises(PluginError, match="KeyError: 'mine'") as caught:
        layerzoo.extract(backbone, [np.zeros((8, 8, 3), np.uint8)])
    assert place(code, "the line of a key") in str(caught.value)
