"""`fit_l2i`: learn a dictionary of the clips' spectra, then what of it the classifier hears."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Generator, Tensor

from ...classifiers.base import Classifier
from ...classifiers.taps import Tap, count, find_taps
from ...errors import DataError
from ...training.loop import Progress, seeded_globals, train
from ...types import Clip, Samples, seeded
from .. import fitted
from . import nmf
from .config import L2iConfig
from .decoder import Interpreter, Seen, log1p_of, seen
from .loss import agreement, fidelity, overlap, reconstruction, relative_error

if TYPE_CHECKING:
    from .explainer import L2i

PART = 16  # clips at once where nothing is learned
SILENT = 1e-6  # a frame whose log1p magnitudes are all below this is silent
DEAD = 1e-6  # a component whose activations are all below this share of the largest is dead
JUDGED = ("agreement", "overlap", "cross_entropy", "error")  # what is measured on held-out clips
_WEIGHTS, _COLUMNS, _DICTIONARY = 0, 5, 6  # what generators are for


def fit_l2i(
    classifier: Classifier,
    clips: Iterable[Clip],
    config: L2iConfig | None = None,
    *,
    held_out: Iterable[Clip] | None = None,
    progress: Progress | None = None,
    resume_dir: str | Path | None = None,
    log_dir: str | Path | None = None,
    **changes: Any,
) -> "L2i":
    """Learns a dictionary of spectra, and to tell from a frozen classifier's maps how active its components are.

    Parekh et al., "Listen to Interpret" (2022).

    Parameters
    ----------
    classifier
        Read, never changed; it need not be differentiable. Its own output is imitated; labels of clips are not read.
    clips
        What is learned from: the classifier's training clips, usually.
    config
        The numbers; keyword `changes` replace single ones, as in `n_components=100`.
    held_out
        Clips that choose the epoch; by default a share of `clips` (`config.held_out`), by group, seeded. The score is
        how alike theta's probabilities are to the classifier's, minus the relative error of `W H`.
    progress
        Called with steps done, steps in all, and the latest values; while the dictionary is learned no step is done.
    resume_dir
        Where a checkpoint lies, from which a fit that was killed goes on to the same result.
    log_dir
        Where TensorBoard logs go, where it is installed.

    Raises
    ------
    DataError
        If there are too few clips, they are shorter than a window, all silent, or have fewer frames than components.
    ModelError
        If no layer has a map to learn from.
    MismatchError
        If `resume_dir` belongs to another fit.
    """
    from .explainer import L2i

    config = L2iConfig.changed(config, changes, "L2I")
    taps = find_taps(classifier, config.tap_layers)
    with (
        fitted.working(resume_dir) as folder,
        fitted.material(clips, classifier, config, folder, held_out) as data,
    ):
        columns = sampled_columns(classifier, data.training.samples, config)
        told = progress and _dictionary_progress(progress, fitted.n_steps(data, config) * config.epochs)
        generator = seeded(config.seed, _DICTIONARY)
        W, H = nmf.factorize(columns, config.n_components, config.sparsity, config.nmf_steps, generator, told)
        learner = _Learner(classifier, config, taps, untrained(classifier, config, taps, W), data)
        learner.calibrate()
        history = train(
            learner.network,
            learner.batches(),
            learner.loss,
            learner.validate,
            config,
            n_steps=fitted.n_steps(data, config),
            folder=folder,
            prepare=partial(_prepared, config=config, sample_rate=classifier.sample_rate),
            beside=classifier._parts,
            log_folder=None if log_dir is None else Path(log_dir),
            progress=progress,
            settings={"clips": data.sha256(), "fingerprint": classifier.fingerprint, "fit": config.to_dict()},
        )
        learner.network.eval()
        diagnostics = {**_of_dictionary(columns, W, H, config), **_diagnostics(learner, history)}
    return L2i(classifier, config, taps, learner.network, diagnostics)


def sampled_columns(classifier: Classifier, samples: np.ndarray, config: L2iConfig) -> nmf.Columns:
    """Returns frames of log1p magnitudes `[freq, column]` of clips `[clip, sample]`, equally many of each, none silent.

    Raises
    ------
    DataError
        If all is silent, or there are fewer such frames than components.
    """
    each = -(-max(config.nmf_columns, config.n_components) // len(samples))
    kept, n_frames = [], 0
    for first in range(0, len(samples), PART):
        log1p = log1p_of(classifier, _samples(samples[first : first + PART], classifier))
        for index, clip in enumerate(log1p):
            heard = clip[:, clip.amax(0) > SILENT]
            order = torch.randperm(heard.shape[1], generator=seeded(config.seed, _COLUMNS, first + index))
            n_frames += heard.shape[1]
            kept.append(heard[:, order[:each].to(heard.device)])
    columns = torch.cat(kept, 1)
    if not n_frames:
        raise DataError(f"All {len(samples)} clips to learn from are silent, so there is nothing to learn; add sounds.")
    if columns.shape[1] < config.n_components:
        raise DataError(
            f"{config.n_components} components need as many frames with sound, and there are {n_frames}; add clips, or "
            f"set n_components to {columns.shape[1]} or less."
        )
    return columns


@dataclass(frozen=True, eq=False)
class _Learner:
    """The steps of one fit."""

    classifier: Classifier
    config: L2iConfig
    taps: tuple[Tap, ...]
    network: Interpreter
    data: fitted.Material

    def calibrate(self) -> None:
        """Scales the taps by some training clips."""
        self.network.trunk.calibrate(self._seen(self.data.training.samples[:PART]).maps)

    def batches(self) -> Callable[[int, Generator], Iterator[tuple[Tensor, ...]]]:
        """Returns what yields clips, and for each the weight that fidelity has in this epoch."""
        clips = fitted.batches(self.data, self.config)

        def epoch(number: int, generator: Generator) -> Iterator[tuple[Tensor, ...]]:
            weight = self.config.fidelity_at(number)
            for batch in clips(number, generator):
                yield batch[0], torch.full((len(batch[0]),), weight)

        return epoch

    def loss(self, batch: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the mean loss over clips, and its terms, already weighted."""
        like, config = self.classifier, self.config
        samples, weight = batch[0].to(device=like.device, dtype=like.dtype), batch[1].to(like.device)
        shown = seen(like, samples, self.taps)
        heard = self.network(shown.maps, shown.log1p)
        terms = {
            "mse": config.lambda_mse * reconstruction(shown.log1p, heard.model).mean(),
            "fidelity": (weight * fidelity(heard.said, shown.logits.float(), like.task)).mean(),
            "l1": config.lambda_l1 * heard.codes.mean(),
        }
        return torch.stack(list(terms.values())).sum(), terms

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Returns how theta agrees with the classifier on held-out clips, and how well spectrograms are modeled."""
        rows: dict[str, list[float]] = {name: [] for name in JUDGED}
        task, held = self.classifier.task, self.data.held_out.samples
        for first in range(0, len(held), PART):
            shown = self._seen(held[first : first + PART])
            heard, logits = self.network(shown.maps, shown.log1p), shown.logits.float()
            rows["agreement"] += agreement(heard.said, logits, task, self.classifier.threshold).tolist()
            rows["overlap"] += overlap(heard.said, logits, task).tolist()
            rows["cross_entropy"] += fidelity(heard.said, logits, task).tolist()
            rows["error"] += relative_error(shown.log1p, heard.model).tolist()
        values = {name: float(np.mean(row)) for name, row in rows.items()}
        return {"score": values["overlap"] - values["error"], **values}

    def _seen(self, rows: np.ndarray) -> Seen:
        return seen(self.classifier, _samples(rows, self.classifier), self.taps)


def untrained(classifier: Classifier, config: L2iConfig, taps: Sequence[Tap], W: nmf.Dictionary) -> Interpreter:
    """Returns a network around a dictionary, with first weights that are drawn by the configuration's seed."""
    with seeded_globals(config.seed, _WEIGHTS):
        network = Interpreter(taps, W.cpu(), len(classifier.labels), config)
    return network.to(classifier.device)


