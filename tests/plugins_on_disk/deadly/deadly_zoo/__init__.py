"""A text network whose tokenizer ends the process on one word, as a library with a fault in its C code does."""

from __future__ import annotations

import os
import signal
from typing import Any

from layerzoo import hookimpl
from layerzoo.testing import toy

layerzoo_build = toy.layerzoo_build
layerzoo_read_weights = toy.layerzoo_read_weights


class Tokenizer(toy.WordTokenizer):
    def encode(self, text: str) -> list[int]:
        if text == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().encode(text)


@hookimpl
def layerzoo_preprocess(spec: Any) -> Any:
    return Tokenizer()
