"""Files of PANNs weights: what is read from names and shapes, and what is refused."""

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.classifiers.panns.making import FIRST, features, front_end_buffers, network, published

from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.panns import load_panns, read_network
from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError

ARCHITECTURES = ("cnn6", "cnn10", "cnn14", "resnet22", "resnet38")
LABELS = ["dog", "rain", "siren", "speech", "music"]


def save(path, content):
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in content.items()}, path)
    else:
        torch.save(content, path)
    return path


def sound(classifier, seconds=1.0, seed=3):
    n_samples = round(seconds * classifier.sample_rate)
    return 0.1 * torch.randn(2, n_samples, generator=torch.Generator().manual_seed(seed))


# -- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_network_is_loaded_again(architecture, suffix, tmp_path):
    module = network(architecture, n_labels=5, embedding=7, width=3)
    state = published(module)
    classifier = load_panns(save(tmp_path / f"any{suffix}", {"model": state} if suffix == ".pth" else state), LABELS)
    assert classifier.module.config == module.config
    assert (classifier.labels, classifier.task, classifier.name) == (tuple(LABELS), "multilabel", "any")
    assert (classifier.sample_rate, classifier.stft.n_fft, classifier.stft.hop_length) == (32000, 1024, 320)
    x = features()
    with torch.no_grad():
        expected = module(x)
        assert torch.equal(classifier.logits(x[:, 0].transpose(1, 2), at="features"), expected)
    assert not classifier.module.training and expected.std(0).max() > 1e-2


def test_a_bare_state_dict_without_a_front_end_has_the_published_one(tmp_path):
    path = save(tmp_path / "bare.pth", network().state_dict())
    with_buffers = load_panns(save(tmp_path / "whole.pth", published(network())), LABELS)
    bare = load_panns(path, LABELS)
    assert bare.front_end.to_dict() == with_buffers.front_end.to_dict()
    assert bare.fingerprint == with_buffers.fingerprint
    assert load_panns(path, LABELS, 16000).stft.n_fft == 512


def test_what_else_a_published_file_holds_is_left_aside(tmp_path):
    """The published files hold the state of their sampler: lists, and arrays of numpy under its former name."""
    module = network("cnn14", width=1, embedding=8)
    sampler = {"indexes_per_class": [np.arange(9), np.arange(4)], "queue": [3, 1], "pointers_of_classes": [0, 0]}
    content = {"iteration": 600000, "model": published(module), "sampler": sampler}
    path = tmp_path / "old.pth"
    torch.save(content, path, _use_new_zipfile_serialization=False)
    raw = path.read_bytes()
    assert b"numpy._core.multiarray\n" in raw
    path.write_bytes(raw.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n"))
    allowed = set(torch.serialization.get_safe_globals())
    assert load_panns(path, LABELS).module.config == module.config
    assert set(torch.serialization.get_safe_globals()) == allowed
    assert load_panns(save(tmp_path / "new.pth", content), LABELS).module.config == module.config


def test_double_precision_stays(tmp_path):
    classifier = load_panns(save(tmp_path / "double.pth", network().double().state_dict()), LABELS)
    assert classifier.dtype == torch.float64


# -- last layers of another name --------------------------------------------------------------------------------------


def fine_tuned(prefix, outer):
    """A published network of 527 outputs inside another module, with a last layer of its own."""
    module = network(n_labels=527)
    own = network(n_labels=5, seed=1).fc_audioset.state_dict()
    state = {f"{prefix}{key}": value for key, value in published(module).items()}
    return {**state, **{f"{outer}.{key}": value for key, value in own.items()}}, module, own


@pytest.mark.parametrize(
    "prefix, outer", [("base.", "fc_transfer"), ("module.base.", "module.fc_transfer"), ("", "fc_birds")]
)
def test_fine_tuned_networks_load(prefix, outer, tmp_path):
    state, module, own = fine_tuned(prefix, outer)
    path = save(tmp_path / "tuned.pth", {"model": state})
    with pytest.warns(UserWarning, match="ends in '.*fc_.*multiclass .* is assumed, pass task='multilabel'"):
        classifier = load_panns(path, LABELS)
    assert classifier.task == "multiclass"
    module.fc_audioset.weight, module.fc_audioset.bias = (torch.nn.Parameter(own[k]) for k in ("weight", "bias"))
    x = features()
    with torch.no_grad():
        assert torch.equal(classifier.logits(x[:, 0].transpose(1, 2), at="features"), module(x))
    assert load_panns(path, LABELS, task="multilabel").task == "multilabel"


# -- the front end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n_fft, hop, rate, low, high, n_mels",
    [
        (1024, 320, 32000, 50, 14000, 64),
        (512, 160, 16000, 50, 8000, 64),
        (256, 80, 8000, 50, 4000, 64),
        (1024, 320, 32000, 20, 16000, 128),
        (1024, 320, 32000, 0, 12345, 32),
    ],
)
def test_numbers_of_the_front_end_come_from_its_buffers(n_fft, hop, rate, low, high, n_mels, tmp_path):
    state = published(network(n_mels=n_mels), n_fft=n_fft, sample_rate=rate, low_hz=low, high_hz=high)
    classifier = load_panns(save(tmp_path / "net.pth", state), LABELS)
    about = classifier.front_end.to_dict()
    assert (classifier.sample_rate, about["n_fft"], about["hop_length"], about["n_mels"]) == (rate, n_fft, hop, n_mels)
    assert (about["low_hz"], about["high_hz"]) == (low, high)
    # the front end's filters are those of the file, to float32
    torch.testing.assert_close(classifier.front_end.filters, state["logmel_extractor.melW"].T, rtol=1e-4, atol=1e-7)


