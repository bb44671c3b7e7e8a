"""Pipes, closed streams, limited encodings, unusual working directories, and Ctrl-C: never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MANY = 100_000
ZOO = f"{sys.executable} -m layerzoo"


def in_shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of sh, in which `zoo` is the command line."""
    program = f'zoo() {{ {ZOO} "$@"; }}\n{line}'
    variables = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", program], env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a script that prints a given number of rows, as every command does."""
    path = tmp_path_factory.mktemp("crowd") / "crowd.py"
    path.write_text(
        "import sys\n"
        "import click\n"
        "import layerzoo.cli as cli\n"
        "from layerzoo.cli.output import PrintedRow, format_option, print_rows\n"
        "@cli.zoo.command('crowd')\n"
        "@format_option(piped='ids')\n"
        "def crowd(format_):\n"
        f"    print_rows((PrintedRow(f'net/{{n}}', lambda n=n: {{'id': n}}, (f'net/{{n}}', n, 'words and words')) "
        f"for n in range({MANY})), format_, ('model', 'params', 'summary'))\n"
        "cli.zoo._lazy['crowd'] = ('__main__:crowd', 'Print many rows.')\n"
        "cli.main(['crowd', *sys.argv[1:]])\n",
        encoding="utf-8",
    )
    return path


# ---------------------------------------------------------------- pipes


@pytest.mark.parametrize("format_", ["ids", "jsonl", "json", "table"])
def test_closing_the_pipe_early_is_no_error(home: Path, crowd: Path, format_: str) -> None:
    done = in_shell(f"{sys.executable} {crowd} --format {format_} | head -n 3")
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 3)


def test_a_reader_of_the_whole_pipe_gets_every_row(home: Path, crowd: Path) -> None:
    counted = "; ".join(f"{sys.executable} {crowd} --format {each} | wc -l" for each in ("ids", "jsonl", "table"))
    assert list(map(int, in_shell(counted).stdout.split())) == [MANY, MANY, MANY + 1]
    done = in_shell(f"{sys.executable} {crowd} --format json")
    assert len(json.loads(done.stdout)) == MANY


def test_leaving_a_pager_early_is_no_error(home: Path, crowd: Path) -> None:
    if shutil.which("less") is None:
        pytest.skip("there is no less here")
    done = in_shell(f"{sys.executable} {crowd} --format table | LESS=FXE less -p 'net/9' | head -n 1")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_piped_table_has_no_colours_and_no_borders(home: Path) -> None:
    table = in_shell("zoo list --format table", COLUMNS="100").stdout
    assert "toy/next-word" in table
    assert not set(table) & set("\x1b─│┃━┏┓┗┛")


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize("streams", [">&-", "<&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(home: Path, streams: str) -> None:
    in_shell("zoo list")
    done = in_shell(f"zoo list --plugin toy --format ids {streams}")
    assert done.returncode == 0
    assert done.stdout in ("", "toy/next-word\n")
    assert done.stderr == ""


def test_a_full_disk_is_reported(home: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    done = in_shell("zoo list > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "zoo: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_a_terminal_without_unicode_gets_similar_ascii_characters(home: Path, environment: dict[str, str]) -> None:
    (home / "registry.yaml").write_text(
        'layerzoo: 1\nmodels: {"naïve": {modality: text, builder: toy, summary: "8 × 3 → 漢"}}\n', encoding="utf-8"
    )
    done = in_shell("zoo list --plugin mine --format json; zoo show mine/naïve --format table", **environment)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert done.stdout.isascii()
    assert "8 x 3 -> \\u6f22" in done.stdout
    for line in ("zoo --help", "zoo compare toy/next-word mine/naïve --format table", "zoo show mine/naiv"):
        done = in_shell(line, **environment)
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 3)


def test_text_of_a_registry_file_cannot_control_the_terminal(home: Path) -> None:
    (home / "registry.yaml").write_text(
        'layerzoo: 1\nmodels: {net: {modality: text, builder: toy, summary: "\\e[2J\\e]0;owned\\a\\u202Ehi"}}\n',
        encoding="utf-8",
    )
    for line in ("list --format table", "show mine/net --format table", "search hi --format table",
                 "compare mine/net toy/next-word --format table", "show mine/net", "list --format jsonl"):  # fmt: skip
        done = in_shell(f"zoo {line}")
        assert done.returncode == 0
        assert not set(done.stdout + done.stderr) & set("\x1b\x07\u202e")


# ---------------------------------------------------------------- working directories


def test_a_missing_home_directory_is_no_error(home: Path) -> None:
    done = in_shell("unset HOME XDG_CONFIG_HOME XDG_CACHE_HOME; zoo list --plugin toy --format ids")
    assert (done.returncode, done.stdout) == (0, "toy/next-word\n")


def test_a_removed_working_directory_is_no_error(home: Path) -> None:
    command = "mkdir gone; cd gone; rmdir ../gone; zoo list --plugin toy --format ids; zoo show toy/next-word"
    done = in_shell(command)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout.startswith("toy/next-word\n")


def test_a_read_only_working_directory_is_no_error(home: Path) -> None:
    done = in_shell("mkdir still; chmod 555 still; cd still; zoo list --plugin toy --format ids")
    assert (done.returncode, done.stdout) == (0, "toy/next-word\n")


# ---------------------------------------------------------------- Ctrl-C

STOPPED_BY_CTRL_C = "zoo: stopped by Ctrl-C (SIGINT)\n"


def test_ctrl_c_during_the_import_of_the_command_line_prints_no_traceback(home: Path) -> None:
    (home / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n", encoding="utf-8")
    done = in_shell("zoo list", PYTHONPATH=f"{home}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", STOPPED_BY_CTRL_C)


def test_ctrl_c_during_a_command_prints_no_traceback(bare_home: Path) -> None:
    models = "".join(f"  net{number}: {{modality: text, builder: toy}}\n" for number in range(20_000))
    (bare_home / "registry.yaml").write_text(f"layerzoo: 1\nmodels:\n{models}", encoding="utf-8")
    cache = Path(os.environ["LAYERZOO_CACHE"])
    child = subprocess.Popen(
        [sys.executable, "-m", "layerzoo", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not cache.is_dir() and child.poll() is None:  # it is about to compile 20,000 models
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate()
    assert (child.returncode, out, err) == (-signal.SIGINT, "", STOPPED_BY_CTRL_C)
