"""Half-second clips of noise in which a tone in one of two bands decides the class, and maps that know it."""

from dataclasses import replace

import numpy as np
import torch

from earmark.audio.waveform import Waveform
from earmark.checks.memory import Memory
from earmark.checks.retraining.config import RetrainingConfig
from earmark.checks.retraining.material import Material, Split
from earmark.checks.retraining.roar import remove_and_retrain
from earmark.checks.retraining.trainer import SmallCnnTrainer
from earmark.classifiers.front_ends import LogMel, LogMelConfig
from earmark.classifiers.small import SmallCnn, SmallCnnConfig
from earmark.classifiers.wrap import wrap
from earmark.explainers.load import load_explainer
from earmark.training.config import LoopConfig
from earmark.types import Clip

RATE, N_SAMPLES = 8000, 4000
HZ = {"high": 2500.0, "low": 500.0}
FRONT_END = LogMelConfig(sample_rate=RATE, n_fft=256, hop_length=128, n_mels=16)
TRAINER = SmallCnnTrainer(SmallCnnConfig(16, 2, (4, 8)), LoopConfig(6, batch_size=8, learning_rate=0.02))
CONFIG = RetrainingConfig(taus=(0.3,), fills=("silence",), seeds=2, mask_seeds=0, clip_s=0.5)


def clips(n, start=0, labels=tuple(HZ)):
    """High and low tones in turn, of any phase."""

    def sound(i):
        generator = np.random.default_rng(start + i)
        tone = np.sin(2 * np.pi * (HZ[labels[i % 2]] * np.arange(N_SAMPLES) / RATE + generator.random()))
        return Waveform((0.1 * tone + 0.05 * generator.standard_normal(N_SAMPLES)).astype(np.float32), RATE)

    return tuple(Clip(f"{start + i:04d}", sound(i), (labels[i % 2],), group=f"g{start + i}") for i in range(n))


def material(folder, n=32):
    """Clips around a network that has learned nothing yet."""
    module = TRAINER.start(16, 2, 0).eval()
    blank = wrap(module, LogMel(FRONT_END), tuple(HZ), map_layer=SmallCnn.map_layer, head=module.head)
    return Material.of(blank, Split(clips(n), clips(24, 1000), "by hand"), 0.5, folder)


def rows(low_hz, high_hz):
    """Which bins lie between two frequencies, `[freq]`."""
    hz = torch.arange(129) * RATE / 256
    return ((hz >= low_hz) & (hz <= high_hz)).float()


def both_bands(samples):
    """Maps that mark both bands in every clip, so that their shape tells no class: a third of the bins."""
    marked = rows(200, 850) + rows(2200, 2850)
    return marked[None, :, None].expand(len(samples), -1, 33).clone()


def neither_band(samples):
    """Maps that mark all the rest."""
    return 1 - both_bands(samples)


def own_band(samples):
    """Maps that mark the band in which the clip is louder: their shape tells the class."""
    power = torch.fft.rfft(samples).abs().square()
    hz = torch.arange(power.shape[1]) * RATE / N_SAMPLES
    is_low = power[:, hz < 1500].sum(1) > power[:, hz >= 1500].sum(1)
    return torch.where(is_low[:, None], rows(200, 850), rows(2200, 2850))[:, :, None].expand(-1, -1, 33).clone()


def run(folder, maps, config=CONFIG, trainer=TRAINER, keep=False, **changes):
    """Retrains with given maps beside random ones."""
    given = material(folder)
    explainers = {name: load_explainer("random", classifier=given.classifier) for name in ("random", *maps)}
    memory = Memory(folder if keep else None, "test")
    return remove_and_retrain(
        given, explainers, trainer, replace(config, **changes), memory=memory, folder=folder / "features", maps=maps
    )


def accuracy(results, method, **wanted):
    """Returns the mean accuracy of a method's trainings on variants with these fields."""
    fits = [o for o in results.methods[method] if all(getattr(o.variant, k) == v for k, v in wanted.items())]
    return sum(o.accuracy for o in fits) / len(fits)
