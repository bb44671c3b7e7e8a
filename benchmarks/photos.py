"""Measure the speed of features from photos of 12 megapixels: ``python -m benchmarks.photos [ROUNDS]``.

32 JPEG files go through ``starter/efficientnet-lite0`` to its last stage. Decoding takes most of the time there. The
contenders are a usual script (timm, DataLoader, hook), and layerzoo with each ``decode``. They run in separate
processes and take turns, as in :mod:`benchmarks.images`. Then the features of 100 photos with ``decode="fast"`` are
compared with the exact ones.

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from benchmarks.contenders import script
from benchmarks.image_files import write_photos
from benchmarks.measure import own_folder
from benchmarks.turns import (
    FloatArray,
    Run,
    Verdict,
    in_turns,
    print_speeds,
    smallest_cosine,
    speed_verdicts,
    verdict,
)
from safetensors.torch import save_file

import layerzoo
from layerzoo.runtime.preprocess.image import DecodeChoice

_MODEL, _NETWORK, _LAYER, _MODULE = "starter/efficientnet-lite0", "tf_efficientnet_lite0", "stage.4", "blocks.6"
_PHOTOS = 32
_BATCH = 4
"""Photos in a batch of the script, so that each of its worker processes has several."""
_COMPARED = 100
_ROUNDS = 3
_SCRIPT, _EXACT, _FAST = "timm, DataLoader, hook", "layerzoo exact", "layerzoo fast"
_SPEED = ((_FAST, _SCRIPT, 3.0), (_EXACT, _SCRIPT, 1.2))
"""Contender, other contender, and the target for the ratio of their speeds."""
_COSINE = {_EXACT: 0.999999, _FAST: 0.9995}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    with own_folder() as folder:
        photos = tuple(write_photos(folder, _COMPARED))
        weights = folder / "weights.safetensors"
        _write_weights(weights)
        names = (_SCRIPT, _EXACT, _FAST)
        seconds, features = in_turns(partial(prepared, weights, photos[:_PHOTOS]), names, rounds)
        exact, fast = (_extracted(photos, decode)() for decode in ("exact", "fast"))
    print_speeds("photos/s", _PHOTOS, seconds, {})
    verdicts = [*speed_verdicts(seconds, _SPEED), *_agreement(features, exact, fast)]
    for message, _ in verdicts:
        print(message)
    sys.exit(0 if all(reached for _, reached in verdicts) else 1)


def prepared(weights: Path, photos: Sequence[Path], name: str) -> Run:
    """Return the measured run of a contender."""
    if name == _SCRIPT:
        return script(weights, photos, network=_NETWORK, module=_MODULE, batch=_BATCH)
    return _extracted(photos, "fast" if name == _FAST else "exact")


def _extracted(photos: Sequence[Path], decode: DecodeChoice) -> Run:
    backbone = layerzoo.load(_MODEL, layer=_LAYER, pool="mean")
    return lambda: layerzoo.extract(backbone, photos, decode=decode).values


def _write_weights(path: Path) -> None:
    """Write the model's weights under timm's names."""
    network = layerzoo.load(_MODEL, layer=_LAYER).module.network
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)


def _agreement(features: Mapping[str, FloatArray], exact: FloatArray, fast: FloatArray) -> Iterator[Verdict]:
    """Compare the features with those of the script, and the two decodings over more photos."""
    cosine, least = smallest_cosine(features[_EXACT], features[_SCRIPT]), _COSINE[_EXACT]
    yield verdict(f"{_EXACT}: cosine {cosine:.7f} to the script", f"at least {least}", cosine >= least)
    cosines = np.array([smallest_cosine(one[None], other[None]) for one, other in zip(fast, exact, strict=True)])
    for kind, chosen in (("enlarged photographs", cosines[0::2]), ("mosaics", cosines[1::2])):
        print(f"{_FAST}, {len(chosen)} {kind}: cosine median {np.median(chosen):.6f}, least {chosen.min():.6f}")
    mean, least = cosines.mean(), _COSINE[_FAST]
    yield verdict(
        f"{_FAST}: mean cosine {mean:.6f} to exact over {len(cosines)} photos", f"at least {least}", mean >= least
    )


if __name__ == "__main__":
    main()
