"""Attacks by a folder: registries, locks and names in a working directory, and expensive selectors.

Each attack is a command of ``zoo``, in a process forked from this one, which has imported the command line.
"""

# ruff: noqa: E501 - tables of attacks

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.torture.outcome import Outcome

_CPU_LIMIT_S = 10.0
"""The limit of CPU time of a command. The limit of wall time is longer, as other programs may run at the same time."""
_WALL_LIMIT_S = 120.0
_SHOWN_FAILURES = 10
_EXIT_CODES = {0, 1, 2, 3, 4, 5, 6}

_REGISTRY = """\
layerzoo: 1
models:
  net:
    modality: text
    builder: toy
    summary: A small network
    license: mit
    args: {hidden: 3}
    weights: {source: "hf://acme/net@main"}
    preprocess: {max_tokens: 16, batching: tolerance}
    layers:
      block.{0..3}: {module: "blocks.{0..3}", axes: batch token channel, shape: [8, 3]}
      head: {module: head, axes: batch channel}
    default: {layer: block.-1, pool: mean}
  child: {modality: text, base: mine/net, summary: Inherits}
aliases: {short: mine/net, other: short}
disable: [toy/*, mine/gone]
"""
_LOCK = json.dumps(
    {
        "layerzoo_lock": 1,
        "models": {
            "mine/net": {
                "source": "hf://acme/net@main",
                "revision": "1" * 40,
                "files": {"config.json": {"sha256": "a" * 64, "size": 512}},
            },
            "hf/acme/other": {"source": "hf://acme/other", "revision": "2" * 40, "files": {}},
        },
    },
    indent=2,
)
_ODD = [
    *(
        "{}",
        "[]",
        "[[[[[[",
        "{a: {a: {a: ",
        "null",
        "true",
        "1e999",
        "1e400",
        "-1",
        "9" * 5000,
        '""',
        "&x",
        "*x",
        "!!str",
    ),
    *(
        "\x1b[31m",
        "\x1b]0;title\x07",
        "\x9b2J",
        "\x00",
        "\x7f",
        "\u202e",
        "\u200b",
        "\u2028",
        "\ufeff",
        "\\e[2J",
        "\\ud800",
    ),
    *("---", "\t", "\n\n", "\r", "<<: *x", "? ", "a: b: c", "../..", "/etc/passwd", "{0..9}" * 8, "x" * 100_000),
]
_MARKS = ["\x1b[31m", "\x1b]0;owned\x07", "\x1b]8;;http://x\x1b\\", "\x9b31m", "\r", "\x08", "\x7f", "\u202e", "\u2066",
          "\u200b", "\u2028", "\ufeff", "\n", "\nfailed: forged", "\nzoo: forged", "\nNext: forged", "\t", "[bold]", "%s", "{0}"]  # fmt: skip


@dataclass(frozen=True)
class _Done:
    """The result of a command."""

    code: int | None
    """The exit code; None if it was still running after the limit."""
    out: str
    err: str
    cpu_s: float


def attacks(random: random.Random, scratch: Path, count: int) -> Iterator[Outcome]:
    """Run every attack of this family.

    Args:
        random: the only source of random numbers.
        scratch: an empty folder.
        count: the number of attacks of each kind.
    """
    with _environment(scratch):
        zoo = _Zoo(scratch)
        yield _mutated(random, zoo, count, "registry.yaml", _REGISTRY)
        yield _mutated(random, zoo, count, "layerzoo.lock", _LOCK)
        yield _special(zoo)
        yield _changing(zoo, min(count, 10))
        yield _bombs(zoo)
        yield _names(random, zoo, count)
        yield _file_names(random, zoo, count)
        yield _questions(random, zoo, count)


def sample(random: random.Random, scratch: Path, count: int) -> Iterator[Outcome]:
    """Run the attacks of this family that take no more than a second each: those without torch and without large files.

    Args:
        random: the only source of random numbers.
        scratch: an empty folder.
        count: the number of attacks of each kind.
    """
    with _environment(scratch):
        zoo = _Zoo(scratch)
        yield _mutated(random, zoo, count, "registry.yaml", _REGISTRY)
        yield _mutated(random, zoo, count, "layerzoo.lock", _LOCK)
        yield _special(zoo, only=("pipe", "endless device", "link to itself", "sparse, 1 TB"))
        yield _changing(zoo, 2)
        yield _names(random, zoo, count)


