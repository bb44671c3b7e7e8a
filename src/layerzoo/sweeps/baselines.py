"""The baselines of a sweep: what is possible without the pretrained network."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from layerzoo.errors import LayerzooError
from layerzoo.runtime.several import load_several
from layerzoo.sweeps.candidates import Candidate
from layerzoo.sweeps.collection import collect
from layerzoo.sweeps.evaluation import CandidateFeatures, Vectors, Words
from layerzoo.sweeps.labelled import LabelledData
from layerzoo.sweeps.previews import Preview, text_of


def samples_as_features(data: LabelledData, small: Sequence[Preview]) -> tuple[str, CandidateFeatures] | None:
    """Return the samples as features without a network, with their name; None where some have none.

    Args:
        data: the samples.
        small: a preview of each.
    """
    if data.modality == "text":
        texts = [text_of(sample.source) for sample in data.samples]
        return None if None in texts else ("words", Words([text for text in texts if text is not None]))
    arrays = [preview.features for preview in small]
    if any(array is None for array in arrays) or len({array.shape for array in arrays if array is not None}) != 1:
        return None
    name = "log-mel" if data.modality == "audio" else "pixels"
    return name, Vectors([np.stack([array for array in arrays if array is not None])])


def random_weights(
    data: LabelledData, candidate: Candidate, seed: int, network: Mapping[str, Any], arguments: Mapping[str, Any]
) -> Vectors | None:
    """Return the features of a layer with random weights; None where the network cannot be initialised so.

    Args:
        data: the samples.
        candidate: one layer.
        seed: of the weights.
        network: device and precision.
        arguments: those of :func:`layerzoo.extract`.
    """
    try:
        backbone, _ = load_several(
            candidate.model,
            list(candidate.layers),
            [candidate.pool],
            weights=f"random:{seed}",
            **network,
        )
        collected = collect(backbone, data.samples, {**arguments, "progress": None})
    except LayerzooError as error:
        logging.getLogger("layerzoo").warning("no baseline with random weights: %s", error)
        return None
    return Vectors(list(collected.by_layer.values())) if collected.done.all() else None
