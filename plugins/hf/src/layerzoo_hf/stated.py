"""Read the size that the name of a published checkpoint states."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")
"""``7b``, ``1.3B``, ``350m``, ``8x7B``. ``A3B`` counts the parameters that are active at once, and ``E4B`` those that
are in memory at once; ``4k`` and ``1T`` are tokens: none of these is the size of the network."""
_UNITS = {"m": 10**6, "b": 10**9}
_TOLERANCE = 1.25
"""How far a number in a name may be from the number of parameters. Names round (Gemma 7B has 8.5 billion, Mixtral 8x7B
46.7); a configuration that is further off is that of another network."""

_WORDS = {
    "tiny": (1, 60),
    "small": (5, 150),
    "base": (50, 350),
    "large": (250, 1_600),
    "huge": (500, 4_000),
    "xlarge": (500, 6_000),
    "xl": (500, 6_000),
}
"""Millions of parameters that networks of these names have. Sources: Turc et al. 2019 and Devlin et al. 2018 (BERT),
Dosovitskiy et al. 2020 and Touvron et al. 2020 (ViT), Raffel et al. 2020 (T5), Liu et al. 2021 (Swin), Baevski et al.
2020 (wav2vec 2.0), Radford et al. 2022 (Whisper), He et al. 2021 (DeBERTa)."""
_VIT = re.compile(r"vit([tsblh])\d*")
_VIT_WORDS = {"t": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge"}


def stated_params(checkpoint: str) -> tuple[int, int] | None:
    """Return the least and the largest number of parameters that a name allows, or None where it states no size.

    Args:
        checkpoint: ``ORG/REPO``. Its last part is read: a number with a unit (``-7b``), else a word (``-base-``).
            Of several numbers the largest counts, which is that of the whole network.
    """
    name = checkpoint.rpartition("/")[2].lower()
    if numbers := [int(times or 1) * float(size) * _UNITS[unit] for times, size, unit in _NUMBER.findall(name)]:
        return int(max(numbers) / _TOLERANCE), int(max(numbers) * _TOLERANCE)
    for part in re.split(r"[^a-z0-9]+", name):
        word = _VIT_WORDS[match[1]] if (match := _VIT.fullmatch(part)) else part
        if word in _WORDS:
            low, high = _WORDS[word]
            return low * 10**6, high * 10**6
    return None
