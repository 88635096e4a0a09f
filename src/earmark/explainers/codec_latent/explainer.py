"""CodecLatent: what counted in the latents of a codec, decoded to sound."""

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from ...audio.files import clip_sha256
from ...audio.waveform import Waveform
from ...classifiers.base import Classifier
from ...classifiers.codec.base import Codec, Latents
from ...classifiers.codec.front_end import CodecFrontEnd
from ...classifiers.codec.load import load_codec
from ...errors import MismatchError, ModelError
from ...evidence import Evidence, Resynthesis
from ...explanation import Explanation
from ...types import Clip, Prediction, Samples, Target, probabilities
from ..base import Explainer, Pass
from ..lmac_td.evidence import derived_gain
from ..reference import ALL_SCORES, tracing
from ..stages import no_gradient
from .attribution import deeplift, gradient, gradient_shap, integrated_gradients
from .chain import Chain, Coded
from .config import CodecLatentConfig
from .edit import Top, drop_top, keep_top, top
from .hallucination import hallucination_share, snr_db
from .replacements import reference


@dataclass(frozen=True, eq=False)
class Heard:
    """Clips, and the one clip in its own form where that is known."""

    samples: Samples
    own: Waveform | None = None


@dataclass(frozen=True, eq=False)
class Attributed:
    """What counted in one clip.

    Parameters
    ----------
    values
        `[1, channel, frame]`, signed.
    clip
        Samples and latents.
    replacement
        `[1, channel, frame]`, what stands in for latents that are not kept.
    chosen
        `[channel, frame]`, the top.
    measured
        `gap` of completeness, relative to the difference of scores; `baseline_score`.
    """

    values: Latents
    clip: Coded
    replacement: Latents
    chosen: Top
    measured: dict[str, float]


