"""Networks whose features are random or depend on the batch, and a text network with special tokens."""

from __future__ import annotations

from typing import Any

from layerzoo import hookimpl


class Tokenizer:
    prefix, suffix, pad, unknown = (1, 2), (3,), 0, None

    def encode(self, text: str) -> list[int]:
        return [4 + ord(letter) % 60 for letter in text if letter != " "]


@hookimpl
def layerzoo_build(spec: Any) -> Any:
    from varying_zoo.nets import build

    return build(spec)


@hookimpl
def layerzoo_preprocess(spec: Any) -> Any:
    return Tokenizer() if spec.modality == "text" else None
