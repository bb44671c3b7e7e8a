"""Measure the speed of features from texts: ``python -m benchmarks.text [ROUNDS [TEXTS]]``.

2,100 real tweets go through MiniLM, with the contenders of :mod:`benchmarks.text_contenders`: from texts to the mean
over their tokens, after the last block and after the third. Each contender runs in a separate process. Its network is
loaded and warm before the clock starts. The contenders take turns. Ratios are computed within a round, and medians are
printed.

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import partial

from benchmarks.measure import own_folder
from benchmarks.text_contenders import CONTENDERS, EARLY, LAST, prepared
from benchmarks.turns import (
    FloatArray,
    Verdict,
    cosine_column,
    in_turns,
    print_speeds,
    smallest_cosine,
    speed_verdicts,
    verdict,
)
from examples.samples import SENTIMENTS, tweets

_TWEETS = 2_100
_ROUNDS = 5
_SPEED = (
    (f"layerzoo {LAST}", f"bare network {LAST}", 0.95),
    (f"layerzoo {LAST}", "sentence-transformers", 1.0),
    (f"layerzoo {EARLY}", "sentence-transformers", 2.0),
)
"""Contender, other contender, and the target for the ratio of their speeds."""
_DISTANCE = 1e-5
"""The largest cosine distance between a text's vector and that of the bare network at the same layer."""


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    count = int(sys.argv[2]) if len(sys.argv) > 2 else _TWEETS
    texts, _ = tweets(per_class=count // len(SENTIMENTS))
    with own_folder():
        seconds, features = in_turns(partial(prepared, texts), CONTENDERS, rounds)
    cosines = _cosines(features)
    print_speeds("texts/s", len(texts), seconds, cosine_column(cosines))
    verdicts = [*speed_verdicts(seconds, _SPEED), *_agreement(cosines)]
    for message, _ in verdicts:
        print(message)
    sys.exit(0 if all(reached for _, reached in verdicts) else 1)


def _cosines(features: Mapping[str, FloatArray]) -> dict[str, float]:
    """Return the smallest cosine between each contender's vectors and those of the bare network at its layer."""
    layers = {name: EARLY if name.endswith(EARLY) else LAST for name in features}
    return {
        name: smallest_cosine(values, features[f"bare network {layers[name]}"]) for name, values in features.items()
    }


def _agreement(cosines: Mapping[str, float]) -> Iterator[Verdict]:
    for name, cosine in cosines.items():
        yield verdict(f"{name}: cosine distance {1 - cosine:.1e}", f"at most {_DISTANCE:.0e}", 1 - cosine <= _DISTANCE)


if __name__ == "__main__":
    main()
