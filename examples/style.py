"""Style transfer through a cut network: ``python -m examples.style [STEPS]``.

An image is optimised so that a deep layer sees the content of one photograph, and the Gram matrices of earlier layers
are those of another (Gatys et al., "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016). The network
is ``Backbone.module``: an ordinary module, through which gradients flow to the pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from examples.samples import photographs
from PIL import Image
from torch import Tensor

import layerzoo
from layerzoo.spec import ImagePreprocess

MODEL, CONTENT, STYLE = "starter/efficientnet-lite0", "stage.2", ("stem", "stage.0", "stage.1")
_STYLE_WEIGHT = 100.0


def gram(activation: Tensor) -> Tensor:
    """(batch, channel, height, width) → (batch, channel, channel), the mean product of two channels."""
    flat = activation.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def transfer(content: Path, style: Path, steps: int, *, side: int = 160) -> tuple[Image.Image, list[float]]:
    """Return an image with the content of one photograph in the style of another, and the loss at each step.

    Args:
        content: an image file.
        style: an image file.
        steps: of the optimisation.
        side: of the image, in pixels.
    """
    backbone = layerzoo.load(MODEL, layer=[*STYLE, CONTENT], pool="none")
    declared = backbone.spec.preprocess
    assert isinstance(declared, ImagePreprocess)
    network = backbone.module
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (declared.mean, declared.std))

    def pixels(path: Path) -> Tensor:
        (values,) = backbone.preprocess([path]).inputs.values()
        return torch.nn.functional.interpolate(values, (side, side), mode="bilinear")

    with torch.no_grad():
        wanted = network(pixels(content))[CONTENT]
        grams = {name: gram(activation) for name, activation in network(pixels(style)).items() if name in STYLE}
    image = pixels(content).clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=0.05)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        found = network(image)
        loss = torch.nn.functional.mse_loss(found[CONTENT], wanted) / wanted.var()
        for name, target in grams.items():
            loss = (
                loss + _STYLE_WEIGHT * torch.nn.functional.mse_loss(gram(found[name]), target) / target.square().mean()
            )
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    shown = (image.detach()[0] * deviation + mean).clamp(0, 1) * 255
    return Image.fromarray(shown.permute(1, 2, 0).byte().numpy()), losses


def main() -> None:
    paths, subjects = photographs()
    by_subject = dict(zip(subjects, paths, strict=True))
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    image, losses = transfer(by_subject["cat"], by_subject["galaxies"], steps)
    image.save("style.png")
    print(f"loss {losses[0]:.1f} → {losses[-1]:.1f} in {steps} steps: style.png")


if __name__ == "__main__":
    main()
