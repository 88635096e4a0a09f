"""A small network on ESC-10 that can be trained a hundred times: what the benchmarks that retrain share."""

import os
from dataclasses import replace
from pathlib import Path

import earmark as em
from earmark.checks.memory import Memory
from earmark.checks.retraining.material import Material, Split
from earmark.checks.retraining.outcomes import digest
from earmark.checks.retraining.removal import INTACT, no_maps, read_features, write_features
from earmark.checks.retraining.trainer import NONE, SHORT, SmallCnnTrainer, classifier_of, predicted
from earmark.classifiers.front_ends import LogMel, LogMelConfig
from earmark.classifiers.small import SmallCnn
from earmark.classifiers.wrap import wrap

FRONT_END = LogMelConfig(sample_rate=16000, n_fft=2048, hop_length=1024, n_mels=32)  # 128 ms, 64 ms
TRAINER = SmallCnnTrainer(loop=replace(SHORT, epochs=24, batch_size=32), augmentation=replace(NONE, shift=1.0))
LEARN, TEST = (1, 2, 3), (5,)


class Said:
    """Prints trainings as they are done."""

    def __call__(self, done, total, values=None):
        print(f"{done} of {total} trainings {values or ''}", flush=True)


def clips(folds):
    """Returns ESC-10 clips of folds."""
    return em.folder(Path(os.environ["EARMARK_DATA"]) / "esc10", folds=folds)


def small(folder):
    """Returns the material of a trained small network, and its test accuracy; what is trained already is read."""
    parts = Split(tuple(clips(LEARN)), tuple(clips(TEST)), "folds 1, 2, 3 train, fold 5 tests")
    labels = sorted({label for clip in parts.training for label in clip.labels})
    start = TRAINER.start(FRONT_END.n_mels, len(labels), 0).eval()
    blank = wrap(start, LogMel(FRONT_END), labels, map_layer=SmallCnn.map_layer, head=start.head)
    material = Material.of(blank, parts, 5.0, folder)
    features = folder / "intact"
    if not features.is_dir():
        write_features(material, no_maps, [INTACT], features)
    learn, test = (read_features(features, INTACT, name) for name in ("training", "test"))

    def train():
        return TRAINER.train(learn, material.training.labels, 0, folder / "small").state_dict()

    module = TRAINER.start(FRONT_END.n_mels, len(labels), 0)
    module.load_state_dict(Memory(folder, "small").tensors(f"weights-{digest(TRAINER.about())}", train))
    classifier = classifier_of(module.eval(), blank, "esc10-small")
    accuracy = (predicted(module, test).argmax(1) == material.truth).double().mean()
    return Material(classifier, material.training, material.test), float(accuracy)
