"""Find the chain of repeated modules that a network consists of, and divide it into stages and blocks.

A *chain* is a sequence of calls of modules whose paths differ in numbers only, such as ``layer1 … layer4``,
``blocks.0 … blocks.11`` or ``blocks.0.0 … blocks.3.2``, one after the other.

Example: a ResNet-18. Among the chains of its modules are these, with their share of the network's FLOPs:

    layer*           4 calls   93.5 %   layer1, layer2, layer3, layer4
    layer*.*         8 calls   93.5 %   layer1.0, layer1.1, layer2.0, …, layer4.1
    layer*.*.conv*  16 calls   92.4 %   layer1.0.conv1, layer1.0.conv2, …
    conv*            1 call     6.5 %   conv1

The first three do enough of the work, and ``layer*`` is nearest the root: :meth:`TraceIndex.main_chain` returns it.
Each call returns a quarter of the positions of the one before (56 × 56, 28 × 28, 14 × 14, 7 × 7), so that
:func:`divide_at_drops` makes four stages of one call each. Each of these calls contains other calls, but the chain has
no more links than stages, so :func:`find_blocks` looks inside: ``layer*.*`` does more than 60 % of the work of the
stages, and the last block of each stage has the stage's width and resolution. The blocks of stage 0 are layer1.0 and
layer1.1."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from math import inf, log, prod
from typing import Literal

from layerzoo.runtime.trace import Call, Key, Trace

_SHARE_OF_A_CHAIN = 0.25
"""A chain does at least this share of the network's FLOPs; among several, the one nearest the root is chosen. The
network's main blocks then win over those of a convolutional stem (hybrids, speech), and over their own parts."""
_SHARE_OF_BLOCKS = 0.6
"""The blocks inside the stages do at least this share of the chain's FLOPs; the rest is between them."""
_SHARE_AFTER_BLOCKS = 0.02
"""The modules after the last block of a stage do less than this share of its FLOPs. Blocks on one of two paths that are
joined afterwards (CSPNet) are parts of a block."""
_SHARE_OF_A_STEM = 0.1
"""A first stage without blocks, unlike all stages after it, is a stage if it does this share of the FLOPs."""
_SHARE_OF_BRANCHES = 0.05
"""A chain of branches after the main one does at least this share of the network's FLOPs."""
_DROP = 1.5
"""Resolution drops where there are this many times fewer positions. Halving a side gives 2 or 4; adding or removing a
class token, and a convolution without padding, change less."""


@dataclass(frozen=True, slots=True)
class Activation:
    """One tensor that a call returns, or the first one that it receives."""

    call: Call
    key: Key
    channels_first: bool = False
    """Whether the channels come before the positions, as in convolutions."""
    at: Literal["output", "input"] = "output"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.call.outputs[self.key] if self.at == "output" else next(iter(self.call.inputs.values()))

    @property
    def positions(self) -> int:
        """Number of positions of the input that it describes."""
        return prod(self.shape[2:] if self.channels_first else self.shape[1:-1])

    @property
    def channels(self) -> int:
        return prod(self.shape[1:]) // self.positions if self.positions else 0


def count_positions(shape: tuple[int, ...], image: tuple[int, ...] = ()) -> int:
    """Return the product of all sizes except batch and channels.

    Args:
        shape: of an activation, with the batch first.
        image: height and width of the network's input; empty if it is unknown, which counts as square.
    """
    return prod(shape[2:] if len(shape) >= 4 and _are_maps_channels_first([shape], image)[0] else shape[1:-1])


def depth_of(call: Call) -> int:
    """Return how deep a module is nested."""
    return call.module.count(".")


def pattern_of(call: Call) -> str:
    """Return the path of a module with a star for every number, and for a number with a letter (`5b`, `5c`)."""
    return re.sub(r"\d+[a-z]?(?=[._]|$)|\d+", "*", call.module)


