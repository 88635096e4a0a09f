"""Codec-latent explanations: the known answers of the sheet, edits by name, evidence, refusals."""

import math

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

import earmark as em
from earmark.audio.waveform import Waveform
from earmark.classifiers.codec.front_end import CodecFrontEnd
from earmark.classifiers.codec.lapped import LappedCodec
from earmark.classifiers.codec.load import load_codec
from earmark.classifiers.front_ends import Raw
from earmark.classifiers.wrap import wrap
from earmark.errors import InputError, MismatchError, ModelError
from earmark.evaluation.codec import PUBLISHED, CodecProtocol, codec_curves
from earmark.explainers.codec_latent.edit import drop_top, keep_top, top
from earmark.explainers.codec_latent.explainer import CodecLatent
from earmark.explainers.codec_latent.hallucination import hallucination_share
from earmark.explainers.codec_latent.replacements import pink_noise
from earmark.testing.codecs import LinearCodec
from earmark.testing.conformance import check_explainer
from earmark.testing.hugging_face import save_tiny_encodec
from earmark.types import Clip, Target, seeded

RATE, N = 8000, 800


def sound(seed=0, n_samples=N):
    return 0.1 * torch.randn(1, n_samples, generator=seeded(seed))


class Linear(nn.Module):
    """Logits that are linear in latents of one length, by way of a map that is the latents themselves."""

    def __init__(self, n_channels, n_frames, n_labels=3, channels=None, seed=0):
        super().__init__()
        weight = torch.randn(n_labels, n_channels, n_frames, generator=seeded(seed))
        if channels is not None:
            weight[:, [c for c in range(n_channels) if c not in channels]] = 0
        self.weight, self.same = nn.Parameter(weight), nn.Identity()

    def forward(self, z):
        return torch.einsum("bcf,lcf->bl", self.same(z), self.weight)


class Bent(Linear):
    """The same of a smooth bend."""

    def forward(self, z):
        return super().forward(torch.tanh(3 * z))


def of_latents(codec, net=Linear, **options):
    module = net(codec.n_channels, codec.n_frames(N), **options)
    return wrap(
        module, CodecFrontEnd(codec), ("a", "b", "c"), map_layer="same", map_axes="T", probe_s=N / RATE, name="latents"
    )


