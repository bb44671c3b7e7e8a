"""It lists its models for a catalogue; their args say what the networks do."""

import os
import signal
import time
from pathlib import Path

from layerzoo import hookimpl

PREPROCESS = {"size_px": 8, "resize": "nearest", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def model(id, **facts):
    args = {"width": 4, **facts.pop("args", {})}
    return {"id": id, "modality": "vision", "builder": "catalogued", "preprocess": PREPROCESS, "args": args, **facts}


MODELS = {
    "small": [
        model("small.a", aliases=["small"]),
        model("small.b", args={"classes": 5}),
        model("small.c", preprocess={**PREPROCESS, "size_px": 16}),
    ],
    "wide": [model("wide", args={"width": 8}, weights="hf://acme/wide/model.safetensors")],
}


def network(width, classes=3, does="well"):
    from torch import nn

    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    blocks = nn.Sequential(*(nn.Conv2d(width, width, 3, padding=1) for _ in range(3)))
    made = nn.Sequential(nn.Conv2d(3, width, 4, stride=4), blocks, pooled, nn.Linear(width, classes))
    if does == "fails":
        made.register_forward_pre_hook(_fail)
    return made


def _fail(module, args):
    raise ValueError("too bright")


@hookimpl
def layerzoo_build(spec):
    if log := os.environ.get("CATALOGUED_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{spec.id}\n")
    if spec.args.get("does") == "crashes":
        os.kill(os.getpid(), signal.SIGKILL)
    if spec.args.get("does") == "hangs":
        time.sleep(600)
    return network(**spec.args)


@hookimpl
def layerzoo_catalogue():
    return MODELS