class CodecLatent(Explainer[Heard]):
    """Explains a decision in the latents of an audio codec, as a sound that is decoded from what is kept of them.

    For a classifier of waveforms `F(z) = s(f(Dec(z)))` is explained, for one of latents `F(z) = s(g(z))`
    (arXiv 2410.07530, which has the latter alone). A decoder invents plausible sound: look at `hallucination`, the
    share of the evidence's energy that is 6 dB louder than the clip. Costs, with 64 steps, 69 forward and 64
    backward passes of the classifier, and as many of the decoder where the classifier takes waveforms.

    Parameters
    ----------
    classifier
        What is explained, of waveforms or of latents.
    config
        The settings; keyword `changes` replace single ones.
    codec
        A codec, in place of the folder in the settings; a classifier of latents has its own.
    references
        Sounds of which `mean` is the mean, and further baselines of gradient SHAP.

    Raises
    ------
    ModelError
        If there is no codec there, or the classifier gives no gradient.
    MismatchError
        If a classifier of latents is to be explained by another codec than its own.
    InputError
        If a setting lies outside its range.
    """

    method = "codec-latent"
    scores = ALL_SCORES
    settings: ClassVar[type[CodecLatentConfig]] = CodecLatentConfig

    def __init__(
        self,
        classifier: Classifier,
        config: CodecLatentConfig | None = None,
        *,
        codec: str | Path | Codec | None = None,
        references: Iterable[Waveform] = (),
        **changes: Any,
    ) -> None:
        self.classifier, self.references = classifier, tuple(references)
        given = {**(config or CodecLatentConfig()).to_dict(), **changes}
        if isinstance(codec, str | Path):
            given["codec"] = str(codec)
        self.config = CodecLatentConfig.from_options(given, self.method)
        if refusal := self.fits(classifier):
            raise ModelError(refusal)
        asked = codec if isinstance(codec, Codec) else None
        self.codec = _codec_of(classifier, asked, self.config).to(classifier.device)
        self._chain = Chain(classifier, self.codec, self._continuous)

    def __repr__(self) -> str:
        return f"CodecLatent({self.codec.name}, {self.classifier.name})"

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence if the classifier gives no gradient, else `None`."""
        with tracing():
            return no_gradient(classifier, "features" if classifier.front_end.gives_latents else "waveform")

    @property
    def chain(self) -> Chain:
        """Codec and classifier, as one."""
        return self._chain

    def using(self, **changes: Any) -> "CodecLatent":
        """Returns the same explainer with other settings and the same codec."""
        config = CodecLatentConfig.from_options({**self.config.to_dict(), **changes}, self.method)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what there is to say of the codec was said
            return CodecLatent(self.classifier, config, codec=self.codec, references=self.references)

    def attribute(self, samples: Samples, target: Target) -> Attributed:
        """Returns what counted in one clip `[1, sample]` at the classifier's rate."""
        config, chain = self.config, self.chain
        clip = chain.code(samples)
        baseline = self._reference(clip, config.baseline)
        values, measured = self._values(clip, target, baseline)
        chosen = top(values[0], config.share, config.ranking, config.granularity, config.seed)
        return Attributed(values, clip, self._reference(clip, config.replacement), chosen, measured)

    @torch.no_grad()
    def sounds(self, found: Attributed) -> dict[str, Samples]:
        """Returns the sounds `[1, sample]` of `keep_top`, `drop_top` and of the whole latent, at the model's rate."""
        parts = found.clip.latents, found.chosen, found.replacement
        edited = {"keep_top": keep_top(*parts), "drop_top": drop_top(*parts)}
        if self.config.requantize:
            edited = {name: self._requantized(one) for name, one in edited.items()}
        return {name: self.chain.decode(one, found.clip) for name, one in {**edited, "whole": parts[0]}.items()}

    # -- the template ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _forward(self, samples: Samples) -> Pass[Heard]:
        return Pass(self.classifier.logits(samples), Heard(samples))

    def _explanation(
        self, waveform: Waveform, samples: Samples, done: Pass[Heard], prediction: Prediction, target: Target
    ) -> Explanation:
        done = Pass(done.logits, replace(done.state, own=waveform))
        return super()._explanation(waveform, samples, done, prediction, target)

    def _evidence(self, done: Pass[Heard], index: int, target: Target, n_samples: int) -> Evidence:
        samples, grid = done.state.samples[index : index + 1], self.classifier.grid(n_samples)
        with torch.inference_mode(False):
            samples = samples.clone()
            found = self.attribute(samples, target)
            sounds = self.sounds(found)
        kept = sounds[self.config.keep]
        measured = found.measured | self._measured(done.logits[index : index + 1], found, sounds, target)
        own = done.state.own or Waveform(samples, grid.sample_rate)
        inside, whole = (_in_form_of(own, sound, grid.sample_rate) for sound in (kept, sounds["whole"]))
        residual = Waveform(own.samples - whole.samples, own.sample_rate)
        gain = derived_gain(kept, samples, grid.stft)[0].float().cpu()
        return Resynthesis(inside, residual, gain, grid, measured)

    def _values(self, clip: Coded, target: Target, baseline: Latents) -> tuple[Latents, dict[str, float]]:
        """Returns signed values, and how far they are from summing to the difference of scores."""
        config, score = self.config, self.chain.score(clip, target)
        baselines, chosen = baseline, None
        if config.attribution == "integrated-gradients":
            values = integrated_gradients(score, clip.latents, baseline, config.n_steps, config.chunk)
        elif config.attribution == "gradient-shap":
            baselines = torch.cat([baseline, *(self._coded(one, clip) for one in self.references)])
            values, chosen = gradient_shap(score, clip.latents, baselines, config.n_steps, config.seed, config.chunk)
        elif config.attribution == "deeplift":
            values = deeplift(self.chain, clip, target, baseline)
        else:
            values = clip.latents * gradient(score, clip.latents)
        with torch.no_grad():
            whole, starts = score(clip.latents), score(baselines)
        start = starts[0] if chosen is None else starts[chosen].mean()
        difference = float(whole[0] - start)
        gap = abs(float(values.double().sum()) - difference) / max(abs(difference), 1e-12)
        return values, {"gap": gap, "latent_score": float(whole[0]), "baseline_score": float(start)}

    @torch.no_grad()
    def _measured(
        self, logits: torch.Tensor, found: Attributed, sounds: dict[str, Samples], target: Target
    ) -> dict[str, float]:
        """Returns what the codec costs, what both sets decide, and what was invented."""
        classifier, samples = self.classifier, found.clip.samples
        named = {"clip": logits, **{name: classifier.logits(sound) for name, sound in sounds.items()}}
        probs = {f"prob_{n}": float(probabilities(z, classifier.task)[0, target.index]) for n, z in named.items()}
        agree = {n: float(named[n].argmax() == logits.argmax()) for n in ("whole", "keep_top", "drop_top")}
        rate = classifier.sample_rate
        return {
            **probs,
            **{f"agrees_{name}": value for name, value in agree.items()},
            "hallucination": float(hallucination_share(sounds[self.config.keep], samples, rate)[0]),
            "codec_hallucination": float(hallucination_share(sounds["whole"], samples, rate)[0]),
            "codec_snr_db": snr_db(samples, sounds["whole"]),
            "share": float(found.chosen.float().mean()),
        }

    def _reference(self, clip: Coded, kind: str) -> Latents:
        db = self.config.added_db if kind == "add-noise" else self.config.noise_db
        return reference(self.chain, clip, kind, self.config.seed, db=db, among=self.references)

    def _coded(self, sound: Waveform, clip: Coded) -> Latents:
        inside = sound.mono().resample(self.classifier.sample_rate).fit(clip.n_samples).samples
        return self.chain.code(inside.to(clip.samples)).latents

    def _requantized(self, latents: Latents) -> Latents:
        return self.codec.quantize(latents.to(self.codec.dtype)).to(latents.dtype)

    @property
    def _continuous(self) -> bool:
        front_end = self.classifier.front_end
        return front_end.continuous if isinstance(front_end, CodecFrontEnd) else self.config.continuous

    def _config(self) -> dict[str, Any]:
        heard = [clip_sha256(Clip("reference", one)) for one in self.references]
        told = {"codec": self.codec.name, "codec_fingerprint": self.codec.fingerprint, "n_references": len(heard)}
        return {**asdict(self.config), **told, **({"references": heard} if heard else {})}

    def _seed(self) -> int:
        return self.config.seed

    def _cost(self) -> tuple[int, int]:
        n = {"input-x-gradient": 1, "deeplift": 0}.get(self.config.attribution, self.config.n_steps)
        n_baselines = 1 + (len(self.references) if self.config.attribution == "gradient-shap" else 0)
        return 1 + n + 1 + n_baselines + 3, n


