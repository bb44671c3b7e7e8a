"""Names for the layers of a network that declares none, by the order in which its modules run.

The rule looks for the *chain* that a network consists of: calls of modules whose paths differ in numbers only, such as
``layer1 … layer4``, ``blocks.0 … blocks.11`` or ``blocks.0.0 … blocks.3.2``, one after the other. Where the number of
positions drops on the way, the last call before each drop, and the last of all, are stages; the blocks of a stage are
the chain inside it. Where it never drops, the calls are blocks. Where each call returns several maps, each of them is a
branch. What the chain receives comes after the stem; what comes after the chain is the final norm, the pooled vector
and the head. Of a network that goes on behind its chain (a detector's neck and its queries), its library says what
follows.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from math import prod
from typing import Literal

from layerzoo.plugins.chain import Chain
from layerzoo.runtime.trace import Call, Key, Trace
from layerzoo.spec import Layer

_SHARE_OF_A_CHAIN = 0.25
"""A chain does at least this share of the network's FLOPs; of several, the one nearest the root is meant. A network's
own blocks win over those of a convolutional stem (hybrids, speech), and over the pieces that they are made of."""
_SHARE_OF_BLOCKS = 0.6
"""The blocks inside the stages do at least this share of the chain's FLOPs; the rest is between them."""
_SHARE_BEHIND_BLOCKS = 0.02
"""What follows the last block of a stage does less than this share of its FLOPs. Blocks on one of two paths that are
joined behind them (CSPNet) are parts of a block."""
_SHARE_OF_A_STEM = 0.1
"""What comes first and has no blocks, as all stages after it have, is a stage if it does this share of the FLOPs."""
_SHARE_OF_BRANCHES = 0.05
"""A chain of branches that follows the main one does at least this share of the network's FLOPs."""
_POOLS = 4
"""What has this many times fewer positions than the chain is no map of it any more (the class tokens of PiT)."""
_DROP = 1.5
"""Resolution changes where there are this many times fewer positions. Halving a side gives 2 or 4; a class token that
comes or goes, and a convolution without padding, change less."""


_BY_RULE = Chain()


def name_layers(trace: Trace, chain: Chain = _BY_RULE) -> tuple[Layer, ...]:
    """The layers that can be told from a trace: stem, block.I or stage.I, stage.I.block.J, norm, pooled, head, with
    ``branch.K.`` in front where branches run in parallel; and the embedding. Empty when none is found."""
    if not chain.embedding:
        returned = [] if chain.embedding is None else [_embedding(trace.calls[0], chain)]
        return (*_name_network(trace, chain), *returned)
    inside, outside = _divided_calls(trace, chain.embedding)
    named = _name_network(replace(trace, calls=outside), chain)
    return (*named, *(_embedding(call, chain) for call in inside[:1]))


def _embedding(call: Call, chain: Chain) -> Layer:
    """The layer of an embedding. One vector a sample needs no second trace to tell which axis is which."""
    axes = chain.axes_of(call.module, len(_Place(call, None).shape))
    if len(call.outputs.get(None, ())) == 2:
        axes = ("batch", "channel")
    prefix = chain.prefix_tokens if axes is not None and "token" in axes else None
    return Layer(name="embedding", module=call.module, axes=axes, prefix_tokens=prefix)


def _divided_calls(trace: Trace, path: str) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
    """The calls of a module and of what is inside it, and all others."""
    inside = tuple(call for call in trace.calls if f"{call.module}.".startswith(f"{path}."))
    return inside, tuple(call for call in trace.calls if call not in inside)


def _name_network(trace: Trace, chain: Chain) -> tuple[Layer, ...]:
    run = _Run(trace, branches=chain.branches)
    links = (
        run.named(chain.modules)
        if chain.modules is not None
        else run.main_chain(chain.within, chain.single, chain.count)
    )
    behind = _behind(run, chain.after)
    links = [call for call in links if call not in [place.call for _, place in behind]]
    if not links:
        return ()
    parts = _parts(run, links, chain.blocks)
    parts += [part for part in _parts(run, run.branches_after(links), None) if part.prefix]
    named = [pair for part in parts for pair in (*_stem(run, part, chain.stem), *part.named())]
    named += behind if chain.after else _tail(run, parts)
    layers = [_layer(run, name, place, chain) for name, place in named]
    return tuple(layers) if chain.suffix_tokens is None else (*layers, *_queries(layers, chain.suffix_tokens))


