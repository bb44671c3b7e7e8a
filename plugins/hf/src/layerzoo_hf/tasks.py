"""The tasks and the languages of documented checkpoints."""

from __future__ import annotations

from functools import cache

from transformers.models.auto import modeling_auto

from layerzoo_hf.families import read_table

_TASKS = {
    "MODEL_FOR_CTC_MAPPING_NAMES": "automatic-speech-recognition",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES": "automatic-speech-recognition",
    "MODEL_FOR_RNNT_MAPPING_NAMES": "automatic-speech-recognition",
    "MODEL_FOR_TDT_MAPPING_NAMES": "automatic-speech-recognition",
    "MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING_NAMES": "text-to-speech",
    "MODEL_FOR_TEXT_TO_SPECTROGRAM_MAPPING_NAMES": "text-to-speech",
    "MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES": "object-detection",
    "MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES": "zero-shot-object-detection",
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES": "zero-shot-image-classification",
    "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES": "image-segmentation",
    "MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES": "image-segmentation",
    "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES": "image-segmentation",
    "MODEL_FOR_MASK_GENERATION_MAPPING_NAMES": "mask-generation",
    "MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES": "depth-estimation",
    "MODEL_FOR_KEYPOINT_DETECTION_MAPPING_NAMES": "keypoint-detection",
    "MODEL_FOR_KEYPOINT_MATCHING_MAPPING_NAMES": "keypoint-matching",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES": "image-classification",
    "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES": "video-classification",
    "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES": "audio-classification",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES": "image-text-to-text",
    "MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING_NAMES": "visual-question-answering",
    "MODEL_FOR_DOCUMENT_QUESTION_ANSWERING_MAPPING_NAMES": "document-question-answering",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES": "fill-mask",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "text-generation",
}
"""The task of the hub for each table of the library that is specific to it. Classifiers of texts and tokens are not:
they are heads without weights for nearly every type."""
_INSTEAD = {
    "text-generation": {"fill-mask", "image-text-to-text", "automatic-speech-recognition", "text-to-speech"},
    "audio-classification": {"automatic-speech-recognition"},
    "image-classification": {"zero-shot-image-classification"},
}
"""Tasks whose class a type often has in addition to those that it is made for, and what these are."""


def tasks_of(model_type: str) -> list[str]:
    """Return the tasks that a model type is made for: those for which the library has a class of it."""
    tables = ((task, getattr(modeling_auto, name, {})) for name, task in _TASKS.items())
    tasks = dict.fromkeys(task for task, names in tables if model_type in names)
    return [task for task in tasks if not _INSTEAD.get(task, set()) & tasks.keys()]


def languages_of(checkpoint: str) -> list[str]:
    """Return the codes of the languages of a checkpoint; empty if they are unknown."""
    return list(_languages().get(checkpoint, ()))


@cache
def _languages() -> dict[str, list[str]]:
    table = read_table("languages.toml")
    return {checkpoint: [code] for code, checkpoints in table.items() for checkpoint in checkpoints}
