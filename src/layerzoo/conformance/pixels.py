"""Find the declaration that gives the pixels of a hook layerzoo_preprocess."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from layerzoo.errors import SampleError
from layerzoo.media.image import to_array
from layerzoo.spec import ImagePreprocess

DIFFERENCE = 0.02
"""As a share of the standard deviation of the pixels: an image that Pillow and torch resize differs by 0.01."""
_CROPS = (1.0, 0.875, 0.9, 0.95)
_BYTE = 255
_SMALLEST_STD, _LARGEST_STD = 0.02, 10.0
"""On a scale of 0 to 1. Beyond these, pixels were not divided by 255, or twice."""


def pixel_difference(pixels: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the root mean square difference of two arrays, as a share of the standard deviation of the second."""
    spread = max(float(np.std(reference)), 1e-6)
    return float(np.sqrt(np.mean((pixels.astype(np.float64) - reference.astype(np.float64)) ** 2))) / spread


def pixel_diagnosis(applied: NDArray[Any], image: Image.Image, declared: ImagePreprocess) -> str:
    """Describe how a declaration that reproduces the pixels of a hook differs from the declared one.

    Args:
        applied: (channel, height, width), the pixels of the hook, of the size that is declared.
        image: the image that it was called with.
        declared: the declared preprocessing.
    """
    if not np.isfinite(applied).all():
        return "the hook gives values that are NaN or infinite"
    if float(np.std(applied)) < 1e-6:
        return "the hook gives one value for all pixels"
    for values_differ in (False, True):
        matches: list[tuple[int, float, str]] = []
        for candidate in _candidates(declared):
            if matches and candidate.changes > matches[0][0]:
                break
            for pixels in candidate.pixels(image, applied.shape, both_orders=not values_differ):
                fitted, mean, std = _fitted(pixels, applied, declared) if values_differ else (pixels, None, None)
                difference = pixel_difference(applied, fitted)
                if difference < DIFFERENCE:
                    phrases = [*candidate.phrases(declared), *([_values(mean, std, declared)] if values_differ else [])]
                    matches.append((candidate.changes, difference, "; ".join(phrases)))
        if matches:
            return min(matches)[2]
    return "no other `fit`, `resize`, `crop`, `mean`, `std` or order of the channels gives the pixels of the hook"


@dataclass(frozen=True, slots=True)
class _OtherDeclaration:
    """Another declaration, with the mean and std of the declared one."""

    preprocess: ImagePreprocess
    is_reversed: bool
    """Whether the channels are blue, green and red."""
    is_black: bool
    """Whether the border of `fit: pad` is black."""
    changes: int
    """The number of values in which it differs."""

    def pixels(self, image: Image.Image, shape: tuple[int, ...], *, both_orders: bool) -> Iterator[NDArray[Any]]:
        """Yield the pixels of an image, those of reversed channels normalised before and after the exchange."""
        if self.is_reversed:
            image = Image.fromarray(np.asarray(image)[..., ::-1].copy())
        preprocess = self.preprocess
        mean, std = (np.array(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
        try:
            if self.is_black:  # the border has the colour of the mean
                pixels = to_array(image, replace(preprocess, mean=(0.0, 0.0, 0.0))) - (mean / std).astype(np.float32)
            else:
                pixels = to_array(image, preprocess)
        except SampleError:
            return
        if pixels.shape != shape:
            return
        yield pixels
        if self.is_reversed and both_orders:
            yield ((pixels * std + mean) - mean[::-1]) / std[::-1]

    def phrases(self, declared: ImagePreprocess) -> Iterator[str]:
        """Yield the differences from a declaration, in words."""
        preprocess = self.preprocess
        if self.is_reversed:
            yield "the hook gives the channels in the order blue, green, red"
        if preprocess.fit != declared.fit:
            yield f"the hook fits images by `{preprocess.fit}`, and declared is `fit: {declared.fit}`"
        if self.is_black:
            yield "its border is black, and that of `fit: pad` has the colour `mean`"
        if preprocess.resize != declared.resize:
            yield f"the hook resizes by `{preprocess.resize}`, and declared is `{declared.resize}`"
        if preprocess.crop != declared.crop:
            yield f"the hook crops {preprocess.crop} of the side, and declared is {declared.crop}"


def _candidates(declared: ImagePreprocess) -> list[_OtherDeclaration]:
    """Return the candidate declarations, those with the fewest changes first."""
    hints = get_type_hints(ImagePreprocess)
    filters = [name for name in get_args(hints["resize"]) if name != "none" or declared.resize == "none"]
    crops = sorted({declared.crop, *_CROPS})
    candidates = []
    fits = [*((fit, False) for fit in get_args(hints["fit"])), ("pad", True)]
    for is_reversed, (fit, is_black), name, crop in product((False, True), fits, filters, crops):
        variant = replace(declared, fit=fit, resize=name, crop=crop)
        changes = is_reversed + is_black + (fit != declared.fit) + (name != declared.resize) + (crop != declared.crop)
        candidates.append(_OtherDeclaration(variant, is_reversed, is_black, changes))
    return sorted(candidates, key=lambda candidate: candidate.changes)


def _fitted(
    pixels: NDArray[Any], applied: NDArray[Any], declared: ImagePreprocess
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Fit mean and std to the pixels of a hook. Returns: the pixels with them, and both, on a scale of 0 to 1."""
    flat_pixels, flat_applied = (array.astype(np.float64).reshape(len(array), -1) for array in (pixels, applied))
    centre, target = (array.mean(axis=1, keepdims=True) for array in (flat_pixels, flat_applied))
    slope = ((flat_pixels - centre) * (flat_applied - target)).mean(axis=1) / np.maximum(flat_pixels.var(axis=1), 1e-12)
    slope = np.where(np.abs(slope) < 1e-9, 1e-9, slope)[:, None]
    offset = target - slope * centre
    fitted = (slope * flat_pixels + offset).reshape(applied.shape)
    stated_mean, stated_std = (np.array(array, np.float64)[:, None] for array in (declared.mean, declared.std))
    return fitted, (stated_mean - offset * stated_std / slope)[:, 0], (stated_std / slope)[:, 0]


def _values(mean: Any, std: Any, declared: ImagePreprocess) -> str:
    """Return a mean and std, on a scale of 0 to 1, in words."""
    stated = f"and declared are {_listed(declared.mean)} and {_listed(declared.std)}"
    if np.abs(std).max() < _SMALLEST_STD:
        return (
            f"the hook does not divide pixels by 255: it applies mean {_listed(mean * _BYTE)} and std "
            f"{_listed(std * _BYTE)} to values on a scale of 0 to 255, {stated} on a scale of 0 to 1"
        )
    if np.abs(std).min() > _LARGEST_STD:
        return (
            f"the hook divides pixels by 255 twice: it applies mean {_listed(mean / _BYTE)} and std "
            f"{_listed(std / _BYTE)} to values on a scale of 0 to 1/255, {stated} on a scale of 0 to 1"
        )
    return f"the hook applies mean {_listed(mean)} and std {_listed(std)}, {stated}"


def _listed(values: Any) -> str:
    return str([round(float(value), 3) + 0.0 for value in values])  # + 0.0: no -0.0