def _layer(run: _Run, name: str, place: _Place, chain: Chain) -> Layer:
    axes = chain.axes_of(place.call.module, len(place.shape))
    return Layer(
        name=name,
        module=place.call.module,
        call=run.which(place.call),
        output=place.key,
        at=place.at,
        axes=axes,
        prefix_tokens=chain.prefix_tokens if axes is not None and "token" in axes else None,
        suffix_tokens=chain.suffix_tokens if len(place.shape) == 3 else None,
    )


def _queries(layers: Iterable[Layer], count: int) -> list[Layer]:
    """The layers of the tokens that become objects, where these go through the same blocks as those of the input."""
    axes = ("batch", "token", "channel")
    return [
        replace(layer, name=f"query.{layer.name}", suffix_tokens=None, last_tokens=count, axes=axes, prefix_tokens=0)
        for layer in layers
        if re.fullmatch(r"block\.\d+|norm", layer.name)
    ]


@dataclass(frozen=True, slots=True)
class _Place:
    """One activation: what a call returns, or one of the tensors it returns."""

    call: Call
    key: Key
    channels_first: bool = False
    """Whether the channels of a sequence stand before its positions, as convolutions over time have them."""
    at: Literal["output", "input"] = "output"
    """Whether it is what the call returns, or what it receives in the first place."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.call.outputs[self.key] if self.at == "output" else next(iter(self.call.inputs.values()))

    @property
    def positions(self) -> int:
        """How many places of the input it describes."""
        return self.shape[2] if self.channels_first else _positions(self.shape)

    @property
    def channels(self) -> int:
        return prod(self.shape[1:]) // self.positions if self.positions else 0


def _depth(call: Call) -> int:
    return call.module.count(".")


def _pattern(call: Call) -> str:
    """The path of a module with a star for every number, and for a letter that counts on (`5b`, `5c`)."""
    return re.sub(r"\d+[a-z]?(?=[._]|$)|\d+", "*", call.module)


def _are_channels_first(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether sequences along a chain have their channels in front: the last axis shrinks and never grows, and the
    other one grows. Where tokens are merged it is the other way round."""
    if any(len(shape) != 3 for shape in shapes):
        return False
    steps = list(pairwise(shapes))
    shrinks = any(one[2] >= _DROP * other[2] for one, other in steps)
    grows = any(one[1] < other[1] for one, other in steps)
    return shrinks and grows and all(one[2] >= other[2] for one, other in steps)


def _declines(places: Sequence[_Place]) -> bool:
    """Whether the resolution never rises again on the way, as it does between the branches of a parallel network."""
    return all(other.positions < _DROP * one.positions for one, other in pairwise(places))


def _positions(shape: tuple[int, ...]) -> int:
    """The size of all axes but the batch and the channels. Of four axes the two that are equal are height and width, as
    they are for a square picture, wherever the channels stand; else the channels come last."""
    if len(shape) == 4 and shape[2] == shape[3]:
        return shape[2] * shape[3]
    return prod(shape[1:-1])


