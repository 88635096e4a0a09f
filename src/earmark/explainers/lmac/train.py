"""`fit_lmac`: train a decoder so that what its masks keep is decided as the whole clip was."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from ...classifiers.base import Classifier
from ...errors import MismatchError, ModelError
from ...metrics.faithfulness import Passes, average_drop, input_fidelity
from ...training.loop import Progress, train
from ...types import Clip, Samples, seeded
from .. import fitted
from ..stages import no_gradient
from .apart import apart_term, unmixed
from .config import LmacConfig
from .decoder import Look, Masker, MaskLogits
from .loss import (
    Weights,
    areas_between,
    decision_loss,
    drop_loss,
    guidance_loss,
    guided,
    lmac_loss,
    top_mask,
)

if TYPE_CHECKING:
    from .explainer import Lmac

Gain = Float[Tensor, "batch freq frame"]
Targets = Int[Tensor, " batch"]

AREAS = (0.02, 0.1, 0.4)  # at which an epoch is judged
COLLAPSED = (0.005, 0.95)  # a mean mask above the second says nothing, nor one below the first that loses decisions:
LOST = 0.5  # at an input fidelity below this; events of a few bins have small masks that keep them
KEPT_BYTES = 1_000_000_000  # of what the frozen classifier says of held-out clips, which every epoch asks for again


def fit_lmac(
    classifier: Classifier,
    clips: Iterable[Clip],
    config: LmacConfig | None = None,
    *,
    held_out: Iterable[Clip] | None = None,
    start: "Lmac | None" = None,
    progress: Progress | None = None,
    resume_dir: str | Path | None = None,
    log_dir: str | Path | None = None,
    **changes: Any,
) -> "Lmac":
    """Trains a decoder of a frozen classifier's maps to draw masks that keep its decision.

    Parameters
    ----------
    classifier
        Read, never changed. Its own decisions are explained, right or wrong; labels of clips are not read.
    clips
        What is learned from: the classifier's training clips, usually. Mixtures (see `data.mixtures`) carry their clean
        source along, by which fine-tuning is guided.
    config
        The numbers; keyword `changes` replace single ones, as in `objective="soft"`.
    held_out
        Clips that choose the epoch; by default a share of `clips` (`config.held_out`), by group, seeded.
    start
        A decoder to fine-tune. On mixtures, its masks are then guided by the clean source (eq. 5 of the paper).
    progress
        Called with steps done, steps in all, and the latest values.
    resume_dir
        Where a checkpoint lies, from which a fit that was killed goes on to the same result.
    log_dir
        Where TensorBoard logs go, where it is installed.

    Raises
    ------
    DataError
        If there are too few clips, or they are shorter than a window.
    ModelError
        If no layer has a map to learn from, the classifier gives no gradient, or masks collapse.
    MismatchError
        If `start` belongs to another classifier, or `resume_dir` to another fit.
    """
    from .explainer import Lmac

    config = LmacConfig.changed(config or (start.config if start else None), changes, "L-MAC")
    if refusal := no_gradient(classifier, "features"):
        raise ModelError(refusal)
    masker = Masker.untrained(classifier, config)
    if start is not None:
        _take_over(start, masker)
    with (
        fitted.working(resume_dir) as folder,
        fitted.material(clips, classifier, config, folder, held_out) as data,
    ):
        learner = _Learner(masker, data, guide=start is not None and data.sources is not None)
        if start is None:
            learner.calibrate()
        history = train(
            masker.decoder,
            fitted.batches(data, config),
            learner.loss,
            learner.validate,
            config,
            n_steps=fitted.n_steps(data, config),
            folder=folder,
            prepare=partial(_prepared, config=config, sample_rate=classifier.sample_rate),
            progress=progress,
            beside=classifier._parts,
            log_folder=None if log_dir is None else Path(log_dir),
            settings={"clips": data.sha256(), "fingerprint": classifier.fingerprint, "fit": config.to_dict()},
        )
        masker.decoder.eval()
        diagnostics = _diagnostics(masker, data, history)
    return Lmac(classifier, config, masker.taps, masker.decoder, diagnostics)


def _prepared(batch: Sequence[Tensor], generator: Generator, *, config: LmacConfig, sample_rate: int) -> Any:
    return fitted.drawn(batch, unmixed(config, config.lambda_apart), sample_rate, generator)


@dataclass
class _Learner:
    """The steps of one fit."""

    masker: Masker[LmacConfig]
    data: fitted.Material
    guide: bool = False
    _looks: dict[int, Look] = field(default_factory=dict)

    @property
    def classifier(self) -> Classifier:
        """What is explained."""
        return self.masker.classifier

    @property
    def config(self) -> LmacConfig:
        """How it is trained."""
        return self.masker.config

    def calibrate(self) -> None:
        """Scales the taps by some training clips."""
        if not hasattr(self.masker.decoder, "trunk"):
            return
        samples = self._samples(self.data.training.samples[: self.config.batch_size])
        self.masker.decoder.trunk.calibrate(self.masker.look(samples).maps)  # type: ignore[union-attr, operator]

    def loss(self, batch: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the mean loss over clips, and its terms."""
        drawn = fitted.Drawn.of(batch, self.classifier)
        look = self.masker.look(drawn.samples)
        target = fitted.asked_label(look.logits, drawn.choice, self.classifier)
        terms: dict[str, Tensor] = {}
        if self.config.lambda_apart:
            terms["apart"] = self.config.lambda_apart * self._apart(drawn, look, target)
        if self.config.objective != "apart":
            mask_logits = self._mask_logits(look, target, drawn.samples)
        if self.config.of_areas:
            terms["areas"] = self._of_areas(drawn, look, mask_logits, target)
        if self.config.of_soft_masks:
            terms |= self._soft(drawn, look, mask_logits, target)
        return torch.stack(list(terms.values())).sum(), terms

    def validate(self) -> dict[str, float]:
        """Returns what masks of some areas, and soft ones, keep of the held-out clips' decisions."""
        values: dict[str, float] = {}
        if self.config.objective != "apart":
            parts = enumerate(_parts(self.data.held_out.samples, 16))
            rows = [self._judged(i, self._samples(part)) for i, part in parts]
            values = {name: float(np.nanmean([v for row in rows for v in row[name]])) for name in rows[0]}
        if self.config.lambda_apart:
            values["apart"] = self._held_out_apart()
        return {"score": self._score(values), **values}

    def _score(self, values: dict[str, float]) -> float:
        """Returns how good a decoder is, of what is said of held-out clips; above all that the objective is about.

        Raises
        ------
        ModelError
            If masks say nothing.
        """
        c, lost = self.config, [drop for name, drop in values.items() if name.startswith("drop")]
        if c.lambda_apart:
            lost.append(100 * values["apart"] / math.log(2))  # of what a mask of one half lacks
        if not c.of_soft_masks:
            return -float(np.mean(lost))
        low, high = COLLAPSED
        is_lost = values["mask_mean"] < low and values["fidelity"] < LOST
        if is_lost or values["mask_mean"] > high:
            raise ModelError(
                f"The mean of the masks is {values['mask_mean']:.3g}: they say nothing. Change lambda_l1 (larger for "
                "masks near 1, smaller for masks near 0) or the learning rate."
            )
        if len(lost) == 1:
            return 100 * values["fidelity"] - values["drop"]
        return -float(np.mean(lost))

    # -- inside ---------------------------------------------------------------------------------------------------

    def _samples(self, rows: np.ndarray) -> Samples:
        like = self.classifier
        return torch.from_numpy(np.array(rows)).to(device=like.device, dtype=like.dtype)

    def _mask_logits(self, look: Look, target: Targets, samples: Samples) -> MaskLogits:
        asked = fitted.one_hot(target, len(self.classifier.labels), look.level)
        return self.masker.logits(look, asked, samples.shape[-1])

    def _of_areas(self, drawn: fitted.Drawn, look: Look, mask_logits: MaskLogits, target: Targets) -> Tensor:
        """Returns the weighted loss of masks of one area for each clip, from small to large ones in each batch."""
        c, task = self.config, self.classifier.task
        areas = areas_between(drawn.budget.to(mask_logits), c.least_area, c.most_area)
        inside = self.masker.reentered(drawn.samples, look, top_mask(mask_logits, areas, c.softness, hard=c.hard))
        if c.area_loss == "drop":
            losses = drop_loss(inside, look.logits, target, task)
        else:
            losses = decision_loss(inside, target, task)
        return c.lambda_area * (fitted.is_decided(look.logits, self.classifier) * losses).mean()

    def _soft(self, drawn: fitted.Drawn, look: Look, mask_logits: MaskLogits, target: Targets) -> dict[str, Tensor]:
        """Returns the terms of the published loss; clips that are guided have no l1 term, as published."""
        c = self.config
        weights = Weights(c.lambda_in, c.lambda_out, c.lambda_l1, c.lambda_tv)
        mask = mask_logits.sigmoid()
        terms = self._masked_loss(drawn.samples, look, mask, target, weights)
        if not self.guide or drawn.sources is None:
            return terms
        mixture = look.whole.abs().log1p().to(mask)
        source = self.classifier.stft(drawn.sources).abs().log1p().to(mask)
        is_guided = guided(mask, mixture, source, c.cct)
        terms["l1"] = c.lambda_l1 * (mask.mean((1, 2)) * ~is_guided).mean()
        terms["guidance"] = c.lambda_g * (guidance_loss(mask_logits, mixture, source, c.guidance) * is_guided).mean()
        return terms

    def _apart(self, drawn: fitted.Drawn, look: Look, target: Targets) -> Tensor:
        """Returns what masks of two clips at once lack, where neither is decided as the other one's label."""
        present = fitted.present_labels(look.logits, self.classifier)
        own, other = target[:, None], target.roll(1)[:, None]
        heard = present.gather(1, own)[:, 0]
        theirs = present.roll(1, 0).gather(1, own)[:, 0] | present.gather(1, other)[:, 0]
        asked = fitted.one_hot(target, len(self.classifier.labels), look.level)
        differ = heard & heard.roll(1) & ~theirs
        return apart_term(self.masker, drawn.samples, look, asked, drawn.budget, differ)

    @torch.no_grad()
    def _held_out_apart(self) -> float:
        """Returns the mean of `_apart` over held-out clips, each with a drawn other one."""
        generator = seeded(self.config.seed, 5)
        order = torch.randperm(len(self.data.held_out.samples), generator=generator).numpy()
        found = []
        for index in _parts(order, 16):
            samples = self._samples(self.data.held_out.samples[index])
            drawn = fitted.Drawn(samples, *torch.rand(2, len(samples), generator=generator).unbind())
            look = self.masker.look(samples)
            target = fitted.asked_label(look.logits, drawn.choice, self.classifier)
            found.append(float(self._apart(drawn, look, target)))
        return float(np.mean(found))

    def _masked_loss(
        self, samples: Samples, look: Look, mask: Gain, target: Targets, weights: Weights
    ) -> dict[str, Tensor]:
        inside = self.masker.reentered(samples, look, mask)
        outside = self.masker.reentered(samples, look, 1 - mask) if weights.outside else look.logits
        decided = fitted.is_decided(look.logits, self.classifier)
        return lmac_loss(inside, outside, mask, target, self.classifier.task, weights, decided)

    def _held_out_look(self, index: int, samples: Samples) -> Look:
        """Returns what the classifier says of a part of the held-out clips, which no epoch changes: once if it fits."""
        if index not in self._looks:
            look = self.masker.look(samples)
            if sum(map(bytes_of, [*self._looks.values(), look])) > KEPT_BYTES:
                return look
            self._looks[index] = look
        return self._looks[index]

    @torch.no_grad()
    def _judged(self, index: int, samples: Samples) -> dict[str, list[float]]:
        look = self._held_out_look(index, samples)
        target = fitted.asked_label(look.logits, torch.zeros(len(samples)), self.classifier)
        mask_logits = self._mask_logits(look, target, samples)
        passes = partial(Passes, look.logits, target, task=self.classifier.task, threshold=self.classifier.threshold)
        found: dict[str, list[float]] = {}
        if self.config.of_areas:
            for area in AREAS:
                kept = top_mask(mask_logits, torch.full((len(samples),), area), 1.0)
                found[f"drop_{area:g}"] = average_drop(passes(self.masker.reentered(samples, look, kept))).tolist()
        if self.config.of_soft_masks:
            mask = mask_logits.sigmoid()
            inside = passes(self.masker.reentered(samples, look, mask))
            found |= {"drop": average_drop(inside).tolist(), "fidelity": input_fidelity(inside).tolist()}
            found["mask_mean"] = mask.mean((1, 2)).tolist()
        return found


