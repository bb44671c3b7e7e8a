"""All output goes through the functions of layerzoo.printable: a search of the source for calls that bypass them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py")) + sorted(ROOT.glob("plugins/*/src/**/*.py"))

ALLOWED = {
    ("cli/messages.py", "click.echo"): "say, which escapes every line",
    ("cli/output.py", "stdout().write"): "the brackets around JSON, whose strings are escaped",
    ("cli/output.py", "stdout().writelines"): "print_lines and print_json, which escape",
    ("cli/__init__.py", "click.echo"): "the help of click",
    ("cli/completion.py", "click.echo"): "scripts of this package, and candidates that format_completion escapes",
    ("plugins/probe.py", "os.write"): "JSON for the parent process, in a pipe",
    ("conformance/tokens.py", "sys.stdout.write"): "JSON for the parent process, in a pipe",
    ("runs/on_ray.py", "logging.getLogger"): "silences the loggers of Ray",
    ("runtime/construct.py", "logging.getLogger"): "silences the loggers of torch",
    ("runtime/export.py", "logging.getLogger"): "silences the loggers of torch's exporters",
    ("sequence/estimators.py", "warnings.warn"): "the ConvergenceWarning of scikit-learn",
    ("media/framing.py", "os.write"): "messages between processes, in a pipe",
    ("stopping.py", "os.write"): "the last line of a process, which is escaped",
}
_LOGGING = {f"logging.{name}" for name in ("debug", "info", "warning", "error", "critical", "exception", "log")}


def _written(node: ast.expr) -> str:
    return ast.unparse(node)


def _bypasses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every call that prints, or gets a logger other than the escaping one."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = _written(call.func)
        keywords = {each.arg: _written(each.value) for each in call.keywords}
        arguments = [_written(each) for each in call.args]
        if (
            (name == "logging.getLogger" and arguments != ["'layerzoo'"])
            or name in _LOGGING
            or name in ("print", "pprint", "click.echo", "click.secho", "os.write", "warn_explicit")
            or name.startswith(("traceback.print", "warnings.warn", "rich."))
            or (name.endswith("Console") and keywords.get("file") != "terminal()")
            or (name.rpartition(".")[2] in ("write", "writelines") and name.startswith(("sys.", "stdout()", "stderr")))
            or (
                name.endswith("TextColumn") and "task.description" in arguments[0] and keywords.get("markup") != "False"
            )
        ):
            yield call.lineno, name


@cache
def _all_bypasses() -> list[tuple[str, int, str]]:
    """Yield the file, line and name of each."""
    return [
        (path.relative_to(ROOT).as_posix().removeprefix("src/layerzoo/"), line, name)
        for path in SOURCES
        for line, name in _bypasses(ast.parse(path.read_text(encoding="utf-8")))
    ]


def test_everything_is_printed_through_the_functions_that_escape() -> None:
    found = [f"{path}:{line}: {name}" for path, line, name in _all_bypasses() if (path, name) not in ALLOWED]
    assert not found, "use layerzoo.cli.messages.say, layerzoo.cli.output.print_lines or the logger 'layerzoo'"


def test_every_exception_is_needed() -> None:
    assert set(ALLOWED) <= {(path, name) for path, _, name in _all_bypasses()}