class TraceIndex:
    """A trace, indexed for the search of chains.

    branches: whether several maps that a module returns are branches.
    """

    def __init__(self, trace: Trace, *, branches: bool) -> None:
        self.trace = trace
        self._branches = branches

    @cached_property
    def image(self) -> tuple[int, ...]:
        """Height and width of the network's input; empty if it is neither an image nor a clip."""
        inputs = self.trace.calls[0].inputs.values() if self.trace.calls else ()
        return next((shape[-2:] for shape in inputs if len(shape) in (4, 5)), ())

    @cached_property
    def _flops(self) -> tuple[list[int], list[int]]:
        """Steps with FLOPs, and the sum of FLOPs up to and including each."""
        steps = [step for step, _ in self.trace.flops]
        return steps, [0, *accumulate(count for _, count in self.trace.flops)]

    def flops(self, calls: Iterable[Call]) -> int:
        """Return the FLOPs of some calls."""
        steps, spent = self._flops
        return sum(spent[bisect_left(steps, call.end)] - spent[bisect_left(steps, call.start)] for call in calls)

    def flops_between(self, earlier: Call, later: Call) -> int:
        """Return the FLOPs from the end of a call to the start of a later one, or to the end of one that contains
        it."""
        steps, spent = self._flops
        until = later.start if later.start > earlier.end else later.end
        return spent[bisect_left(steps, until)] - spent[bisect_left(steps, earlier.end)]

    @cached_property
    def total(self) -> int:
        """FLOPs of the whole network."""
        return self._flops[1][-1]

    @cached_property
    def families(self) -> dict[str, list[Call]]:
        """Pattern of a path that ends with a number → its calls, if these are a chain."""
        calls_by_pattern: dict[str, list[Call]] = defaultdict(list)
        for call in self.trace.calls:
            if re.search(r"\d[a-z]?$", call.module):
                calls_by_pattern[pattern_of(call)].append(call)
        return {pattern: calls for pattern, calls in calls_by_pattern.items() if self._is_chain(calls)}

    def _is_chain(self, calls: Sequence[Call]) -> bool:
        """Return whether each call ends before the next begins, and returns a map."""
        return all(call.end < later.start for call, later in pairwise(calls)) and all(map(self.keys, calls))

    def keys(self, call: Call) -> list[Key]:
        """Return the keys of the outputs that are maps with the same number of axes: batch first, several positions."""
        if None in call.outputs:
            return [None]
        maps = {
            key: shape
            for key, shape in call.outputs.items()
            if len(shape) > 2 and shape[0] == self.trace.batch_size and count_positions(shape, self.image) > 1
        }
        alike = [key for key, shape in maps.items() if len(shape) == len(next(iter(maps.values())))]
        return alike if self._branches else alike[:1]

    def main_chain(self, within: str = "", is_single: bool = False, count: int | None = None) -> list[Call]:
        """Return the chain nearest the root that does a large share of the work.

        Args:
            within: path of the module in which to search.
            is_single: whether the chain is known to have one link.
            count: the known number of its links.
        """
        chain = self._longer_chain(within)
        blocks = self._counted_chain(within, count)
        if blocks and (not chain or chain[-1].end < blocks[0].start):  # the chain is their stem, with most of the work
            return blocks
        single = self._single_block(within, 0 if is_single else _SHARE_OF_A_CHAIN)
        if single is None:
            return chain
        are_parts = all(single.start < call.start and call.end < single.end and not self.inside(call) for call in chain)
        is_stem = bool(chain) and chain[-1].end < single.start and depth_of(single) < depth_of(chain[0])
        return [single] if is_single or are_parts or is_stem else chain

    def _counted_chain(self, within: str, count: int | None) -> list[Call]:
        """Return the chain nearest the root with a known number of blocks.

        Blocks contain other modules, and all return maps of one shape. Those of a convolutional stem change the shape.
        """
        prefix = f"{within}." if within else ""
        chains = [
            calls
            for calls in self.families.values()
            if len(calls) == count
            and count > 1
            and calls[0].module.startswith(prefix)
            and all(map(self.inside, calls))
            and len({activation.shape for activation in self.activations(calls)}) == 1
        ]
        return max(chains, key=lambda calls: (-depth_of(calls[0]), self.flops(calls)), default=[])

    def _single_block(self, within: str, share: float) -> Call | None:
        """Return the call that may be the only block of the network.

        It is the only member of its container, contains other modules, and does at least a share of the work. Among
        several, choose the one nearest the root. Plain containers are only candidates if nothing else is; of these,
        choose the innermost.
        """
        prefix = f"{within}." if within else ""
        least = share * self.flops(self.trace.calls_of(within))
        candidates = [
            calls[0]
            for calls in self.families.values()
            if len(calls) == 1
            and calls[0].module.startswith(prefix)
            and self._is_only_member(calls[0].module)
            and self.inside(calls[0])
            and self.flops(calls) >= least
        ]
        blocks = [call for call in candidates if not self.is_container(call)]
        if blocks:
            return max(blocks, key=lambda call: (-depth_of(call), self.flops([call])))
        return max(candidates, key=lambda call: (depth_of(call), self.flops([call])), default=None)

    def _is_only_member(self, path: str) -> bool:
        """Return whether a module is number 0 of a container without other numbers."""
        container, _, number = path.rpartition(".")
        prefix = f"{container}." if container else ""
        names = {*self.trace.reads, *(call.module for call in self.trace.calls)}
        return number == "0" and not any(
            name.startswith(prefix)
            and re.match(r"\d", name[len(prefix) :])
            and name[len(prefix) :].split(".")[0] != "0"
            for name in names
        )

    def _longer_chain(self, within: str) -> list[Call]:
        """Return the best chain of several links that does a large share of the work; without one, the heaviest."""
        prefix = f"{within}." if within else ""
        chains = [calls for calls in self.families.values() if len(calls) > 1 and calls[0].module.startswith(prefix)]
        total = self.flops(self.trace.calls_of(within))
        heavy = [calls for calls in chains if self.flops(calls) >= _SHARE_OF_A_CHAIN * total]
        if heavy:
            return max(
                heavy,
                key=lambda calls: (
                    _never_rises(self.activations(calls)),
                    -depth_of(calls[0]),
                    all(len(self.keys(call)) == 1 for call in calls),
                    self.flops(calls),
                ),
            )
        return max(chains, key=self.flops, default=[])

    def activations(self, calls: Sequence[Call], branch: int = 0) -> list[Activation]:
        """Return the output of each call of a chain for one of its branches."""
        keys = [self.keys(call)[branch] for call in calls]
        shapes = [call.outputs[key] for call, key in zip(calls, keys, strict=True)]
        channels_first = _are_channels_first(shapes, self.image)
        return list(map(Activation, calls, keys, channels_first))

    def activation_of_block(self, call: Call, stage: Activation) -> Activation:
        """Return the output of a block inside a stage, with the order of axes of the stage if both have as many."""
        key = self.keys(call)[0]
        shape = call.outputs[key]
        is_alike = len(shape) == len(stage.shape) and (len(shape) == 3 or not _is_square(self.image))
        own = _are_channels_first([shape], self.image)[0]
        return Activation(call, key, stage.channels_first if is_alike else own)

    def matching(self, pattern: str) -> list[Call]:
        """Return the calls that return maps, of the modules whose whole path matches a regular expression."""
        return [call for call in self.trace.calls if re.fullmatch(pattern, call.module) and self.keys(call)]

    def branches_after(self, chain: Sequence[Call]) -> list[Call]:
        """Return a later chain whose calls each return several maps."""
        later = [
            calls
            for calls in self.families.values()
            if calls[0].start > chain[-1].end
            and all(len(self.keys(call)) > 1 for call in calls)
            and self.flops(calls) >= _SHARE_OF_BRANCHES * self.total
        ]
        return min(later, key=lambda calls: depth_of(calls[0]), default=[])

    def call_number(self, call: Call) -> int | None:
        """Return the number of a call, if its module runs more than once."""
        return call.index if len(self.trace.calls_of(call.module)) > 1 else None

    def inside(self, call: Call) -> list[Call]:
        """Return the calls inside a call."""
        return [inner for inner in self.trace.calls if call.start < inner.start and inner.end < call.end]

    def is_container(self, call: Call) -> bool:
        """Return whether a call only calls other modules, one after the other."""
        step = call.start
        for inner in self.inside(call):
            if inner.start == step + 1:
                step = inner.end
            elif inner.start > step:
                return False
        return step > call.start and call.end == step + 1

    def is_bare(self, call: Call) -> bool:
        """Return whether a module is a single convolution or linear map."""
        return self.flops([call]) > 0 and not self.inside(call)

    def after_activation(self, activation: Activation) -> Activation:
        """Return the output of the normalization and the activation function that follow a bare convolution.

        Example: in ``relu1(bn1(conv1(x)))`` the layers ``conv*`` end with the output of ``relu1``. A module belongs to
        the layer before it if it runs next, keeps the shape, does no FLOPs that are counted and contains no modules.
        """
        end = activation
        for call in self.trace.calls:
            if call.start <= end.call.end:
                continue
            keeps_shape = call.outputs == {None: end.shape} and list(call.inputs.values()) == [end.shape]
            if not keeps_shape or self.flops([call]) or self.inside(call):
                break
            end = replace(end, call=call)
        return end

    def has_parameters(self, call: Call) -> bool:
        return any(name.startswith(f"{call.module}.") for name in self.trace.reads)

    def is_map(self, shape: tuple[int, ...]) -> bool:
        """Return whether a shape has several positions per sample."""
        return shape[:1] == (self.trace.batch_size,) and len(shape) > 2 and count_positions(shape, self.image) > 1


