"""A shortcut in real recordings: birds told apart by who recorded them, and what explanations show of it.

    python benchmarks/birds.py [--out runs/birds10] [--pages] [--epochs 40]

The same small CNN is trained twice on 100 clips of ten species: with folds that divide the recordings at random, so
that recordists are in training and test, and with folds that keep each recordist on one side. Each fold is a test fold
once; the next one chooses the epoch, the other three are learned from. Then, of test clips and their decided label:

*Song* is where a clip is 10 dB above its background: the STFT's power is smoothed over 3 x 3 bins, a band's floor is
the 20th percentile over its frames, and bins between 1 and 12 kHz that exceed it by 10 dB, and their neighbors, are
song. The rest is background; a song that fills more than four fifths of the clip in a band counts as background there.
*Outside* is the share of positive values that lies in the background, *chance* the background's share of the area,
*energy* its share of the power. *Background only*: the song's bins are lowered to their band's floor, at their own
phase. *Song only*: all other bins are set to zero. Both re-enter as sound.

*Pure by species (by recordist)*: the share of a channel's five top training clips that is of the most frequent species
(recordist), beside the same for five clips drawn at random. An APEX is fitted to each model, a clip counting as its own
recording, so that nothing keeps a channel from taking all of its prototypes from one recordist.

Trained models, explanations and sounds stay in `--out`: the recordings' license forbids to pass them on.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tables import markdown, put

import earmark as em
from earmark.audio.files import load_clip
from earmark.classifiers.config import LogMelConfig
from earmark.classifiers.fit import fit_classifier
from earmark.metrics.intervals import bootstrap
from earmark.training.config import LoopConfig

ARMS = {"recording": "folds divide recordings at random", "recordist": "folds keep recordists apart"}
CLIP_S, N_FOLDS, TOP = 6.0, 5, 5
BAND_HZ = (1000.0, 12000.0)  # where the ten species sing
SMALL = {"channels": (16, 32, 64, 128)}
METHODS = {"apex": {}, "grad-cam": {}, "integrated-gradients": {"n_steps": 16}, "energy": {}}


def clips_of(arm):
    """Returns the clips, grouped by recordist, with the folds of an arm."""
    clips = list(em.folder(Path(os.environ["EARMARK_DATA"]) / "birds10", group_column="author"))
    if arm == "recordist":
        return clips
    folds = np.random.default_rng(0).permutation(np.arange(len(clips)) % N_FOLDS) + 1
    return [replace(clip, fold=int(fold), group=clip.id) for clip, fold in zip(clips, folds, strict=True)]


@cache
def recordists():
    """Returns who recorded a clip, by its id."""
    return {clip.id: clip.group for clip in clips_of("recordist")}


def parts(arm, fold):
    """Returns the clips to learn from, to choose by and to test on."""
    clips, choose = clips_of(arm), fold % N_FOLDS + 1
    learn = [clip for clip in clips if clip.fold not in (fold, choose)]
    return learn, [clip for clip in clips if clip.fold == choose], [clip for clip in clips if clip.fold == fold]


def trained(arm, fold, out, epochs):
    """Returns the classifier of a test fold, trained unless it is there."""
    if not (out / "model" / "config.json").exists():
        learn, choose, _ = parts(arm, fold)
        known = {label for clip in learn for label in clip.labels}
        choose = [clip for clip in choose if known.issuperset(clip.labels)]  # a species may have but one recordist
        front_end = LogMelConfig(hop_length=1024)  # 32 ms
        loop = LoopConfig(epochs, batch_size=10)
        options = {"clip_s": CLIP_S, "loop": loop, "front_end": front_end, **SMALL}
        fit_classifier(learn, choose, out / "model", **options, resume_dir=out / ".resume")
        (out / ".resume" / "checkpoint.safetensors").unlink()
    return em.load_classifier(out / "model")


def fitted(classifier, arm, fold, out):
    """Returns the APEX of a classifier, fitted unless it is there."""
    if not (out / "apex" / "config.json").exists():
        learn = [replace(clip, group=clip.id) for clip in parts(arm, fold)[0]]
        em.fit_apex(classifier, learn, view="time-frequency", bank_size=TOP, near_copy_cosine=None).save(out / "apex")
    return em.load_explainer(out / "apex", classifier=classifier)


def song(power, hz):
    """Returns where a clip sings [freq, frame], and each band's floor [freq, 1]."""
    smooth = torch.nn.functional.avg_pool2d(power[None], 3, 1, 1, count_include_pad=False)[0]
    floor = smooth.quantile(0.2, dim=1, keepdim=True)
    inside = (hz >= BAND_HZ[0]) & (hz <= BAND_HZ[1])
    loud = (smooth > 10 * floor) & inside[:, None]
    return torch.nn.functional.max_pool2d(loud.float()[None], 3, 1, 1)[0] > 0, floor


