import numpy as np
import pytest
import torch

from earmark.audio.stft import Stft
from earmark.audio.waveform import Waveform
from earmark.classifiers.base import Grid
from earmark.classifiers.load import load_classifier
from earmark.errors import ModelError
from earmark.masking import (
    common_gain,
    complement_of,
    evidence_of,
    heard_in,
    mask_in,
    mask_out,
    masked_logits,
    region_gain,
    region_mask,
)
from earmark.testing.toys import band_classifier
from earmark.types import Region

RATE = 32000
STFT = Stft(2048, 640)


def noise(n_samples, channels=1, rate=RATE, level=0.3):
    generator = np.random.default_rng(n_samples)
    return Waveform(generator.uniform(-level, level, (channels, n_samples)), rate)


def tone(hz, n_samples=RATE, rate=RATE, level=0.5):
    return Waveform(level * np.sin(2 * np.pi * hz * np.arange(n_samples) / rate), rate)


def grid_of(waveform, rate=RATE):
    return Grid(rate, waveform.mono().resample(rate).n_samples, STFT)


def random_gain(grid, seed=0):
    return torch.rand(grid.shape, generator=torch.Generator().manual_seed(seed))


def rms(samples):
    return float(samples.double().square().mean().sqrt())


# Gains on samples --------------------------------------------------------------------------------


@pytest.mark.parametrize("n_samples", [1, 640, 2047, 16001])
def test_what_is_masked_in_and_out_adds_up_to_the_clip(n_samples):
    clip = noise(n_samples)
    gain = random_gain(grid_of(clip))[None]
    whole = mask_in(clip.samples, gain, STFT) + mask_out(clip.samples, gain, STFT)
    assert (whole - clip.samples).abs().max() <= 1e-6  # one rounding of float32 at full scale
    other = mask_in(clip.samples, 1 - gain, STFT)
    assert (mask_out(clip.samples, gain, STFT) - other).abs().max() <= 1e-5  # the inverse STFT's own promise


@pytest.mark.parametrize("n_samples", [1, 100, 2048, 31999])
def test_a_gain_of_ones_returns_the_clip_and_zeros_silence(n_samples):
    clip = noise(n_samples)
    ones = torch.ones(1, *grid_of(clip).shape)
    assert (mask_in(clip.samples, ones, STFT) - clip.samples).abs().max() <= 1e-6  # the exact inverse in float32
    assert torch.equal(mask_in(clip.samples, 0 * ones, STFT), torch.zeros_like(clip.samples))
    half = mask_in(clip.samples, 0.5 * ones, STFT)
    assert (half - 0.5 * clip.samples).abs().max() <= 1e-6  # the same


def test_gains_may_differ_between_clips_of_a_batch():
    clips = torch.cat([noise(3200).samples, noise(3200, level=0.1).samples])
    gains = torch.stack([random_gain(Grid(RATE, 3200, STFT), seed) for seed in (0, 1)])
    together = mask_in(clips, gains, STFT)
    for i in range(2):
        torch.testing.assert_close(together[i : i + 1], mask_in(clips[i : i + 1], gains[i : i + 1], STFT))


# Regions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("low_hz, high_hz", [(800, 1600), (2000, 6000), (300, 900), (6000, 16000)])
def test_a_band_keeps_what_is_inside_and_kills_what_is_outside(low_hz, high_hz):
    """A tone in the inner half of the band passes; one beyond the edges, a quarter of the width off, does not."""
    grid = Grid(RATE, RATE, STFT)
    gain = region_gain([Region(0, 1, low_hz, high_hz)], grid)
    width = high_hz - low_hz
    inner = slice(4000, -4000)
    for share in (0.3, 0.5, 0.7):
        sound = tone(low_hz + share * width).samples
        kept = mask_in(sound, gain[None], STFT)
        assert rms((kept - sound)[:, inner]) <= 0.01 * rms(sound[:, inner])
    resolution = 4 * RATE / STFT.n_fft  # the main lobe of a Hann window
    for hz in (low_hz - width / 4 - resolution, high_hz + width / 4 + resolution):
        if 0 < hz < RATE / 2:
            sound = tone(hz).samples
            kept = mask_in(sound, gain[None], STFT)
            assert rms(kept[:, inner]) <= 0.01 * rms(sound[:, inner])  # -40 dB


