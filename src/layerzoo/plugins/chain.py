"""The chain of blocks that a network consists of, as its library describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Chain"]


@dataclass(frozen=True, slots=True)
class Chain:
    """Describe the layers of a network where a trace of it is ambiguous.

    The hook ``layerzoo_describe`` returns it under the key ``chain``. The names of layers follow from a trace: the
    *chain* is the sequence of modules, such as ``blocks.0 … blocks.11``, that does most of the work. Set only the
    fields in which the trace would be misread. Regular expressions match a whole module path.
    """

    modules: str | None = None
    """Regular expression for the paths of the chain's modules. None: inferred from the trace."""
    within: str = ""
    """Path of the submodule that contains the chain, such as the backbone of a detector. Empty: the whole network."""
    count: int | None = None
    """Number of blocks in the chain. None: inferred from the trace."""
    single: bool = False
    """True if the network has one block. Otherwise a single block counts as a chain only if there is no other
    candidate."""
    blocks: str | None = None
    """Regular expression for the paths of the blocks inside stages; empty if stages have no blocks. None: inferred."""
    branches: bool = True
    """True if each of the several feature maps that a module returns is a branch; False to use the first one only."""
    stem: str | None = None
    """Regular expression for the path of the module whose output enters the chain; ``<`` for the chain's own input.
    None: inferred."""
    before: Mapping[str, str] = field(default_factory=dict)
    r"""Layers before the chain in addition to the stem, in the form of ``after``, as in
    ``{"stem.*": r"feature_extractor\.conv_layers\.\d+"}``."""
    after: Mapping[str, str] = field(default_factory=dict)
    r"""Layers after the chain that are not a norm, a pooled vector or a head: from the name of a layer to a regular
    expression for the path of its module, as in ``{"query.block.*": r"decoder\.layers\.\d+"}``. A star in the name
    is replaced by the number of the call; a name without a star means the last call."""
    embedding: str | None = None
    """Path of the submodule that computes the embedding of the model from the output of the network. Its calls belong
    to the layer ``embedding`` only. Empty: the output of the network is the embedding. None: there is no such layer."""
    axes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """From a regular expression for the path of a layer's module to its possible axes, separated by spaces, as in
    ``["batch token channel", "batch channel"]``. The entry with the activation's number of axes applies."""
    prefix_tokens: int | None = None
    """Number of class and register tokens before the tokens of the input, in layers whose ``axes`` are given."""
    suffix_tokens: int | None = None
    """Number of tokens after those of the input in every block that represent objects. They become separate layers,
    named ``query.…``."""

    def axes_of(self, module: str, rank: int) -> tuple[str, ...] | None:
        """Return the axes of an activation, or None if ``axes`` has no entry for it.

        Args:
            module: path of the module that returns the activation.
            rank: number of the activation's axes.
        """
        matching = (rows for path, rows in self.axes.items() if re.fullmatch(path, module))
        return next((axes for row in next(matching, ()) if len(axes := tuple(row.split())) == rank), None)
