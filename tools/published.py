"""Write src/layerzoo/published.jsonl, the models of the plugins in this repository.

Run ``python -m tools.published`` (or ``make published``) after the models of a plugin changed; a test compares it.
"""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path

from layerzoo.registry import Installed, Registry, Surroundings
from layerzoo.registry.installed import core
from layerzoo.registry.published import PUBLISHED, published_lines

_ROOT = Path(__file__).parents[1]


def main() -> None:
    Path(PUBLISHED).write_text(published(), encoding="utf-8")


def published() -> str:
    """Return the content of the file."""
    plugins = [_plugin(path.parent) for path in sorted(_ROOT.glob("plugins/*/pyproject.toml"))]
    with tempfile.TemporaryDirectory(prefix="layerzoo-published-") as cache:
        zoo = Registry(Surroundings((core(), *plugins), ()), cache=Path(cache))
        entries = [entry for plugin in plugins for entry in zoo.entries(plugin=plugin.namespace)]
    return "".join(published_lines(entries))


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