def test_features_are_decibels_of_the_files_own_filters(tmp_path):
    """A slow twin from the buffers: reflected edges, the Fourier matrix as a convolution, power, filters, decibels."""
    state = published(network())
    classifier = load_panns(save(tmp_path / "net.pth", state), LABELS)
    x = sound(classifier, 0.3)
    padded = torch.nn.functional.pad(x[:, None], (512, 512), mode="reflect")
    parts = [state[f"spectrogram_extractor.stft.conv_{part}.weight"] for part in ("real", "imag")]
    power = sum(torch.nn.functional.conv1d(padded, part, stride=320).square() for part in parts)
    bands = power.transpose(1, 2) @ state["logmel_extractor.melW"]
    expected = 10 * torch.log10(bands.clamp_min(1e-10)).transpose(1, 2)
    # sums of 1024 terms in float32, in another order: 1e-3 dB
    torch.testing.assert_close(classifier.at(x, "features"), expected, rtol=0, atol=2e-3)


def test_another_sampling_rate_has_to_be_said(tmp_path):
    path = save(tmp_path / "net.pth", published(network(), n_fft=2048, sample_rate=44100, high_hz=20000))
    with pytest.raises(ModelError, match=r"window of 2048 samples.*pass sample_rate="):
        load_panns(path, LABELS)
    with pytest.raises(ModelError, match=r"filters .* are not those of a PANNs front end at 22050 Hz"):
        load_panns(path, LABELS, 22050, hop_length=640)
    with pytest.warns(UserWarning, match="does not hold its hop; .* 640 samples are assumed"):
        classifier = load_panns(path, LABELS, 44100)
    assert (classifier.sample_rate, classifier.stft.hop_length) == (44100, 640)
    assert load_panns(path, LABELS, 44100, hop_length=441).stft.hop_length == 441


