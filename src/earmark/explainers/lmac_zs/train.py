"""`fit_lmac_zs`: train a decoder so that what its mask keeps is as near to a text as the whole clip was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ...classifiers.base import Classifier
from ...classifiers.zero_shot import ZeroShot
from ...errors import InputError, ModelError
from ...training.loop import Progress, train
from ...types import Clip, Samples, seeded
from .. import fitted
from ..lmac.apart import apart_term, unmixed
from ..lmac.decoder import CompactDecoder, Look
from ..lmac.train import COLLAPSED
from ..stages import no_gradient
from .config import LmacZsConfig
from .decoder import ZsMasker, for_each, untrained
from .loss import Pairs, diversity, drawn_pairs, match_loss, outside_loss, overlap, size_loss

if TYPE_CHECKING:
    from .explainer import LmacZs

PART = 8  # held-out clips in one pass


def fit_lmac_zs(
    classifier: Classifier,
    clips: Iterable[Clip],
    config: LmacZsConfig | None = None,
    *,
    held_out: Iterable[Clip] | None = None,
    progress: Progress | None = None,
    resume_dir: str | Path | None = None,
    log_dir: str | Path | None = None,
    **changes: Any,
) -> "LmacZs":
    """Trains a decoder to draw what of a sound speaks for a text, for any text.

    Parameters
    ----------
    classifier
        A zero-shot classifier, whose prompts are learned from: a list as wide as what will be asked for, at least 2.
        Read, never changed.
    clips
        What is learned from; their labels are not read.
    config
        The numbers; keyword `changes` replace single ones, as in `n_prompts=0`.
    held_out
        Clips that choose the epoch; by default a share of `clips` (`config.held_out`), by group, seeded.
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
    InputError
        If there are fewer than 2 prompts.
    ModelError
        If its labels are no prompts, it gives no gradient, or masks collapse or do not depend on the prompt.
    """
    from .explainer import LmacZs

    config = LmacZsConfig.changed(config, changes, "LMAC-ZS")
    model = ZeroShot.of(classifier) if not isinstance(classifier, ZeroShot) else classifier
    if len(model.labels) < 2:
        raise InputError("One prompt was given, and masks are told apart by them; load the model with at least 2.")
    if refusal := no_gradient(model.embedder, "features"):
        raise ModelError(refusal)
    masker = untrained(model.embedder, config)
    with (
        fitted.working(resume_dir) as folder,
        fitted.material(clips, model, config, folder, held_out) as data,
    ):
        learner = ZsLearner(masker, data, model.module.text.detach().clone())
        learner.calibrate()
        history = train(
            masker.decoder,
            fitted.batches(data, config),
            learner.loss,
            learner.validate,
            config,
            n_steps=fitted.n_steps(data, config),
            folder=folder,
            prepare=partial(_prepared, config=config, model=model),
            progress=progress,
            beside=masker.classifier._parts,
            log_folder=None if log_dir is None else Path(log_dir),
            settings={
                "clips": data.sha256(),
                "fingerprint": model.tower_fingerprint,
                "prompts": model.prompts,
                "fit": config.to_dict(),
            },
        )
        masker.decoder.eval()
        diagnostics = _diagnostics(learner, history)
    refuse_collapsed(diagnostics["held_out"], config)
    diagnostics |= {"prompts": list(model.labels), "template": model.template}
    assert isinstance(masker.decoder, CompactDecoder)
    return LmacZs(model, config, masker.taps, masker.decoder, diagnostics)


def _prepared(
    batch: Sequence[Tensor], generator: Generator, *, config: LmacZsConfig, model: ZeroShot
) -> tuple[Tensor, ...]:
    """Returns samples as they are trained on, and a number for each clip and prompt."""
    samples = fitted.drawn(batch[:1], unmixed(config, config.lambda_apart), model.sample_rate, generator)[0]
    return samples, torch.rand(len(samples), len(model.labels), generator=generator)


@dataclass
class ZsLearner:
    """The steps of one fit.

    Parameters
    ----------
    masker
        The decoder around the encoder of sounds, whose logits are embeddings.
    data
        Clips.
    text
        `[prompt, dimension]`.
    """

    masker: ZsMasker
    data: fitted.Material
    text: Float[Tensor, "prompt dimension"]

    def calibrate(self) -> None:
        """Scales the taps by some training clips."""
        samples = self._samples(self.data.training.samples[: self.masker.config.batch_size])
        self.masker.decoder.trunk.calibrate(self.masker.look(samples).maps)  # type: ignore[union-attr, operator]

    def loss(self, batch: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the mean loss over clips, and its terms."""
        like = self.masker.classifier
        samples, chance = (part.to(device=like.device, dtype=like.dtype) for part in batch)
        if self.masker.config.apart_alone:
            look = self.masker.look(samples)
            terms = {"apart": self._apart(samples, look, self._pairs(look, chance), chance)}
        else:
            terms = self.terms(samples, chance)[0]
        return torch.stack(list(terms.values())).sum(), terms

    def terms(self, samples: Samples, chance: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Returns the terms of the loss, weighted, and the masks `[batch, prompt, freq, frame]`."""
        c, text = self.masker.config, self.text.to(samples)
        look = self.masker.look(samples)
        similarity, pairs = look.logits @ text.T, self._pairs(look, chance)
        asked = for_each(text, pairs.index)
        many, n = look.repeated(asked.shape[1]), asked.shape[1]
        sounds = samples.repeat_interleave(n, 0)
        mask = self.masker.logits(many, asked.flatten(0, 1).to(look.level), samples.shape[-1]).sigmoid()
        masked = self.masker.reentered(sounds, many, mask).unflatten(0, (-1, n))
        mask = mask.unflatten(0, (-1, n))
        terms = {
            "match": c.lambda_match * match_loss(similarity.gather(1, pairs.index), masked, asked, pairs.weight),
            "l1": c.lambda_l1 * size_loss(mask, pairs.weight.to(mask)),
            "diversity": c.lambda_diversity * diversity(masked, asked).mean(),
        }
        if c.lambda_out:
            terms["outside"] = c.lambda_out * self._outside(samples, look, mask, pairs)
        if c.lambda_apart:
            terms["apart"] = self._apart(samples, look, pairs, chance)
        return terms, mask.detach()

    def _outside(self, samples: Samples, look: Look, mask: Tensor, pairs: Pairs) -> Tensor:
        outside = self.masker.reentered(samples, look, 1 - mask[:, 0])
        with torch.no_grad():
            silence = self.masker.classifier.logits(torch.zeros_like(samples[:1]))
        nearest = for_each(self.text.to(samples), pairs.index[:, :1])[:, 0]
        return outside_loss(outside, nearest, silence.expand(len(samples), -1))

    def _pairs(self, look: Look, chance: Tensor) -> Pairs:
        return drawn_pairs(look.logits @ self.text.to(look.logits).T, chance, self.masker.config.n_prompts)

    def _apart(self, samples: Samples, look: Look, pairs: Pairs, chance: Tensor) -> Tensor:
        nearest = pairs.index[:, :1]
        asked, differ = for_each(self.text.to(look.level), nearest)[:, 0], (nearest != nearest.roll(1, 0))[:, 0]
        term = apart_term(self.masker, samples, look, asked, chance[:, 0], differ)
        return self.masker.config.lambda_apart * term

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Returns the loss on held-out clips, the size of masks, and how alike those of different prompts are."""
        rows: dict[str, list[float]] = {}
        n_clips = len(self.data.held_out.samples)
        chance = torch.rand(n_clips, len(self.text), generator=seeded(self.masker.config.seed, 4))
        for first in range(0, n_clips, PART):
            samples = self._samples(self.data.held_out.samples[first : first + PART])
            terms, mask = self.terms(samples, chance[first : first + PART].to(samples))
            found = {**{name: float(term) for name, term in terms.items()}, "mask_mean": float(mask.mean())}
            found["overlap"] = float(overlap(mask).mean())
            for name, value in found.items():
                rows.setdefault(name, []).extend([value] * len(samples))
        values = {name: float(np.mean(row)) for name, row in rows.items()}
        score = -sum(values[name] for name in terms)
        return {"score": score, **{f"held_out_{k}" if k in terms else k: v for k, v in values.items()}}

    def _samples(self, rows: np.ndarray) -> Samples:
        like = self.masker.classifier
        return torch.from_numpy(np.array(rows)).to(device=like.device, dtype=like.dtype)


def refuse_collapsed(held_out: dict[str, float], config: LmacZsConfig) -> None:
    """Refuses a decoder whose masks say nothing: all or nothing of each clip, or the same for every prompt.

    Raises
    ------
    ModelError
        If it is one.
    """
    low, high = COLLAPSED
    mean, alike = held_out["mask_mean"], held_out["overlap"]
    if not low <= mean <= high:
        raise ModelError(
            f"The mean of the masks is {mean:.3g} after training: they say nothing. Change lambda_l1 (larger for masks "
            "near 1, smaller for masks near 0) or the learning rate."
        )
    if alike > config.most_alike:
        raise ModelError(
            f"Masks of different prompts overlap by {alike:.3g} on average after training, over {config.most_alike:g}: "
            "the decoder ignores the prompt. Set lambda_apart above 0, so that it learns from mixtures of two clips, "
            "train longer, or give prompts and clips that differ more; most_alike=1 takes it as it is."
        )


def _diagnostics(learner: ZsLearner, history: list[dict[str, float]]) -> dict[str, Any]:
    masker, data, n_prompts = learner.masker, learner.data, len(learner.text)
    best = max(history, key=lambda row: (row["score"], row["epoch"]))
    n_clips = len(history) * fitted.n_steps(data, masker.config) * fitted.batch_size(data, masker.config)
    n_masked = min(masker.config.n_prompts or n_prompts, n_prompts) + bool(masker.config.lambda_out)
    n_passes = 1 + (0 if masker.config.apart_alone else n_masked) + bool(masker.config.lambda_apart)
    told = {name: value for name, value in best.items() if name in ("score", "mask_mean", "overlap")}
    return {
        **masker.cost(),
        "n_clips": len(data.training.clips),
        "n_held_out": len(data.held_out.clips),
        "epoch": best["epoch"],
        "held_out": told | {name: value for name, value in best.items() if name.startswith("held_out_")},
        "forward_passes": n_clips * n_passes,
        "seconds": sum(row["seconds"] for row in history),
        "skipped": data.skipped,
    }
