"""The page of what is printed as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tools.reference.markdown import bullets, page, prose, sentence
from tools.reference.schema import Wording, in_order
from tools.reference.shapes import PRINTED, json_schema

SCHEMA_FILE = "json.schema.json"
_JSON = Wording(types={}, optional="may be left out")


def json_page() -> str:
    """What each command prints, then the objects it consists of."""
    schema = json_schema()
    return page(
        "JSON",
        "With `--format json` a command prints one object, or an array of them; with `--format jsonl` the same objects "
        "one a line. Keys may be added in later versions; none changes its meaning or goes without a notice in the "
        "changelog.",
        f"The same as a JSON Schema: [{SCHEMA_FILE}]({SCHEMA_FILE}), each kind under `$defs`.",
        bullets(
            f"{_JSON.values(of_key)}: {sentence(of_key['description'])}"
            for of_key in schema["$defs"][PRINTED]["properties"].values()
        ),
        *(part for name in in_order(schema["$defs"], PRINTED) for part in _parts(name, schema["$defs"][name])),
    )


def json_schema_file() -> str:
    """The schema, to be read by programs."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _parts(name: str, definition: dict[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield prose(definition.get("description", ""))
    yield bullets(_JSON.keys(definition))
