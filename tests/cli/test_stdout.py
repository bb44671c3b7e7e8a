"""Everything that a plugin prints goes to standard error: standard output is for the data of a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PLUGIN = '''
import atexit, ctypes, logging, os, subprocess, sys, warnings
from sys import stdout

import numpy as np
from torch import nn

from layerzoo import hookimpl

def noise(where):
    """Print in every way there is."""
    print("NOISE print", where)
    sys.stdout.write("NOISE sys.stdout\\n")
    stdout.write("NOISE kept stdout\\n")
    sys.__stdout__.write("NOISE __stdout__\\n")
    os.write(1, b"NOISE descriptor\\n")
    ctypes.CDLL(None).puts(b"NOISE buffered C")
    subprocess.run(["echo", "NOISE child"])
    logging.basicConfig(stream=sys.stdout, force=True)
    logging.warning("NOISE logging")
    warnings.warn("NOISE warning")

noise("import")
atexit.register(noise, "exit")

class Net(nn.Sequential):
    def forward(self, x):
        noise("forward")
        return super().forward(x)

class Tokenizer:
    vocabulary = None
    def encode(self, text, max_tokens):
        noise("tokenizer")
        return [1, 2], 2

def transform(image):
    noise("preprocess")
    return np.asarray(image.resize((8, 8)), np.float32).transpose(2, 0, 1)

@hookimpl
def layerzoo_build(spec):
    noise("build")
    return Net(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))

@hookimpl
def layerzoo_preprocess(spec):
    return transform

@hookimpl
def layerzoo_describe(spec):
    noise("describe")

@hookimpl
def layerzoo_state_dict(spec, tensors):
    noise("state_dict")
    return None

@hookimpl
def layerzoo_catalogue():
    noise("catalogue")
    preprocess = {"size_px": 8, "resize": "nearest", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    return {"net": [{"id": "net", "modality": "vision", "builder": "noisy", "preprocess": preprocess}]}
'''
REGISTRY = """
layerzoo: 1
builders: [noisy]
catalogue: models.jsonl
models:
  image:
    modality: vision
    builder: noisy
    weights: file:w.safetensors
    preprocess: {size_px: 8, resize: nearest, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
    layers: {block.0: "0", block.1: "1"}
"""
# Each command runs in a separate process, forked from one that has imported torch and has no other threads.
DRIVER = """
import os, sys
import torch, pydantic, PIL.Image
import layerzoo.runtime, layerzoo.cli, layerzoo.registry.check
for number, line in enumerate(sys.stdin.read().splitlines()):
    if (child := os.fork()) == 0:
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
        layerzoo.cli.main(line.split())
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status))
"""
VERBS = [
    "layers noisy/image --trace --format jsonl",
    "show noisy/image --format json",
    "compare noisy/image noisy/image --format json",
    "extract a.png --model noisy/image --out a.npz",
    "pull noisy/image --partial --layer block.0 --format json",
    "lock noisy/image --format json",
    "catalogue build noisy --jobs 1",
    "plugin check noisy --tier shape --tier preprocess --format json",
]
EXIT_CODES = {"plugin check noisy --tier shape --tier preprocess --format json": 1}
"""Of the commands that do not exit with 0: the plugin has no sha256, among others."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the plugin, in which every command has run."""
    from PIL import Image
    from safetensors.torch import save_file
    from torch import nn

    folder = tmp_path_factory.mktemp("noisy")
    package, metadata = folder / "noisy_zoo", folder / "noisy_zoo-1.0.dist-info"
    package.mkdir()
    metadata.mkdir()
    (package / "__init__.py").write_text(PLUGIN, encoding="utf-8")
    (package / "registry.yaml").write_text(REGISTRY, encoding="utf-8")
    (package / "models.jsonl").write_text("", encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy-zoo\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[layerzoo]\nnoisy = noisy_zoo\n", encoding="utf-8")
    save_file(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)).state_dict(), package / "w.safetensors")
    Image.new("RGB", (8, 8), (200, 30, 40)).save(folder / "a.png")
    (folder / "config" / "layerzoo").mkdir(parents=True)
    (folder / "config" / "layerzoo" / "disabled-plugins.txt").write_text("timm\nhf\n", encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        "LAYERZOO_CACHE": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    driver = [sys.executable, "-c", textwrap.dedent(DRIVER)]
    done = subprocess.run(
        driver,
        input="\n".join(VERBS),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    (folder / "codes").write_text(done.stdout, encoding="utf-8")
    return folder


@pytest.mark.parametrize("number", range(len(VERBS)), ids=VERBS)
def test_standard_output_contains_only_data(folder: Path, number: int) -> None:
    verb = VERBS[number]
    out, err = ((folder / f"{number}.{name}").read_text(encoding="utf-8") for name in ("out", "err"))
    assert int((folder / "codes").read_text(encoding="utf-8").splitlines()[number]) == EXIT_CODES.get(verb, 0), err
    assert "NOISE" not in out
    if "jsonl" in verb:
        assert [json.loads(line)["name"] for line in out.splitlines()] == ["block.0", "block.1"]
    elif "json" in verb:
        json.loads(out)
    elif "extract" in verb or "catalogue" in verb:
        assert out == ""
    else:
        assert out
    if verb.partition(" ")[0] in ("extract", "pull", "catalogue") or "--trace" in verb:
        for way in ("print", "sys.stdout", "kept stdout", "__stdout__", "descriptor", "buffered C", "child", "logging"):
            assert f"NOISE {way}" in err