class _Run:
    """A trace, with what the rule asks of it again and again."""

    def __init__(self, trace: Trace, *, branches: bool) -> None:
        self.trace = trace
        self._branches = branches

    @cached_property
    def _flops(self) -> tuple[list[int], list[int]]:
        """Steps at which something was computed, and the FLOPs up to and with each."""
        steps = [step for step, _ in self.trace.flops]
        return steps, [0, *accumulate(count for _, count in self.trace.flops)]

    def flops(self, calls: Iterable[Call]) -> int:
        steps, spent = self._flops
        return sum(spent[bisect_left(steps, call.end)] - spent[bisect_left(steps, call.start)] for call in calls)

    def flops_between(self, one: Call, other: Call) -> int:
        """The FLOPs after the end of a call and before the start of another, or its end where it contains the one."""
        steps, spent = self._flops
        until = other.start if other.start > one.end else other.end
        return spent[bisect_left(steps, until)] - spent[bisect_left(steps, one.end)]

    @cached_property
    def total(self) -> int:
        return self._flops[1][-1]

    @cached_property
    def families(self) -> dict[str, list[Call]]:
        """Calls in their order by the pattern of their path, of those patterns whose last segment has a number, where
        one call ends before the next begins and each returns a map."""
        found: dict[str, list[Call]] = defaultdict(list)
        for call in self.trace.calls:
            if re.search(r"\d[a-z]?$", call.module):
                found[_pattern(call)].append(call)
        return {pattern: calls for pattern, calls in found.items() if self._is_chain(calls)}

    def _is_chain(self, calls: Sequence[Call]) -> bool:
        return all(one.end < other.start for one, other in pairwise(calls)) and all(map(self.keys, calls))

    def keys(self, call: Call) -> list[Key]:
        """Which of the tensors that a call returns are maps of one kind: the batch in front, several positions."""
        if None in call.outputs:
            return [None]
        maps = {
            key: shape
            for key, shape in call.outputs.items()
            if len(shape) > 2 and shape[0] == self.trace.batch_size and _positions(shape) > 1
        }
        alike = [key for key, shape in maps.items() if len(shape) == len(next(iter(maps.values())))]
        return alike if self._branches else alike[:1]

    def main_chain(self, within: str = "", is_single: bool = False, count: int | None = None) -> list[Call]:
        """The chain nearest the root that does a good part of the work, or of the work of one module.

        is_single: whether it is known to have one link. count: how many links it is known to have.
        """
        chain = self._longer_chain(within)
        blocks = self._counted_chain(within, count)
        if blocks and (not chain or chain[-1].end < blocks[0].start):  # it is their stem, which does most of the work
            return blocks
        single = self._single_block(within, 0 if is_single else _SHARE_OF_A_CHAIN)
        if single is None:
            return chain
        are_pieces = all(
            single.start < call.start and call.end < single.end and not self.inside(call) for call in chain
        )
        is_stem = bool(chain) and chain[-1].end < single.start and _depth(single) < _depth(chain[0])
        return [single] if is_single or are_pieces or is_stem else chain

    def _counted_chain(self, within: str, count: int | None) -> list[Call]:
        """The chain nearest the root of as many blocks as are known to be there: modules with others inside, which all
        return a map of one shape. Those of a convolutional stem change the shape."""
        beneath = f"{within}." if within else ""
        chains = [
            calls
            for calls in self.families.values()
            if len(calls) == count
            and count > 1
            and calls[0].module.startswith(beneath)
            and all(map(self.inside, calls))
            and len({place.shape for place in self.places(calls)}) == 1
        ]
        return max(chains, key=lambda calls: (-_depth(calls[0]), self.flops(calls)), default=[])

    def _single_block(self, within: str, share: float) -> Call | None:
        """The call that may be the only block of the network: of the only member of its container, with modules of its
        own, that does at least a share of the work. Of several the one nearest the root; of mere containers, which all
        others are left out for, the innermost."""
        beneath = f"{within}." if within else ""
        least = share * self.flops(self.trace.calls_of(within))
        found = [
            calls[0]
            for calls in self.families.values()
            if len(calls) == 1
            and calls[0].module.startswith(beneath)
            and self._is_only_member(calls[0].module)
            and self.inside(calls[0])
            and self.flops(calls) >= least
        ]
        blocks = [call for call in found if not self.is_container(call)]
        if blocks:
            return max(blocks, key=lambda call: (-_depth(call), self.flops([call])))
        return max(found, key=lambda call: (_depth(call), self.flops([call])), default=None)

    def _is_only_member(self, path: str) -> bool:
        """Whether a module is number 0 of a container, and there is no other in it."""
        container, _, number = path.rpartition(".")
        beside = f"{container}." if container else ""
        names = {*self.trace.reads, *(call.module for call in self.trace.calls)}
        return number == "0" and not any(
            name.startswith(beside)
            and re.match(r"\d", name[len(beside) :])
            and name[len(beside) :].split(".")[0] != "0"
            for name in names
        )

    def _longer_chain(self, within: str) -> list[Call]:
        """The chain of several links that does a good part of the work, and else most of it."""
        beneath = f"{within}." if within else ""
        chains = [calls for calls in self.families.values() if len(calls) > 1 and calls[0].module.startswith(beneath)]
        total = self.flops(self.trace.calls_of(within))
        heavy = [calls for calls in chains if self.flops(calls) >= _SHARE_OF_A_CHAIN * total]
        if heavy:
            return max(
                heavy,
                key=lambda calls: (
                    self._declines(calls),
                    -calls[0].module.count("."),
                    all(len(self.keys(call)) == 1 for call in calls),
                    self.flops(calls),
                ),
            )
        return max(chains, key=self.flops, default=[])

    def _declines(self, calls: Sequence[Call]) -> bool:
        return _declines(self.places(calls))

    def places(self, calls: Sequence[Call], branch: int = 0) -> list[_Place]:
        """What each call of a chain gives, to one of its branches."""
        keys = [self.keys(call)[branch] for call in calls]
        first = _are_channels_first([call.outputs[key] for call, key in zip(calls, keys, strict=True)])
        return [_Place(call, key, first) for call, key in zip(calls, keys, strict=True)]

    def named(self, pattern: str) -> list[Call]:
        return [call for call in self.trace.calls if re.fullmatch(pattern, call.module) and self.keys(call)]

    def branches_after(self, chain: Sequence[Call]) -> list[Call]:
        later = [
            calls
            for calls in self.families.values()
            if calls[0].start > chain[-1].end
            and all(len(self.keys(call)) > 1 for call in calls)
            and self.flops(calls) >= _SHARE_OF_BRANCHES * self.total
        ]
        return min(later, key=lambda calls: calls[0].module.count("."), default=[])

    def which(self, call: Call) -> int | None:
        """The number of a call, where its module runs more than once."""
        return call.index if len(self.trace.calls_of(call.module)) > 1 else None

    def inside(self, call: Call) -> list[Call]:
        return [other for other in self.trace.calls if call.start < other.start and other.end < call.end]

    def is_container(self, call: Call) -> bool:
        """Whether a call does nothing but call others, one after the other."""
        step = call.start
        for other in self.inside(call):
            if other.start == step + 1:
                step = other.end
            elif other.start > step:
                return False
        return step > call.start and call.end == step + 1

    def has_parameters(self, call: Call) -> bool:
        return any(name.startswith(f"{call.module}.") for name in self.trace.reads)

    def is_map(self, shape: tuple[int, ...]) -> bool:
        """Whether a shape is that of several positions a sample."""
        return shape[:1] == (self.trace.batch_size,) and len(shape) > 2 and _positions(shape) > 1


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of the network that is named together: the main one, or one branch."""

    prefix: str
    stages: list[list[_Place]]
    """The chain, divided where the resolution drops."""
    blocks: list[list[_Place]]
    """The blocks of each stage; none where it is irregular."""
    indices: Sequence[int]
    """The place of each link in the chain."""

    @property
    def first(self) -> _Place:
        return self.stages[0][0]

    @property
    def last(self) -> _Place:
        return self.stages[-1][-1]

    def named(self) -> Iterator[tuple[str, _Place]]:
        if len(self.stages) == 1:
            for index, place in zip(self.indices, self.stages[0], strict=True):
                yield f"{self.prefix}block.{index}", place
            return
        for i, (stage, blocks) in enumerate(zip(self.stages, self.blocks, strict=True)):
            for j, block in enumerate(blocks):
                yield f"{self.prefix}stage.{i}.block.{j}", block
            yield f"{self.prefix}stage.{i}", stage[-1]


def _parts(run: _Run, links: Sequence[Call], pattern: str | None) -> list[_Part]:
    """The chain as one part, or as one for each branch where its calls return several maps."""
    widths = [len(run.keys(call)) for call in links]
    width = max(widths, default=0)
    parts = []
    for branch in range(width):
        indices = [index for index, found in enumerate(widths) if found > branch]
        stages = _divided(run.places([links[index] for index in indices], branch))
        blocks = _blocks(run, stages) if pattern is None else _blocks_named(run, stages, pattern)
        if _begins_with_a_stem(run, stages, blocks):
            stages, blocks = stages[1:], blocks[1:]
        parts.append(_Part(f"branch.{branch}." if width > 1 else "", stages, blocks, indices))
    return parts


def _divided(places: Sequence[_Place]) -> list[list[_Place]]:
    """The places in their order, a new list wherever the resolution drops."""
    stages = [[places[0]]]
    for one, other in pairwise(places):
        if one.positions >= _DROP * other.positions:
            stages.append([])
        stages[-1].append(other)
    return stages


def _begins_with_a_stem(run: _Run, stages: Sequence[Sequence[_Place]], blocks: Sequence[Sequence[_Place]]) -> bool:
    """Whether the first stage is unlike the others, which all have blocks and do more (the `layer0` of SENet)."""
    is_small = run.flops(place.call for place in stages[0]) < _SHARE_OF_A_STEM * run.total
    return len(stages) > 2 and not blocks[0] and all(blocks[1:]) and is_small


def _blocks(run: _Run, stages: Sequence[Sequence[_Place]]) -> list[list[_Place]]:
    """The blocks of each stage: its links, or the chain inside of them."""
    links = [place.call for stage in stages for place in stage]
    whole = [call for call in links if run.inside(call) and not run.is_container(call)]
    if len(links) > len(stages) and run.flops(whole) > run.flops(links) / 2:
        return [list(stage) for stage in stages]
    inner = _inner_chain(run, links)
    blocks = [_blocks_of(run, stage, inner) for stage in stages]
    return blocks if all(blocks[1:]) else [[] for _ in stages]


def _blocks_named(run: _Run, stages: Sequence[Sequence[_Place]], pattern: str) -> list[list[_Place]]:
    """The blocks of each stage, told by their paths."""
    calls = run.named(pattern) if pattern else []
    return [
        [
            _Place(call, run.keys(call)[0], stage[0].channels_first)
            for call in calls
            if stage[0].call.start <= call.start and call.end <= stage[-1].call.end
        ]
        for stage in stages
    ]


def _inner_chain(run: _Run, links: Sequence[Call]) -> list[Call]:
    """The chain nearest the root that does most of the work of some calls, inside of them."""

    def is_within(call: Call) -> bool:
        return any(link.start < call.start and call.end < link.end for link in links)

    chains = [
        calls
        for calls in run.families.values()
        if run.flops(calls) >= _SHARE_OF_BLOCKS * run.flops(links) and all(map(is_within, calls))
    ]
    return min(chains, key=lambda calls: calls[0].module.count("."), default=[])


def _blocks_of(run: _Run, stage: Sequence[_Place], chain: Sequence[Call]) -> list[_Place]:
    """Those calls of a chain that are blocks of a stage: more than a mere layer, all of the stage's resolution, the
    last as wide as the stage and all but the end of it."""
    start, end = stage[0].call.start, stage[-1].call.end
    within = [call for call in chain if start < call.start and call.end < end and run.inside(call)]
    blocks = [_Place(call, run.keys(call)[0], stage[0].channels_first) for call in within]
    is_regular = (
        bool(blocks)
        and blocks[-1].channels == stage[-1].channels
        and all(_are_close(block, stage[-1]) for block in blocks)
        and run.flops_between(blocks[-1].call, stage[-1].call)
        < _SHARE_BEHIND_BLOCKS * run.flops(place.call for place in stage)
    )
    return blocks if is_regular else []


def _are_close(one: _Place, other: _Place) -> bool:
    fewer, more = sorted((one.positions, other.positions))
    return more < _DROP * fewer


def _stem(run: _Run, part: _Part, pattern: str | None) -> list[tuple[str, _Place]]:
    """The call that ends last before a part begins, of those that return what it receives, or as many values.

    A branch receives what its first link returns in its place: such a link takes a list.
    """
    first = part.first
    received = _Place(first.call, None, at="input")
    if pattern == "<":
        return [(f"{part.prefix}stem", received)]
    if pattern is not None:
        return [(f"{part.prefix}stem", _Place(call, run.keys(call)[0])) for call in run.named(pattern)[-1:]]
    before = [
        _Place(call, key)
        for call in run.trace.calls
        if call.end < first.call.start
        for key in ((None,) if None in call.outputs else call.outputs)
    ]
    shapes = {first.shape} if part.prefix else set(first.call.inputs.values())
    if first.shape in shapes:
        shapes = {first.shape}
    batched = {shape for shape in shapes if shape[:1] == (run.trace.batch_size,)} or shapes
    same = [place for place in before if place.shape in batched]
    if not same and not part.prefix:
        sizes = {prod(shape) for shape in batched}
        same = [place for place in before if prod(place.shape) in sizes] or before
    if not same:
        return []
    last = max(same, key=lambda place: place.call.end)
    is_the_sum = not part.prefix and _is_a_summand(last, same, first)
    return [(f"{part.prefix}stem", received if is_the_sum else last)]


def _is_a_summand(last: _Place, same: Sequence[_Place], first: _Place) -> bool:
    """Whether what comes last before a chain is not what it receives, but added to something that came before: the
    positions of words, which are the same for all texts."""
    received = next(iter(first.call.inputs.values()), ())
    return (
        last.shape == received
        and received not in last.call.inputs.values()
        and any(other.shape == received and other.call.end < last.call.start for other in same)
    )


def _behind(run: _Run, patterns: Mapping[str, str]) -> list[tuple[str, _Place]]:
    """What the library says of the network behind its chain."""
    found: list[tuple[str, _Place]] = []
    for name, pattern in patterns.items():
        calls = [call for call in run.trace.calls if re.fullmatch(pattern, call.module) and call.outputs]
        places = [_Place(call, None if None in call.outputs else next(iter(call.outputs))) for call in calls]
        counted = [(name.replace("*", str(index)), place) for index, place in enumerate(places)]
        found += counted if "*" in name else counted[-1:]
    return found


def _tail(run: _Run, parts: Sequence[_Part]) -> list[tuple[str, _Place]]:
    """What comes after the chain: the norm, the pooled vector, the head; those that only one branch goes through are
    its own."""
    deepest = max((part.last for part in parts), key=lambda place: (place.call.end, -place.positions))
    late = [call for call in run.trace.calls if call.start > deepest.call.end and None in call.outputs]
    own = _own_tails(run, late, [part for part in parts if part.prefix])
    names = {name.rpartition(".")[2] for name, _ in own}
    return own + [(name, place) for name, place in _shared_tail(run, late, deepest) if name not in names]


def _shared_tail(run: _Run, late: Sequence[Call], deepest: _Place) -> list[tuple[str, _Place]]:
    head = _head(run, late)
    before = [call for call in late if head is None or call.end < head.start]
    norm = _norm(run, before, deepest)
    pooled = _pooled(run, [call for call in before if norm is None or call.start > norm.end], head, deepest)
    found = (("norm", norm), ("pooled", pooled), ("head", head))
    return [(name, _Place(call, None)) for name, call in found if call is not None]


def _own_tails(run: _Run, late: Sequence[Call], branches: Sequence[_Part]) -> list[tuple[str, _Place]]:
    """Norm, pooled vector and head of each branch: a norm of its shape, a head for vectors of its width, where no other
    branch has these."""
    found: list[tuple[str, Call]] = []
    for part in branches:
        others = [other.last for other in branches if other is not part]
        if part.last.shape not in {other.shape for other in others}:
            norms = [call for call in _norms(run, late, part.last) if call.outputs[None] == part.last.shape]
            found += [(f"{part.prefix}norm", call) for call in norms[-1:]]
        if part.last.channels not in {other.channels for other in others}:
            heads = [call for call in _heads(run, late) if _received(call)[-1:] == (part.last.channels,)]
            for head in heads[-1:]:
                pooled = _pooled(run, [call for call in late if call.end < head.start], head, part.last)
                found += [(f"{part.prefix}pooled", pooled)] if pooled is not None else []
                found.append((f"{part.prefix}head", head))
    return [(name, _Place(call, None)) for name, call in found]


def _head(run: _Run, late: Sequence[Call]) -> Call | None:
    """The layer that gives what the network returns. Of several (a classifier of its own for a distillation token) the
    first; of numbered ones the last."""
    layers = _heads(run, late)
    return next((call for call in reversed(layers) if _pattern(call) == _pattern(layers[0])), None)


def _heads(run: _Run, late: Sequence[Call]) -> list[Call]:
    """Mere layers that give vectors as the network returns them, and that no activation or norm follows."""
    returned = _vector(run.trace.calls[0].outputs.get(None, ()))
    layers = [
        call
        for call in late
        if returned and _vector(call.outputs[None]) == returned and run.flops([call]) and not run.inside(call)
    ]
    changed = [
        call for call in late if _computes(call) and call not in layers and call.outputs[None] in call.inputs.values()
    ]
    return [
        layer
        for layer in layers
        if not any(layer.end < call.start and call.outputs == layer.outputs for call in changed)
    ]


def _norm(run: _Run, before: Sequence[Call], deepest: _Place) -> Call | None:
    """Of the final norms, the last of those nearest the root."""
    return min(reversed(_norms(run, before, deepest)), key=lambda call: call.module.count("."), default=None)


def _norms(run: _Run, before: Sequence[Call], deepest: _Place) -> list[Call]:
    """The maps that are learned without a multiplication of matrices; not those that are added to others, or weighted,
    inside of a map of their shape."""
    maps = [call for call in before if run.is_map(call.outputs[None])]

    def is_passed_on(norm: Call) -> bool:
        around = [call for call in maps if call.start < norm.start and norm.end < call.end]
        return not any(run.flops_between(norm, call) for call in around if call.outputs == norm.outputs)

    def is_of_the_chain(norm: Call) -> bool:
        shape = norm.outputs[None]
        is_alike = not run.flops_between(deepest.call, norm) or len(shape) <= len(deepest.shape)
        return is_alike and _POOLS * _positions(shape) > deepest.positions

    return [
        call
        for call in maps
        if run.has_parameters(call) and not run.flops([call]) and is_passed_on(call) and is_of_the_chain(call)
    ]


def _pooled(run: _Run, before: Sequence[Call], head: Call | None, deepest: _Place) -> Call | None:
    """The vector that the head receives or, without one, the network returns: the last call that computes it, else the
    first that passes it on."""
    returned = (_vector(shape) for shape in run.trace.calls[0].outputs.values())
    wanted = next(filter(None, returned), ()) if head is None else _received(head)
    vectors = [call for call in before if wanted and _vector(call.outputs[None]) == wanted]
    plain = [call for call in vectors if len(call.outputs[None]) == 2] or vectors
    computed = [call for call in plain if _computes(call)]
    return max(computed, key=lambda call: call.end) if computed else next(iter(plain), None)


def _computes(call: Call) -> bool:
    """Whether anything happens in a call. In a dropout that is off, or an identity, nothing does."""
    return call.end > call.start + 1


def _received(call: Call) -> tuple[int, ...]:
    """The shape of the vector that a call receives."""
    return _vector(next(iter(call.inputs.values()), ()))


def _vector(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one vector a sample, be it a map of one pixel; empty for everything else."""
    return shape[:2] if len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1)) else ()