@dataclass(frozen=True, slots=True)
class ChainSection:
    """The part of a network whose layers are named together: the whole chain, or one branch of it."""

    prefix: str
    """Of the layer names: ``branch.0.``, or empty."""
    first: Activation
    """The output of the first link."""
    stages: list[list[Activation]]
    """The chain, divided where the resolution drops."""
    blocks: list[list[Activation]]
    """The blocks of each stage; none where a stage is irregular."""
    indices: Sequence[int]
    """The number of each link in the chain."""

    @property
    def last(self) -> Activation:
        return self.stages[-1][-1]

    def named_activations(self) -> Iterator[tuple[str, Activation]]:
        """Yield ``block.I`` for a single stage, else ``stage.I`` after its ``stage.I.block.J``."""
        if len(self.stages) == 1:
            for index, activation in zip(self.indices, self.stages[0], strict=True):
                yield f"{self.prefix}block.{index}", activation
            return
        for i, (stage, blocks) in enumerate(zip(self.stages, self.blocks, strict=True)):
            for j, block in enumerate(blocks):
                yield f"{self.prefix}stage.{i}.block.{j}", block
            yield f"{self.prefix}stage.{i}", stage[-1]


def find_sections(
    index: TraceIndex, links: Sequence[Call], pattern: str | None, *, is_declared: bool = False
) -> list[ChainSection]:
    """Divide a chain into stages and blocks, for each branch if its calls return several maps.

    Args:
        index: the trace.
        links: the chain.
        pattern: a regular expression for the paths of the blocks inside stages; None: find them.
        is_declared: whether a library declares the links. They then end where it says, also if they are convolutions.
    """
    widths = [len(index.keys(call)) for call in links]
    width = max(widths, default=0)
    sections = []
    for branch in range(width):
        indices = [number for number, count in enumerate(widths) if count > branch]
        stages = divide_at_drops(index.activations([links[number] for number in indices], branch))
        blocks = find_blocks(index, stages) if pattern is None else _matching_blocks(index, stages, pattern)
        if _begins_with_a_stem(index, stages, blocks):
            stages, blocks = stages[1:], blocks[1:]
        first = stages[0][0]
        if not is_declared and all(map(index.is_bare, links)):
            stages = [list(map(index.after_activation, stage)) for stage in stages]
        sections.append(ChainSection(f"branch.{branch}." if width > 1 else "", first, stages, blocks, indices))
    return sections


