"""Find the model of the arguments of a declaration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torchaudio import pipelines
from torchaudio.pipelines import (
    RNNTBundle,
    SourceSeparationBundle,
    SquimObjectiveBundle,
    SquimSubjectiveBundle,
    Tacotron2TTSBundle,
    Wav2Vec2Bundle,
)

from layerzoo.authoring import WithoutInitialisation, nearest, nearest_hint
from layerzoo.errors import RepositoryError
from layerzoo_torchaudio import quality, recognition, separation, speech, synthesis
from layerzoo_torchaudio.front_ends import FRONT_ENDS, front_end
from layerzoo_torchaudio.model import TorchaudioModel

_LONGEST = 80


def pipeline_names() -> list[str]:
    """Return the name of every pipeline, in the library's order."""
    return [name for name in pipelines.__all__ if not isinstance(getattr(pipelines, name), type)]


def model_of(model: str, arguments: Mapping[str, Any]) -> TorchaudioModel:
    """Return the model that a declaration names.

    Args:
        model: its id, for messages.
        arguments: as its `args` have them: ``name``, a pipeline of ``torchaudio.pipelines``, a factory of
            ``torchaudio.models`` or a front end; and arguments of it.
    Raises: RepositoryError for a name that does not exist, or arguments that its network does not take. Only a build
        shows the latter: a network that is not in the catalogue is built once on the meta device.
    """
    own = dict(arguments)
    name = own.pop("name", None)
    if not isinstance(name, str):
        raise RepositoryError(f"{model}: its `args` have no `name` of a pipeline or factory of torchaudio: {name!r}")
    try:
        torchaudio_model = _model(model, name, own)
        if own or name not in (*pipeline_names(), *FRONT_ENDS):
            with torch.device("meta"), WithoutInitialisation():
                torchaudio_model.build()
    except (TypeError, ValueError) as error:
        raise RepositoryError(f"{model}: torchaudio's {name} does not take its `args`: {error}") from error
    return torchaudio_model


def _model(model: str, name: str, own: Mapping[str, Any]) -> TorchaudioModel:
    bundle = getattr(pipelines, name) if name in pipeline_names() else None
    match bundle:
        case Wav2Vec2Bundle():
            return speech.pipeline(bundle, own)
        case SourceSeparationBundle():
            return separation.pipeline(bundle, own)
        case SquimObjectiveBundle():
            return quality.factory("squim_objective_model" if own else "squim_objective_base", own)
        case SquimSubjectiveBundle():
            return quality.factory("squim_subjective_model" if own else "squim_subjective_base", own)
        case RNNTBundle():
            return recognition.pipeline(bundle, own)
        case Tacotron2TTSBundle():
            return synthesis.pipeline(model, bundle, own)
    for kind in (speech, separation, quality):
        if name in kind.FACTORIES:
            torchaudio_model: TorchaudioModel = kind.factory(name, own)
            return torchaudio_model
    if name in FRONT_ENDS:
        return front_end(name, own)
    names = [*pipeline_names(), *speech.FACTORIES, *separation.FACTORIES, *quality.FACTORIES, *FRONT_ENDS]
    raise RepositoryError(
        f"{model}: torchaudio has no pipeline, factory or front end {name[:_LONGEST]!r}. "
        f"{nearest_hint(nearest(name[:_LONGEST], names))}All: zoo list --plugin torchaudio"
    )
