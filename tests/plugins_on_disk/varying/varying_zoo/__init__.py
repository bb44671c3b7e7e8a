"""Networks whose features are random or depend on the batch, and a text network with special tokens."""

from __future__ import annotations

from typing import Any

from layerzoo import hookimpl


@hookimpl
def layerzoo_build(spec: Any) -> Any:
    from varying_zoo.nets import build

    return build(spec)


@hookimpl
def layerzoo_preprocess(spec: Any) -> Any:
    if spec.modality != "text":
        return None
    from varying_zoo.nets import Tokenizer

    return Tokenizer()