# ---------------------------------------------------------------- the promise


_PROMISE = "a named error or an answer within 10 s of computing time, nothing that drives a terminal"


def _broken(done: _Done, *, names: Path | None = None) -> str | None:
    """Return the part of the promise that was broken, or None.

    Args:
        done: the command.
        names: the file that standard error must name.
    """
    if done.code is None or done.cpu_s > _CPU_LIMIT_S:
        return f"took {done.cpu_s:.0f} s of computing time" + (", and was ended" if done.code is None else "")
    if done.code not in _EXIT_CODES:
        return f"exit code {done.code}: {done.err[-300:]!r}"
    if "Traceback" in done.err:
        return f"a traceback: {done.err[-300:]!r}"
    if wrong := {each for each in done.out + done.err if each != "\n" and unicodedata.category(each) in _DRIVING}:
        return f"prints {sorted(wrong)!r}"
    if any(line.startswith(("failed: forged", "zoo: forged", "Next: forged")) for line in done.err.splitlines()):
        return f"a forged line: {done.err[-300:]!r}"
    if names is not None and _as_printed(names) not in done.err:
        return f"does not name {names}: {done.err[-300:]!r}"
    return None


_DRIVING = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _as_printed(path: Path) -> str:
    from layerzoo.printable import printable_name

    return printable_name(str(path))


class _Score:
    """The number of attacks of a kind, and the number for which the promise held."""

    def __init__(self, attack: str, promise: str = _PROMISE) -> None:
        self._attack = attack
        self._promise = promise
        self._tried = 0
        self._failures: list[str] = []

    def note(self, name: str, failure: str | None) -> None:
        self._tried += 1
        if failure is not None:
            self._failures.append(f"{name[:120]!r}: {failure}"[:600])

    def outcome(self) -> Outcome:
        held = self._tried - len(self._failures)
        return Outcome(self._attack, self._tried, held, self._promise, tuple(self._failures[:_SHOWN_FAILURES]))


# ---------------------------------------------------------------- commands