def divide_at_drops(activations: Sequence[Activation]) -> list[list[Activation]]:
    """Divide activations into stages, wherever the resolution drops.

    Example: 3136, 3136, 784, 784, 196 positions give stages of two, two and one activations.
    """
    stages = [[activations[0]]]
    for earlier, later in pairwise(activations):
        if earlier.positions >= _DROP * later.positions:
            stages.append([])
        stages[-1].append(later)
    return stages


def find_blocks(index: TraceIndex, stages: Sequence[Sequence[Activation]]) -> list[list[Activation]]:
    """Return the blocks of each stage: its links, or the chain inside them.

    Example: the chain ``stages.0 … stages.3`` of a ConvNeXt has one link per stage. The chain ``stages.*.blocks.*``
    inside does most of their work, so its calls are the blocks. In ``features.0 … features.8`` of a MobileNet, several
    links share a stage and contain other modules: the links are the blocks."""
    links = [activation.call for stage in stages for activation in stage]
    composite = [call for call in links if index.inside(call) and not index.is_container(call)]
    if len(links) > len(stages) and index.flops(composite) > index.flops(links) / 2:
        return [list(stage) for stage in stages]
    inner = _inner_chain(index, links)
    blocks = [_blocks_of(index, stage, inner) for stage in stages]
    return blocks if all(blocks[1:]) else [[] for _ in stages]


def _begins_with_a_stem(
    index: TraceIndex, stages: Sequence[Sequence[Activation]], blocks: Sequence[Sequence[Activation]]
) -> bool:
    """Return whether only the first stage is small and has no blocks, like the `layer0` of SENet."""
    is_small = index.flops(activation.call for activation in stages[0]) < _SHARE_OF_A_STEM * index.total
    return len(stages) > 2 and not blocks[0] and all(blocks[1:]) and is_small


