"""Every pipeline of torchaudio and every front end, as lines of a catalogue."""

from __future__ import annotations

import re
from typing import Any

from torchaudio import pipelines
from torchaudio.pipelines import RNNTBundle, SourceSeparationBundle, Tacotron2TTSBundle

from layerzoo_torchaudio.front_ends import DEFAULTS, FRONT_ENDS, RATE_HZ
from layerzoo_torchaudio.model import BASE_URL
from layerzoo_torchaudio.names import model_of, pipeline_names
from layerzoo_torchaudio.synthesis import PHONEMES, takes_phonemes
from layerzoo_torchaudio.training import documentation_of, languages_of, tasks_of, trained_on

_LICENCES = (
    ("MIT License", "mit"),
    ("CC BY-NC 4.0", "cc-by-nc-4.0"),
    ("CC-BY-NC 4.0", "cc-by-nc-4.0"),
    ("Attribution Non Commercial 4.0", "cc-by-nc-4.0"),
    ("Attribution 4.0 International", "cc-by-4.0"),
)
"""What the documentation of a pipeline says, and its identifier of SPDX."""
Row = dict[str, Any]


def models() -> dict[str, list[Row]]:
    """Return one model for each pipeline and front end, by its name."""
    rows = {name: [_pipeline(name)] for name in pipeline_names()}
    return rows | {name: [_front_end(name)] for name in FRONT_ENDS}


def _pipeline(name: str) -> Row:
    bundle: Any = getattr(pipelines, name)
    is_text = isinstance(bundle, Tacotron2TTSBundle)
    row: Row = {
        "id": name,
        "aliases": [name.lower()],
        "modality": "text" if is_text else "audio",
        "builder": "torchaudio",
        "args": {"name": name},
        "summary": _summary(bundle),
        "license": _licence(bundle),
        "weights": _weights(bundle),
        "tasks": tasks_of(bundle),
        "trained_on": trained_on(bundle),
        "languages": languages_of(bundle),
    }
    if is_text and takes_phonemes(bundle):
        row["unusable"] = PHONEMES
    else:
        model = model_of(name, row["args"])
        row |= {"preprocess": dict(model.preprocess), "default": dict(model.default)}
    return {key: value for key, value in row.items() if value}


def _front_end(name: str) -> Row:
    arguments = {"name": name, "sample_rate": RATE_HZ, **DEFAULTS[name]}
    model = model_of(name, arguments)
    return {
        "id": name,
        "modality": "audio",
        "builder": "torchaudio",
        "args": arguments,
        "summary": f"{FRONT_ENDS[name][1]}, without weights",
        "preprocess": dict(model.preprocess),
        "default": dict(model.default),
    }


def _summary(bundle: Any) -> str:
    """Return the first sentence of the library's documentation."""
    documentation = documentation_of(bundle)
    documentation = re.sub(r"(using approach|as) described in( and| :cite:`[^`]*`)+", "", documentation)
    documentation = re.sub(r":cite:`[^`]*`|:py:\w+:`~?[\w.]*\.|:\w+:`~?", "", documentation)
    sentence = documentation.split(". ")[0].split(" Please refer")[0]
    text = re.sub(r"[`*\"]|\(\s*\)", "", sentence)
    return re.sub(r"\s+([,.)])|\(\s+", lambda match: match[0].strip(), re.sub(r"\s+", " ", text)).strip().rstrip(".")


def _licence(bundle: Any) -> str | None:
    documentation = documentation_of(bundle)
    return next((licence for words, licence in _LICENCES if words in documentation), None)


def _weights(bundle: Any) -> Row:
    """Return where the library downloads the weights of a pipeline. It states no digest of them."""
    files = {}
    if isinstance(bundle, SourceSeparationBundle):
        address = bundle._model_path
    elif isinstance(bundle, RNNTBundle):
        address = bundle._rnnt_path
        files = {bundle._global_stats_path.rpartition("/")[2]: BASE_URL + bundle._global_stats_path}
    elif isinstance(bundle, Tacotron2TTSBundle):
        address = f"models/{bundle._tacotron2_path}"
    else:
        address = bundle._path if bundle._path.startswith("https") else f"models/{bundle._path}"
    source = address if address.startswith("https") else BASE_URL + address
    return {"source": source, "lock": True, **({"files": files} if files else {})}
