"""How gains and values pass between the STFT grid and the rows and columns of features."""

import pytest
import torch
from tests.classifiers.front_ends.sounds import noise

from earmark import wrap
from earmark.classifiers.front_ends import Mel, MelConfig, Mfcc, MfccConfig, Raw
from earmark.explainers.stages import bins_of
from earmark.masking import feature_gain

N = 4000
FRONT_ENDS = {
    "mel": Mel(MelConfig(8000, 128, 32, n_mels=12, high_hz=4000.0)),
    "fixed length": Mel(MelConfig(8000, 128, 32, n_mels=12, high_hz=4000.0, length=8000)),
    "mfcc": Mfcc(MfccConfig(8000, 128, 32, n_mels=12, n_mfcc=5)),
}


class Net(torch.nn.Module):
    """Means over time of filtered features."""

    def __init__(self):
        super().__init__()
        self.layer, self.out = torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.Linear(3, 2)

    def forward(self, features):
        return self.out(self.layer(features).mean((2, 3)))


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_values_of_features_keep_their_sums_on_the_grid(name):
    front_end = FRONT_ENDS[name]
    classifier = wrap(Net(), front_end, ["a", "b"], map_layer="layer", feature_axes="CFT", probe_s=0.5)
    inside = front_end.columns_inside(N)
    values = torch.zeros_like(front_end(noise(8000, seconds=N / 8000)[None]))
    values[:, :, :inside] = torch.randn(values[:, :, :inside].shape, generator=torch.Generator().manual_seed(0))
    bins = bins_of(values, classifier, N)
    assert bins.shape == (1, *classifier.grid(N).shape)
    # each band's value is shared by weights that sum to one, in float32
    torch.testing.assert_close(bins.sum(1)[:, :inside], values.sum(1)[:, :inside], rtol=0, atol=1e-5)


def test_gains_reach_the_rows_that_hear_them():
    grid = FRONT_ENDS["mel"].stft
    gain = torch.zeros(1, grid.n_freq, grid.n_frames(N))
    gain[:, 10] = 1  # 625 Hz
    columns = 1 + N // 32
    rows = feature_gain(gain, FRONT_ENDS["mel"], N, (12, columns))[0, :, 60]
    weights = FRONT_ENDS["mel"].bin_weights()
    torch.testing.assert_close(rows, weights[:, 10] / weights.sum(1), rtol=0, atol=1e-6)
    assert 1 <= (rows > 0).sum() <= 2  # triangles overlap by two
    coefficients = feature_gain(gain, FRONT_ENDS["mfcc"], N, (5, columns))[0, :, 60]
    assert (coefficients == coefficients[0]).all() and 0 < coefficients[0] < 0.1  # one bin of 63 that are heard


def test_a_gain_over_raw_samples_is_its_mean_over_frequency():
    front_end = Raw(sample_rate=8000, n_fft=128, hop_length=32)
    gain = torch.zeros(1, 65, front_end.stft.n_frames(N))
    gain[:, :, 50] = 1
    kept = feature_gain(gain, front_end, N, (1, N))[0, 0]
    assert kept[50 * 32] == pytest.approx(1.0) and kept[50 * 32 + 16] == pytest.approx(0.5)
    assert (kept > 1e-3).sum() == 63  # one frame, interpolated over a hop to either side