def test_filters_of_another_scale_are_refused_and_the_network_can_be_read_alone(tmp_path):
    state = published(network())
    state["logmel_extractor.melW"] = state["logmel_extractor.melW"].sqrt()
    path = save(tmp_path / "odd.pth", state)
    with pytest.raises(ModelError, match="read the network alone"):
        load_panns(path, LABELS)
    module = read_network(path)
    front_end = LogMel(sample_rate=16000, n_fft=512, hop_length=160, n_mels=64)
    own = wrap(module, front_end, LABELS, map_layer="conv_block4", map_axes="TF", feature_axes="CTF", probe_s=1.0)
    assert own.logits(sound(own)).shape == (2, 5)


# -- labels -----------------------------------------------------------------------------------------------------------

TABLE = 'index,mid,display_name\n1,/m/b,rain\n0,/m/a,"dog, big"\n2,/m/c,siren\n3,/m/d,speech\n4,/m/e,music\n'


def test_labels_are_numbered_with_a_warning_that_says_how_to_name_them(tmp_path):
    path = save(tmp_path / "net.pth", network().state_dict())
    with pytest.warns(UserWarning, match=r"label 0 to label 4; pass labels= .* class_labels_indices\.csv beside it"):
        classifier = load_panns(path)
    assert classifier.labels == ("label 0", "label 1", "label 2", "label 3", "label 4")


def test_a_table_beside_the_weights_or_elsewhere_names_labels(tmp_path):
    path = save(tmp_path / "net.pth", network().state_dict())
    (tmp_path / "elsewhere.csv").write_text(TABLE)
    (tmp_path / "list.txt").write_text("\n".join(LABELS) + "\n")
    expected = ("dog, big", "rain", "siren", "speech", "music")
    assert load_panns(path, tmp_path / "elsewhere.csv").labels == expected
    assert load_panns(path, str(tmp_path / "list.txt")).labels == tuple(LABELS)
    (tmp_path / "class_labels_indices.csv").write_text(TABLE)
    assert load_panns(path).labels == expected
    with pytest.warns(UserWarning, match="label 0 to label 2"):  # the table is another network's
        load_panns(save(tmp_path / "three.pth", network(n_labels=3).state_dict()))


def test_labels_that_do_not_fit_are_refused(tmp_path):
    path = save(tmp_path / "net.pth", network().state_dict())
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    for labels, words in (
        (["a", "b"], "2 labels were given, net.pth has 5 outputs"),
        (["a"] * 5, "unique"),
        (tmp_path / "none.csv", "cannot be read"),
        (tmp_path / "odd.csv", "columns a, b, display_name was expected"),
    ):
        with pytest.raises(ModelError, match=words):
            load_panns(path, labels)


# -- refusals ---------------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return print, ("this must never be printed",)


def without(*names):
    return {key: value for key, value in published(network()).items() if not key.startswith(names)}