def decided(classifier, stft, n_samples):
    """Returns the label of an STFT, which re-enters as sound."""
    samples = classifier.front_end.stft.inverse(stft, n_samples)
    with torch.no_grad():
        return classifier.labels[int(classifier.logits(samples).argmax())]


def measured(classifier, explainers, clip):
    """Returns what one test clip tells, as plain values."""
    waveform = load_clip(clip).mono().resample(classifier.sample_rate).fit(round(CLIP_S * classifier.sample_rate))
    stft = classifier.at(waveform, "stft")
    power = stft[0].abs().square()
    hz = torch.linspace(0, classifier.sample_rate / 2, len(power))
    sings, floor = song(power, hz)
    lowered = torch.where(sings, stft * (floor / power.clamp_min(1e-20)).sqrt().clamp_max(1), stft)
    decide = {"whole": stft, "background": lowered, "song": stft * sings}
    labels = {name: decided(classifier, values, waveform.n_samples) for name, values in decide.items()}
    below = (hz < BAND_HZ[0])[:, None].expand_as(power)
    row = {"id": clip.id, "truth": clip.labels[0], "labels": labels}
    row["chance"] = [share(torch.ones_like(power), ~sings), share(torch.ones_like(power), below)]
    for name, explainer in explainers.items():
        explanation = explainer.explain(waveform)
        values = explanation.evidence.ranking(explanation.grid).clamp_min(0)
        row[name] = [share(values, ~sings), share(values, below)]
    return row


def share(values, where):
    """Returns which share of values lies somewhere; NaN if there are none."""
    return float((values * where).sum() / values.sum()) if float(values.sum()) > 0 else float("nan")


def channels(apex, learn):
    """Returns, of each channel, species and recordists of its top clips, and the same of random clips."""
    labels = {clip.id: clip.labels[0] for clip in learn}
    tops = [[p.clip_id for p in apex.bank.of(k)] for k in range(len(apex.U))]
    rng = np.random.default_rng(0)
    random = [[learn[i].id for i in rng.choice(len(learn), TOP, replace=False)] for _ in range(1000)]

    def told(ids):
        return [[labels[i] for i in ids], [recordists()[i] for i in ids]]

    return [told(ids) for ids in tops if len(ids) == TOP], [told(ids) for ids in random]


def run(arm, fold, out, epochs):
    """Returns what a fold tells, measured unless it is there."""
    done = out / "measured.json"
    if not done.exists():
        classifier = trained(arm, fold, out, epochs)
        learn, _, test = parts(arm, fold)
        apex = fitted(classifier, arm, fold, out)
        explainers = {n: em.load_explainer(n, classifier=classifier, **o) for n, o in METHODS.items() if n != "apex"}
        rows = [measured(classifier, {"apex": apex, **explainers}, clip) for clip in test]
        known = {(clip.labels[0], recordists()[clip.id]) for clip in learn}
        for row in rows:
            row["heard"] = (row["truth"], recordists()[row["id"]]) in known
        tops, random = channels(apex, learn)
        done.write_text(json.dumps({"rows": rows, "channels": tops, "random": random}))
    return json.loads(done.read_text())


def interval(rows, value, percent=True):
    """Returns mean and 95 % interval over recordists, who are drawn with replacement, of what is no NaN."""
    if not rows:
        return "-"
    values = torch.tensor([float(value(row)) for row in rows])
    found = bootstrap(values, [recordists()[row["id"]] for row in rows])
    factor = 100 if percent else 1
    return f"{factor * found.mean:.0f} [{factor * found.low:.0f}, {factor * found.high:.0f}]"


def purity(tops, which):
    """Returns the mean share, in percent, of the most frequent species (0) or recordist (1)."""
    return 100 * float(np.mean([Counter(top[which]).most_common(1)[0][1] / len(top[which]) for top in tops]))


