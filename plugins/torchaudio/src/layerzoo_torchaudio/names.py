"""Find the model of the arguments of a declaration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchaudio import pipelines
from torchaudio.pipelines import (
    RNNTBundle,
    SourceSeparationBundle,
    SquimObjectiveBundle,
    SquimSubjectiveBundle,
    Tacotron2TTSBundle,
    Wav2Vec2Bundle,
)

from layerzoo.authoring import nearest, nearest_hint
from layerzoo.errors import RepositoryError
from layerzoo_torchaudio import quality, recognition, separation, speech, synthesis
from layerzoo_torchaudio.front_ends import FRONT_ENDS, front_end
from layerzoo_torchaudio.model import TorchaudioModel

_LONGEST = 80


def model_of(model: str, arguments: Mapping[str, Any]) -> TorchaudioModel:
    """Return the model that a declaration names.

    Args:
        model: its id, for messages.
        arguments: as its `args` have them: ``name``, a pipeline of ``torchaudio.pipelines``, a factory of
            ``torchaudio.models`` or a front end; and arguments of it.
    Raises: RepositoryError for a name that does not exist, or an argument that its network does not take.
    """
    own = dict(arguments)
    name = own.pop("name", None)
    if not isinstance(name, str):
        raise RepositoryError(f"{model}: its `args` have no `name` of a pipeline or factory of torchaudio: {name!r}")
    try:
        return _model(model, name, own)
    except (TypeError, ValueError) as error:
        raise RepositoryError(f"{model}: torchaudio's {name} does not take its `args`: {error}") from error


def _model(model: str, name: str, own: Mapping[str, Any]) -> TorchaudioModel:
    bundle = getattr(pipelines, name, None) if name in pipelines.__all__ else None
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
            found: TorchaudioModel = kind.factory(name, own)
            return found
    if name in FRONT_ENDS:
        return front_end(name, own)
    known = [*pipelines.__all__, *speech.FACTORIES, *separation.FACTORIES, *quality.FACTORIES, *FRONT_ENDS]
    raise RepositoryError(
        f"{model}: torchaudio has no pipeline, factory or front end {name[:_LONGEST]!r}. "
        f"{nearest_hint(nearest(name[:_LONGEST], known))}All: zoo list --plugin torchaudio"
    )
