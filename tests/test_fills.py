import pytest
import torch

from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.wrap import wrap
from earmark.errors import InputError, ModelError
from earmark.fills import Fill, noise_below
from earmark.masking import feature_gain, masked_logits
from earmark.testing.toys import band_classifier

FILLS = [Fill(), Fill("mean"), Fill("band_mean"), Fill("noise"), Fill("attenuation", db=12)]
STAGES = ("waveform", "stft", "features")


class Flat(torch.nn.Module):
    """Shows its features as logits, so that what re-enters can be read."""

    def __init__(self):
        super().__init__()
        self.show = torch.nn.Identity()

    def forward(self, features):
        return self.show(features[:, None]).flatten(1)


def log_mel_classifier():
    front_end = LogMel(sample_rate=8000, n_fft=256, hop_length=64, n_mels=20)
    labels = tuple(f"{i}" for i in range(20 * 26))
    return wrap(Flat(), front_end, labels, map_layer="show", probe_s=0.2)


def clips(n_samples=1600, batch=2):
    noise = torch.randn(batch, n_samples, generator=torch.Generator().manual_seed(5))
    return 0.1 * noise * torch.linspace(0.2, 1, n_samples)


def features_of(c, samples, gain, **options):
    return masked_logits(c, samples, gain, **options).view(len(samples), 20, 26)


@pytest.fixture(scope="module")
def c():
    return log_mel_classifier()


@pytest.mark.parametrize("at", STAGES)
@pytest.mark.parametrize("fill", FILLS, ids=lambda fill: fill.name)
def test_a_gain_of_ones_is_the_clip_with_any_fill(c, at, fill):
    samples = clips()
    ones = torch.ones(2, *c.grid(1600).shape)
    # decibels over 20 of float32 sums; through the inverse STFT 1e-6 of the amplitude
    torch.testing.assert_close(masked_logits(c, samples, ones, at, fill=fill), c.logits(samples), rtol=0, atol=1e-3)


@pytest.mark.parametrize("at", STAGES)
def test_a_gain_of_zeros_is_the_fill(c, at):
    samples = clips()
    zeros = torch.zeros(2, *c.grid(1600).shape)

    def filled(fill):
        return masked_logits(c, samples, zeros, at, fill=fill)

    close = {"rtol": 0, "atol": 2e-3}  # the inverse STFT, as above
    torch.testing.assert_close(filled(Fill()), c.logits(0 * samples), **close)
    torch.testing.assert_close(filled(Fill("attenuation", db=12)), c.logits(samples * 10 ** (-12 / 20)), **close)
    noise = c.logits(noise_below(samples, 30, 7))
    torch.testing.assert_close(filled(Fill("noise", seed=7)), noise, **close)
    assert not torch.equal(filled(Fill("noise", seed=8)), filled(Fill("noise", seed=7)))


def test_means_are_of_the_clip_each_on_its_own(c):
    samples, zeros = clips(), torch.zeros(2, *c.grid(1600).shape)
    whole = c.at(samples, "features")
    mean = features_of(c, samples, zeros, at="features", fill=Fill("mean"))
    torch.testing.assert_close(mean, whole.mean((1, 2), keepdim=True).expand_as(whole))
    bands = features_of(c, samples, zeros, at="features", fill=Fill("band_mean"))
    torch.testing.assert_close(bands, whole.mean(2, keepdim=True).expand_as(whole))
    magnitude = c.stft(samples).abs()
    level = magnitude.mean(2, keepdim=True)
    flat = c.front_end.from_stft(torch.complex(level, 0 * level).expand(-1, -1, 26), 1600)
    torch.testing.assert_close(
        features_of(c, samples, zeros, at="stft", fill=Fill("band_mean")), flat, rtol=1e-4, atol=1e-4
    )