REFUSED = {
    "resnet of images": (
        {"conv1.weight": torch.zeros(3, 3), "fc.weight": torch.zeros(2, 2)},
        "is not a state dict of P",
    ),
    "nothing": ({}, "no tensors were found"),
    "a list": ([1, 2], "no tensors were found"),
    "no head": (without("fc_audioset"), "0 last layers"),
    "two heads": ({**without("fc_audioset"), "a.weight": torch.zeros(5, 16), "b.weight": torch.zeros(5, 16)}, "2 last"),
    "no fc1": (without("fc1"), "lacks fc1.weight of a PANNs network"),
    "a layer missing": (without("conv_block3.bn1"), r"4 are missing \(conv_block3.bn1.weight"),
    "a layer more": ({**published(network()), "bn9.bias": torch.zeros(3)}, r"1 are beyond these \(bn9.bias\)"),
    "another shape": ({**published(network()), "fc1.bias": torch.zeros(3)}, r"fc1.bias \(3,\), not \(16,\)"),
    "half": ({"model": network().half().state_dict()}, r"weights in torch.float16 \(.*\.float\(\)"),
    "NaN": (
        {**published(network()), "fc1.bias": torch.full((16,), torch.nan)},
        r"NaN or infinite weights \(fc1.bias\)",
    ),
    "five blocks": ({**published(network()), "conv_block5.conv1.weight": torch.zeros(3)}, "that is not known here"),
    "bottlenecks": (
        {**published(network("resnet38")), "resnet.layer1.0.conv3.weight": torch.zeros(3)},
        "that is not known here",
    ),
    "code": ({"model": network().state_dict(), "more": Evil()}, "holds more than weights .*save its state_dict alone"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_do_not_fit_are_refused(case, tmp_path, capsys):
    content, words = REFUSED[case]
    path = tmp_path / "odd.pth"
    torch.save(content, path)
    with warnings.catch_warnings(), pytest.raises(ModelError, match=words) as error:
        load_panns(path, LABELS)
    text = str(error.value)
    assert len(text) < 500 and text.endswith((".", "?")) and "\n" not in text
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors", "missing.pth", "missing.safetensors", "x" * 500])
def test_files_that_cannot_be_read_are_refused(name, tmp_path):
    if name.startswith("cut"):
        whole = save(tmp_path / f"whole.{name.split('.')[1]}", network().state_dict()).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"does not exist|cannot be read as weights|is not read"):
        load_panns(tmp_path / name, LABELS)


def test_frame_wise_networks_are_refused_by_name(tmp_path):
    path = save(tmp_path / "Cnn14_DecisionLevelMax_mAP=0.385.pth", published(network("cnn14")))
    with pytest.raises(ModelError, match="frame-wise network"):
        load_panns(path, LABELS)


# -- the map ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture, jump", [("cnn6", 16), ("cnn10", 16), ("cnn14", 32), ("resnet38", 32)])
def test_cells_lie_where_the_poolings_put_them(architecture, jump, tmp_path):
    """A cell that averages `jump` frames is centered between them: frames 0 to jump - 1 for the first."""
    classifier = load_panns(save(tmp_path / "net.pth", network(architecture).state_dict()), LABELS)
    geometry = classifier.geometry(5 * 32000)
    n_frames = 1 + 5 * 100
    for axis, n_inputs in ((geometry.freq, 64), (geometry.frame, n_frames)):
        assert (axis.n_cells, axis.start, axis.jump) == (n_inputs // jump, (jump - 1) / 2, jump)
    if architecture != "resnet38":  # the fields of its deep cells are longer than the clip
        assert geometry.frame.exact and geometry.frame.residual == 0
    start, end = geometry.time_edges_s[1:3]
    assert (start, end) == pytest.approx(((jump - 0.5) * 0.01, (2 * jump - 0.5) * 0.01))
    x = classifier.at(sound(classifier), "map")
    assert x.shape[1:3] == (classifier.module.config.n_channels, 64 // jump)
    assert torch.equal(classifier.logits(x, at="map"), classifier.logits(sound(classifier)))


def test_the_numbering_of_map_rows_and_frames_follows_sound(tmp_path):
    """A network of PANNs takes frames first; its map is turned, so that a louder band or moment is found there."""
    classifier = load_panns(save(tmp_path / "net.pth", network("cnn10").state_dict()), LABELS)
    level = torch.full((1, 64, 101), -30.0)
    quiet = classifier.map_of_features(level)
    late = level.clone()
    late[:, :, 90:] = 0.0
    change = (classifier.map_of_features(late) - quiet).abs().sum(1)[0]
    assert change[:, -1].sum() > 0 and change[:, 0].sum() == 0
    high = level.clone()
    high[:, 60:] = 0.0
    change = (classifier.map_of_features(high) - quiet).abs().sum(1)[0]
    assert change[-1].sum() > 0 and change[0].sum() == 0


def test_buffers_in_these_tests_are_a_front_ends():
    assert front_end_buffers()["spectrogram_extractor.stft.conv_real.weight"].shape == (513, 1, 1024)
    assert FIRST in published(network())
