"""The subjects of checks: a plugin, or a model with a network of random weights. Each part is made when it is first
needed."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerzoo.environment import environment
from layerzoo.errors import SampleError, UnavailableError
from layerzoo.registry import PluginManifest, Registry
from layerzoo.spec import FrozenMap

if TYPE_CHECKING:
    import torch

    from layerzoo.conformance.report import Result
    from layerzoo.plugins.probe import ImportReport
    from layerzoo.runtime.backbone import Backbone
    from layerzoo.runtime.batch import Batch, InputRow
    from layerzoo.runtime.loading import LocatedModel
    from layerzoo.runtime.preprocess import Preprocessor
    from layerzoo.runtime.resolved import ResolvedModel
    from layerzoo.runtime.tracer import Tracer
    from layerzoo.spec import Layer, ModelSpec

_SMALL, _MEDIUM, _LARGE = 2_000_000, 50_000_000, 1_000_000_000
"""Numbers of parameters up to which all layers, five and three layers of a network are checked."""
_MANY_LAYERS = 12


class Skip(Exception):  # noqa: N818 - it is no error
    """A check does not apply, or cannot run here. The message is the reason."""


@dataclass
class PluginSubject:
    """A plugin.

    Args:
        manifest: its manifest.
        zoo: the registry.
        time_limit_s: for its import.
        aliases: from the prefix of a temporary path to that of the path that the user named.
    """

    manifest: PluginManifest
    zoo: Registry
    time_limit_s: float = 120.0
    aliases: Mapping[str, str] = field(default_factory=dict)

    model = None

    @property
    def plugin(self) -> str:
        """Its namespace."""
        return self.manifest.namespace

    @property
    def folder(self) -> Path | None:
        """The folder of its package, where its registry.yaml is."""
        return None if self.manifest.path is None else Path(self.manifest.path).parent

    @property
    def is_core(self) -> bool:
        """Whether it is layerzoo itself, whose package is imported anyway."""
        return self.manifest.distribution == "layerzoo"

    @cached_property
    def imported(self) -> ImportReport:
        """How its import went, in another process."""
        from layerzoo.plugins.probe import import_report

        return import_report(self.manifest, time_limit_s=self.time_limit_s)

    @cached_property
    def specs(self) -> list[ModelSpec]:
        """Its models."""
        return self.zoo.models(plugin=self.manifest.namespace) if self.manifest.is_usable else []

    def is_catalogued(self, model: str) -> bool:
        """Return whether a model is declared in a generated catalogue, and not by hand. model: its id."""
        path, _ = split_place(self.zoo.declared_at(model) or "")
        return path.endswith(".jsonl")

    def place(self, path: str | os.PathLike[str], line: int | None = None) -> str:
        """Return FILE:LINE, as the user calls the file."""
        displayed = self.shown(os.path.realpath(path))
        with contextlib.suppress(ValueError):
            relative = os.path.relpath(displayed)
            displayed = displayed if relative.startswith("..") else relative
        return displayed if line is None else f"{displayed}:{line}"

    def place_of(self, error: Exception) -> str | None:
        """Return FILE:LINE of the last line of its package in the traceback of an error; None if there is none."""
        from layerzoo.plugins.source_line import line_in

        line = line_in(error, [str(self.folder)]) if self.folder is not None else None
        return None if line is None else self.place(line.path, line.number)

    def shown(self, text: str) -> str:
        """Return a text with the paths that the user knows."""
        for temporary, original in self.aliases.items():
            text = text.replace(temporary, original)
        return text


class ModelSubject:
    """A model, with a network of random weights.

    Args:
        spec: its declaration.
        owner: the plugin that declares it.
        inputs: samples to check it with; None: those of :mod:`layerzoo.conformance.inputs`.
        downloads: whether files may be downloaded.
    """

    def __init__(
        self, spec: ModelSpec, owner: PluginSubject, *, inputs: Sequence[Any] | None = None, downloads: bool = False
    ) -> None:
        self.spec = spec
        self.owner = owner
        self.downloads = downloads
        self.inputs = inputs
        """The samples of the caller; None for those that are made here."""
        self.cached: dict[str, Any] = {}
        """Values that the checks of one tier share."""
        self.results: dict[tuple[str, str | None], Result] = {}
        """The results of checks that ran already, by code and the reason for which a failure is expected."""
        self.shared: dict[str, Result] = {}
        """The results of checks that others need, by code."""

    def release(self) -> None:
        """Free its networks and activations. They are made again when needed."""
        self.cached.clear()
        for name, member in vars(type(self)).items():
            if isinstance(member, cached_property):
                vars(self).pop(name, None)

    @property
    def model(self) -> str:
        """Its id."""
        return self.spec.id

    @property
    def plugin(self) -> str:
        """The namespace of its plugin."""
        return self.owner.plugin

    @property
    def declared_at(self) -> str | None:
        """FILE:LINE of its declaration."""
        place = self.owner.zoo.declared_at(self.spec.id)
        if place is None:
            return None
        return self.owner.place(*split_place(place))

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Switch connections off, unless files may be downloaded."""
        with contextlib.nullcontext() if self.downloads else environment("LAYERZOO_OFFLINE", "1"):
            yield

    @cached_property
    def located(self) -> LocatedModel:
        """Its plugins, and the files that its network is built from."""
        from layerzoo.runtime.loading import locate_without_checkpoint

        try:
            with self.connected():
                return locate_without_checkpoint(self.spec)
        except UnavailableError as error:
            raise Skip(f"its configuration is not on this machine: {error}") from error

    @cached_property
    def tracer(self) -> Tracer:
        """Traces of its network, made now."""
        from layerzoo.runtime.description import described
        from layerzoo.runtime.preprocess import preprocessor
        from layerzoo.runtime.tracer import Tracer

        located = self.located
        complete = described(located.spec, located.hooks, located.files)
        transform = located.hooks.preprocess(complete, located.files)
        return Tracer(complete, located.files, located.hooks, preprocessor(complete, transform))

    @property
    def preprocess(self) -> Preprocessor:
        """Its preprocessing."""
        return self.tracer.preprocess

    @cached_property
    def resolved(self) -> ResolvedModel:
        """The model with the facts of a new trace. Declared facts are kept."""
        from layerzoo.runtime.resolved import complete_from

        return complete_from(self.tracer)

    def with_layers(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        """Return layers with the facts of a trace.

        Args:
            layers: to complete; empty: those that the trace names.
        """
        from layerzoo.runtime.resolved import complete_from
        from layerzoo.runtime.tracer import Tracer

        base_tracer = self.tracer
        spec = replace(base_tracer.spec, layers=layers, traced_with=FrozenMap())
        tracer = Tracer(
            spec,
            base_tracer.files,
            base_tracer.hooks,
            base_tracer.preprocess,
            latest=base_tracer.latest,
            layouts=base_tracer.layouts,
        )
        return complete_from(tracer, trust_declaration=False).spec.layers

    @cached_property
    def size(self) -> int:
        """The number of parameters that its network reads."""
        trace = self.tracer.trace
        return sum(trace.sizes[name] for name in trace.parameters if name in trace.sizes)

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers that laws are checked at: all of a small network, else the first, the default, some, the last."""
        layers = list(self.resolved.spec.layers)
        if self.size > _LARGE:
            raise Skip(f"its network has {self.size:,} parameters, and at most {_LARGE:,} are built for a check")
        most = _MANY_LAYERS if self.size <= _SMALL else 5 if self.size <= _MEDIUM else 3
        if len(layers) <= most:
            return layers
        picked = {round(at * (len(layers) - 1) / (most - 1)) for at in range(most)}
        return [layer for at, layer in enumerate(layers) if at in picked]

    @cached_property
    def backbone(self) -> Backbone:
        """Its network with random weights, cut after the last of :attr:`layers`. Warns of features that vary."""
        for notice in self.resolved.variation(self.layers).notices(self.spec.id):
            logging.getLogger("layerzoo").warning("%s", notice)
        return self.cut(self.layers)

    def cut(self, layers: Sequence[Layer], **options: Any) -> Backbone:
        """Return its network with random weights, the same for every cut.

        Args:
            layers: the layers to read.
            options: of :func:`layerzoo.runtime.loading.load_random`.
        """
        from layerzoo.runtime.loading import load_random

        return load_random(self.resolved, layers, **options)

    @cached_property
    def network(self) -> torch.nn.Module:
        """The whole network with the same random weights, without a cut."""
        from layerzoo.runtime.backbone import memory_format, to_memory_format
        from layerzoo.runtime.construct import build_random

        located = self.located
        network = build_random(self.tracer.spec, located.hooks, located.files, 0)
        return to_memory_format(network, memory_format(self.preprocess)).eval()

    @cached_property
    def rows(self) -> list[InputRow]:
        """The rows of its inputs, of several sizes where its inputs have several."""
        from layerzoo.conformance.inputs import usual

        declared = self.tracer.spec.preprocess
        inputs = usual(self.preprocess, declared) if self.inputs is None else list(self.inputs)
        rows: list[InputRow] = []
        for sample in inputs:
            with contextlib.suppress(SampleError):  # a network of few words refuses the others
                rows.extend(_few(self.preprocess.rows(sample).rows))
        if not rows and self.preprocess.modality == "text":
            rows = [row for tokens in (4, 2, 7) for row in self.preprocess.rows(self._token_ids(tokens)).rows]
        if not rows:
            raise Skip("none of the inputs can be preprocessed: see preprocess-odd")
        return rows

    def _token_ids(self, count: int) -> torch.Tensor:
        """Return token ids that nearly every vocabulary has."""
        import torch

        tokenizer = self.preprocess.tokenizer  # type: ignore[attr-defined]
        content = [1 + (3 * at + count) % 4 for at in range(count)]
        return torch.tensor([*tokenizer.prefix, *content, *tokenizer.suffix])

    @cached_property
    def row(self) -> InputRow:
        """One row."""
        return self.rows[0]

    @cached_property
    def batch(self) -> Batch:
        """A batch of one row."""
        return self.preprocess.collate([self.row])

    @cached_property
    def reference(self) -> dict[str, torch.Tensor]:
        """The activations of :attr:`batch` in :attr:`backbone`. Do not change them."""
        return self.activations(self.backbone, self.batch)

    @cached_property
    def alone(self) -> dict[str, torch.Tensor]:
        """The activation of :attr:`batch` at each layer, from a network that is cut at this layer."""
        return {layer.name: self.activations(self.cut([layer]), self.batch)[layer.name] for layer in self.layers}

    def activations(self, backbone: Backbone, batch: Batch) -> dict[str, torch.Tensor]:
        """Run a network with one seed for all random numbers that it draws."""
        from layerzoo.runtime.variation import seeded

        with seeded(backbone.device):
            return backbone.activations(batch)


def _few(rows: Any) -> list[Any]:
    """Return the first rows of a sample, such as two frames of a video."""
    from itertools import islice

    return list(islice(iter(rows), 2))


def split_place(place: str) -> tuple[str, int | None]:
    """Split FILE:LINE, or FILE, into the file and the line."""
    path, _, line = place.rpartition(":")
    return (path, int(line)) if line.isdecimal() else (place, None)


def reason_of(error: Exception) -> str:
    """Return the first line of an error."""
    return str(error).split("\n", 1)[0]
