"""Do the latents that an explanation names decide, in the latents and as they are heard?

Two arms keep, or take out, a share of what counted most, with one and the same replacement sound in both:

- latent arm: `z -> edit -> z'`. Score L is that of `z'` itself, score H that of `Dec(z')` coded once more.
- input arm: `x -> edit -> y`, on samples. It has score H alone: that of `y` coded once more.

Arms are compared on H (the published comparison gave only one arm the way through the codec). At share 1, L is the
codec's own cost and H the ceiling; at share 0, everything is replaced: the floor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..audio.distances import log_spectral_distance
from ..audio.files import load_clip
from ..errors import InputError
from ..explainers.codec_latent.attribution import integrated_gradients
from ..explainers.codec_latent.chain import Chain, Coded
from ..explainers.codec_latent.edit import drop_top, keep_top, top
from ..explainers.codec_latent.explainer import CodecLatent
from ..explainers.codec_latent.replacements import pink_noise, replacement_sound
from ..explainers.stages import scored
from ..metrics.intervals import Interval, bootstrap
from ..metrics.matched import area_under
from ..types import Clip, Logits, Samples, Target, probabilities, resolve_target, seeded

#: Published: n of 9,600 entries are replaced, the least important first.
PUBLISHED = tuple(1 - n / 9600 for n in (9600, 8600, 7600, 5600, 3600, 1600, 0))
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)

LATENT = ("signed", "absolute", "energy", "random")
INPUT = ("signed", "absolute", "loudest", "random")


@dataclass(frozen=True)
class CodecProtocol:
    """How explanations in latents are scored.

    Parameters
    ----------
    shares
        What is kept, or taken out, of entries and of samples.
    draws
        Random rankings, whose mean is their row.
    seed
        Of these, and of what replaces.
    batch_size
        Edited clips in one pass.
    arms
        `latent` and `input`, or one of them.
    rankings
        Those of each arm that are scored; all of them if empty.
    """

    shares: tuple[float, ...] = SHARES
    draws: int = 20
    seed: int = 0
    batch_size: int = 16
    arms: tuple[str, ...] = ("latent", "input")
    rankings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.shares or any(not 0 <= share <= 1 for share in self.shares):
            raise InputError(f"Shares lie in 0 ... 1 and are at least one, got {self.shares}; change them.")
        if self.draws < 1 or self.batch_size < 1 or not set(self.arms) <= {"latent", "input"} or not self.arms:
            raise InputError("draws and batch_size are 1 or more, and arms are latent, input or both; change them.")


@dataclass(frozen=True)
class Point:
    """What one clip, arm, ranking, set and share came to, the mean over draws.

    Parameters
    ----------
    clip, cluster
        Its id, and what it comes from.
    arm, ranking, kept
        As the tables name them; `kept` is `keep_top` or `drop_top`.
    share
        Of the features that are the top.
    domain
        `L` or `H`.
    agrees
        Whether the decision on the clip itself is still made.
    prob, logit
        Of that label.
    energy
        Share of the clip's energy in what is heard; at most 1 where nothing is added.
    distance_db
        Log-spectral distance between what is heard and the clip.
    """

    clip: str
    cluster: str
    arm: str
    ranking: str
    kept: str
    share: float
    domain: str
    agrees: float
    prob: float
    logit: float
    energy: float
    distance_db: float


@dataclass(frozen=True, eq=False)
class CodecCurves:
    """All points, and what they come to.

    Parameters
    ----------
    points
        One for each clip, arm, ranking, set, share and domain.
    protocol
        How they were made.
    """

    points: tuple[Point, ...]
    protocol: CodecProtocol

    def of(self, **which: Any) -> list[Point]:
        """Returns the points with these values, such as `arm="latent", domain="H"`."""
        return [point for point in self.points if all(getattr(point, k) == v for k, v in which.items())]

    def interval(self, value: str, **which: Any) -> Interval:
        """Returns the mean of `agrees`, `prob`, `logit`, `energy` or `distance_db`, and its interval over clusters."""
        points = self.of(**which)
        values = torch.tensor([getattr(point, value) for point in points], dtype=torch.float64)
        return bootstrap(values, [point.cluster for point in points])

    def area(self, value: str, **which: Any) -> Interval:
        """Returns the mean height of each clip's curve over shares, and its interval."""
        clips = sorted({(point.clip, point.cluster) for point in self.of(**which)})
        shares = sorted(set(self.protocol.shares))
        curves = [self._curve(value, clip, shares, which) for clip, _ in clips]
        return bootstrap(area_under(torch.tensor(curves), shares), [cluster for _, cluster in clips])

    def rescaled(self, value: str, **which: Any) -> float:
        """Returns `(mean - floor) / (ceiling - floor)` of a curve in H: floor and ceiling are its shares 0 and 1."""
        low, high = (self.interval(value, **{**which, "share": share}).mean for share in (0.0, 1.0))
        return (self.interval(value, **which).mean - low) / (high - low) if high != low else float("nan")

    def table(self, value: str = "agrees") -> list[dict[str, Any]]:
        """Returns a row for each arm, ranking, set, domain and share, with mean and interval."""
        keys = sorted({(p.arm, p.ranking, p.kept, p.domain, p.share) for p in self.points})
        names = ("arm", "ranking", "kept", "domain", "share")
        rows = []
        for key in keys:
            which = dict(zip(names, key, strict=True))
            found = self.interval(value, **which)
            rows.append({**which, "mean": found.mean, "low": found.low, "high": found.high, "n": found.n})
        return rows

    def _curve(self, value: str, clip: str, shares: list[float], which: dict[str, Any]) -> list[float]:
        at = {point.share: float(getattr(point, value)) for point in self.of(clip=clip, **which)}
        return [at[share] for share in shares]


