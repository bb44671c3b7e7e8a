"""Tokenise texts in another process, where Python's hash of a text differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from layerzoo.conformance.subject import Skip
from layerzoo.errors import SampleError

if TYPE_CHECKING:
    from layerzoo.conformance.subject import ModelSubject

_PROGRAM = "from layerzoo.conformance.tokens import report; report()"


def tokens_elsewhere(subject: ModelSubject, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of texts from a new process.

    Args:
        subject: a text model whose tokenizer is its plugin's own.
        texts: texts that the tokenizer accepts.
    Raises: Skip where the process fails.
    """
    request = {"model": subject.spec.id, "texts": list(texts)}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "271828"}
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-c", _PROGRAM],
            input=json.dumps(request),
            env=environment,
            capture_output=True,
            text=True,
            timeout=subject.owner.time_limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Skip("its tokenizer took too long in another process") from error
    lines = process.stdout.splitlines()
    if process.returncode or not lines:
        raise Skip(f"its tokenizer failed in another process: {(process.stderr.splitlines() or ['no output'])[-1]}")
    token_ids: list[list[int]] = json.loads(lines[-1])
    return token_ids


def report() -> None:
    """Tokenise in the child: read the model and the texts, and print the token ids as the last line."""
    from layerzoo.plugins.loader import hooks
    from layerzoo.registry import registry
    from layerzoo.weights import Files

    request: dict[str, Any] = json.load(sys.stdin)
    zoo = registry()
    spec = zoo.model(request["model"])
    plugins = [zoo.plugin(spec.namespace), zoo.builder_plugin(spec.builder)]
    answers = (hooks(plugin).preprocess(spec, Files()) for plugin in plugins)
    tokenizer: Any = next(answer for answer in answers if answer is not None)
    token_ids = []
    for text in request["texts"]:
        try:
            token_ids.append(list(tokenizer.encode(text)))
        except SampleError:
            token_ids.append([])
    sys.stdout.write(f"\n{json.dumps(token_ids)}\n")
