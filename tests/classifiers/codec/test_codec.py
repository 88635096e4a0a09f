"""Codecs: the library's own answers, lengths, chunks, gradients through the quantizer, and what is refused."""

import json
import shutil

import pytest
import torch
import transformers
from transformers.models.encodec.modeling_encodec import EncodecModel

from earmark.classifiers.codec.front_end import CodecFrontEnd
from earmark.classifiers.codec.lapped import LappedCodec
from earmark.classifiers.codec.load import load_codec
from earmark.classifiers.codec.resampling import resampled
from earmark.errors import InputError, ModelError
from earmark.testing.codecs import LinearCodec
from earmark.testing.hugging_face import save_tiny, save_tiny_encodec
from earmark.testing.untouched import untouched

CHUNKED = {
    "audio_channels": 2,
    "chunk_length_s": 0.25,
    "overlap": 0.1,
    "normalize": True,
    "use_causal_conv": False,
    "norm_type": "time_group_norm",
}


def sound(n_samples, n_clips=2, seed=0):
    return 0.1 * torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_encodec(tmp_path_factory.mktemp("codecs") / "tiny")


@pytest.fixture(scope="module")
def codec(folder):
    return load_codec(folder)


def test_it_is_the_librarys_own(folder, codec):
    x = sound(6000)
    model = EncodecModel.from_pretrained(folder).eval()
    with torch.no_grad():
        out = model.encode(x[:, None])
        expected = model.decode(out.audio_codes, out.audio_scales)[0][:, 0, :6000]
    assert codec.bandwidth == 0.8 and codec.n_codebooks == 2  # 0.8 kbit/s over 100 Hz times 4 bits
    assert (codec.sample_rate, codec.frame_rate, codec.n_channels) == (16000, 100.0, 8)
    assert torch.equal(codec.codes(codec.encode(x, continuous=True)).transpose(0, 1), out.audio_codes[0])
    found = codec.decode(codec.encode(x), 6000)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # sums over another layout of memory


