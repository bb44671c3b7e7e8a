"""It imports well, and each of its hooks goes wrong when a model's args say so."""

import numpy as np
import torch
from torch import nn

from layerzoo import hookimpl


def answer(spec, hook, usual):
    """What a hook answers: what is usual, or what the args say."""
    if spec.args.get(hook) == "raise":
        raise LookupError(f"{hook} went wrong")
    return spec.args.get(hook, usual)


class Picky(nn.Conv2d):
    def __init__(self, refuses):
        super().__init__(3, 4, 1)
        self.refuses = refuses

    def forward(self, x):
        if self.refuses == "all" or (self.refuses == "white" and bool((x > 0.99).any())):
            raise ValueError("too bright")
        return super().forward(x)


def transform(picture):
    pixels = np.asarray(picture.resize((8, 8))).transpose(2, 0, 1) / 255  # float64, which the network does not take
    if pixels.max() == 0:
        raise ZeroDivisionError("nothing but black")
    return pixels


@hookimpl
def layerzoo_build(spec):
    network = answer(spec, "build", nn.Sequential(Picky(spec.args.get("refuses"))))
    return None if network == "none" else network


@hookimpl
def layerzoo_describe(spec):
    return answer(spec, "describe", None)


@hookimpl
def layerzoo_preprocess(spec):
    return answer(spec, "preprocess", transform)


@hookimpl
def layerzoo_read_weights(spec):
    return answer(spec, "read_weights", {"0.weight": torch.ones(4, 3, 1, 1), "0.bias": torch.zeros(4)})


@hookimpl
def layerzoo_state_dict(spec):
    return answer(spec, "state_dict", None)
