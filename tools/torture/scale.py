"""``python -m tools.torture.scale``: kill runs at random moments, and write docs/torture-scale.md.

Every attack starts a run of several thousand texts in a new folder, kills one of its processes with SIGKILL, continues
the run with one process, and compares the folder with that of a run that was not disturbed. Exits with 1 if a promise
was broken. ``--only ray`` requires Ray: see tests/ray/requirements.txt.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tools.torture.outcome import Outcome

from layerzoo.disk import is_scratch
from layerzoo.runs import status, verify

_DOCS = Path(__file__).parents[2] / "docs"
ZOO = [sys.executable, "-m", "layerzoo"]
_PATIENCE_S = 300.0
_WORDS = ("a fine film", "about the slow end", "of one long summer", "by lake and hill", "no plot", "but much rain")
PROMISE = "0 lost, 0 doubled, no half file, the same bytes as the undisturbed run"


@dataclass(frozen=True)
class Runs:
    """The runs to attack.

    Attributes:
        texts: a file with a text on every line; a few are empty, and fail.
        options: of the command.
        scratch: the folder for the folders of the runs.
        reference: the folder of a run that was not disturbed.
        seconds: the time that it took.
    """

    texts: Path
    options: tuple[str, ...]
    scratch: Path
    reference: Path
    seconds: float

    def command(self, folder: Path) -> list[str]:
        """Return the command line of a run."""
        return [*ZOO, "run", str(self.texts), "--out", str(folder), *self.options]


def prepared(scratch: Path, *, count: int, options: Sequence[str]) -> Runs:
    """Write the texts, and compute the run that is not disturbed. Raises: RuntimeError if that fails."""
    texts = scratch / "texts.txt"
    random_ = random.Random(5)
    lines = ("" if n % 997 == 5 else " ".join(random_.choices(_WORDS, k=random_.randint(3, 24))) for n in range(count))
    texts.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    runs = Runs(texts, tuple(options), scratch, scratch / "reference", 0.0)
    began = time.monotonic()
    process = started(runs.command(runs.reference))
    _, output = process.communicate(timeout=_PATIENCE_S)
    if process.returncode not in (0, 1) or status(runs.reference).left:
        raise RuntimeError(f"the run fails without a signal: {output}")
    return Runs(texts, tuple(options), scratch, runs.reference, time.monotonic() - began)


def started(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a command with one thread."""
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def attack(runs: Runs, number: int, after_s: float, victims: Callable[[int], list[int]]) -> str | None:
    """Kill a process of a new run, continue it, and compare. Returns: the broken promise, or None.

    Args:
        runs: the runs.
        number: of the attack.
        after_s: when to kill, in seconds after the start.
        victims: returns the processes that may be killed, of the process that was started.
    """
    folder = runs.scratch / f"run-{number}"
    process = started(runs.command(folder))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    deadline = time.monotonic() + runs.seconds
    while process.poll() is None and time.monotonic() < deadline:
        if found := victims(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.Random(number).choice(found), signal.SIGKILL)
            break
        time.sleep(0.02)
    try:
        process.communicate(timeout=_PATIENCE_S)
        again = started([*ZOO, "run", str(runs.texts), "--out", str(folder), *_SMALL])
        _, output = again.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return f"after {after_s:.2f} s: it did not end"
    problems = [*differences(runs.reference, folder)]
    if again.returncode not in (0, 1):
        problems.append(f"the next run ends with {again.returncode}: {output.strip()[-300:]}")
    shutil.rmtree(folder, ignore_errors=True)
    return f"after {after_s:.2f} s: {'; '.join(problems)}" if problems else None


def differences(reference: Path, folder: Path) -> Iterator[str]:
    """Yield how the folder of a run differs from one that was not disturbed."""
    yield from (f"{check.name} is {check.state}: {check.detail}" for check in verify(folder) if check.state != "ok")
    yield from (f"{path.name} is left" for path in folder.iterdir() if is_scratch(path.name))
    parts = sorted(path.name for path in reference.glob("part-*.parquet"))
    if parts != sorted(path.name for path in folder.glob("part-*.parquet")):
        yield "its parts are others"
        return
    rows = [row for name in parts for row in pq.read_table(folder / name, columns=["row"])["row"].to_pylist()]
    if rows != list(range(status(reference).samples)):
        yield f"{len(rows)} rows, of which {len(set(rows))} differ"
    yield from (f"{name} has other bytes" for name in parts if not _same(reference / name, folder / name))


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def itself(process: int) -> list[int]:
    """Return the process that was started."""
    return [process]


