"""Translate errors of the library about models that it cannot build, and silence its warnings."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from importlib.util import find_spec

from transformers.integrations import hub_kernels
from transformers.utils import logging

from layerzoo.errors import LayerzooError, MissingLibraryError, RemoteCodeError, RepositoryError

_PACKAGES = {
    "Levenshtein": "python-Levenshtein",
    "PIL": "pillow",
    "accelerate": "accelerate",
    "av": "av",
    "blobfile": "blobfile",
    "bs4": "beautifulsoup4",
    "compressed_tensors": "compressed-tensors",
    "cv2": "opencv-python",
    "detectron2": "detectron2",
    "einops": "einops",
    "emoji": "emoji",
    "essentia": "essentia",
    "faiss": "faiss-cpu",
    "flash_attn": "flash-attn",
    "ftfy": "ftfy",
    "fugashi": "fugashi",
    "g2p_en": "g2p-en",
    "gguf": "gguf",
    "google.protobuf": "protobuf",
    "inflect": "inflect",
    "ipadic": "ipadic",
    "jieba": "jieba",
    "jinja2": "jinja2",
    "librosa": "librosa",
    "mistral_common": "mistral-common",
    "natten": "natten",
    "nltk": "nltk",
    "num2words": "num2words",
    "numba": "numba",
    "peft": "peft",
    "phonemizer": "phonemizer",
    "pretty_midi": "pretty-midi",
    "pyctcdecode": "pyctcdecode",
    "pytesseract": "pytesseract",
    "pythainlp": "pythainlp",
    "resampy": "resampy",
    "rhoknp": "rhoknp",
    "rjieba": "rjieba",
    "sacremoses": "sacremoses",
    "scipy": "scipy",
    "sentencepiece": "sentencepiece",
    "soundfile": "soundfile",
    "sudachidict_core": "sudachidict-core",
    "sudachipy": "sudachipy",
    "tiktoken": "tiktoken",
    "timm": "timm",
    "torchaudio": "torchaudio",
    "torchcodec": "torchcodec",
    "torchvision": "torchvision",
    "unidecode": "unidecode",
    "unidic": "unidic",
    "unidic_lite": "unidic-lite",
    "uroman": "uroman",
    "xlstm": "xlstm",
}
"""The libraries that transformers uses where they are installed, by what Python imports, and what pip calls them. No
other name is ever advised: the messages of the library repeat texts of repositories."""
_BY_PACKAGE = {package.lower(): module for module, package in _PACKAGES.items()} | {
    module.lower(): module for module in _PACKAGES
}
_QUOTE = re.compile(r"['\"\u2018\u2019\u201c\u201d]")
_WORD = re.compile(r"[\w.-]+")
_PANIC = "PanicException"
"""What tokenizers, which is written in Rust, raises for a file that it did not expect. No subclass of Exception."""


@contextlib.contextmanager
def translated_errors(model: str) -> Iterator[None]:
    """Translate the errors for a missing package, for code in a repository, which is never run, and for files that
    exceed the library's limits.

    model: the id. Raises: MissingLibraryError, RemoteCodeError, RepositoryError; other exceptions are not changed.
    """
    try:
        yield
    except LayerzooError:
        raise
    except ImportError as error:
        module = _missing_module(error)
        if module is None:
            raise RepositoryError(
                f"{model}: transformers needs a library for it that is not installed, or not in the version that it "
                "needs. Which one is not known here. Next: see what the model's page on the hub lists"
            ) from error
        raise MissingLibraryError(_PACKAGES[module], needed_by=model) from error
    except (RecursionError, MemoryError, OverflowError) as error:
        raise RepositoryError(
            f"{model}: its files describe what no computer holds, such as values nested thousands of levels deep, or "
            f"billions of layers ({type(error).__name__})"
        ) from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise remote_code(model, "its tokenizer or processor is") from error
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise RepositoryError(f"{model}: the library cannot read its tokenizer: {_line(error)}") from error


def _missing_module(error: ImportError) -> str | None:
    """Return the module of _PACKAGES that an error reports as missing; None for any other error.

    Text from a repository is quoted in the library's messages, so only the text before the first quote is searched.
    """
    if error.name is not None:
        full_name, top = error.name, error.name.partition(".")[0]
        return next((name for name in (full_name, top) if name in _PACKAGES), None)
    own_words = _QUOTE.split(str(error))[0]
    modules = (_BY_PACKAGE.get(word.strip(".-").lower()) for word in _WORD.findall(own_words))
    return next((module for module in modules if module is not None and not _is_installed(module)), None)


def _is_installed(module: str) -> bool:
    with contextlib.suppress(ImportError, ValueError):
        return find_spec(module) is not None
    return False


def _line(error: BaseException) -> str:
    line = next(filter(None, str(error).splitlines()), type(error).__name__)
    return line if len(line) <= 200 else f"{line[:200]}…"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings and the progress bars of transformers inside the ``with`` block."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


@contextlib.contextmanager
def without_hub_kernels() -> Iterator[None]:
    """Disable kernels of the hub inside the ``with`` block. If ``kernels`` is installed, the library fetches and runs
    them for some networks, and nothing pins this code."""
    enabled, hub_kernels._kernels_enabled = hub_kernels._kernels_enabled, False
    try:
        yield
    finally:
        hub_kernels._kernels_enabled = enabled


def remote_code(model: str, subject: str) -> RemoteCodeError:
    """subject: the part of the model, and its verb."""
    return RemoteCodeError(
        f"{model}: {subject} code in its repository, which layerzoo never runs. Next: another "
        "checkpoint, of a network that the library knows, or a plugin of your own that builds this one (zoo plugin new)"
    )
