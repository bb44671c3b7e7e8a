"""The pages of docs/reference and their generators."""

from __future__ import annotations

from collections.abc import Callable

from tools.reference.api import api_page
from tools.reference.checks import checks_page
from tools.reference.cli import cli_page
from tools.reference.errors import errors_page
from tools.reference.json_page import SCHEMA_FILE, json_page, json_schema_file
from tools.reference.registry import registry_page
from tools.reference.source import ROOT

FOLDER = ROOT / "docs" / "reference"

PAGES: dict[str, Callable[[], str]] = {
    "api.md": api_page,
    "checks.md": checks_page,
    "cli.md": cli_page,
    "registry.md": registry_page,
    "errors.md": errors_page,
    "json.md": json_page,
    SCHEMA_FILE: json_schema_file,
}
"""The function that generates each file, by its name."""
