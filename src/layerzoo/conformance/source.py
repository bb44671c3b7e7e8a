"""Read the module with a plugin's hooks as a syntax tree. Nothing is imported."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

HEAVY = frozenset(
    (
        "cv2", "diffusers", "fairseq", "flax", "jax", "keras", "librosa", "lightning", "nemo", "onnxruntime",
        "open_clip", "pandas", "pytorch_lightning", "scipy", "sentence_transformers", "sklearn", "speechbrain",
        "tensorflow", "timm", "torch", "torchaudio", "torchvision", "transformers",
    )
)  # fmt: skip
"""Libraries whose import takes a second or more."""


@dataclass(frozen=True, slots=True)
class HookFunction:
    """A function that is a hook, or looks like one."""

    name: str
    """The name of the hook: that of the function, or the `specname` of its mark."""
    line: int
    arguments: tuple[str, ...]
    """Those without a default value."""
    is_marked: bool
    """Whether it has the decorator ``@hookimpl``."""


def parsed(path: Path) -> ast.Module | None:
    """Return the syntax tree of a file; None if it cannot be read or is not valid Python."""
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError):
        return None


def hook_functions(tree: ast.Module) -> Iterator[HookFunction]:
    """Yield the functions of a module that are marked as hooks, or whose names begin with ``layerzoo_``."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        marks = [mark for mark in node.decorator_list if _is_hookimpl(mark)]
        if marks or node.name.startswith("layerzoo_"):
            positional = (*node.args.posonlyargs, *node.args.args)
            required = positional[: len(positional) - len(node.args.defaults)]
            keywords = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            required += tuple(argument for argument, default in keywords if default is None)
            name = next(filter(None, map(_specname, marks)), node.name)
            yield HookFunction(name, node.lineno, tuple(argument.arg for argument in required), bool(marks))


def imported_names(tree: ast.Module) -> set[str]:
    """Return the names that a module imports from others, which may be hooks too."""
    return {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def heavy_imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the large libraries that a module imports when it is imported, each with its line."""
    for node in _at_import(tree.body):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        yield from ((root, node.lineno) for name in names if (root := name.partition(".")[0]) in HEAVY)


def _at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported, without those for type checkers only."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and not _is_type_checking(node.test):
            yield from _at_import([*node.body, *node.orelse])
        elif isinstance(node, ast.If):
            yield from _at_import(node.orelse)
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from _at_import([*node.body, *handlers, *node.orelse, *node.finalbody])
        elif isinstance(node, ast.With | ast.ClassDef):
            yield from _at_import(node.body)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _is_hookimpl(mark: ast.expr) -> bool:
    target = mark.func if isinstance(mark, ast.Call) else mark
    return (isinstance(target, ast.Name) and target.id == "hookimpl") or (
        isinstance(target, ast.Attribute) and target.attr == "hookimpl"
    )


def _specname(mark: ast.expr) -> str | None:
    keywords = mark.keywords if isinstance(mark, ast.Call) else []
    values = [word.value for word in keywords if word.arg == "specname"]
    return str(values[0].value) if values and isinstance(values[0], ast.Constant) else None


@lru_cache(maxsize=1)
def known_hooks() -> Mapping[str, tuple[str, ...]]:
    """Return the hooks with the arguments that each may ask for."""
    from layerzoo.plugins import hookspecs

    names = [name for name in hookspecs.__all__ if name.startswith("layerzoo_")]
    return {name: tuple(inspect.signature(getattr(hookspecs, name)).parameters) for name in names}
