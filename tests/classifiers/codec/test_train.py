"""A codec of one's own: it learns, its codebooks follow what they see, and it is a codec as any other."""

import json

import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.classifiers.codec.load import load_codec
from earmark.classifiers.codec.train import fit_codec, learned_codes, made, si_sdr_db, spectral_distance
from earmark.classifiers.codec.train_config import CodecConfig
from earmark.errors import DataError, InputError
from earmark.metrics.separation import si_sdr
from earmark.training.config import LoopConfig
from earmark.types import Clip, seeded

SMALL = CodecConfig(
    rate=8000, ratios="5,4,2", channels=8, filters=2, codebook_size=16, codebooks=2, clip_s=0.5, crop_s=0.2, decay=0.7
)
LOOP = LoopConfig(batch_size=4, learning_rate=5e-3)


def clip(i):
    hz, t = 200 + 40 * i, torch.arange(4000) / 8000
    return Clip(f"{i:02}", Waveform(0.3 * torch.sin(2 * torch.pi * hz * t)[None], 8000), group=str(i))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "codec"
    history = []

    def tell(done, total, values):
        history.append(values["loss"])

    summary = fit_codec([clip(i) for i in range(8)], [clip(20), clip(21)], folder, SMALL, LOOP, steps=20, progress=tell)
    return folder, summary, history


def test_it_learns_and_is_loaded_as_any_codec(fitted):
    folder, summary, history = fitted
    assert history[-1] < 0.9 * history[1]
    codec = load_codec(folder)
    assert (codec.sample_rate, codec.frame_rate, codec.n_codebooks) == (8000, 200.0, 2)
    assert codec.bandwidth == summary["bandwidth"] == 1.6  # 200 Hz, 2 codebooks of 4 bits
    samples = torch.cat([clip(i).source.samples for i in (20, 21)])
    again = codec.decode(codec.encode(samples), 4000)
    assert float(si_sdr(again, samples).mean()) == pytest.approx(summary["si_sdr_db"], abs=1e-3)
    assert codec.codes(codec.encode(samples, continuous=True)).unique().numel() > 2
    card = (folder / "README.md").read_text()
    assert f"SI-SDR {summary['si_sdr_db']:.2f} dB" in card and "stand-in" in card
    assert json.loads((folder / "training.json").read_text())["numbers"]["steps"] == 20
    assert not list(folder.glob(".*")) and not (folder / "checkpoint.safetensors").exists()


def test_the_same_seed_gives_the_same_codec(fitted, tmp_path):
    fit_codec([clip(i) for i in range(8)], [clip(20), clip(21)], tmp_path / "codec", SMALL, LOOP, steps=20)
    assert load_codec(tmp_path / "codec").fingerprint == load_codec(fitted[0]).fingerprint


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
    y = x + 0.1 * torch.randn(2, 2000, generator=seeded(2))
    torch.testing.assert_close(si_sdr_db(y, x), si_sdr(y, x))


def test_what_cannot_be_trained_is_refused(tmp_path):
    with pytest.raises(InputError, match="codebook_size is a power of 2, got 100"):
        CodecConfig(codebook_size=100)
    with pytest.raises(InputError, match="ratios are whole numbers of 1 or more"):
        CodecConfig(ratios="8,x")
    with pytest.raises(DataError, match="got 0 and 1"):
        fit_codec([], [clip(0)], tmp_path, SMALL, LOOP)