def percent(tops, holds):
    """Returns in which percentage of channels something holds of species and recordists."""
    return 100 * float(np.mean([holds(*map(set, top)) for top in tops]))


def accuracy_rows(found):
    """Returns lines of the table of accuracies, in percent."""
    return [
        ["test clips", *(len(rows) for rows in found)],
        ["accuracy", *(interval(rows, right("whole")) for rows in found)],
        [
            "of clips whose recordist was heard with this species",
            *(interval(heard(rows), right("whole")) for rows in found),
        ],
        ["of the others", *(interval(heard(rows, False), right("whole")) for rows in found)],
        ["accuracy, background only", *(interval(rows, right("background")) for rows in found)],
        ["accuracy, song only", *(interval(rows, right("song")) for rows in found)],
        [
            "decision unchanged, background only",
            *(interval(rows, lambda row: row["labels"]["background"] == row["labels"]["whole"]) for rows in found),
        ],
    ]


def right(part):
    """Returns the function that says whether a part of the sound is told right."""
    return lambda row: row["labels"][part] == row["truth"]


def heard(rows, wanted=True):
    """Returns the clips whose recordist was, or was not, heard with their species."""
    return [row for row in rows if row["heard"] == wanted]


def table(found):
    """Returns the section: accuracies, evidence, channels; one column for each arm."""
    rows = [[row for fold in folds for row in fold["rows"]] for folds in found]
    tops, random = ([[top for fold in folds for top in fold[key]] for folds in found] for key in ("channels", "random"))
    lines = accuracy_rows(rows)
    for column, what in ((0, "outside of the song"), (1, "below 1 kHz")):
        for name in ("chance", *METHODS):
            lines.append([f"{name}: {what}", *(interval(arm, lambda row: row[name][column]) for arm in rows)])  # noqa: B023
    for which, what in ((0, "species"), (1, "recordist")):
        lines.append(
            [
                f"channels: pure by {what} (at random)",
                *(_beside(which, *pair) for pair in zip(tops, random, strict=True)),
            ]
        )
    for what, holds in (
        ("all of one recordist", lambda s, r: len(r) == 1),
        ("of one species and several recordists", lambda s, r: len(s) == 1 and len(r) > 1),
        ("of one recordist and several species", lambda s, r: len(r) == 1 and len(s) > 1),
    ):
        lines.append(
            [
                f"channels: {what} (at random)",
                *(f"{percent(t, holds):.1f} ({percent(r, holds):.1f})" for t, r in zip(tops, random, strict=True)),
            ]
        )
    return markdown(["percent; 95 % intervals over recordists", *ARMS.values()], lines)


def _beside(which, tops, random):
    return f"{purity(tops, which):.1f} ({purity(random, which):.1f})"


def pages(out):
    """Writes pages that are only for the one who has the recordings: explanations of one fold, and both banks."""
    data = Path(os.environ["EARMARK_DATA"]) / "birds10"
    earmark = Path(sys.executable).with_name("earmark")
    for arm in ARMS:
        folder, target = out / arm / "fold-5", out / "pages" / arm
        about = ["--classifier", folder / "model", "--bank-audio", data]
        sounds = [data / clip.id for clip in parts("recordist", 5)[2][:4]]
        explain = ["explain", *sounds, *about, "--explainer", folder / "apex", "--out", target / "explained"]
        for command in (explain, ["bank", folder / "apex", *about, "--out", target / "bank"]):
            subprocess.run([str(part) for part in (earmark, *command)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/birds10"))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--folds", type=int, default=N_FOLDS, help="only the first ones, for a try")
    parser.add_argument("--pages", action="store_true", help="pages of explanations and banks, for local use")
    options = parser.parse_args()
    found = {arm: [] for arm in ARMS}
    for fold in range(1, options.folds + 1):
        for arm in ARMS:
            out = options.out / arm / f"fold-{fold}"
            out.mkdir(parents=True, exist_ok=True)
            found[arm].append(run(arm, fold, out, options.epochs))
            score = np.mean([right("whole")(row) for row in found[arm][-1]["rows"]])
            print(f"{arm}, fold {fold}: {100 * score:.0f} %", flush=True)
    if options.pages:
        pages(options.out)
    if options.folds == N_FOLDS:
        put("birds", "python benchmarks/birds.py", table(list(found.values())))
    else:
        print(table(list(found.values())))


if __name__ == "__main__":
    main()
