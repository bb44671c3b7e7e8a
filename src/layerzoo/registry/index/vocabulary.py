"""Words that people use for modalities, tasks and architectures, and the names of languages.

They are searched in addition to declarations.
"""

from __future__ import annotations

from collections.abc import Iterable

SYNONYMS = {
    "vision": "image images picture photo",
    "audio": "sound sounds",
    "text": "texts nlp language",
    "video": "videos",
}
"""The words that find the models of a modality, in addition to its name."""


_EMBEDDING = "embedding embeddings feature features"
_SPEECH = "speech voice spoken speaker verification identification emotion"
TASK_WORDS = {
    ("vision", "image-classification"): "recognition",
    ("vision", "image-feature-extraction"): f"{_EMBEDDING} face faces recognition",
    ("vision", "zero-shot-image-classification"): _EMBEDDING,
    ("video", "video-classification"): f"{_EMBEDDING} action actions activity recognition",
    ("audio", "audio-classification"): f"{_EMBEDDING} sound event events tagging recognition bird music",
    ("audio", "automatic-speech-recognition"): f"{_SPEECH} asr transcription",
    ("audio", "feature-extraction"): f"{_SPEECH} {_EMBEDDING} recognition",
    ("text", "feature-extraction"): f"text {_EMBEDDING}",
    ("text", "sentence-similarity"): f"text {_EMBEDDING} transformer transformers sbert",
    ("text", "text-generation"): "language llm generative",
    ("text", "fill-mask"): "language masked",
}
"""The words that find the models of a modality and task, in addition to the name of the task."""
_SPECIAL_TASKS = ("audio-to-audio", "forced-alignment", "speech-quality-assessment", "text-to-speech")
"""The tasks whose models come last among those that a word such as speech finds: their features serve few others."""
_USES = {"audio": "speech voice speaker emotion", "video": "action activity", "vision": "face faces"}
"""The words for the uses of a modality that are no synonyms of it."""

ARCHITECTURES = {
    "vit": "vision transformer",
    "deit": "vision transformer",
    "mae": "masked autoencoder",
    "asr": "speech recognition",
}
"""The words that abbreviations in ids are short for."""


def task_words(modality: str, tasks: Iterable[str]) -> str:
    """Return the tasks of a model with other words for them, as words to search."""
    return " ".join(f"{task} {TASK_WORDS.get((modality, task), '')}" for task in tasks)


def architecture_words(parts: Iterable[str]) -> str:
    """Return the words that the parts of an id are short for: ``vit`` is a vision transformer."""
    return " ".join(words for part in parts if (words := ARCHITECTURES.get(part.lower())))


def modalities_of(text: str) -> list[str]:
    """Return the modalities that a word of a text names."""
    words = text.lower().split()
    return [
        name
        for name, synonyms in SYNONYMS.items()
        if not {name, *synonyms.split(), *_USES.get(name, "").split()}.isdisjoint(words)
    ]


def special_tasks(text: str) -> list[str]:
    """Return the special tasks that a text does not name. Their models come last."""
    words = text.lower().split()
    return [task for task in _SPECIAL_TASKS if not set(task.split("-")).issubset(words)]


LANGUAGES = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "eu": "Basque",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sr": "Serbian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""English names by ISO 639-1 code."""


def described(languages: Iterable[str]) -> str:
    """Return the codes of languages with their names, as words to search."""
    return " ".join(f"{code} {LANGUAGES.get(code, '')}" for code in languages)


def covered_languages(languages: Iterable[str]) -> str:
    """Return the names of the languages that a multilingual model covers without declaring them, as words to search."""
    return " ".join(LANGUAGES.values()) if "multilingual" in languages else ""


def language_code(language: str) -> str:
    """Return the code of a language that is named by its code or its English name; other words are returned as is."""
    word = language.strip().lower()
    return next((code for code, name in LANGUAGES.items() if name.lower() == word), word)
