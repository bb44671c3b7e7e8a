"""The result of a sweep."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.disk import atomic_path
from layerzoo.errors import OutputError, SampleError

FORMAT = 1
"""The version of sweep.json."""


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One candidate: a layer of a model with a pooling, or a combination of layers."""

    model: str
    """The id of the model."""
    layer: str
    """The name of the layer, ``mean of N layers`` or ``PCA of N layers``."""
    pool: str
    """The pooling."""
    layers: tuple[str, ...]
    """The layers that are extracted, as names or selectors."""
    score: float
    """The mean score over the outer folds."""
    spread: float
    """The sample standard deviation over the outer folds (divided by their number less one)."""
    scores: tuple[float, ...]
    """The score of each outer fold."""
    width: int
    """The number of features."""
    depth: float | None = None
    """The share of the network's FLOPs up to this layer, 0 to 1."""
    params: int | None = None
    """The number of parameters used up to this layer."""
    flops: int | None = None
    """The floating-point operations up to this layer, for one sample of the declared input size."""
    milliseconds: float | None = None
    """The time of the network up to this layer for one sample, measured, without decoding."""
    bytes: int | None = None
    """The size of the tensors that a cut at this layer loads."""
    is_default: bool = False
    """Whether it is the default layer of its model."""
    estimates: Mapping[str, float] = field(default_factory=dict)
    """Estimates without training: ``logme``, ``h_score``, ``nearest_centroid``; of a clustering with labels ``ari`` and
    ``nmi``."""
    notes: tuple[str, ...] = ()
    """Facts about its features, such as constant ones."""


@dataclass(frozen=True, slots=True)
class SweepBaseline:
    """A score to compare with."""

    name: str
    """``majority``, ``pixels``, ``words``, ``log-mel``, ``random weights`` or ``last layer``."""
    score: float
    """The mean score over the outer folds."""
    spread: float
    """The standard deviation over the outer folds."""


