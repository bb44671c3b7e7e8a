"""Filters and sort keys of a search, and the words of its text as full-text queries."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypedDict

from layerzoo.errors import UsageError, nearest, nearest_hint
from layerzoo.modalities import MODALITIES, Modality

_PIECE = r"[^\W\d_]{4,}?(?=[vV]\d)|[^\W\d_]+|\d+"
"""dinov2 is dino, v, 2, as dino-v2 is. The pattern is compiled by the first search, and not by every command."""
MAX_PIECES = 32
"""The maximal number of different runs of letters and of digits in a search."""


def pieces(text: str) -> list[str]:
    """Return the runs of letters and of digits: ``vit_b16`` is vit, b, 16. A version is separate: dino, v, 2."""
    return re.findall(_PIECE, text)


def called(name: str) -> str:
    """Return the last part of an id or an alias without signs: ``timm/ResNet-50`` is called ``resnet50``."""
    return "".join(pieces(name.rpartition("/")[2])).lower()


class Match(NamedTuple):
    """A query of the full-text index."""

    words: str | None = None
    """The query of the table ``words`` (ids, summaries and facts), which does not store the order of words."""
    names: str | None = None
    """The query of the table ``names`` (ids and aliases). A row must match both queries if both are given."""
    tier: Literal["exact", "default", "smallest", "named", "any"] = "any"
    """How the matches are restricted and ordered: see :class:`layerzoo.registry.index.search.Selection`."""
    text: str = ""
    """The searched text, for the order of the matches."""


def matches(text: str) -> list[Match]:
    """Return the queries for a text, the best matches first; none if the text has no word.

    Every word must be a prefix of a word of the row. The tiers are: models that are called exactly so; the default
    models of the modalities; models with such a task, the smallest first; whole words of the id; prefixes of words of
    the id; ids that match some of the words; whole words of the summary; prefixes of them; of declared words; all other
    matches. Aliases count as ids. The last query includes the matches of all others.
    """
    words = _searched(text)
    if not words:
        return []
    phrases = " AND ".join(map(_phrase, words))
    begun = [f"{_phrase(word)} *" for word in words]
    whole_words = " AND ".join(f'"{piece}"' for piece in dict.fromkeys(piece for word in words for piece in word))
    anywhere = _anywhere(words)
    tiers = [
        Match(names=phrases, tier="exact"),
        Match(words=anywhere, tier="default"),
        Match(words=f"{{tasks}} : ({whole_words})", tier="smallest"),
        Match(names=phrases, tier="named"),
        Match(names=" AND ".join(begun), tier="named"),
        Match(names=" OR ".join(begun), words=anywhere, tier="named"),
        Match(words=f"{{id aliases summary}} : ({whole_words})"),
        Match(words=f"{{id aliases summary}} : ({anywhere})"),
        Match(words=f"{{id aliases tasks summary facts}} : ({anywhere})"),
        Match(words=anywhere),
    ]
    return [tier._replace(text=text) for tier in tiers]


def match(text: str) -> Match | None:
    """Return one query for all matches of :func:`matches`, without order."""
    words = _searched(text)
    return Match(words=_anywhere(words)) if words else None


def searched_words(text: str) -> list[str]:
    """Return the words of a text that are searched."""
    words = [word for word in dict.fromkeys(text.split()) if pieces(word)]
    return [word for word in words if called(word) not in _STOP_WORDS] or words


def any_match(texts: Sequence[str]) -> Match | None:
    """Return one query for the matches of any of several texts; None if they have no word."""
    if len(texts) == 1:
        return match(texts[0])
    return Match(words=" OR ".join(f"({_anywhere(_searched(text))})" for text in texts))


def similar(text: str) -> str | None:
    """Return a query of the table ``names`` for ids with similar words; None if the text has no word."""
    some = dict.fromkeys(piece[:3] for piece in pieces(text)[:MAX_PIECES])
    query = " OR ".join(f'"{piece}" *' for piece in some)
    return f"{{id}} : ({query})" if query else None


_STOP_WORDS = frozenset(
    "a an and for from in model models network networks of on pretrained the to trained with".split()  # noqa: SIM905 - readable
)
"""Words that say nothing about a model. They are not searched, unless a text has no others."""


def _searched(text: str) -> list[list[str]]:
    """Return the words to search, each as its pieces."""
    return [pieces(word) for word in searched_words(text)]


def _anywhere(words: Sequence[Sequence[str]]) -> str:
    return " AND ".join(f'"{piece}" *' for piece in dict.fromkeys(piece for word in words for piece in word))


def _phrase(word: Sequence[str]) -> str:
    """Return the pieces of a word as a phrase. They consist of letters and digits, so the quotes are safe."""
    return f'"{" ".join(word)}"'


class Filters(TypedDict, total=False):
    """Conditions on models. A filter that is missing or None matches all models.

    A model that does not declare the filtered value does not match. :meth:`Registry.unsized` counts the models that a
    filter by size excludes for that reason.
    """

    modality: Modality | None
    plugin: str | None
    """A namespace or a distribution."""
    builder: str | None
    license: str | None
    """Upper and lower case are equal: ``mit``, ``MIT``."""
    min_params: int | str | None
    """A number, or a text with an optional unit, see :func:`parameter_count`: ``3_000_000``, ``"3M"``."""
    max_params: int | str | None
    size_px: int | tuple[int, int] | str | None
    """Height and width of the images or frames that the network receives, in pixels; one number for a square. A text
    is read as on the command line: ``"224"``, ``"384x256"``."""
    rate_hz: int | str | None
    """Sample rate of the audio that the network receives, in Hz."""
    width: int | str | None
    """Number of features of a sample at the model's default layer and pooling."""
    max_width: int | str | None
    metric: str | Sequence[str] | None
    """Conditions on results, all of which must hold: ``imagenet-acc1>=80``, with ``>=``, ``<=``, ``>``, ``<`` or
    ``=``. A metric is named by the words of its dataset and of the metric, joined by hyphens."""
    task: str | None
    """A task that the model was trained for, as the Hugging Face hub names it: ``image-classification``."""
    trained_on: str | None
    """A data set that the weights were trained on: ``imagenet-21k``."""
    language: str | None
    """A language of the text or speech, by its code or English name: ``de``, ``German``."""
    pattern: str | None
    """A pattern of the id or of an alias, or of their ends after a slash: ``vit*tiny*``. ``*`` matches any text, ``?``
    one character, ``[ab]`` one of some. Upper and lower case are equal. Without these, it is a name: ``resnet50``."""
    text: str | None
    """Words. Each must be a prefix of a word of the id, aliases, summary, tasks, training data, languages, modality,
    builder or license, or of another word for these. Words such as ``for`` and ``models`` are ignored. Where no model
    matches all words, the models match that match most of them; rare words weigh more."""
    installed: bool | None
    """True (the default) for installed models, False for published ones that are not installed, None for both."""