class OfSamples(nn.Module):
    """A small network of the waveform."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv, self.linear = nn.Conv1d(1, 6, 32, 16), nn.Linear(6, 3)

    def forward(self, x):
        return self.linear(torch.tanh(8 * self.conv(x[:, None])).square().mean(2) * 30)


def of_samples(seed=0, sample_rate=RATE):
    front_end = Raw(sample_rate=sample_rate, n_fft=128, hop_length=32)
    return wrap(
        OfSamples(seed), front_end, ("a", "b", "c"), map_layer="conv", map_axes="T", feature_axes="S", probe_s=0.2
    )


def target_of(classifier, x):
    return Target(index := int(classifier.logits(x)[0].argmax()), classifier.labels[index])


# -- known answers ----------------------------------------------------------------------------------------------------


def test_of_a_linear_classifier_integrated_gradients_are_weight_times_latent():
    codec = LinearCodec(16)
    classifier = of_latents(codec)
    x = sound()
    found = CodecLatent(classifier, n_steps=3).attribute(x, Target(1, "b"))
    expected = classifier.module.weight.detach()[1] * codec.encode(x)[0]
    torch.testing.assert_close(found.values[0], expected)
    assert found.measured["gap"] < 1e-5 and found.measured["baseline_score"] == 0
    signed, size = (top(expected, 0.3, ranking, "entry") for ranking in ("signed", "absolute"))
    assert bool((expected[signed & ~size] > 0).all()) and bool((expected[size & ~signed] < 0).all())
    assert int((size & ~signed).sum()) > 0


@pytest.mark.parametrize("baseline", ["zero", "silence", "noise", "mean"])
def test_values_sum_to_the_difference_of_scores(baseline):
    classifier = of_latents(LinearCodec(16), Bent)
    found = CodecLatent(classifier, baseline=baseline).attribute(sound(), Target(0, "a"))
    assert found.measured["gap"] < 1e-4
    through = CodecLatent(of_samples(), codec=LappedCodec(RATE, 32), baseline=baseline)
    assert through.attribute(sound(), Target(0, "a")).measured["gap"] < 0.01  # 64 steps, as the sheet asks


def test_integrated_gradients_are_captums():
    classifier = of_samples()
    explainer = CodecLatent(classifier, codec=LappedCodec(RATE, 32), n_steps=12, chunk=5)
    found = explainer.attribute(sound(), Target(0, "a"))
    score = explainer.chain.score(found.clip, Target(0, "a"))
    expected = IntegratedGradients(score).attribute(found.clip.latents, n_steps=12, method="gausslegendre")
    torch.testing.assert_close(found.values, expected.float(), rtol=1e-4, atol=1e-6)


def test_other_attributions_agree_where_they_have_to():
    classifier = of_latents(LinearCodec(16))
    x, values = sound(), {}
    for name in ("integrated-gradients", "gradient-shap", "input-x-gradient", "deeplift"):
        found = CodecLatent(classifier, attribution=name, n_steps=8).attribute(x, Target(0, "a"))
        values[name] = found.values
        assert found.measured["gap"] < 1e-4
    for value in values.values():
        torch.testing.assert_close(value, values["integrated-gradients"])


def test_a_planted_latent_is_found_and_the_sets_are_not_mistaken():
    """The classifier reads channels 3 to 7 of 64, a thirteenth; published code copied the least important entries."""
    codec = LinearCodec(64)
    classifier = of_latents(codec, channels=range(3, 8))
    clips = [sound(seed) for seed in range(12)]
    explainer = CodecLatent(classifier, share=0.03, replacement="silence", n_steps=4)
    kept, dropped = 0, 0
    for x in clips:
        target = target_of(classifier, x)
        found = explainer.attribute(x, target)
        rows = found.chosen.any(1).nonzero().flatten().tolist()
        assert set(rows) <= set(range(3, 8))
        top_logits, rest_logits = (
            classifier.logits(edit(found.clip.latents, found.chosen, found.replacement), at="latents").detach()
            for edit in (keep_top, drop_top)
        )
        kept += int(top_logits.argmax()) == target.index
        dropped += int(rest_logits.argmax()) == target.index
        assert float(top_logits[0, target.index]) > float(rest_logits[0, target.index])
    assert kept == len(clips) and dropped == 0


def test_edits_are_each_others_mirror_image():
    z, other = torch.arange(12.0).view(1, 3, 4), torch.full((1, 3, 4), -1.0)
    for granularity, counts in (("entry", (3, 9)), ("frame", (3, 9)), ("channel", (4, 8))):
        chosen = top(z[0], 0.26, "signed", granularity)
        assert (int(chosen.sum()), int((~chosen).sum())) == counts
        kept, dropped = keep_top(z, chosen, other), drop_top(z, chosen, other)
        torch.testing.assert_close(kept + dropped, z + other)
        assert float(kept.max()) == 11 and float(dropped.max()) < 11
    assert [int(top(z[0], share, "signed", "entry").sum()) for share in (0, 1)] == [0, 12]
    assert [round(9600 * share) for share in PUBLISHED] == [0, 1000, 2000, 4000, 6000, 8000, 9600]
    assert [round(share, 4) for share in PUBLISHED] == [0, 0.1042, 0.2083, 0.4167, 0.625, 0.8333, 1]


def test_frames_that_are_replaced_whole_stay_on_the_codebook():
    codec = LinearCodec(16, n_codes=8)
    classifier = of_latents(codec)
    found = CodecLatent(classifier, granularity="frame", share=0.5, n_steps=4).attribute(sound(), Target(0, "a"))
    edited = keep_top(found.clip.latents, found.chosen, found.replacement)
    assert torch.equal(codec.quantize(edited), edited)
    entries = top(found.values[0], 0.5, "signed", "entry")
    broken = keep_top(found.clip.latents, entries, found.replacement)
    assert not torch.equal(codec.quantize(broken), broken)


# -- both arms --------------------------------------------------------------------------------------------------------

FEW = CodecProtocol(shares=(0.0, 0.1, 0.5, 1.0), draws=2)


def test_with_an_identity_codec_both_arms_are_one():
    explainer = CodecLatent(of_samples(), codec=LinearCodec(1, RATE), n_steps=8)
    curves = codec_curves(explainer, [Clip(str(i), Waveform(sound(i), RATE)) for i in range(2)], FEW)
    for latent, other in (("signed", "signed"), ("absolute", "absolute"), ("energy", "loudest"), ("random", "random")):
        for domain in ("L", "H"):
            ours = curves.of(arm="latent", ranking=latent, domain=domain)
            theirs = curves.of(arm="input", ranking=other, domain="H")
            assert [p.prob for p in ours] == pytest.approx([p.prob for p in theirs], abs=1e-6)
            assert [p.energy for p in ours] == pytest.approx([p.energy for p in theirs], abs=1e-6)


def test_ceiling_and_floor():
    codec = LinearCodec(16, n_codes=64)
    classifier = of_latents(codec, Bent)
    explainer = CodecLatent(classifier, n_steps=8, replacement="silence")
    clips = [Clip(str(i), Waveform(sound(i), RATE), group=str(i // 2)) for i in range(4)]
    curves = codec_curves(explainer, clips, FEW)
    assert curves.interval("agrees", arm="latent", kept="keep_top", share=1.0, domain="L").mean == 1
    whole = [codec.decode(codec.encode(c.source.samples), N) for c in clips]
    for points, edited in ((curves.of(arm="latent", kept="keep_top", share=1.0, domain="H"), whole),):
        expected = {c.id: classifier.logits(y)[0].softmax(0) for c, y in zip(clips, edited, strict=True)}
        for point in points:
            label = int(classifier.logits(clips[int(point.clip)].source.samples)[0].argmax())
            assert point.prob == pytest.approx(float(expected[point.clip].detach()[label]), abs=1e-5)
    for kept, share in (("keep_top", 0.0), ("drop_top", 1.0)):  # nothing of the clip is left
        found = curves.of(arm="latent", ranking="signed", kept=kept, share=share, domain="L")
        silent = classifier.logits(codec.encode(torch.zeros(1, N)), at="latents").detach()[0].softmax(0)
        assert all(min(abs(p.prob - float(v)) for v in silent) < 1e-5 for p in found)
    assert curves.interval("agrees", arm="latent", share=1.0, kept="keep_top", domain="L").n_clusters == 2
    area = curves.area("prob", arm="latent", ranking="signed", kept="keep_top", domain="L")
    assert 0 <= area.low <= area.mean <= area.high <= 1
    chance = curves.area("prob", arm="latent", ranking="random", kept="keep_top", domain="L")
    assert area.mean > chance.mean
    assert len(curves.table()) == 4 * 2 * 4 * 2 + 4 * 2 * 4  # rankings, sets, shares, domains; the input arm has H


# -- evidence ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encodec(tmp_path_factory):
    return save_tiny_encodec(tmp_path_factory.mktemp("codec") / "tiny")


def test_any_classifier_from_a_folder(encodec):
    classifier = of_samples(sample_rate=16000)
    explainer = em.load_explainer("codec-latent", classifier=classifier, codec=str(encodec), n_steps=8)
    told = em.load_explainer(f"codec-latent?codec={encodec}&n_steps=8", classifier=classifier)
    assert told._config() == explainer._config()
    stereo = Waveform(torch.cat([sound(1, 3000), sound(2, 3000)]), 8000)
    told = explainer.explain(stereo)
    evidence, m = told.evidence, told.evidence.measured
    assert (evidence.kept.sample_rate, evidence.kept.samples.shape) == (8000, (2, 3000))
    codec, x = load_codec(encodec), classifier.prepare(stereo)
    whole = codec.decode(codec.encode(x), 6000)
    assert m["prob_whole"] == pytest.approx(float(classifier.logits(whole).softmax(1)[0, told.target.index].detach()))
    assert m["prob_clip"] == pytest.approx(float(told.prediction.probs[told.target.index]))
    assert m["share"] == pytest.approx(0.2, abs=1 / 16) and {"gap", "hallucination", "agrees_keep_top"} <= set(m)
    dropped = explainer.using(keep="drop_top").explain(stereo).evidence
    assert not torch.equal(dropped.kept.samples, evidence.kept.samples)
    assert dropped.measured["prob_keep_top"] == m["prob_keep_top"]
    assert told.provenance.config["codec"] == "tiny"
    assert told.provenance.forward_passes == 14 and told.provenance.backward_passes == 8


def test_another_rate_is_said(encodec):
    with pytest.warns(UserWarning, match=r"tiny codes sound at 16000 Hz and .* hears 8000 Hz: clips are resampled"):
        explainer = CodecLatent(of_samples(), codec=encodec, n_steps=2)
    told = explainer.explain(Waveform(sound(), RATE))
    assert told.listen().samples.shape == (1, N)


def test_a_classifier_of_latents_has_its_own_codec(encodec):
    classifier = of_latents(LinearCodec(16))
    assert CodecLatent(classifier).codec is classifier.front_end.codec
    with pytest.raises(MismatchError, match="decides on latents of linear, and tiny is another codec"):
        CodecLatent(classifier, codec=encodec)


def test_wrong_settings_are_refused(tmp_path):
    classifier = of_samples()
    with pytest.raises(ModelError, match="holds no codec"):
        CodecLatent(classifier, codec=tmp_path)
    with pytest.raises(InputError, match="share is a share from 0 to 1, got 2"):
        CodecLatent(classifier, share=2)
    with pytest.raises(InputError, match="ranking is one of signed, absolute"):
        CodecLatent(classifier, ranking="best")
    with pytest.raises(InputError, match="Shares lie in 0"):
        CodecProtocol(shares=(2.0,))


def test_it_keeps_an_explainers_promises_on_latents():
    classifier = of_latents(LinearCodec(16, n_codes=8), Bent)
    report = check_explainer(
        CodecLatent,
        classifier,
        n_steps=4,
        noise_db=0.0,
        n_explanations=6,
        rounding=1e-5,
        without=("linear-oracle", "planted-oracle"),
    )
    report.raise_if_failed()


@pytest.mark.parametrize(
    "changes", [{"attribution": "gradient-shap"}, {"requantize": True, "noise_db": 0.0}, {"replacement": "add-noise"}]
)
def test_costs_are_what_is_said(changes):
    classifier = of_samples()
    report = check_explainer(
        lambda c, **o: CodecLatent(
            c, codec=LinearCodec(16, RATE, n_codes=8), references=[Waveform(sound(3), RATE)], **o
        ),
        classifier,
        n_steps=4,
        rounding=1e-5,
        without=("linear-oracle", "planted-oracle", "memory-plateau", "odd-inputs", "leaves-model-alone-on-error"),
        **changes,
    )
    report.raise_if_failed()


def test_replacements_are_sounds():
    x = sound()
    noise = pink_noise(x, RATE, 1, -30.0)
    level = 10 * math.log10(float(noise.square().mean() / x.square().mean()))
    assert level == pytest.approx(-30, abs=1e-3)
    assert torch.equal(pink_noise(torch.cat([x, 2 * x]), RATE, 1, -30.0)[:1], noise)
    spectrum = torch.fft.rfft(pink_noise(sound(0, 32000), RATE, 1, 0.0))[0].abs().square()
    low, high = spectrum[800:1600].mean(), spectrum[6400:12800].mean()  # three octaves apart
    assert 10 * math.log10(low / high) == pytest.approx(9, abs=1)


def test_hallucination_is_what_was_not_in_the_clip():
    t = torch.arange(RATE) / RATE
    low, high = (0.1 * torch.sin(2 * math.pi * hz * t)[None] for hz in (500, 2000))
    assert float(hallucination_share(low, low, RATE)) == 0
    assert float(hallucination_share(1.9 * low, low, RATE)) == 0  # 5.6 dB
    assert float(hallucination_share(low + high, low, RATE)) == pytest.approx(0.5, abs=0.01)
    assert float(hallucination_share(torch.zeros(1, 100), low[:, :100], RATE)) == 0
    assert float(hallucination_share(2.1 * low, low, RATE)) > 0.99
