"""Write src/layerzoo/published.jsonl, the models of the plugins in this repository.

Run ``python -m tools.published`` (or ``make published``) after the models of a plugin changed; a test compares it.
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from pathlib import Path

from layerzoo.registry import Entry, Environment, Installed, Registry
from layerzoo.registry.installed.environment import PUBLISHED, core
from layerzoo.spec import TAGS

_ROOT = Path(__file__).parents[1]
_KEYS = ("id", "modality", "builder", "license", "params", "width", "size_px", "rate_hz", "summary", *TAGS)


def main() -> None:
    Path(PUBLISHED).write_text(published(), encoding="utf-8")


def published() -> str:
    """Return the content of the file."""
    plugins = [_plugin(path.parent) for path in sorted(_ROOT.glob("plugins/*/pyproject.toml"))]
    with tempfile.TemporaryDirectory(prefix="layerzoo-published-") as cache:
        zoo = Registry(Environment((core(), *plugins), ()), cache=Path(cache))
        entries = [entry for plugin in plugins for entry in zoo.entries(plugin=plugin.namespace)]
    return "".join(map(_line, sorted(entries, key=lambda entry: entry.id)))


def _line(entry: Entry) -> str:
    """Return the line of a model, without the fields that have no value."""
    fields = entry.to_dict()
    known = {key: fields[key] for key in _KEYS if fields[key] not in (None, "", [])}
    return json.dumps(known, ensure_ascii=False, separators=(",", ":")) + "\n"


def _plugin(folder: Path) -> Installed:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ((namespace, module),) = project["entry-points"]["layerzoo"].items()
    return Installed(
        namespace=namespace,
        distribution=project["name"],
        version=project["version"],
        module=module,
        folder=str(folder / "src" / module),
    )


if __name__ == "__main__":
    main()
