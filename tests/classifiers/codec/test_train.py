"""A codec of one's own: it learns, its codebooks follow what they see, and it is a codec as any other."""

import json
import math

import pytest
import torch

from earmark.audio.distances import si_sdr
from earmark.audio.waveform import Waveform
from earmark.classifiers.codec.beginning import begin
from earmark.classifiers.codec.codebooks import begin_codebooks, learned_codes
from earmark.classifiers.codec.distances import heard_distance, log_noise, spectral_distance
from earmark.classifiers.codec.load import load_codec
from earmark.classifiers.codec.train import fit_codec, made
from earmark.classifiers.codec.train_config import CodecConfig
from earmark.errors import DataError, InputError
from earmark.training.config import LoopConfig
from earmark.types import Clip, seeded

SMALL = CodecConfig(
    rate=8000, ratios="5,4,2", channels=8, filters=2, codebook_size=16, codebooks=2, clip_s=0.5, crop_s=0.2, decay=0.7
)
LOOP = LoopConfig(batch_size=4, learning_rate=1e-3)


def clip(i):
    hz, t = 200 + 40 * i, torch.arange(4000) / 8000
    return Clip(f"{i:02}", Waveform(0.3 * torch.sin(2 * torch.pi * hz * t)[None], 8000), group=str(i))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "codec"
    history = []

    def tell(done, total, values):
        history.append(values["loss"])

    held_out = [clip(2.5), clip(5.5)]
    summary = fit_codec([clip(i) for i in range(8)], held_out, folder, SMALL, LOOP, steps=12, progress=tell)
    return folder, summary, history


def test_it_learns_and_is_loaded_as_any_codec(fitted):
    folder, summary, history = fitted
    assert history[-1] < 0  # the logarithm of noise over signal: better than silence
    assert summary["begin_si_sdr_db"] > 3 and summary["si_sdr_db"] > 3
    codec = load_codec(folder)
    assert (codec.sample_rate, codec.frame_rate, codec.n_codebooks) == (8000, 200.0, 2)
    assert codec.bandwidth == summary["bandwidth"] == 1.6  # 200 Hz, 2 codebooks of 4 bits
    samples = torch.cat([clip(i).source.samples for i in (2.5, 5.5)])
    again = codec.decode(codec.encode(samples), 4000)
    assert float(si_sdr(again, samples).mean()) == pytest.approx(summary["si_sdr_db"], abs=1e-3)
    assert codec.codes(codec.encode(samples, continuous=True)).unique().numel() > 2
    card = (folder / "README.md").read_text()
    assert f"SI-SDR | {summary['si_sdr_db']:.2f} dB" in card and "stand-in" in card
    assert json.loads((folder / "training.json").read_text())["numbers"]["steps"] == 12
    assert not list(folder.glob(".*")) and not (folder / "checkpoint.safetensors").exists()


def test_the_same_seed_gives_the_same_codec(fitted, tmp_path):
    fit_codec([clip(i) for i in range(8)], [clip(2.5), clip(5.5)], tmp_path / "codec", SMALL, LOOP, steps=12)
    assert load_codec(tmp_path / "codec").fingerprint == load_codec(fitted[0]).fingerprint


@pytest.mark.parametrize("ratios", ["5,4,2", "2,4,5", "40"])
def test_it_begins_as_principal_components(ratios):
    """Eight of 40 dimensions: what comes back is close to the best projection on eight directions."""
    model = made(CodecConfig(rate=8000, ratios=ratios, channels=8, filters=8), 0).eval()
    t = torch.arange(800) / 8000
    tones = torch.stack([torch.sin(2 * torch.pi * hz * t + hz) for hz in (200, 330, 450)])
    mixed = 0.05 * torch.randn(32, 3, generator=seeded(3)) @ tones
    with torch.random.fork_rng():
        torch.manual_seed(0)
        begin(model, mixed)
    with torch.no_grad():
        latents = model.encoder(mixed[:, None])
        again = model.decoder(latents)[:, 0, :800]
    assert latents.shape[1:] == (8, 20)
    assert 0.5 < float(latents.square().mean()) < 1.5
    pieces = mixed.unflatten(1, (-1, 40)).flatten(0, 1)
    directions = torch.linalg.svd(pieces, full_matrices=False)[2][:8]
    best = (pieces @ directions.T @ directions).view_as(mixed)
    assert float(si_sdr(best, mixed).min()) > 30  # three tones are six directions
    assert float(si_sdr(again, mixed).min()) > 12  # less what ELU bends, and what is small beside


def test_silence_does_not_outweigh_sound():
    x = 0.1 * torch.randn(2, 2000, generator=seeded(1))
    for clips in (x, torch.zeros_like(x)):
        guess = (clips + 0.001 * torch.randn(2, 2000, generator=seeded(4))).requires_grad_()
        (log_noise(guess, clips).mean() + spectral_distance(guess, clips)).backward()
        assert float(guess.grad.norm()) < 100
    silence = log_noise(torch.zeros_like(x), torch.zeros_like(x))
    torch.testing.assert_close(silence, torch.full((2,), math.log(1.003)), rtol=1e-3, atol=0)  # a logarithm near 1


def test_codebooks_begin_as_what_they_see():
    model = made(CodecConfig(rate=8000, ratios="4", channels=2, filters=2, codebook_size=8, codebooks=2), 0)
    rows = torch.randn(1, 2, 4000, generator=seeded(5))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        begin_codebooks(model, rows)
    left = (learned_codes(model, rows, None) - rows).square().mean()
    assert float(left) < 0.06  # of a Gaussian's unit variance: 64 regions of the plane leave 1 / 64 at best


def test_codebooks_come_to_the_means_of_what_they_stand_for():
    model = made(CodecConfig(rate=8000, ratios="4", channels=2, filters=2, codebook_size=4, codebooks=1), 0)
    centers = torch.tensor([[1.0, 1], [-1, 1], [1, -1], [-1, -1]])
    rows = (centers.repeat(50, 1) + 0.05 * torch.randn(200, 2, generator=seeded(0))).T[None]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(150):
            learned_codes(model, rows, 0.9)
    book = model.quantizer.layers[0].codebook.embed
    assert float(torch.cdist(centers, book).min(1).values.max()) < 0.05
    before = book.clone()
    codes = learned_codes(model, rows, None)
    assert torch.equal(book, before)
    assert float((codes - rows).square().mean()) < 0.01


def test_losses_of_what_is_the_same_are_zero():
    x = torch.randn(2, 2000, generator=seeded(1))
    assert float(spectral_distance(x, x)) == 0 and float(spectral_distance(x, 0.5 * x)) > 0.3
    levels = heard_distance(0.5 * x, x)
    torch.testing.assert_close(levels, torch.full_like(levels, 20 * math.log10(2)), rtol=0, atol=1e-3)


def test_what_cannot_be_trained_is_refused(tmp_path):
    with pytest.raises(InputError, match="codebook_size is a power of 2, got 100"):
        CodecConfig(codebook_size=100)
    with pytest.raises(InputError, match="ratios are whole numbers of 1 or more"):
        CodecConfig(ratios="8,x")
    with pytest.raises(DataError, match="got 0 and 1"):
        fit_codec([], [clip(0)], tmp_path, SMALL, LOOP)