@contextlib.contextmanager
def _environment(scratch: Path) -> Iterator[None]:
    """Hide plugins, the user's files and servers from commands, until the context ends."""
    settings = {
        "LAYERZOO_CACHE": str(scratch / "cache"),
        "XDG_CONFIG_HOME": str(scratch / "config"),
        "LAYERZOO_NO_PLUGINS": "1",
        "LAYERZOO_OFFLINE": "1",
        "COLUMNS": "100",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


class _Zoo:
    """Run commands in folders below a scratch folder."""

    def __init__(self, scratch: Path) -> None:
        import layerzoo.cli
        import layerzoo.cli.listing
        import layerzoo.registry.format.compile  # noqa: F401 - a forked process need not import it

        self._scratch = scratch
        self._made = 0

    def folder(self, name: str = "") -> Path:
        """Make a new folder. name: the end of its name."""
        self._made += 1
        folder = self._scratch / f"{self._made}{name}"
        folder.mkdir()
        return folder

    def run(self, folder: Path, *arguments: str) -> _Done:
        """Run ``zoo`` with some arguments in a folder."""
        streams = [self._scratch / f"{name}.txt" for name in ("out", "err")]
        child = os.fork()
        if child == 0:
            _become(folder, streams, arguments)
        begun = time.monotonic()
        status: int | None = None
        while status is None and time.monotonic() - begun < _WALL_LIMIT_S:
            found, ended, usage = os.wait4(child, os.WNOHANG)
            status = ended if found else None
            if status is None:
                time.sleep(0.01)
        if status is None:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
        out, err = (stream.read_bytes().decode("utf-8", "surrogateescape") for stream in streams)
        code = None if status is None else os.waitstatus_to_exitcode(status)
        return _Done(code, out, err, usage.ru_utime + usage.ru_stime)


def _become(folder: Path, streams: Sequence[Path], arguments: Sequence[str]) -> None:
    """Replace this process by a command. Does not return."""
    code = 70
    try:
        os.chdir(folder)
        for descriptor, stream in enumerate(streams, start=1):
            os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        logging.root.handlers.clear()  # the handlers of pytest
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            errors = "backslashreplace" if name == "stderr" else "strict"
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", errors=errors, closefd=False))  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_CPU, (int(_CPU_LIMIT_S) + 5, int(_CPU_LIMIT_S) + 10))
        from layerzoo.cli import main

        main(list(arguments))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:  # noqa: BLE001 - any error is shown in full
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


# ---------------------------------------------------------------- registries and locks


def _mutated(random: random.Random, zoo: _Zoo, count: int, name: str, valid: str) -> Outcome:
    """Return a file with one to four changes of its bytes, lines and values."""
    score = _Score(f"mutated {name} in the working directory", f"{_PROMISE}; the line on standard error names the file")
    commands = [["list", "--format", "json"], ["show", "mine/net"], ["search", "network"], ["show", "short"],
                ["layers", "mine/child", "block.*"], ["lock", "--check"], ["registry", "check", "registry.yaml"]]  # fmt: skip
    for at in range(count):
        folder = zoo.folder()
        (folder / "registry.yaml").write_text(_REGISTRY, encoding="utf-8")
        written = valid.encode()
        for _ in range(random.randint(1, 4)):
            written = _changed(random, written)
        (folder / name).write_bytes(written)
        command = commands[at % len(commands)]
        done = zoo.run(folder, *command)
        said = folder / name if command[0] != "registry" and done.code != 2 else None
        score.note(" ".join(command), _broken(done, names=said))
    return score.outcome()


def _changed(random: random.Random, written: bytes) -> bytes:
    at, length = random.randrange(len(written) + 1), random.randrange(1, 40)
    lines = written.split(b"\n")
    kind = random.randrange(5)
    if kind == 0:
        return written[:at] + bytes([random.randrange(256)]) + written[at + 1 :]
    if kind == 1:
        return written[:at] + written[at + length :]
    if kind == 2:
        return written[:at] + random.choice(_ODD).encode("utf-8", "surrogatepass") + written[at:]
    if kind == 3:
        lines.insert(random.randrange(len(lines)), random.choice(lines))
        return b"\n".join(lines)
    line = random.randrange(len(lines))
    key, colon, _ = lines[line].partition(b":")
    lines[line] = key + colon + b" " + random.choice(_ODD).encode("utf-8", "surrogatepass")
    return b"\n".join(lines)


def _special(zoo: _Zoo, only: Collection[str] = ()) -> Outcome:
    """Create objects with the name of a registry or a lock that are not regular files."""
    score = _Score(
        "a registry or lock that is a pipe, a device, a folder, a socket, a loop, binary or too large",
        "an error at once that names the file; --no-local-files ignores it",
    )
    kinds: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo,
        "folder": Path.mkdir,
        "endless device": lambda path: path.symlink_to("/dev/zero"),
        "empty device": lambda path: path.symlink_to("/dev/null"),
        "terminal": lambda path: path.symlink_to("/dev/tty"),
        "memory": lambda path: path.symlink_to("/proc/self/mem"),
        "link to itself": lambda path: path.symlink_to(path.name),
        "link to nothing": lambda path: path.symlink_to("missing"),
        "socket": _bind,
        "binary": lambda path: path.write_bytes(bytes(range(256)) * 10),
        "zeros": lambda path: path.write_bytes(bytes(1000)),
        "sparse, 1 TB": lambda path: _sparse(path, 10**12),
        "just too large": lambda path: path.write_bytes(b" " * 17_000_000),
        "UTF-16": lambda path: path.write_text("layerzoo: 1", encoding="utf-16"),
    }
    for name in ("registry.yaml", "layerzoo.lock"):
        for kind, make in kinds.items():
            if only and kind not in only:
                continue
            folder = zoo.folder()
            make(folder / name)
            done = zoo.run(folder, "show", "toy/next-word")
            failure = _broken(done, names=folder / name)
            if failure is None and done.code != 2:
                failure = f"exit code {done.code}"
            ignored = zoo.run(folder, "--no-local-files", "show", "toy/next-word")
            if failure is None and ignored.code != 0:
                failure = f"with --no-local-files: {ignored.err[-200:]!r}"
            score.note(f"{name}: {kind}", failure)
    return score.outcome()


