"""Create a small tokenizer of every class of the library, without a download."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

CORPUS = (
    "a fine film about the sea",
    "one two three four five six seven eight nine ten",
    "The quick brown fox jumps over the lazy dog, and nothing is read that a cut does not need.",
    "Ünïcode naïve café",
    "日本語のテキスト 电影",
    "emoji 🙂🙃 here",
    "don't stop; it's 3.14159!",
)
"""The text from which vocabularies are trained."""
_LETTERS = sorted({letter for line in CORPUS for letter in line.lower()} - {" "})
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_NO_TOKENIZER = {"AutoTokenizer", "PreTrainedTokenizer", "BasicTokenizer", "WordpieceTokenizer", "CharacterTokenizer"}
_NO_TOKENIZER |= {"MecabTokenizer", "RagTokenizer", "PythonBackend"}  # RAG's consists of two others
_VOCABULARY_SIZE = 320


def classes() -> list[str]:
    """Return the names of the library's tokenizers. A class with several names counts once, under its ``__name__``."""
    exported = {name for name in dir(transformers) if name.endswith(("Tokenizer", "TokenizerFast", "TokenizerLegacy"))}
    mapped = {name for name in TOKENIZER_MAPPING_NAMES.values() if name is not None}
    found = {name: getattr(transformers, name, None) for name in exported | mapped}
    kinds = {kind.__name__: kind for kind in found.values() if kind is not None}
    return sorted(kinds.keys() - _NO_TOKENIZER)


def small_tokenizer(name: str, folder: Path) -> Any:
    """Create a small tokenizer of a class. folder: an empty folder for its vocabulary files.

    Raises: ImportError if a required package is missing; KeyError for an unknown class.
    """
    kind = getattr(transformers, name)
    if type(kind).__name__ == "DummyObject":
        kind()  # the ImportError names the package
    if name in _FROM_FILES:
        return kind(**_FROM_FILES[name](folder))
    if not (isinstance(kind, type) and issubclass(kind, PreTrainedTokenizerBase)):
        raise KeyError(name)
    if name in _WITH_OBJECT or name == "PreTrainedTokenizerFast":
        return kind(tokenizer_object=_wordpiece(), **_names(_SPECIAL))
    if not issubclass(kind, PreTrainedTokenizerFast):
        return kind()  # of characters or bytes, without a vocabulary
    options = {"tags_dict": {"a": 0}} if name.startswith("MarkupLM") else {}
    return kind(**options).train_new_from_iterator(CORPUS * 3, _VOCABULARY_SIZE)


_WITH_OBJECT = {"TokenizersBackend", "ParakeetTokenizer", "CpmTokenizerFast"}


def _wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(_wordpieces(), unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _names(special: Iterable[str]) -> dict[str, str]:
    """Return the arguments for special tokens, by role."""
    return dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))


def _wordpieces(special: Iterable[str] = _SPECIAL) -> dict[str, int]:
    words = sorted({word.lower() for line in CORPUS for word in line.split()})
    return _numbered([*special, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), *words])


