"""`fit_lmac_td`: an autoencoder for the clips first, then a masker whose evidence is decided as the whole clip was."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...classifiers.base import Classifier
from ...errors import DataError, ModelError
from ...training.loop import Progress, train
from ...types import Clip
from .. import fitted
from .autoencoder import Autoencoder, autoencoder_of, reconstruction_snr_db, window_of
from .config import LmacTdConfig
from .learner import JUDGED, JUDGED_BY, Learner, samples_of
from .loss import SILENT
from .refusals import misfit, refuse_poor
from .separator import Separator

if TYPE_CHECKING:
    from .explainer import LmacTd


def fit_lmac_td(
    classifier: Classifier,
    clips: Iterable[Clip],
    config: LmacTdConfig | None = None,
    *,
    held_out: Iterable[Clip] | None = None,
    progress: Progress | None = None,
    resume_dir: str | Path | None = None,
    log_dir: str | Path | None = None,
    **changes: Any,
) -> "LmacTd":
    """Trains a masker in the time domain to keep what a frozen classifier decides by.

    Parameters
    ----------
    classifier
        Read, never changed. Its own decisions are explained, right or wrong; labels of clips are not read.
    clips
        What is learned from: the classifier's training clips, usually.
    config
        The numbers; keyword `changes` replace single ones, as in `alpha=1.0`.
    held_out
        Clips that choose the epoch; by default a share of `clips` (`config.held_out`), by group, seeded.
    progress
        Called with steps done, steps in all, and the latest values; the autoencoder's steps come first.
    resume_dir
        Where checkpoints lie, from which a fit that was killed goes on to the same result.
    log_dir
        Where TensorBoard logs go, where it is installed.

    Raises
    ------
    DataError
        If there are too few clips, or they are shorter than a window.
    ModelError
        If no layer has a map to learn from, the classifier's gradient is missing or not finite, or the autoencoder does
        not give the clips back.
    TrainingError
        If masks collapse.
    MismatchError
        If `resume_dir` belongs to another fit.
    """
    from .explainer import LmacTd

    config = LmacTdConfig.changed(config, changes, "LMAC-TD")
    if refusal := misfit(classifier, config.tap_layers):
        raise ModelError(refusal)
    _refuse_short(config, classifier)
    began = time.perf_counter()
    with (
        fitted.working(resume_dir) as folder,
        fitted.material(clips, classifier, config, folder, held_out) as data,
    ):
        fit = _Fit(classifier, data, config, folder, progress, None if log_dir is None else Path(log_dir))
        code, snr_db = fit.autoencoder()
        refuse_poor(snr_db)
        separator = Separator.untrained(classifier, config, code)
        history = fit.masker(separator)
        diagnostics = _diagnostics(separator, data, history)
    diagnostics |= {"reconstruction_snr_db": snr_db, "seconds": time.perf_counter() - began}
    return LmacTd(separator, diagnostics)


@dataclass
class _Fit:
    """The two trainings of one fit."""

    classifier: Classifier
    data: fitted.Material
    config: LmacTdConfig
    folder: Path
    progress: Progress | None
    logs: Path | None = None

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return fitted.n_steps(self.data, self.config)

    @property
    def first_steps(self) -> int:
        """Steps that the autoencoder takes."""
        return 0 if self.config.basis == "fourier" else self.n_steps * self.config.autoencoder_epochs

    def autoencoder(self) -> tuple[Autoencoder, float]:
        """Returns encoder and decoder, frozen, and the mean SNR in dB of the held-out clips' reconstructions."""
        code = autoencoder_of(self.config, self.classifier.sample_rate).to(self.classifier.device)
        judge = partial(held_out_snr_db, code, self.data, self.classifier)
        if self.first_steps:
            c = self.config
            config = replace(c, epochs=c.autoencoder_epochs, learning_rate=c.autoencoder_rate, schedule="cosine")
            trained: nn.Module = code.decoder if c.basis == "random" else code
            self._train(
                trained, partial(self._error_db, code), lambda: {"score": judge()}, config, "autoencoder", 0, [code]
            )
        return code.eval().requires_grad_(False), judge()

    def _error_db(self, code: Autoencoder, batch: Sequence[Tensor]) -> Tensor:
        """Returns the energy that reconstructions miss over that of the clips, in dB: minus the SNR."""
        samples = fitted.Drawn.of(batch, self.classifier).samples.to(code.encoder.weight)
        error = (code(samples) - samples).square().sum(1)
        return 10 * torch.log10((error + SILENT) / (samples.square().sum(1) + SILENT)).mean()

    def masker(self, separator: Separator) -> list[dict[str, float]]:
        """Trains the masker and returns the history."""
        learner = Learner(separator, self.data)
        learner.calibrate()
        masker = separator.masker
        history = self._train(
            masker, learner.loss, learner.validate, self.config, "masker", self.first_steps, [separator.code]
        )
        masker.eval()
        return history

    def _train(
        self,
        module: nn.Module,
        loss: Any,
        validate: Any,
        config: LmacTdConfig,
        name: str,
        done: int,
        beside: Sequence[nn.Module],
    ) -> list[dict[str, float]]:
        rate = self.classifier.sample_rate
        everything = self.first_steps + self.n_steps * self.config.epochs
        report = self.progress
        return train(
            module,
            fitted.batches(self.data, config),
            loss,
            validate,
            config,
            n_steps=self.n_steps,
            folder=self.folder / name,
            prepare=lambda batch, generator: fitted.drawn(batch, config, rate, generator),
            beside=[*beside, *self.classifier._parts],
            log_folder=None if self.logs is None else self.logs / name,
            progress=None if report is None else lambda step, _, values: report(done + step, everything, values),
            settings={
                "clips": self.data.sha256(),
                "fingerprint": self.classifier.fingerprint,
                "fit": self.config.to_dict(),
            },
        )


@torch.no_grad()
def held_out_snr_db(code: Autoencoder, data: fitted.Material, classifier: Classifier) -> float:
    """Returns the mean SNR of the reconstructions of held-out clips in dB, silent clips left out."""
    like = code.encoder.weight
    found = []
    for row in data.held_out.samples[:: max(1, -(-len(data.held_out.samples) // JUDGED))]:
        samples = samples_of(row[None], classifier).to(like)
        found.append(float(reconstruction_snr_db(samples, code(samples))))
    heard = [value for value in found if not math.isnan(value)]
    if not heard:
        raise DataError("All held-out clips are silent, so that nothing can be learned from them; use other clips.")
    return sum(heard) / len(heard)


def _refuse_short(config: LmacTdConfig, classifier: Classifier) -> None:
    longest = max(window_of(config, classifier.sample_rate), classifier.stft.n_fft) / classifier.sample_rate
    for name in ("crop_s", "clip_s"):
        if 0 < getattr(config, name) < longest:
            raise DataError(
                f"{name} is {getattr(config, name):.3g} s, shorter than a window ({longest:.3g} s), so that no mask "
                "can be learned; make it longer."
            )


def _diagnostics(separator: Separator, data: fitted.Material, history: list[dict[str, float]]) -> dict[str, Any]:
    best = max(history, key=lambda row: (row["score"], row["epoch"]))
    n_clips = len(history) * fitted.n_steps(data, separator.config) * fitted.batch_size(data, separator.config)
    return {
        **separator.cost(),
        "n_clips": len(data.training.clips),
        "n_held_out": len(data.held_out.clips),
        "epoch": best["epoch"],
        "held_out": {name: best[name] for name in ("score", *JUDGED_BY)},
        "forward_passes": n_clips * (3 if separator.config.lambda_out else 2),
        "skipped": data.skipped,
    }