def _codec_of(classifier: Classifier, asked: Codec | None, config: CodecLatentConfig) -> Codec:
    """Returns the codec to explain with; says so where sounds have to be resampled for it."""
    own = classifier.front_end.codec if isinstance(classifier.front_end, CodecFrontEnd) else None
    if own is not None and asked is None and config.codec == CodecLatentConfig().codec:
        return own
    found = asked or load_codec(config.codec, sample_rate=classifier.sample_rate, bandwidth=config.bandwidth or None)
    if own is not None and found.fingerprint != own.fingerprint:
        raise MismatchError(
            f"{classifier.name} decides on latents of {own.name}, and {found.name} is another codec; leave codec out."
        )
    if own is None and found.sample_rate != classifier.sample_rate:
        highest = min(found.sample_rate, classifier.sample_rate) / 2
        warnings.warn(
            f"{found.name} codes sound at {found.sample_rate} Hz and {classifier.name} hears {classifier.sample_rate} "
            f"Hz: clips are resampled on the way, and nothing above {highest:g} Hz passes.",
            UserWarning,
            stacklevel=3,
        )
    return own or found


def _in_form_of(own: Waveform, sound: Samples, sample_rate: int) -> Waveform:
    """Returns a sound with the rate, channels and length of a clip; all channels are alike."""
    heard = Waveform(sound, sample_rate).resample(own.sample_rate).fit(own.n_samples)
    return Waveform(heard.samples.expand(own.n_channels, -1), own.sample_rate)