def test_a_stretch_of_time_keeps_what_is_inside_and_kills_what_is_outside():
    grid = Grid(RATE, 2 * RATE, STFT)
    gain = region_gain([Region(0.5, 1.5, 0, RATE / 2)], grid)
    sound = tone(1000, 2 * RATE).samples
    kept = mask_in(sound, gain[None], STFT)
    margin = STFT.n_fft / RATE
    inside = slice(round((0.75 + margin) * RATE), round((1.25 - margin) * RATE))
    assert rms((kept - sound)[:, inside]) <= 0.01 * rms(sound[:, inside])
    for outside in (slice(0, round((0.25 - margin) * RATE)), slice(round((1.75 + margin) * RATE), None)):
        assert rms(kept[:, outside]) <= 0.01 * rms(sound[:, outside])


def test_edges_are_raised_cosines_of_half_the_width():
    """At the border one half; whole a quarter of the width inside; nothing a quarter outside."""
    grid = Grid(RATE, RATE, STFT)
    gain = region_gain([Region(0.2, 0.6, 0, RATE / 2)], grid)[5]
    at = {round(float(s), 2): float(g) for s, g in zip(grid.seconds, gain, strict=True)}
    whole, some = {0.2: 0.5, 0.6: 0.5, 0.1: 0, 0.7: 0, 0.3: 1, 0.4: 1, 0.5: 1}, 0.5 - 0.5 * np.cos(np.pi * 0.7)
    for seconds, value in {**whole, 0.24: some, 0.16: 1 - some}.items():
        assert at[seconds] == pytest.approx(value, abs=1e-5)  # float32 seconds


def test_neighboring_boxes_share_their_edge():
    """Two boxes of equal width that meet let everything through, but for a dip of one half where they meet."""
    grid = Grid(RATE, RATE, STFT)
    gain = region_gain([Region(0, 0.5, 0, 16000), Region(0.5, 1, 0, 16000)], grid)
    assert gain.min() == pytest.approx(0.5, abs=0.01)
    assert (gain[:, 0] == 1).all()
    assert (gain[:, -1] == 1).all()


def test_a_box_that_ends_with_the_clip_and_the_band_has_no_edge_there():
    grid = Grid(RATE, 31000, STFT)  # the last frame lies behind the clip's end
    assert torch.equal(region_gain([Region(0, grid.duration_s, 0, 16000)], grid), torch.ones(grid.shape))
    assert torch.equal(region_gain([], grid), torch.zeros(grid.shape))


def test_of_overlapping_boxes_the_larger_gain_counts():
    grid = Grid(RATE, RATE, STFT)
    boxes = [Region(0.1, 0.5, 500, 4000), Region(0.3, 0.9, 2000, 9000, weight=-3.0)]
    alone = [region_gain([box], grid) for box in boxes]
    together = region_gain(boxes, grid)
    assert torch.equal(together, torch.maximum(*alone))
    assert together.min() >= 0
    assert together.max() <= 1


def test_hard_masks_are_one_at_the_centers_inside():
    grid = Grid(8000, 800, Stft(80, 40))  # bins of 100 Hz, frames of 5 ms
    mask = region_mask([Region(0.010, 0.020, 250, 500)], grid)
    assert mask.nonzero().tolist() == [[f, t] for f in (3, 4, 5) for t in (2, 3, 4)]
    assert torch.equal(region_mask([Region(0.010, 0.020, 250, 500)] * 2, grid), mask)


