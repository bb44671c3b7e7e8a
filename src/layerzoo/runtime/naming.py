"""Names for the layers of a network that declares none, by the order in which its modules run.

The rule looks for the chain of repeated modules that does most of the work: siblings such as ``encoder.layer.0 … 11``,
called once each, one after the other. If they all return one shape they are blocks; if the shape changes on the way,
the modules before each change, and the last, are stages. What the first of them receives comes after the stem.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise

from layerzoo.runtime.trace import Call, Trace
from layerzoo.spec import Layer


def name_layers(trace: Trace) -> tuple[Layer, ...]:
    """The layers that can be told from a trace: stem, block.I or stage.I, norm, head. Empty when no chain is found."""
    chain = _main_chain(trace)
    if not chain:
        return ()
    stem = _stem(trace, chain)
    named = [*([("stem", stem)] if stem else []), *_chain_names(chain), *_after(trace, chain)]
    return tuple(Layer(name=name, module=call.module, call=_which(trace, call)) for name, call in named)


def _main_chain(trace: Trace) -> list[Call]:
    """The chain of siblings that spends the most FLOPs; of chains that spend as much, the one nearest the root."""
    once = {call.module: call for call in trace.calls if len(trace.calls_of(call.module)) == 1}
    families: dict[str, list[Call]] = defaultdict(list)
    for path, call in once.items():
        parent, _, leaf = path.rpartition(".")
        if re.fullmatch(r"\D*\d+", leaf):
            families[f"{parent}.{leaf.rstrip('0123456789')}"].append(call)
    chains = [chain for family in families.values() if len(chain := _in_a_row(family)) > 1]
    return max(chains, key=lambda chain: (_flops(trace, chain), -chain[0].module.count(".")), default=[])


def _in_a_row(family: list[Call]) -> list[Call]:
    """The calls in their order, if each ends before the next begins and every one returns a tensor that is told."""
    ordered = sorted(family, key=lambda call: call.start)
    apart = all(one.end < other.start for one, other in pairwise(ordered))
    return ordered if apart and all(None in call.outputs for call in ordered) else []


def _flops(trace: Trace, chain: list[Call]) -> int:
    return sum(trace.flops_until(call.end) - trace.flops_until(call.start) for call in chain)


def _which(trace: Trace, call: Call) -> int | None:
    """The number of a call, where its module runs more than once."""
    return call.index if len(trace.calls_of(call.module)) > 1 else None


def _chain_names(chain: list[Call]) -> list[tuple[str, Call]]:
    shapes = [call.outputs[None] for call in chain]
    if len(set(shapes)) == 1:
        return [(f"block.{index}", call) for index, call in enumerate(chain)]
    last_of_a_size = [
        call
        for index, call in enumerate(chain)
        if index + 1 == len(chain) or _resolution(shapes[index + 1]) != _resolution(shapes[index])
    ]
    return [(f"stage.{index}", call) for index, call in enumerate(last_of_a_size)]


def _resolution(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its channels: of four axes the two that are equal, as height and width are for a square picture,
    wherever the channels stand; else all but the last."""
    if len(shape) == 4:
        return shape[2:] if shape[2] == shape[3] else shape[1:3]
    return shape[:-1]


def _stem(trace: Trace, chain: list[Call]) -> Call | None:
    """The call that ends last before the chain begins."""
    before = [call for call in trace.calls if call.end < chain[0].start and None in call.outputs]
    return max(before, key=lambda call: call.end, default=None)


def _after(trace: Trace, chain: list[Call]) -> list[tuple[str, Call]]:
    """What has weights and comes late: the norm, which keeps the shape; `pooled`, one vector a sample of the chain's
    width, as its outermost module gives it; the head, one of another width, as its innermost module does."""
    late = [call for call in trace.calls if call.start > chain[-1].end and None in call.outputs]
    width = chain[-1].outputs[None]
    learned = [call for call in late if _has_parameters(trace, call.module)]
    norm = next((call for call in learned if call.outputs[None] == width), None)
    vectors = [call for call in learned if len(call.outputs[None]) == 2]
    same = [call for call in vectors if call.outputs[None][-1] in width[1:]]
    pooled = max(same, key=lambda call: call.end, default=None)
    head = max((call for call in vectors if call not in same), key=lambda call: call.start, default=None)
    return [(name, call) for name, call in (("norm", norm), ("pooled", pooled), ("head", head)) if call is not None]


def _has_parameters(trace: Trace, path: str) -> bool:
    return any(name.startswith(f"{path}.") for name in trace.reads)