def test_bands_of_a_data_set_stand_in_for_the_clips_own(c):
    samples, zeros = clips(), torch.zeros(2, *c.grid(1600).shape)
    given = tuple(float(i) for i in range(20))
    found = features_of(c, samples, zeros, at="features", fill=Fill("band_mean", bands=given))
    assert torch.equal(found[0, :, 3], torch.tensor(given))
    with pytest.raises(InputError, match="has 20 bands, 129 were expected"):
        masked_logits(c, samples, zeros, fill=Fill("band_mean", bands=given))


def test_a_feature_gain_of_one_half_is_half_way_in_decibels(c):
    samples = clips()
    half = torch.full((2, *c.grid(1600).shape), 0.5)
    whole, floor = c.at(samples, "features"), c.at(0 * samples, "features")
    torch.testing.assert_close(features_of(c, samples, half, at="features"), (whole + floor) / 2)
    product = features_of(c, samples, half, at="features", fill=Fill("band_mean", bands=(0.0,) * 20))
    torch.testing.assert_close(product, whole / 2)


def test_features_see_a_gain_through_their_filters(c):
    shape = (20, 26)
    gain = torch.zeros(1, *c.grid(1600).shape)
    gain[0, 60:100, 5:9] = 1
    seen = feature_gain(gain, c.front_end, 1600, shape)
    filters = c.front_end.filters
    expected = filters @ gain[0, :, 6] / filters.sum(1)
    torch.testing.assert_close(seen[0, :, 6], expected)
    assert seen[0, :, 4].max() == 0
    assert seen.max() <= 1 + 1e-6  # the rounding of a mean of ones
    toy = band_classifier()  # one row per bin
    torch.testing.assert_close(
        feature_gain(gain.double(), toy.front_end, 1600, (129, 26)), gain.double(), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("fill", FILLS, ids=lambda fill: fill.name)
@pytest.mark.parametrize("at", STAGES)
def test_no_clip_depends_on_its_batch_mates(c, at, fill):
    samples = clips(batch=3)
    samples[1] *= 50
    gain = torch.rand(3, *c.grid(1600).shape, generator=torch.Generator().manual_seed(1))
    together = masked_logits(c, samples, gain, at, fill=fill)
    for i in range(3):
        alone = masked_logits(c, samples[i : i + 1], gain[i : i + 1], at, fill=fill)
        # float32 sums in another order, in decibels over 20
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-4)


def test_the_log1p_scale_is_what_published_code_computes(c):
    samples = clips()
    gain = torch.rand(2, *c.grid(1600).shape, generator=torch.Generator().manual_seed(1))
    whole = c.stft(samples)
    published = (gain * whole.abs().log1p()).expm1()
    found = masked_logits(c, samples, gain, "stft", mask_scale="log1p")
    expected = c.logits(torch.polar(published, whole.angle()), at="stft", n_samples=1600)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)  # decibels over 20 in float32
    assert (found - masked_logits(c, samples, gain, "stft")).abs().max() > 0.1
    with pytest.raises(ModelError, match="log1p magnitude re-enters at 'stft', got 'waveform'"):
        masked_logits(c, samples, gain, mask_scale="log1p")


def test_noise_lies_exactly_below_each_clip():
    samples = clips()
    noise = noise_below(samples, 30, 0)
    ratio = noise.square().mean(1) / samples.square().mean(1)
    torch.testing.assert_close(ratio, torch.full((2,), 1e-3))
    assert torch.equal(noise_below(0 * samples, 30, 0), 0 * samples)


def test_digital_silence_is_filled_too(c):
    samples = clips()
    samples[:, :800] = 0
    found = features_of(c, samples, torch.zeros(2, *c.grid(1600).shape), at="stft", fill=Fill("mean"))
    assert found[:, :, 2].min() > c.at(0 * samples, "features").max() + 0.1


def test_fills_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="'blur' is unknown; choose one of silence, mean"):
        Fill("blur")
    with pytest.raises(InputError, match="Only the fill 'band_mean' takes bands"):
        Fill("mean", bands=(1.0,))