def _dictionary_progress(progress: Progress, all_steps: int) -> Callable[[int, float], None]:
    def told(step: int, value: float) -> None:
        progress(0, all_steps, {"nmf_step": step, "nmf_objective": value})

    return told


def _prepared(batch: Sequence[Tensor], generator: Generator, *, config: L2iConfig, sample_rate: int) -> Any:
    return fitted.drawn(batch[:1], config, sample_rate, generator)[0], batch[1]


def _samples(rows: np.ndarray, classifier: Classifier) -> Samples:
    return torch.from_numpy(np.array(rows)).to(device=classifier.device, dtype=classifier.dtype)


def _of_dictionary(columns: nmf.Columns, W: nmf.Dictionary, H: nmf.Codes, config: L2iConfig) -> dict[str, Any]:
    largest = H.amax(1)
    return {
        "n_columns": columns.shape[1],
        "nmf_objective": nmf.objective(columns, W, H, config.sparsity) / columns.shape[1],
        "nmf_error": float((columns - W @ H).square().sum() / columns.square().sum()),
        "n_dead": int((largest <= DEAD * largest.max()).sum()),
    }


def _diagnostics(learner: _Learner, history: list[dict[str, float]]) -> dict[str, Any]:
    best = max(history, key=lambda row: (row["score"], row["epoch"]))
    data, config = learner.data, learner.config
    return {
        **cost_of(learner.classifier, learner.taps, learner.network),
        "n_clips": len(data.training.clips),
        "n_held_out": len(data.held_out.clips),
        "epoch": best["epoch"],
        "held_out": {name: best[name] for name in ("score", *JUDGED)},
        "forward_passes": len(history) * fitted.n_steps(data, config) * fitted.batch_size(data, config),
        "seconds": sum(row["seconds"] for row in history),
        "skipped": data.skipped,
    }


@torch.no_grad()
def cost_of(classifier: Classifier, taps: Sequence[Tap], network: Interpreter) -> dict[str, int]:
    """Returns the network's parameters, without the dictionary, and its multiply-adds for a clip of `probe_s`."""
    samples = torch.zeros(1, round(classifier.probe_s * classifier.sample_rate))
    shown = seen(classifier, samples.to(device=classifier.device, dtype=classifier.dtype), taps)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_adds": count(lambda: network(shown.maps, shown.log1p)),
    }