LARGEST_NUMBER = 2**63 - 1
"""The largest integer of SQLite."""
_MAX_CHARACTERS = 20_000
_LONGEST_PATTERN = 500

SORTS = ("id", "modality", "builder", "license", "params", "width", "size_px", "rate_hz")
"""The sort keys. ``size_px`` sorts by area. Any metric is a sort key, too, as in ``imagenet-acc1``."""

_METRIC = r"(?P<name>[^<>=]+)(?P<relation>>=|<=|>|<|=)\s*(?P<value>[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)"


class MetricCondition(NamedTuple):
    """A condition on a result, such as ``imagenet-acc1>=80``."""

    name: str
    """The name of the metric, see :func:`metric_name`."""
    relation: str
    value: float

    @classmethod
    def parse(cls, text: str) -> MetricCondition:
        """Parse a condition. Raises: UsageError."""
        parsed = re.fullmatch(_METRIC, text.strip())
        if parsed is None or not metric_name(parsed["name"]):
            raise UsageError(
                f"'{text}' is not a condition on a metric. Next: write a metric, a relation (>=, <=, >, <, =) and a "
                "number, as in imagenet-acc1>=80"
            )
        return cls(metric_name(parsed["name"]), parsed["relation"], float(parsed["value"]))


def metric_name(*words: str) -> str:
    """Return the name of a metric on the command line: the words of dataset and metric in small letters.

    ``metric_name("ImageNet", "acc@1")`` is ``imagenet-acc1``.
    """
    joined = " ".join(words).lower().replace("@", "")
    return re.sub(r"[^a-z0-9]+", "-", joined).strip("-")


def parse_filters(filters: Filters) -> Filters:
    """Check the names and values of filters, and return them with numbers in place of texts such as ``3M``.

    Args:
        filters: as the caller of Python or the command line wrote them.
    Returns: the same conditions: numbers are integers, ``size_px`` is (height, width), ``metric`` is a tuple.
    Raises: UsageError for an unknown filter, and for a value of another type or out of range.
    """
    for name in filters:
        if name not in Filters.__annotations__:
            raise no_such("filter", name, list(Filters.__annotations__))
    parsed: Any = {name: value for name, value in filters.items() if value is not None}
    for name in parsed:
        try:
            parsed[name] = _PARSERS[name](parsed[name])
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
    if "modality" in parsed:
        check_modality(parsed["modality"])
    for condition in parsed.get("metric", ()):
        MetricCondition.parse(condition)
    if "text" in parsed:
        _check_text(parsed["text"])
    if "pattern" in parsed:
        _check_pattern(parsed["pattern"])
    # A missing "installed" selects installed models; None selects all.
    return {**parsed, **({"installed": None} if filters.get("installed", True) is None else {})}


def parameter_count(value: Any) -> int:
    """Return a number of parameters.

    Args:
        value: a whole number, or a text with an optional unit k, M, G or B: ``500k``, ``25M``, ``1.5G``.
    Raises: UsageError.
    """
    if isinstance(value, str):
        parts = re.fullmatch(r"(\d{1,18}(?:\.\d+)?)([kmgb]?)", value.strip().lower())
        number = int(float(parts[1]) * _UNITS[parts[2]]) if parts else None
    else:
        number = _whole(value)
    return _checked(number, value, "a number of parameters such as 500k, 25M or 1.5G")