def test_chunks_stereo_and_levels_are_the_librarys_own(tmp_path):
    save_tiny_encodec(tmp_path / "chunked", **CHUNKED)
    with pytest.warns(UserWarning, match="chunked is stereo"):
        codec = load_codec(tmp_path / "chunked")
    for n_samples in (9000, 5000):
        x = sound(n_samples)
        with torch.no_grad():
            out = codec.model.encode(x[:, None].expand(-1, 2, -1))
            pad = out.last_frame_pad_length
            expected = codec.model.decode(out.audio_codes, out.audio_scales, last_frame_pad_length=pad)[0]
        found = codec.decode(codec.encode(x), n_samples, codec.levels(x))
        torch.testing.assert_close(found, expected.mean(1)[:, :n_samples], rtol=0, atol=1e-6)  # sums in another order
    louder = codec.decode(codec.encode(4 * x), n_samples, codec.levels(4 * x))
    torch.testing.assert_close(louder, 4 * found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_samples", [1, 7, 160, 161, 4000])
@pytest.mark.parametrize("make", [None, lambda: LappedCodec(8000, 32), lambda: LinearCodec(16, n_codes=8)])
def test_any_length_comes_back(codec, make, n_samples):
    one = make() if make else codec
    latents = one.encode(sound(n_samples))
    assert latents.shape == (2, one.n_channels, one.n_frames(n_samples))
    assert one.decode(latents, n_samples).shape == (2, n_samples)


@pytest.mark.parametrize("one", [LappedCodec(8000, 32), LinearCodec(1), LinearCodec(16)], ids=repr)
def test_what_does_not_quantize_loses_nothing(one):
    x = sound(1000)
    torch.testing.assert_close(one.decode(one.encode(x), 1000), x, rtol=0, atol=2e-6)  # float32 sums of 64 products
    energy = one.encode(x).square().sum() / x.square().sum()
    assert abs(float(energy) - 1) < 1e-4  # orthonormal
    assert not one.quantizes
    assert torch.equal(LinearCodec(1).encode(x)[:, 0], x)


@pytest.mark.parametrize("which", ["encodec", "linear"])
def test_gradients_pass_the_quantizer_as_if_it_were_not_there(codec, which):
    one = codec if which == "encodec" else LinearCodec(16, n_codes=8)
    weight = torch.randn(1, one.n_channels, one.n_frames(2000), generator=torch.Generator().manual_seed(2))
    found = []
    for continuous in (True, False):
        x = sound(2000, 1).requires_grad_()
        (one.encode(x, continuous=continuous) * weight).sum().backward()
        found.append(x.grad)
    assert torch.equal(*found) and bool((found[0] != 0).any())
    latents = one.encode(sound(2000, 1))
    assert latents.shape[2] > latents[0].unique(dim=1).shape[1] or which == "encodec"  # frames share entries
    z = latents.clone().requires_grad_()
    one.decode(z, 2000).square().sum().backward()
    assert bool((z.grad != 0).any())


def test_quantizing_twice_is_quantizing_once_with_one_codebook(tmp_path):
    one = load_codec(save_tiny_encodec(tmp_path / "one", target_bandwidths=[0.4]))
    assert one.n_codebooks == 1
    z = one.encode(sound(3000))
    assert torch.equal(one.quantize(z), z)


def test_it_stays_as_it_was(codec):
    before = codec.fingerprint
    assert all(not p.requires_grad for p in codec.parameters())
    with untouched(codec):
        x = sound(2000, 1).requires_grad_()
        codec.decode(codec.encode(x), 2000).sum().backward()
    del codec.__dict__["fingerprint"]
    assert codec.fingerprint == before


def test_the_fingerprint_is_of_weights_and_bandwidth(folder, codec, tmp_path):
    again, wider = load_codec(folder), load_codec(folder, bandwidth=1.6)
    other = load_codec(save_tiny_encodec(tmp_path / "tiny", seed=1))
    assert again.fingerprint == codec.fingerprint
    assert len({codec.fingerprint, wider.fingerprint, other.fingerprint}) == 3
    assert wider.n_codebooks == 4


def test_what_is_no_codec_is_refused_in_a_sentence(folder, tmp_path):
    with pytest.raises(ModelError, match="holds no codec: a folder of an EncodecModel"):
        load_codec(tmp_path / "nothing")
    save_tiny("ast", tmp_path / "ast")
    with pytest.raises(
        ModelError, match="'audio-spectrogram-transformer', an EncodecModel of transformers was expected"
    ):
        load_codec(tmp_path / "ast")
    with pytest.raises(InputError, match=r"has bandwidths of 0\.8, 1\.6 kbit/s, got 6"):
        load_codec(folder, bandwidth=6)
    shutil.copytree(folder, tmp_path / "torn")
    weights = tmp_path / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-500])
    with pytest.raises(ModelError, match="does not hold an EncodecModel that transformers can read"):
        load_codec(tmp_path / "torn")
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "encodec" and transformers.EncodecConfig(**config).hidden_size == 8


def test_latents_of_another_codec_are_refused(codec):
    with pytest.raises(InputError, match=r"\[batch, 8, 13\] were expected of tiny for 2000 samples"):
        codec.decode(LappedCodec(16000).encode(sound(2000)), 2000)


def test_the_front_end_hands_on_latents(codec):
    front_end, x = CodecFrontEnd(codec), sound(3200)
    assert torch.equal(front_end(x), codec.encode(x))
    assert front_end.column_s() == (0.005, 0.01) and len(front_end.row_edges_hz()) == 9
    assert not torch.equal(CodecFrontEnd(codec, continuous=True)(x), front_end(x))


@pytest.mark.parametrize("rates", [(16000, 24000), (24000, 16000), (44100, 16000), (8000, 11025)])
def test_resampling_keeps_a_tone_and_its_gradient(rates):
    old, new = rates
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(old) / old)[None].requires_grad_()
    found = resampled(tone, old, new)
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(new) / new)[None]
    assert found.shape == expected.shape
    assert float((found - expected).detach()[:, 400:-400].abs().max()) < 1e-3  # -60 dB
    found.square().sum().backward()
    assert bool((tone.grad != 0).any())
    high = torch.sin(2 * torch.pi * 0.49 * old * torch.arange(old) / old)[None]
    if new < 0.9 * old:  # what the lower rate cannot hold is gone, and no mirror image of it comes
        assert float(resampled(high, old, new)[:, 400:-400].abs().max()) < 2e-2