def _matching_blocks(index: TraceIndex, stages: Sequence[Sequence[Activation]], pattern: str) -> list[list[Activation]]:
    """Return the blocks of each stage whose paths match a pattern."""
    calls = index.matching(pattern) if pattern else []
    return [
        [
            index.activation_of_block(call, stage[0])
            for call in calls
            if stage[0].call.start <= call.start and call.end <= stage[-1].call.end
        ]
        for stage in stages
    ]


def _inner_chain(index: TraceIndex, links: Sequence[Call]) -> list[Call]:
    """Return the chain nearest the root that does most of the work of some calls, inside them."""

    def is_within(call: Call) -> bool:
        return any(link.start < call.start and call.end < link.end for link in links)

    chains = [
        calls
        for calls in index.families.values()
        if index.flops(calls) >= _SHARE_OF_BLOCKS * index.flops(links) and all(map(is_within, calls))
    ]
    return min(chains, key=lambda calls: depth_of(calls[0]), default=[])


def _blocks_of(index: TraceIndex, stage: Sequence[Activation], chain: Sequence[Call]) -> list[Activation]:
    """Return the calls of a chain that are blocks of a stage; none if they are irregular.

    Blocks contain other modules and have the resolution of the stage. The last one has the width of the stage, and is
    almost its end.
    """
    start, end = stage[0].call.start, stage[-1].call.end
    within = [call for call in chain if start < call.start and call.end < end and index.inside(call)]
    blocks = [index.activation_of_block(call, stage[0]) for call in within]
    is_regular = (
        bool(blocks)
        and blocks[-1].channels == stage[-1].channels
        and all(_have_one_resolution(block, stage[-1]) for block in blocks)
        and index.flops_between(blocks[-1].call, stage[-1].call)
        < _SHARE_AFTER_BLOCKS * index.flops(activation.call for activation in stage)
    )
    return blocks if is_regular else []


def _have_one_resolution(activation: Activation, other_activation: Activation) -> bool:
    fewer, more = sorted((activation.positions, other_activation.positions))
    return more < _DROP * fewer


def _never_rises(activations: Sequence[Activation]) -> bool:
    """Return whether the resolution never rises along a chain, as it does between branches of a parallel network."""
    return all(later.positions < _DROP * earlier.positions for earlier, later in pairwise(activations))


def _are_channels_first(shapes: Sequence[tuple[int, ...]], image: tuple[int, ...]) -> list[bool]:
    """Return, for each activation along a chain, whether its channels come before its positions."""
    if all(len(shape) == 3 for shape in shapes):
        return [_are_sequences_channels_first(shapes)] * len(shapes)
    if all(len(shape) >= 4 for shape in shapes):
        return _are_maps_channels_first(shapes, image)
    return [len(shape) >= 4 and _are_maps_channels_first([shape], image)[0] for shape in shapes]


def _are_maps_channels_first(shapes: Sequence[tuple[int, ...]], image: tuple[int, ...]) -> list[bool]:
    """Return, for each map along a chain, whether its last two axes are height and width, and not the two before.

    The maps of a square image are square. Otherwise those of a chain have one order of axes, in which their proportions
    are nearer to those of the image.

    Args:
        shapes: of four or more axes.
        image: height and width of the network's input; empty if it is unknown, which counts as square.
    """
    if _is_square(image):
        return [shape[-2] == shape[-1] for shape in shapes]
    first, last = (sum(_distortion(shape[axes], image) for shape in shapes) for axes in (_LAST_TWO, _BEFORE_LAST))
    return [first <= last] * len(shapes)


def _is_square(image: tuple[int, ...]) -> bool:
    return not image or image[0] == image[1]


_LAST_TWO, _BEFORE_LAST = slice(-2, None), slice(-3, -1)


def _distortion(sides: tuple[int, ...], image: tuple[int, ...]) -> float:
    """Return how far the proportions of a map are from those of an image: 0 if they are equal, infinite if it is
    empty."""
    if 0 in (*sides, *image):
        return inf
    return abs(log(sides[0] * image[1] / (sides[1] * image[0])))


def _are_sequences_channels_first(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Return whether sequences along a chain have their channels before their positions.

    Then the last axis shrinks and never grows, while the other one grows. Where tokens are merged, it is reversed.
    """
    steps = list(pairwise(shapes))
    shrinks = any(earlier[2] >= _DROP * later[2] for earlier, later in steps)
    grows = any(earlier[1] < later[1] for earlier, later in steps)
    return shrinks and grows and all(earlier[2] >= later[2] for earlier, later in steps)
