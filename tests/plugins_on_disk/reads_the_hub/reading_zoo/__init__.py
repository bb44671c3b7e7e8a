"""It reads repositories of the hub: net.json says how wide a network is, or what else the hook is to answer."""

import json

from layerzoo import hookimpl

PREPROCESS = {"size_px": 8, "resize": "nearest", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


@hookimpl
def layerzoo_build(spec):
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, spec.args["width"], 4, stride=4), nn.ReLU())


@hookimpl
def layerzoo_identify(model, files):
    if "net.json" not in files:
        return None
    said = json.loads(files["net.json"].read_text())
    if "answer" in said:
        return said["answer"]
    args = {"width": said["width"]}
    return [{"modality": "vision", "args": args, "preprocess": {**PREPROCESS, **said.get("preprocess", {})}}]
