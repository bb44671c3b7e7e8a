"""Messages of browsing: each file of golden_browse/ contains a command and everything that it prints.

The commands run where one plugin, acme, is installed and none of this repository. After a change of the messages, write
the files again, and read the difference before committing it:
``LAYERZOO_WRITE_GOLDEN=1 python -m pytest tests/cli/test_browse_messages.py``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden_browse"
SOURCE = Path(__file__).parents[2] / "src"
ON_DISK = Path(__file__).parents[1] / "plugins_on_disk"

COMMANDS = {
    "list": "list --format table",
    "list-all": "list --all --modality video --license apache-2.0 --format table",
    "list-some-columns": (
        "list --all --modality video --license apache-2.0 --format jsonl --columns id,installed,install,size_px"
    ),
    "list-sorted": "list --format table --sort -params --limit 2 --columns id,params,license",
    "list-not-installed-json": "list --not-installed --modality audio --license mit --format json",
    "list-json": "list --modality video --format json",
    "nothing-fits": "list --modality audio --max-params 1k",
    "nothing-installed-fits": "list --modality audio --license mit",
    "nothing-not-installed-fits": "list --not-installed --license mit --modality text",
    "nothing-has-all-words": "search shelf nothing",
    "nothing-has-any-word": "search vit-shelg",
    "unknown-license": "list --license apach-2",
    "unknown-builder": "list --builder acne",
    "unknown-plugin": "list --plugin acne",
    "plugin-not-installed": "list --plugin hf",
    "unknown-modality": "list --modality sound",
    "wrong-params": "list --max-params many",
    "wrong-size": "list --size-px big",
    "wrong-width": "list --width 0",
    "wrong-rate": "list --rate-hz 16k",
    "own-models": "list --plugin mine",
    "wrong-sort": "list --sort parms",
    "wrong-column": "list --columns id,licence",
    "columns-of-ids": "list --columns id",
    "search": "search shelves --format table",
    "search-all": "search --all speech english --format table",
    "search-no-words": "search ?!",
    "show": "show acme/vit-shelf --format table",
    "show-unknown": "show acme/vit-shelff",
    "show-not-installed": "show starter/minilm-l6",
    "show-misspelt-not-installed": "show starter/minilm-l7",
    "show-without-tag-not-installed": "show timm/resnet50",
    "show-no-list": "show video/clips",
    "show-repository-not-installed": "show hf/acme/bert",
    "show-disabled": "show toy/next-word",
    "show-invalid": "show mine/broken",
    "show-without-base": "show mine/heir",
    "layers": "layers acme/vit-shelf block.-1 --format table",
    "layers-not-installed": "layers starter/minilm-l6",
    "layers-unknown": "layers acme/vit-shelf blok.3",
    "extract-not-installed": "extract a.txt --model starter/minilm-l6 --out a.npz",
}
PROGRAM = """
import json, sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from layerzoo.cli import main
for name, arguments in json.load(sys.stdin).items():
    printed, code = StringIO(), 0
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
    print(json.dumps([name, printed.getvalue(), code]))
"""


@pytest.fixture(scope="module")
def message(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Map the name of each command to its output and exit code."""
    folder = tmp_path_factory.mktemp("browse")
    (folder / "registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  broken: {modality: text, builder: toy, sumary: A typo}\n"
        "  heir: {modality: text, base: starter/minilm-l6}\ndisable: [toy/next-word]\n",
        encoding="utf-8",
    )
    (folder / "a.txt").write_text("a text\n", encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [ON_DISK / "good", SOURCE, _without_our_plugins(folder / "site")])),
        "LAYERZOO_CACHE": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "COLUMNS": "100",
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM],
        input=json.dumps({name: shlex.split(command) for name, command in COMMANDS.items()}),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found = (json.loads(line) for line in done.stdout.splitlines())
    return {name: f"$ zoo {COMMANDS[name]}\n{_placeless(text, folder)}= {code}\n" for name, text, code in found}


def _without_our_plugins(folder: Path) -> Path:
    """Return the installed distributions except the plugins of this repository."""
    folder.mkdir()
    for path in (Path(entry) for entry in sys.path if entry.endswith("site-packages")):
        for each in path.iterdir():
            if not each.name.startswith(("layerzoo_", "_layerzoo_", "_editable_impl_layerzoo")):
                (folder / each.name).symlink_to(each)
    return folder


def _placeless(text: str, folder: Path) -> str:
    return re.sub(re.escape(str(folder)), "HOME", text)


@pytest.mark.parametrize("name", COMMANDS)
def test_browsing_messages_equal_the_golden_files(message: dict[str, str], name: str) -> None:
    kept = GOLDEN / f"{name}.txt"
    if "LAYERZOO_WRITE_GOLDEN" in os.environ:
        GOLDEN.mkdir(exist_ok=True)
        kept.write_text(message[name], encoding="utf-8")
    assert message[name] == kept.read_text(encoding="utf-8")


def test_every_golden_file_belongs_to_a_command() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == sorted(COMMANDS)
