"""The task, the training data and the language of a pipeline: from its class and its documentation."""

from __future__ import annotations

import inspect
import re
from typing import Any

from torchaudio.pipelines import (
    RNNTBundle,
    SourceSeparationBundle,
    SquimObjectiveBundle,
    SquimSubjectiveBundle,
    Tacotron2TTSBundle,
    Wav2Vec2ASRBundle,
    Wav2Vec2Bundle,
    Wav2Vec2FABundle,
)

_TASKS = (
    (Wav2Vec2FABundle, "forced-alignment"),
    (Wav2Vec2ASRBundle, "automatic-speech-recognition"),
    (Wav2Vec2Bundle, "feature-extraction"),
    (RNNTBundle, "automatic-speech-recognition"),
    (SourceSeparationBundle, "audio-to-audio"),
    (Tacotron2TTSBundle, "text-to-speech"),
    ((SquimObjectiveBundle, SquimSubjectiveBundle), "speech-quality-assessment"),
)
"""The task by the class of a pipeline; the first class that fits counts."""
_ENDS = r"Originally published|Published by|The underlying model|Training was|Please refer"
_DATA = re.compile(
    r"\*([A-Z][\w-]*(?: [A-Z0-9][\w-]*)*?)(?: [Dd]ataset)?\*(?: dataset)? :cite:|([A-Z][\w-]*)(?: dataset)? :cite:"
)
"""A name in italics, or a single word, before a reference."""


def tasks_of(bundle: Any) -> list[str]:
    """Return the task of a pipeline, under the name of the Hugging Face hub if it has the task."""
    return next(([task] for kind, task in _TASKS if isinstance(bundle, kind)), [])


def trained_on(bundle: Any) -> list[str]:
    """Return the data sets that the documentation of a pipeline names, in the order of training, in small letters."""
    documentation = documentation_of(bundle)
    trained = re.split(r"trained (?:using [^*]* )?(?:as described in .*? )?on ", documentation, maxsplit=1)[-1]
    names = (first or second for first, second in _DATA.findall(re.split(_ENDS, trained)[0]))
    return list(dict.fromkeys(re.sub(r"\s+", "-", name.lower()) for name in names))


def languages_of(bundle: Any) -> list[str]:
    """Return the language that the documentation of a pipeline, or its text processor, states; none if neither does."""
    documentation = documentation_of(bundle)
    if subset := re.search(r"transcribed audio from \"([a-z]{2})\" subset", documentation):
        return [subset[1]]
    if re.search(r"[\d,]+ languages|Multilingual", documentation.split("Originally")[0]):
        return ["multilingual"]
    if isinstance(bundle, Tacotron2TTSBundle) and "_English" in inspect.getsource(type(bundle).get_text_processor):
        return ["en"]
    return []


def documentation_of(bundle: Any) -> str:
    """Return the library's documentation of a pipeline on one line."""
    return re.sub(r"\s+", " ", bundle.__doc__ or "")