def codec_curves(explainer: CodecLatent, clips: Sequence[Clip], protocol: CodecProtocol | None = None) -> CodecCurves:
    """Scores a codec-latent explainer on clips, beside random latents, latent energy, and explanations of samples.

    The explained label is the classifier's own decision on the whole clip. Attribution, baseline, replacement and
    granularity are the explainer's; samples are always edited one by one.

    Parameters
    ----------
    explainer
        Its `config` says how latents are attributed and what replaces them.
    clips
        Held out from all trainings.
    protocol
        Shares, draws, arms.
    """
    protocol = protocol or CodecProtocol()
    points: list[Point] = []
    for clip in clips:
        points += _points(explainer, clip, protocol)
    return CodecCurves(tuple(points), protocol)


@dataclass(frozen=True, eq=False)
class _Subject:
    """One clip, and what its edits are scored by."""

    clip: Clip
    chain: Chain
    coded: Coded
    target: Target
    whole: Logits

    def point(self, logits: Logits, sounds: Samples, names: dict[str, Any]) -> Point:
        """Returns the mean over draws."""
        classifier, index = self.chain.classifier, self.target.index
        probs = probabilities(logits.double(), classifier.task)[:, index]
        if classifier.task == "multiclass":
            agrees = logits.argmax(1) == self.whole.argmax(1)
        else:
            before = probabilities(self.whole, classifier.task)[:, index] >= classifier.threshold
            agrees = (probs >= classifier.threshold) == before
        ours, theirs = (classifier.stft(part).abs().square() for part in (sounds, self.coded.samples))
        energy = sounds.double().square().sum(1) / self.coded.samples.double().square().sum().clamp_min(1e-30)
        return Point(
            clip=self.clip.id,
            cluster=self.clip.group or self.clip.id,
            **names,
            agrees=float(agrees.double().mean()),
            prob=float(probs.mean()),
            logit=float(logits[:, index].double().mean()),
            energy=float(energy.mean()),
            distance_db=float(log_spectral_distance(ours, theirs).mean()),
        )


