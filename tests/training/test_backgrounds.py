"""Recordings as background: exact levels, pieces that are there, and what a generator decides."""

import numpy as np
import pytest
import torch

from earmark.audio.waveform import Waveform
from earmark.errors import DataError
from earmark.training.backgrounds import at_snr, decode_background
from earmark.training.config import BackgroundConfig
from earmark.types import Clip

RATE = 8000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ramp(start, n):
    """A recording in which each sample tells its place."""
    return Clip(f"{start}", Waveform((start + np.arange(n)) / 1e5, RATE))


def background(tmp_path, *clips, **changes):
    return decode_background(clips, BackgroundConfig("x", **changes), RATE, tmp_path / "background")


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 12.5])
def test_the_level_is_exact(snr_db):
    clips, noise = 0.05 * torch.randn(4, 4000, generator=generator(1)), torch.randn(4, 4000, generator=generator(2))
    added = (at_snr(clips, noise, snr_db) - clips).double()
    measured = 10 * torch.log10(clips.double().square().sum(1) / added.square().sum(1))
    torch.testing.assert_close(measured, torch.full_like(measured, snr_db), atol=1e-5, rtol=0)  # float32 mixtures
    torch.testing.assert_close(
        added / added.norm(dim=1, keepdim=True), (noise / noise.norm(dim=1, keepdim=True)).double(), atol=1e-6, rtol=0
    )


def test_what_is_silent_stays_as_it_is_and_nothing_exceeds_full_scale():
    sound = torch.randn(2, 1000, generator=generator())
    assert torch.equal(at_snr(sound, torch.zeros(2, 1000), 0.0), sound)
    assert torch.equal(at_snr(torch.zeros(2, 1000), sound, 0.0), torch.zeros(2, 1000))
    loud = at_snr(sound, sound.flip(1), 0.0)
    assert float(loud.abs().max()) == 1.0
    mixed = sound + sound.flip(1)
    torch.testing.assert_close(loud, mixed / mixed.abs().amax(1, keepdim=True))


def test_pieces_are_pieces_and_short_recordings_go_on_from_their_start(tmp_path):
    noise = background(tmp_path, ramp(0, 5000), ramp(10000, 700))
    pieces = (noise.pieces(60, 1000, generator()).double() * 1e5).round().long()
    starts = set()
    for piece in pieces:
        inside = int(piece[0]) < 10000
        expected = piece[0] + torch.arange(1000) if inside else 10000 + (piece[0] - 10000 + torch.arange(1000)) % 700
        assert torch.equal(piece, expected)
        starts.add(int(piece[0]))
    long = [start for start in starts if start < 10000]
    assert len(long) > 10 and len(starts) - len(long) > 10  # both recordings, anywhere in them
    assert max(long) <= 4000


def test_a_piece_may_start_at_the_last_place_that_is_long_enough(tmp_path):
    noise = background(tmp_path, ramp(0, 1001))
    starts = {round(float(piece[0]) * 1e5) for piece in noise.pieces(40, 1000, generator())}
    assert starts == {0, 1}


def test_the_share_and_the_generator_decide(tmp_path):
    clips = torch.randn(200, 500, generator=generator(5)) / 100
    for share, low, high in ((0.0, 0, 0), (1.0, 200, 200), (0.8, 135, 185)):  # 160 expected, deviation 5.7
        noise = background(tmp_path, ramp(1, 4000), background_share=share)
        mixed = noise.add(clips, generator())
        assert low <= int((mixed != clips).any(1).sum()) <= high
        assert torch.equal(mixed, noise.add(clips, generator()))
        assert share == 0 or not torch.equal(mixed, noise.add(clips, generator(1)))


def test_recordings_are_resampled_cut_and_skipped_if_broken(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF but no more")
    tone = Waveform(np.sin(2 * np.pi * 440 * np.arange(16000) / 16000), 16000)
    clips = [Clip("broken", tmp_path / "broken.wav"), Clip("tone", tone, start_s=0.25, end_s=0.75)]
    noise = background(tmp_path, *clips)
    assert (len(noise), noise.bounds.tolist(), list(noise.skipped)) == (1, [0, 4000], ["broken"])
    expected = np.sin(2 * np.pi * 440 * (0.25 + np.arange(4000) / RATE))
    np.testing.assert_allclose(noise.samples[200:-200], expected[200:-200], atol=1e-3)  # resampled, away from its ends
    with pytest.raises(DataError, match="No background recording can be read"):
        background(tmp_path, clips[0])


def test_other_recordings_have_another_hash(tmp_path):
    one = background(tmp_path, ramp(0, 100), ramp(100, 100)).sha256()
    assert background(tmp_path, ramp(0, 100), ramp(100, 100)).sha256() == one
    assert background(tmp_path, ramp(0, 120), ramp(120, 80)).sha256() != one  # the same samples, cut elsewhere
    assert background(tmp_path, ramp(0, 100), ramp(101, 100)).sha256() != one
