"""Generate the page of the JSON output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tools.reference.json_output import OUTPUT, json_schema
from tools.reference.markdown import bullets, page, prose, sentence
from tools.reference.schema import Wording, in_order

SCHEMA_FILE = "json.schema.json"
_JSON = Wording(types={}, optional="optional")


def json_page() -> str:
    """Document the output of each command, then the objects in it."""
    schema = json_schema()
    return page(
        "JSON",
        "With `--format json` a command prints one object, or an array of objects; with `--format jsonl` it prints the "
        "same objects, one per line. Later versions may add keys. Changed and removed keys are announced in the "
        "changelog.",
        f"As a JSON Schema: [{SCHEMA_FILE}]({SCHEMA_FILE}), with each object under `$defs`.",
        bullets(
            f"{_JSON.values(schema_of_key)}: {sentence(schema_of_key['description'])}"
            for schema_of_key in schema["$defs"][OUTPUT]["properties"].values()
        ),
        *(part for name in in_order(schema["$defs"], OUTPUT) for part in _parts(name, schema["$defs"][name])),
    )


def json_schema_file() -> str:
    """Return the JSON Schema as text."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _parts(name: str, definition: dict[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield prose(definition.get("description", ""))
    yield bullets(_JSON.keys(definition))
