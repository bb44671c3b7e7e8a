"""Words that people use for a modality, and the names of languages. They are searched in addition to declarations."""

from __future__ import annotations

from collections.abc import Iterable

SYNONYMS = {
    "vision": "image images picture photo",
    "audio": "sound sounds",
    "text": "texts nlp",
    "video": "videos",
}
"""The words that find the models of a modality, in addition to its name."""


def modalities_of(text: str) -> list[str]:
    """Return the modalities that a word of a text names."""
    words = text.lower().split()
    return [name for name, synonyms in SYNONYMS.items() if not {name, *synonyms.split()}.isdisjoint(words)]


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


def language_code(language: str) -> str:
    """Return the code of a language that is named by its code or its English name; other words are returned as is."""
    word = language.strip().lower()
    return next((code for code, name in LANGUAGES.items() if name.lower() == word), word)