@dataclass(frozen=True, slots=True, eq=False)
class SweepDetails:
    """The samples as a report shows them."""

    ids: tuple[str, ...]
    """The ids of the samples."""
    targets: NDArray[Any]
    """The targets, in the order of the ids."""
    predictions: NDArray[Any] | None
    """For each sample, the prediction of the layer that was selected without it. None for a clustering: its clusters
    are in ``targets`` if there are no labels."""
    features: NDArray[np.float32]
    """(sample, channel) of the best candidate."""
    confidence: NDArray[np.float64] | None = None
    """The probability of each prediction, for classes."""
    previews: Sequence[Any] = ()
    """A preview of each sample; empty without a report."""
    similarity: NDArray[np.float64] | None = None
    """(candidate, candidate) linear CKA of the layers of the model of the best candidate."""
    similar: tuple[str, ...] = ()
    """Their names."""


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """The scores of all candidate layers, and which of them to use.

    >>> texts = ["the cat", "cat drinks", "the dog", "dog eats", "milk", "meat", "milk meat", "meat meat"]
    >>> found = layerzoo.sweep("toy/next-word", texts, ["animal"] * 4 + ["food"] * 4, folds=3)
    >>> found
    <Sweep of 1 candidate(s), 8 samples; accuracy ... at toy/next-word block.0 mean>
    """

    task: str
    """``classify``, ``multilabel``, ``regress`` or ``cluster``."""
    metric: str
    """The name of the score."""
    rows: tuple[SweepRow, ...]
    """The candidates, by model and by depth."""
    score: float
    """The mean score, over the outer folds, of the layers that were selected inside them. It is an estimate for new
    samples; the score of the best row is too high, because it is the highest of several."""
    spread: float
    """The standard deviation over the outer folds."""
    selected: Mapping[str, int]
    """The candidates that were selected inside the folds, and how often."""
    best: int
    """The number of the row with the highest score."""
    cheapest: int
    """The number of the row with the fewest FLOPs among those within one standard error of the best."""
    standard_error: float
    """That of the best score."""
    default: int | None
    """The number of the row of the default layer, pooled as by default, of the best row's model."""
    p_value: float | None
    """Of the difference between the selected layers and the default layer: Nadeau and Bengio's corrected resampled
    t-test, two-sided. None if the default layer was selected in all folds, and if the difference is the same in all
    folds, so that its variance cannot be estimated."""
    baselines: tuple[SweepBaseline, ...]
    """Scores without the pretrained network."""
    samples: int
    """The number of samples that were used."""
    classes: tuple[str, ...]
    """The classes or labels; empty for numbers."""
    groups: int | None
    """The number of groups; None without groups."""
    folds: int
    """The number of outer folds."""
    repeats: int
    """The number of repetitions of the outer folds: fewer than asked for, where the groups have no other splits."""
    seconds: Mapping[str, float]
    """The time of each step."""
    notes: tuple[str, ...]
    """Facts about the data and the run."""
    rank_correlation: Mapping[str, float]
    """Spearman's rank correlation of each estimate with the score, over the candidates."""
    provenance: Mapping[str, Any]
    """By model, the provenance of its features."""
    inputs: tuple[str, ...] = ()
    """The inputs as given on the command line, for :meth:`command`."""
    errors: tuple[SampleError, ...] = ()
    """The samples that failed. They are not in sweep.json, whose notes have their number."""
    details: SweepDetails | None = None
    """The samples, for a report. They are not in sweep.json."""

    def __repr__(self) -> str:
        row = self.rows[self.best]
        return (
            f"<Sweep of {len(self.rows)} candidate(s), {self.samples} samples; {self.metric} {self.score:.3f} ± "
            f"{self.spread:.3f} at {row.model} {row.layer} {row.pool}>"
        )

    def comparison(self) -> str | None:
        """Describe how the selected layers compare with the default layer; None if only the default layer was measured.

        >>> texts = ["the cat", "cat drinks", "the dog", "milk", "meat", "milk meat"]
        >>> print(layerzoo.sweep("toy/next-word", texts, ["animal"] * 3 + ["food"] * 3, folds=3).comparison())
        None
        """
        if self.default is None or self.task == "cluster" or len(self.rows) == 1:
            return None
        row = self.rows[self.default]
        default = f"the default layer, {row.layer} {row.pool} ({row.score:.3f}"
        if self.p_value is not None:
            return (
                f"the layers selected inside the folds, compared with {default}): p = {self.p_value:.2g}, corrected "
                "resampled t-test"
            )
        if set(self.selected) == {f"{row.model} {row.layer} {row.pool}"}:
            return f"{default}), was selected inside all folds"
        return (
            f"the layers selected inside the folds differ from {default}) by the same amount in all folds, so that "
            "there is no variance for a test"
        )

    def arguments(self, row: int | None = None) -> dict[str, Any]:
        """Return the arguments of :func:`layerzoo.extract` that give the features of a row.

        Args:
            row: its number. None: the best row.

        >>> texts = ["the cat", "cat drinks", "the dog", "milk", "meat", "milk meat"]
        >>> layerzoo.sweep("toy/next-word", texts, ["animal"] * 3 + ["food"] * 3, folds=3).arguments()
        {'model': 'toy/next-word', 'layer': ['block.0'], 'pool': 'mean'}
        """
        selected_row = self.rows[self.best if row is None else row]
        extraction = self.provenance.get(selected_row.model, {}).get("arguments", {})
        return {
            "model": selected_row.model,
            "layer": list(selected_row.layers),
            "pool": selected_row.pool,
            **extraction,
        }

    def command(self, row: int | None = None) -> str:
        """Return the ``zoo extract`` command that gives the features of a row.

        Args:
            row: its number. None: the best row.

        >>> texts = ["the cat", "cat drinks", "the dog", "milk", "meat", "milk meat"]
        >>> layerzoo.sweep("toy/next-word", texts, ["animal"] * 3 + ["food"] * 3, folds=3).command()
        'zoo extract INPUT --model toy/next-word --layer block.0 --pool mean --out features.parquet'
        """
        arguments = self.arguments(row)
        words = ["zoo", "extract", *(self.inputs or ("INPUT",)), "--model", arguments.pop("model")]
        for layer in arguments.pop("layer"):
            words += ["--layer", layer]
        if arguments.pop("special_tokens", True) is False:
            words.append("--no-special-tokens")
        for name, value in arguments.items():
            option = f"--{name.removesuffix('_s').replace('_', '-')}"
            words += [option] if value is True else [] if value is None or value is False else [option, str(value)]
        return shlex.join([*words, "--out", "features.parquet"])

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the samples, as JSON-able data.

        >>> texts = ["the cat", "cat drinks", "the dog", "milk", "meat", "milk meat"]
        >>> layerzoo.sweep("toy/next-word", texts, ["animal"] * 3 + ["food"] * 3, folds=3).to_dict()["metric"]
        'accuracy'
        """
        fields = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("rows", "baselines", "errors", "details", "inputs")
        }
        rows = [{**asdict(row), "command": self.command(number)} for number, row in enumerate(self.rows)]
        fields |= {"rows": rows, "baselines": [asdict(baseline) for baseline in self.baselines], "format": FORMAT}
        result: dict[str, Any] = json.loads(json.dumps(fields))
        return result

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write sweep.json, the figure as sweep.svg and sweep.png, and the report as sweep.html.

        The figures need matplotlib, and the report needs the samples in :attr:`details`.

        Args:
            folder: created if it does not exist.
        Returns: the files.
        Raises: OutputError when the folder cannot be written; MissingLibraryError without matplotlib.

        >>> texts = ["the cat", "cat drinks", "the dog", "milk", "meat", "milk meat"]
        >>> found = layerzoo.sweep("toy/next-word", texts, ["animal"] * 3 + ["food"] * 3, folds=3)
        >>> [path.name for path in found.save("swept")]
        ['sweep.json', 'sweep.svg', 'sweep.png', 'sweep.html']
        """
        from layerzoo.extras import needs

        with needs("sweep"):
            from layerzoo.sweeps.figure import figure_bytes
            from layerzoo.sweeps.report import report_page
        target = Path(folder)
        svg, png = figure_bytes(self)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        contents = {"sweep.json": text.encode(), "sweep.svg": svg, "sweep.png": png}
        contents["sweep.html"] = report_page(self, svg.decode()).encode()
        try:
            target.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                with atomic_path(target / name) as temporary:
                    temporary.write_bytes(content)
        except OSError as error:
            raise OutputError(f"{target} cannot be written: {error.strerror or error}", path=target) from error
        return [target / name for name in contents]