def bytes_of(look: Look) -> int:
    """Returns how much memory a look takes."""
    held = [look.logits, *look.maps, look.whole, look.level, look.features]
    return sum(part.nbytes for part in held if part is not None)


def _take_over(start: "Lmac", masker: Masker[LmacConfig]) -> None:
    """Fills a decoder with the weights of another one."""
    if start.classifier.fingerprint != masker.classifier.fingerprint:
        raise MismatchError(
            f"The decoder to start from explains {start.classifier.name}, not {masker.classifier.name}; start anew."
        )
    try:
        masker.decoder.load_state_dict(start.decoder.state_dict())
    except RuntimeError as error:
        raise MismatchError(
            "The decoder to start from has another size; take its own preset, taps and width, or start anew."
        ) from error


def _parts(samples: np.ndarray, size: int) -> list[np.ndarray]:
    return [samples[first : first + size] for first in range(0, len(samples), size)]


def _diagnostics(masker: Masker[LmacConfig], data: fitted.Material, history: list[dict[str, float]]) -> dict[str, Any]:
    best = max(history, key=lambda row: (row["score"], row["epoch"]))
    c = masker.config  # the clip, what its masks keep and leave, and mixtures
    passes = 1 + c.of_areas + 2 * c.of_soft_masks + bool(c.lambda_apart)
    n_clips = len(history) * fitted.n_steps(data, masker.config) * fitted.batch_size(data, masker.config)
    return {
        **masker.cost(),
        "n_clips": len(data.training.clips),
        "n_held_out": len(data.held_out.clips),
        "epoch": best["epoch"],
        "held_out": {name: value for name, value in best.items() if name not in ("epoch", "seconds", "loss")},
        "forward_passes": n_clips * passes,
        "seconds": sum(row["seconds"] for row in history),
        "skipped": data.skipped,
    }