# Evidence as sound -------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 44100, 48000])
@pytest.mark.parametrize("channels, n_samples", [(1, 20000), (2, 12347)])
def test_evidence_keeps_rate_channels_and_length(rate, channels, n_samples):
    clip = noise(n_samples, channels, rate)
    grid = grid_of(clip)
    evidence = evidence_of(clip, random_gain(grid), grid)
    assert (evidence.sample_rate, evidence.samples.shape) == (rate, clip.samples.shape)
    complement = complement_of(clip, evidence)
    whole = complement.samples + evidence.samples
    # exact but for the rounding of one float32 subtraction and one addition below full scale 1
    assert (whole - clip.samples).abs().max() <= 2.0**-24
    assert torch.equal(complement.samples, clip.samples - evidence.samples)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_a_gain_of_ones_keeps_the_classifiers_band(rate):
    clip = tone(1000, rate, rate)
    grid = grid_of(clip)
    evidence = evidence_of(clip, torch.ones(grid.shape), grid)
    inner = slice(rate // 10, -rate // 10)
    # resampled there and back; the pass band of soxr's best quality is flat to 1e-5, float32
    assert (evidence.samples - clip.samples)[:, inner].abs().max() <= 1e-5


def test_sound_above_the_classifiers_nyquist_frequency_stays_in_the_complement():
    low, high = tone(2000, 48000, 48000), tone(20000, 48000, 48000, level=0.3)
    clip = Waveform(low.samples + high.samples, 48000)
    grid = grid_of(clip)
    evidence = evidence_of(clip, torch.ones(grid.shape), grid)
    complement = complement_of(clip, evidence)
    inner = slice(4800, -4800)
    assert rms((complement.samples - high.samples)[:, inner]) <= 1e-4 * rms(high.samples)  # -80 dB
    assert rms((evidence.samples - low.samples)[:, inner]) <= 1e-4 * rms(low.samples)


def test_channels_are_masked_with_their_own_phase():
    clip = Waveform(
        np.concatenate([noise(9000).samples.numpy(), -noise(9000).samples.numpy(), noise(9000).samples * 0]), RATE
    )
    grid = grid_of(clip)
    left, right, silent = evidence_of(clip, random_gain(grid), grid).samples
    torch.testing.assert_close(left, -right)
    assert left.abs().max() > 0.01
    assert torch.equal(silent, torch.zeros_like(silent))


def test_one_gain_keeps_all_sounds_from_clipping():
    loud, quiet = tone(100, level=1.6), tone(100, level=0.1)
    gain = common_gain(loud, quiet)
    assert loud.scale(gain).peak == pytest.approx(0.999, rel=1e-6)
    assert common_gain(quiet) == common_gain(Waveform(np.zeros(3), 8000)) == 1.0


# Re-entry ----------------------------------------------------------------------------------------


def test_masked_sound_re_enters_where_it_is_told_to():
    c = band_classifier()
    samples = noise(8000, rate=8000).samples.double()
    gain = random_gain(c.grid(8000))[None]
    heard = masked_logits(c, samples, gain)
    assert torch.equal(heard, c.logits(mask_in(samples, gain, c.stft)))
    published = masked_logits(c, samples, gain, at="stft")
    power = (c.stft(samples) * gain).abs().square()[:, :, :126] / 64**2  # what the toy makes of an STFT
    expected = power[:, :128, :120].unflatten(1, (8, 16)).mean((2, 3))
    torch.testing.assert_close(published, expected)
    assert (heard - published).abs().max() > 1e-3 * published.abs().max()  # a masked STFT is the STFT of no sound
    with pytest.raises(ModelError, match="re-enters at 'waveform', 'stft' or 'features', got 'map'"):
        masked_logits(c, samples, gain, at="map")


def test_masks_of_ones_and_zeros_re_enter_as_the_clip_and_as_silence():
    c = band_classifier()
    samples = noise(8000, rate=8000).samples.double()
    ones = torch.ones(1, *c.grid(8000).shape)
    for stage in ("waveform", "stft"):
        torch.testing.assert_close(masked_logits(c, samples, ones, at=stage), c.logits(samples))
        assert torch.equal(masked_logits(c, samples, 0 * ones, at=stage), torch.zeros(1, 8, dtype=torch.float64))


def test_gains_have_gradients():
    c = band_classifier()
    for stage, least in (("stft", 1.0), ("waveform", 0.9)):  # a sound of a masked STFT smears into the next bins
        gain = random_gain(c.grid(8000))[None].double().requires_grad_(True)
        masked_logits(c, noise(8000, rate=8000).samples.double(), gain, at=stage)[0, 3].backward()
        inside = gain.grad[0, 48:64].abs().sum() / gain.grad.abs().sum()  # the bins of band 3
        assert least <= inside <= 1


def test_a_column_over_the_whole_band_lets_all_of_it_through():
    """The features of the embedded models begin at 50 Hz: a full-height box must not muffle what lies above."""
    classifier = load_classifier("esc10-cnn")
    geometry, grid = classifier.geometry(160000), classifier.grid(160000)
    box = geometry.box(None, 10)
    column = region_gain([box], grid)[:, int(grid.shape[1] * (box.start_s + box.end_s) / 2 / grid.duration_s)]
    assert float(column[grid.hz >= 2 * box.low_hz].min()) > 0.99  # half a frame off its middle
    assert float(column[0]) < 0.01


def test_edges_are_no_wider_than_the_way_to_the_end():
    grid = Grid(8000, 8000, Stft(256, 64))
    gain = region_gain([Region(0.02, 0.9, 100.0, 3900.0)], grid)
    frames, bins = grid.seconds, grid.hz
    inner = (frames >= 0.04) & (frames <= 0.7)
    assert float(gain[(bins >= 200) & (bins <= 3800)][:, inner].min()) == pytest.approx(1.0, abs=1e-6)


def test_a_region_lets_its_band_through():
    seconds = torch.arange(11025) / 22050
    low, high = (0.3 * torch.sin(2 * torch.pi * hz * seconds)[None] for hz in (700, 4000))
    heard = heard_in([Region(0, 0.5, 400, 1000)], Waveform(low + high, 22050), Grid(16000, 99, Stft(512, 160)))
    assert float((heard.samples - low)[:, 2000:-2000].abs().max()) < 0.01