def image_size(value: Any) -> tuple[int, int]:
    """Return a size of images in pixels, height first.

    Args:
        value: the side of a square, (height, width), or a text: ``224``, ``384x256``.
    Raises: UsageError.
    """
    sides = value if isinstance(value, tuple | list) else [value]
    if isinstance(value, str):
        sides = re.split("[x×]", value.strip().lower())
    kind = "a size such as 224 or, height first, 384x256"
    numbers = [_checked(_whole(side), value, kind) for side in sides]
    if len(numbers) not in (1, 2):
        raise _refused(value, kind)
    return numbers[0], numbers[-1]


def _whole_number(value: Any) -> int:
    return _checked(_whole(value), value, "a whole number")


def _whole(value: Any) -> int | None:
    """Return a whole number, or the text of one, as an integer; None for another value."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"\s*\d{1,18}\s*", value) else None
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _checked(number: int | None, value: Any, kind: str) -> int:
    """Return a number that is in the range of the index. Raises: UsageError."""
    if number is None:
        raise _refused(value, kind)
    if not 0 <= number <= LARGEST_NUMBER:
        raise UsageError(f"{_short(number)} is not a number from 0 to {LARGEST_NUMBER:,}")
    return number


def _refused(value: Any, kind: str) -> UsageError:
    if isinstance(value, str):
        return UsageError(f"'{value[:100]}' is not {kind}")
    return UsageError(
        f"{value if isinstance(value, float) else f'an object of type {type(value).__name__}'} is not {kind}"
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _refused(value, "a text")
    return value


def _availability(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refused(value, "True, False or None")
    return value


def _conditions(value: Any) -> tuple[str, ...]:
    """Return one condition on metrics, or several, as a tuple."""
    conditions = [value] if isinstance(value, str) else value
    if not isinstance(conditions, tuple | list) or not all(isinstance(condition, str) for condition in conditions):
        raise _refused(value, "a condition such as 'imagenet-acc1>=80', or a list of conditions")
    return tuple(conditions)


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
_PARSERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("modality", "plugin", "builder", "license", "task", "trained_on", "language"), _text),
    **dict.fromkeys(("pattern", "text"), _text),
    **dict.fromkeys(("min_params", "max_params"), parameter_count),
    **dict.fromkeys(("rate_hz", "width", "max_width"), _whole_number),
    "size_px": image_size,
    "metric": _conditions,
    "installed": _availability,
}
"""The function that parses the value of each filter."""


def _check_text(text: str) -> None:
    """Raise UsageError for more words than the index can search in reasonable time."""
    count = len(set(pieces(text))) if len(text) <= _MAX_CHARACTERS else MAX_PIECES + 1
    if count > MAX_PIECES:
        raise UsageError(
            f"a search has at most {MAX_PIECES} different words (runs of letters, and of digits) and "
            f"{_MAX_CHARACTERS:,} characters; this one has {len(set(pieces(text))):,} and {len(text):,}"
        )


def _check_pattern(pattern: str) -> None:
    """Raise UsageError for a pattern that can match nothing."""
    if not pattern or len(pattern) > _LONGEST_PATTERN:
        raise UsageError(f"a pattern of ids has 1 to {_LONGEST_PATTERN} characters, not {len(pattern):,}")


def glob_of(pattern: str) -> str:
    """Return a pattern as SQLite's GLOB reads it: in lower case, and with ``^`` for the ``!`` of a set."""
    return pattern.lower().replace("[!", "[^")


def is_glob(pattern: str) -> bool:
    """Return whether a pattern has a wildcard; otherwise it is a name."""
    return any(sign in pattern for sign in "*?[")


def _short(number: int) -> str:
    return f"{number:,}" if abs(number) < 10**30 else "a number of more than 30 digits"


def check_modality(modality: str) -> None:
    """Raise UsageError for an unknown modality."""
    if modality not in MODALITIES:
        raise no_such("modality", modality, MODALITIES)


def check_limit(limit: int | None) -> None:
    """Raise UsageError for a negative limit, and for one that is not a whole number."""
    if isinstance(limit, str) or (limit is not None and _whole(limit) is None):
        raise UsageError(f"limit: {_refused(limit, 'a whole number')}")
    if limit is not None and not 0 <= limit <= LARGEST_NUMBER:
        raise UsageError(f"a limit is a number from 0, not {_short(limit)}. The largest is {LARGEST_NUMBER:,}")


def no_such(noun: str, name: str, names: Sequence[str]) -> UsageError:
    """Return the error for a word that is not one of the possible ones."""
    close = nearest(name.removeprefix("-"), names)
    hint = nearest_hint(close)
    return UsageError(f"there is no {noun} '{name}'. {hint}All: {', '.join(names)}")