def _points(explainer: CodecLatent, clip: Clip, protocol: CodecProtocol) -> list[Point]:
    chain = explainer.chain
    samples = chain.classifier.prepare(load_clip(clip))
    with torch.no_grad():
        whole = chain.classifier.logits(samples)
    target = resolve_target(None, chain.classifier.prediction(whole[0]))
    found = explainer.attribute(samples, target)
    subject = _Subject(clip, chain, found.clip, target, whole)
    points: list[Point] = []
    if "latent" in protocol.arms:
        z, other = found.clip.latents[0], found.replacement[0]
        values = _rankings(found.values[0], z - other, LATENT)
        points += _arm(subject, "latent", values, (z, other), protocol, explainer.config.granularity)
    if "input" in protocol.arms:
        sound = _replacement(explainer, found.clip)
        values = _rankings(input_attribution(explainer, samples, target), samples - sound, INPUT)
        points += _arm(subject, "input", values, (samples, sound), protocol, "entry")
    return points


def _rankings(values: Tensor, difference: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Returns what each ranking orders by; that of `random` is drawn later."""
    return dict(zip(names, (values, values.abs(), difference.abs(), torch.zeros_like(values)), strict=True))


def _arm(
    subject: _Subject,
    arm: str,
    rankings: dict[str, Tensor],
    pair: tuple[Tensor, Tensor],
    protocol: CodecProtocol,
    granularity: str,
) -> list[Point]:
    """Returns the points of one arm; `pair` is what is edited, and what replaces it."""
    points: list[Point] = []
    for ranking, values in rankings.items():
        if protocol.rankings and ranking not in protocol.rankings:
            continue
        n_draws = protocol.draws if ranking == "random" else 1
        by = "absolute" if ranking in ("absolute", "energy", "loudest") else "signed"
        for kept, edit in (("keep_top", keep_top), ("drop_top", drop_top)):
            for share in protocol.shares:
                units = [
                    _drawn(values, protocol.seed, draw) if ranking == "random" else values for draw in range(n_draws)
                ]
                chosen = [top(one, share, by, granularity, protocol.seed) for one in units]
                edited = torch.cat([edit(pair[0][None], one, pair[1][None]) for one in chosen])
                names = {"arm": arm, "ranking": ranking, "kept": kept, "share": share}
                points += _scored(subject, edited, names, protocol.batch_size)
    return points


def _drawn(values: Tensor, seed: int, draw: int) -> Tensor:
    return torch.rand(values.shape, generator=seeded(seed, 41, draw + 1)).to(values)


@torch.no_grad()
def _scored(subject: _Subject, edited: Tensor, names: dict[str, Any], batch_size: int) -> Iterator[Point]:
    """Yields the points of edited latents `[draw, channel, frame]`, or sounds `[draw, 1, sample]`."""
    rows, chain = edited, subject.chain
    if names["arm"] == "latent":
        logits = torch.cat([chain.logits(part, subject.coded) for part in rows.split(batch_size)])
        sounds = torch.cat([chain.decode(part, subject.coded) for part in rows.split(batch_size)])
        yield subject.point(logits, sounds, {**names, "domain": "L"})
    else:
        sounds = rows[:, 0]
    heard = torch.cat([chain.heard(part) for part in sounds.split(batch_size)])
    yield subject.point(heard, sounds, {**names, "domain": "H"})


def _replacement(explainer: CodecLatent, clip: Coded) -> Samples:
    config = explainer.config
    if config.replacement == "noise":
        return pink_noise(clip.samples, explainer.classifier.sample_rate, config.seed, config.noise_db)
    db, among = config.added_db, explainer.references
    return replacement_sound(explainer.chain, clip, config.replacement, config.seed, db=db, among=among)


def input_attribution(explainer: CodecLatent, samples: Samples, target: Target) -> Samples:
    """Returns integrated gradients of samples from digital silence, through the quantizer by straight-through."""
    classifier, config = explainer.classifier, explainer.config

    def score(points: Tensor) -> Tensor:
        return scored(classifier.logits(points[:, 0]), [target] * len(points), classifier)

    x = samples.clone()[:, None]
    return integrated_gradients(score, x, torch.zeros_like(x), config.n_steps, config.chunk)[:, 0]