def _numbered(tokens: Iterable[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def _text(folder: Path, name: str, lines: Iterable[str]) -> str:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def _json(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return str(path)


def _sentencepiece(folder: Path, name: str = "spiece.model", model_type: str = "unigram") -> str:
    import sentencepiece

    text = _text(folder, "corpus.txt", CORPUS * 20)
    prefix = folder / name.removesuffix(".model")
    sentencepiece.SentencePieceTrainer.train(
        input=text, model_prefix=str(prefix), model_type=model_type, vocab_size=110, hard_vocab_limit=False,
        pad_id=3, minloglevel=2,
    )  # fmt: skip
    return f"{prefix}.model"


def _pieces(folder: Path, model: str) -> list[str]:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=model)
    return [processor.id_to_piece(number) for number in range(processor.get_piece_size())]


def _vocabulary_text(folder: Path) -> dict[str, str]:
    return {"vocab_file": _text(folder, "vocab.txt", _wordpieces())}


def _letters_json(*special: str) -> Callable[[Path], dict[str, str]]:
    def made(folder: Path) -> dict[str, str]:
        return {"vocab_file": _json(folder, "vocab.json", _numbered([*special, "|", *_LETTERS]))}

    return made


def _pairs(*special: str, end: str = "</w>", joint: str = "", header: str = "#version: 0.2") -> Any:
    """Write the files of a byte pair encoding of letters: ``end`` marks the last of a word, ``joint`` the others."""

    def made(folder: Path) -> dict[str, str]:
        letters = [*(f"{letter}{joint}" for letter in _LETTERS), *(f"{letter}{end}" for letter in _LETTERS), *_LETTERS]
        merged = [("t", "h"), ("i", "n"), ("o", "n")]
        vocabulary = _numbered([*special, *letters, *("".join(pair) + joint for pair in merged), "film", "film" + end])
        merges = [header, *(" ".join(pair) for pair in merged)]
        return {
            "vocab_file": _json(folder, "vocab.json", vocabulary),
            "merges_file": _text(folder, "merges.txt", merges),
        }

    return made


def _counted_pairs(folder: Path) -> dict[str, str]:
    """Write fairseq's files: a count after each token and each merge."""
    tokens = dict.fromkeys(token for letter in _LETTERS for token in (letter, f"{letter}@@"))
    return {
        "vocab_file": _text(folder, "vocab.txt", (f"{token} 1" for token in tokens)),
        "merges_file": _text(folder, "bpe.codes", ["t h 3", "i n 2"]),
    }


def _byte_pairs(folder: Path) -> dict[str, str]:
    """Write GPT-2's byte pair encoding, for classes that run it in Python."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = _numbered(
        ["[STOP]", "[UNK]", "[SPACE]", "<|endoftext|>", *alphabet, *(f"{one}</w>" for one in alphabet), "th"]
    )
    return {
        "vocab_file": _json(folder, "vocab.json", vocabulary),
        "merges_file": _text(folder, "merges.txt", ["#version: 0.2", "t h"]),
    }


def _spm(**others: Callable[[Path, str], str]) -> Callable[[Path], dict[str, str]]:
    """Write a SentencePiece model as vocab_file, and the files derived from it."""

    def made(folder: Path) -> dict[str, str]:
        model = _sentencepiece(folder)
        return {"vocab_file": model} | {name: make(folder, model) for name, make in others.items()}

    return made


def _dictionary(folder: Path, model: str) -> str:
    return _text(folder, "dict.txt", (f"{piece} 1" for piece in _pieces(folder, model)[4:]))


def _with_vocabulary(folder: Path) -> dict[str, str]:
    model = _sentencepiece(folder, "sentencepiece.bpe.model")
    vocabulary = _numbered(["<s>", "<pad>", "</s>", "<unk>", *_pieces(folder, model)])
    return {"vocab_file": _json(folder, "vocab.json", vocabulary), "spm_file": model}


def _marian(folder: Path) -> dict[str, str]:
    source, target = _sentencepiece(folder, "source.spm.model"), _sentencepiece(folder, "target.spm.model")
    vocabulary = _numbered(["</s>", "<unk>", *_pieces(folder, source), "<pad>"])
    return {"source_spm": source, "target_spm": target, "vocab": _json(folder, "vocab.json", vocabulary)}


def _roc_bert(folder: Path) -> dict[str, str]:
    pieces = _wordpieces()
    return {
        "vocab_file": _text(folder, "vocab.txt", pieces),
        "word_shape_file": _json(folder, "word_shape.json", {token: number % 20 for token, number in pieces.items()}),
        "word_pronunciation_file": _json(
            folder, "sound.json", {token: number % 30 for token, number in pieces.items()}
        ),
    }


def _fsmt(folder: Path) -> dict[str, Any]:
    files = _pairs("<s>", "<pad>", "</s>", "<unk>", header="#version: 0.2")(folder)
    vocabulary = files.pop("vocab_file")
    return {"langs": ["en", "de"], "src_vocab_file": vocabulary, "tgt_vocab_file": vocabulary, **files}


def _japanese(folder: Path) -> dict[str, str]:
    emoji = {"emoji": {"🙂": "<|emoji1|>"}, "emoji_inv": {"<|emoji1|>": "🙂"}}
    bytes_ = [f"<|byte{number}|>" for number in range(256)]
    tokens = ["<|startoftext|>", "<|endoftext|>", "<SP>", "<BR>", "<TAB>", "<KIGOU>", "<U2000U2BFF>", "<|emoji1|>"]
    return {
        "vocab_file": _text(folder, "vocab.txt", [*tokens, *_LETTERS, *bytes_]),
        "emoji_file": _json(folder, "emoji.json", emoji),
    }


def _byte_maps(folder: Path) -> dict[str, str]:
    return {"vocab_file": _json(folder, "byte_maps.json", {"decompose_map": {}, "merge_map": {}})}


_FROM_FILES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "BartphoTokenizer": _spm(monolingual_vocab_file=_dictionary),
    "BertGenerationTokenizer": _spm(),
    "BertJapaneseTokenizer": lambda folder: _vocabulary_text(folder) | {"word_tokenizer_type": "basic"},
    "BertTokenizerLegacy": _vocabulary_text,
    "BertweetTokenizer": _counted_pairs,
    "BioGptTokenizer": _pairs("<s>", "<pad>", "</s>", "<unk>"),
    "BlenderbotSmallTokenizer": _pairs("__start__", "__end__", "__unk__", "__null__", joint="@@", end=""),
    "CTRLTokenizer": _pairs("<unk>", joint="@@", end=""),
    "ClvpTokenizer": _byte_pairs,
    "CpmAntTokenizer": lambda folder: {
        "vocab_file": _text(
            folder, "vocab.txt", ["<d>", "</d>", "<s>", "</s>", "<pad>", "<unk>", "</n>", "</_>", *_LETTERS]
        )
    },
    "CpmTokenizer": _spm(),
    "EsmTokenizer": lambda folder: {
        "vocab_file": _text(folder, "vocab.txt", ["<cls>", "<pad>", "<eos>", "<unk>", *_LETTERS, "<mask>"])
    },
    "FSMTTokenizer": _fsmt,
    "FastSpeech2ConformerTokenizer": _letters_json("<blank>", "<unk>", "<sos/eos>"),
    "FlaubertTokenizer": _pairs("<s>", "</s>", "<pad>", "<unk>"),
    "GPTNeoXJapaneseTokenizer": _japanese,
    "GPTSw3Tokenizer": _spm(),
    "M2M100Tokenizer": _with_vocabulary,
    "MarianTokenizer": _marian,
    "MgpstrTokenizer": _letters_json("[GO]", "[s]"),
    "MyT5Tokenizer": _byte_maps,
    "PLBartTokenizer": _spm(),
    "PegasusTokenizer": lambda folder: {
        "vocab": [("<pad>", 0.0), ("</s>", 0.0), ("<mask_1>", 0.0), ("<mask_2>", 0.0)]
        + [(f"<unk_{number}>", 0.0) for number in range(2, 103)]
        + [("<unk>", 0.0), ("▁", -1.0), *((letter, -2.0) for letter in _LETTERS), ("▁film", -3.0)]
    },
    "PhobertTokenizer": _counted_pairs,
    "ProphetNetTokenizer": _vocabulary_text,
    "RoCBertTokenizer": _roc_bert,
    "SiglipTokenizer": _spm(),
    "Speech2TextTokenizer": _with_vocabulary,
    "SpeechT5Tokenizer": lambda folder: {"vocab_file": _sentencepiece(folder, "spm_char.model", "char")},
    "TapasTokenizer": _vocabulary_text,
    "VitsTokenizer": _letters_json("<pad>", "<unk>"),
    "Wav2Vec2CTCTokenizer": _letters_json("<pad>", "<s>", "</s>", "<unk>"),
    "Wav2Vec2PhonemeCTCTokenizer": _letters_json("<pad>", "<s>", "</s>", "<unk>"),
    "XLMTokenizer": _pairs("<s>", "</s>", "<pad>", "<unk>", *(f"<special{number}>" for number in range(10))),
}
"""By class name, a function that writes the files of a tokenizer into a folder and returns its arguments."""