def _bind(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the path of a socket has at most 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _changing(zoo: _Zoo, count: int) -> Outcome:
    """Append to a file repeatedly, as another program would."""
    score = _Score("a registry or lock that grows while it is read")
    for at in range(count):
        folder = zoo.folder()
        path = folder / ("registry.yaml", "layerzoo.lock")[at % 2]
        path.write_text((_REGISTRY, _LOCK)[at % 2], encoding="utf-8")
        stop = threading.Event()

        def grow(path: Path = path, stop: threading.Event = stop) -> None:
            with path.open("ab", buffering=0) as file:
                while not stop.is_set():
                    file.write(b"\n")
                    time.sleep(0.0005)

        writer = threading.Thread(target=grow)
        writer.start()
        try:
            score.note(path.name, _broken(zoo.run(folder, "show", "toy/next-word"), names=path))
        finally:
            stop.set()
            writer.join()
    return score.outcome()


def _bombs(zoo: _Zoo) -> Outcome:
    """Generate files, up to the largest size that is read, which are slow to process."""
    score = _Score("registries and locks that are made to take long")
    net = "{modality: text, builder: toy}"
    registries = {
        "many models": "models:\n" + "".join(f"  n{at}: {net}\n" for at in range(20_000)),
        "aliases of nothing": "aliases:\n" + "".join(f"  a{at}: mine/x{at}\n" for at in range(20_000)),
        "a chain of aliases": "aliases:\n" + "".join(f"  a{at}: a{at + 1}\n" for at in range(20_000)),
        "a circle of aliases": "aliases:\n" + "".join(f"  a{at}: a{(at + 1) % 5000}\n" for at in range(5000)),
        "bases of nothing": "models:\n"
        + "".join(f"  n{at}: {{modality: text, base: mine/x{at}}}\n" for at in range(10_000)),
        "a chain of bases": f"models:\n  n0: {net}\n"
        + "".join(f"  n{at}: {{modality: text, base: mine/n{at - 1}}}\n" for at in range(1, 5000)),
        "disabled ids": f"models: {{net: {net}}}\ndisable: [{', '.join(f'mine/d{at}' for at in range(50_000))}]\n",
        "disabled namespaces": f"models: {{net: {net}}}\ndisable: [{', '.join(f'd{at}/*' for at in range(400))}]\n",
        "disabled aliases": "aliases:\n"
        + "".join(f"  a{at}: a{at + 1}\n" for at in range(5000))
        + f"disable: [{', '.join(f'a{at}' for at in range(400))}]\n",
        "ranges": "models: {net: {modality: text, builder: toy, layers: {'block.{0..9}.{0..9}.{0..9}.{0..9}.{0..9}': "
        "{module: 'b.{0..9}.{0..9}.{0..9}.{0..9}.{0..9}'}}}}\n",
        "long ranges": "models:\n"
        + "".join(
            f"  n{at}: {{modality: text, builder: toy, layers: {{'block.{{0..9999}}': {{module: 'b{at}.{{0..9999}}'}}}}}}\n"
            for at in range(2000)
        ),
        "unknown keys": "models:\n" + "".join(f"  n{at}: {{modality: text, bulder: toy}}\n" for at in range(10_000)),
        "anchors": "models:\n" + "".join(f"  n{at}: &a{at} {net}\n" for at in range(10_000)),
        "missing values": "models:\n" + "".join(f"  n{at}:\n" for at in range(20_000)),
        "white space": "models:\n  n:" + " " * 3_000_000 + "\n",
        "nested": "models: " + "{a: " * 100_000,
        "one long line": f"models: {{net: {{modality: text, builder: toy, summary: '{'x' * 3_500_000}'}}}}\n",
        "args": "models: {net: {modality: text, builder: toy, args: {" + ", ".join(f"a{at}: {at}" for at in range(100_000)) + "}}}\n",
    }  # fmt: skip
    locked = {"source": "hf://acme/net", "revision": "1" * 40, "files": {}}
    locks = {
        "many models": json.dumps({"layerzoo_lock": 1, "models": {f"hf/acme/n{at}": locked for at in range(34_000)}}),
        "nested": '{"layerzoo_lock": 1, "models": ' + '{"a": ' * 200_000,
        "digits": '{"layerzoo_lock": ' + "9" * 3_500_000 + "}",
        "keys": '{"layerzoo_lock": 1, "models": {' + ", ".join('"a": 1' for _ in range(400_000)) + "}}",
    }
    bombs = [("registry.yaml", kind, f"layerzoo: 1\n{text}") for kind, text in registries.items()]
    bombs += [("layerzoo.lock", kind, text) for kind, text in locks.items()]
    for name, kind, text in bombs:
        folder = zoo.folder()
        (folder / name).write_text(text, encoding="utf-8")
        for command in (["list", "--format", "ids"], ["show", "toy/next-word"], ["search", "network"]):
            done = zoo.run(folder, *command)
            said = folder / name if done.code != 2 or command[0] != "list" else None
            score.note(f"{name}: {kind}: {' '.join(command)}", _broken(done, names=said))
    return score.outcome()


# ---------------------------------------------------------------- names and questions


def _names(random: random.Random, zoo: _Zoo, count: int) -> Outcome:
    """Use names with control characters as arguments, as the working directory and in its files."""
    score = _Score("names with escape sequences and line breaks: of folders, models, options, in registries and locks")
    for at in range(count):
        name = "x" + "".join(random.choice(_MARKS) for _ in range(3)).replace("/", "")
        folder = zoo.folder(name if at % 2 else "")
        summary = json.dumps(name)
        (folder / "registry.yaml").write_text(
            f"layerzoo: 1\nmodels: {{net: {{modality: text, builder: toy, summary: {summary}, license: {summary}}}}}\n",
            encoding="utf-8",
        )
        commands = [
            ["show", name],
            ["list", "--format", "table"],
            ["show", "mine/net", "--format", "table"],
            ["list", "--license", name],
            ["list", "--plugin", name],
            ["list", "--modality", name],
            ["search", name],
            ["layers", "toy/next-word", name],
            ["extract", name, "--out", f"{name}.npz"],
            ["extract", "registry.yaml", "--model", name, "--out", "a.npz"],
            ["lock", name],
            ["registry", "check", name],
            ["plugin", "show", name],
            ["compare", name, "toy/next-word"],
            [name],
            ["list", f"--{name}"],
            ["compare", "mine/net", "toy/next-word", "--format", "table"],
            ["pull", name],
            ["list", "--columns", name],
            ["cache", "verify", name],
        ]
        command = commands[at % len(commands)]
        score.note(" ".join(command), _broken(zoo.run(folder, *command)))
    return score.outcome()


def _file_names(random: random.Random, zoo: _Zoo, count: int) -> Outcome:
    """Use such names for files and in the headers of tables, which ``zoo extract`` reports."""
    score = _Score("names of files and headers of tables with escape sequences and line breaks, in zoo extract")
    folder = zoo.folder()
    inputs = folder / "inputs"
    inputs.mkdir()
    for at in range(count):
        name = f"{at}" + "".join(random.choice(_MARKS) for _ in range(2)).replace("/", "")
        (inputs / f"{name}.txt").write_bytes(b"\xff\xfe broken" if at % 2 else b"the cat")
        (inputs / f"{name}.jpg").write_bytes(b"no image")
        with (inputs / f"{name}.csv").open("w", encoding="utf-8", newline="") as table:
            csv.writer(table).writerows([[f"a{name}", f"b{name}"], ["the cat", "the dog"]])
        Path(os.fsdecode(os.fsencode(inputs) + b"/%d\xff\x1b[1m.txt" % at)).write_bytes(b"")
    commands = [
        ["extract", "inputs", "--model", "toy/next-word", "--out", "a.npz"],
        ["extract", "inputs", "--model", "toy/next-word", "--column", "\x1b[31mno\ncolumn", "--out", "a.npz"],
        ["extract", *sorted(str(path) for path in inputs.glob("*.csv")), "--model", "toy/next-word", "--out", "a.npz"],
        ["tokens", "toy/next-word", "inputs", "--each", "--format", "table"],
        ["tokens", "toy/next-word", "inputs", "--each", "--format", "jsonl"],
    ]
    for command in commands:
        score.note(" ".join(command), _broken(zoo.run(folder, *command)))
    return score.outcome()


def _questions(random: random.Random, zoo: _Zoo, count: int) -> Outcome:
    """Try selectors, searches, filters and patterns whose cost might grow faster than their length."""
    score = _Score("selectors, searches, filters and patterns that ask for too much")
    folder = zoo.folder()
    layers = ", ".join(f"block.{at}.part.{part}: {{module: b.{at}.{part}}}" for at in range(300) for part in range(10))
    (folder / "registry.yaml").write_text(
        f"layerzoo: 1\nmodels: {{deep: {{modality: text, builder: toy, layers: {{{layers}}}}}}}\n", encoding="utf-8"
    )
    deep = folder / "a/b/c/d/e/f/g/h"
    deep.mkdir(parents=True)
    for at in range(200):
        (deep / f"{at}.txt").write_text("the cat", encoding="utf-8")
    ask = ["layers", "mine/deep"]
    extract = ["extract", "--model", "toy/next-word", "--out", "a.npz"]
    commands = [
        ["search", *(f"word{at}" for at in range(20_000))],
        ["search", *(["toy"] * 20_000)],
        ["search", "x" * 100_000],
        ["search", *("abcdefghijklmnopqrstuvwxyz")],
        *([*ask, pattern] for pattern in (
            "block." + ".".join(["{0..9}"] * 8), "{0..9999}" * 30, "block.*" + "*" * 30, "block." + ".".join(["*"] * 400),
            "block.-1" * 100, "block.*.part.-1", "block.-1.part.-1", "block.{0..299}.part.{0..9}", "block.{0..99999999999}",
            "block." + "9" * 100_000, "block.-" + "9" * 100_000, "{" + "9" * 100_000 + "..1}", "module:" + "a." * 50_000,
            "module:a#" + "9" * 10_000, "module:a[" + "9" * 10_000 + "]", "@0." + "0" * 100_000, "@" * 1000, "x" * 100_000,
            "block.{0..9}.part.-1", "module:a" + "[" * 10_000, "block.*.*.*.*", "{0..9}.*.-1.{0..9}",
        )),
        ["extract", "a.txt", *(word for at in range(5_000) for word in ("--layer", f"block.{at}.*")), "--model", "mine/deep",
         "--out", "a.npz"],
        ["extract", "a.txt", *(["--layer", "block.0"] * 5_000), "--model", "toy/next-word", "--out", "a.npz"],
        ["extract", *(f"block.{at}" for at in range(5_000)), "--layer", "block.0", "--model", "toy/next-word", "--out", "a"],
        ["extract", *(f"no-{at}.txt" for at in range(5_000)), "--model", "toy/next-word", "--out", "a.npz"],
        [*extract, "**/" * 20 + "*.txt"], [*extract, "a*" * 50 + "b"], [*extract, "[" * 10_000], [*extract, "*" * 10_000],
        *(["list", f"--{name}", value] for name in ("min-params", "max-params", "size-px", "rate-hz", "width", "max-width",
                                                    "limit") for value in ("9" * 30, "9" * 5000)),
        ["list", "--size-px", "9" * 30 + "x" + "9" * 30], ["list", "--min-params", "9" * 300 + "g"],
        ["list", "--license", "mit" * 30_000], ["list", "--columns", ",".join(["id"] * 30_000)],
        ["list", "--sort", "x" * 100_000], ["show", "x" * 100_000], ["show", "a/" * 50_000], ["compare", *(["toy/next-word"] * 2_000)],
        ["x" * 100_000], ["list", "--" + "x" * 100_000], ["plugin", "show", "x" * 100_000],
    ]  # fmt: skip
    for command in [*commands, *(_random_question(random) for _ in range(count))]:
        score.note(" ".join(command)[:200], _broken(zoo.run(folder, *command)))
    return score.outcome()


def _random_question(random: random.Random) -> list[str]:
    pieces = [
        "block",
        ".",
        "*",
        "-1",
        "{0..9}",
        "{0..99}",
        "{3..1}",
        "@0.5",
        "last",
        "module:",
        "#3",
        "<",
        "[1]",
        '["x"]',
        "part",
    ]
    selector = "".join(random.choice(pieces) for _ in range(random.randint(1, 30)))
    if random.random() < 0.5:
        return ["layers", "mine/deep", selector]
    return [
        "search",
        *("".join(random.choice("abc*\"'()^:-1") for _ in range(4)) for _ in range(random.randint(1, 40))),
    ]