def workers_of(process: int) -> list[int]:
    """Return the worker processes of a run."""
    return [child for child in _children(process) if "layerzoo.runs.process" in _command_line(child)]


def actors_of(process: int) -> list[int]:
    """Return the actors of a run on a Ray cluster of this machine."""
    numbers = [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]  # noqa: PTH208
    return [
        number for number in numbers if _command_line(number).startswith("ray::") and "Map" in _command_line(number)
    ]


def _children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


def _command_line(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


_SMALL = ("--model", "starter/minilm-l6", "--layer", "block.1", "--shard-size", "100")
_KINDS: dict[str, tuple[str, tuple[str, ...], Callable[[int], list[int]]]] = {
    "worker": ("a worker of two", (*_SMALL, "--workers", "2"), workers_of),
    "driver": ("the driver of two workers", (*_SMALL, "--workers", "2"), itself),
    "alone": ("a run without workers", _SMALL, itself),
    "ray": ("an actor of Ray", (*_SMALL, "--engine", "ray", "--workers", "2"), actors_of),
    "ray-driver": ("the driver of a run on Ray", (*_SMALL, "--engine", "ray", "--workers", "2"), itself),
}


def attacks(kind: str, scratch: Path, *, count: int, texts: int, seed: int) -> Iterator[Outcome]:
    """Run the attacks of one kind, and yield the outcome so far after each.

    Args:
        kind: the process to kill, a key of the table above.
        scratch: an empty folder.
        count: the number of attacks.
        texts: the number of texts of each run.
        seed: of the random moments.
    """
    name, options, victims = _KINDS[kind]
    runs = prepared(scratch, count=texts, options=options)
    random_ = random.Random(f"{seed} {kind}")
    failures: list[str] = []
    for number in range(count):
        if failure := attack(runs, number, random_.uniform(0.1, runs.seconds), victims):
            failures.append(failure)
        tried = number + 1
        yield Outcome(f"SIGKILL to {name}", tried, tried - len(failures), PROMISE, tuple(failures))


def main() -> int:
    """Run the attacks, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.torture.scale", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(_KINDS), default=list(_KINDS), help="keep other results")
    parser.add_argument("--count", type=int, default=20, help="how many attacks of each kind to run")
    parser.add_argument("--texts", type=int, default=3000, help="how many texts each run has")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the random moments")
    asked = parser.parse_args()
    rows = _DOCS / "torture-scale.jsonl"
    kept: dict[str, Any] = {}
    if rows.is_file():
        kept = {line["kind"]: line for line in map(json.loads, rows.read_text(encoding="utf-8").splitlines())}
    for kind in asked.only:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="torture-scale-") as scratch:
            for outcome in attacks(kind, Path(scratch), count=asked.count, texts=asked.texts, seed=asked.seed):
                sys.stderr.write(f"{kind}: held {outcome.held} of {outcome.tried}; {outcome.failures}\n")
                seconds = round(time.monotonic() - began)
                kept[kind] = {"kind": kind, "seconds": seconds, "texts": asked.texts, **asdict(outcome)}
                ordered = [kept[name] for name in _KINDS if name in kept]
                rows.write_text("".join(f"{json.dumps(row)}\n" for row in ordered), encoding="utf-8")
                (_DOCS / "torture-scale.md").write_text(page(ordered), encoding="utf-8")
    return int(any(row["held"] < row["tried"] for row in kept.values()))


def page(rows: Sequence[dict[str, Any]]) -> str:
    """Return the page of the results, as Markdown."""
    lines = [
        "# Killed runs, and what came of them",
        "",
        "Written by `make torture-scale`. Each attack starts `zoo run` on several thousand texts, sends SIGKILL to one",
        "of its processes at a random moment, continues the run with one process, and compares the folder with that of",
        "a run that was not disturbed.",
        "",
        "| killed | texts | tried | held | seconds | promise |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['attack']} | {row['texts']:,} | {row['tried']} | {row['held']} | {row['seconds']} | {row['promise']} |"
        for row in rows
    ]
    failures = [f"- {row['attack']}: {failure}" for row in rows for failure in row["failures"]]
    return "\n".join([*lines, *(["", "## Broken promises", "", *failures] if failures else []), ""])


if __name__ == "__main__":
    sys.exit(main())
