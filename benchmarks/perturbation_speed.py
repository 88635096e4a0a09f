"""LIME and KernelSHAP against Captum's: the same parts, classifier and number of samples, in one run.

    python benchmarks/perturbation_speed.py [--runs 4] (about three minutes a run on two cores)
    python benchmarks/perturbation_speed.py --quick    (fewer samples; prints, writes nothing)

Captum gets the STFT magnitude with our parts as its feature mask; its forward function puts the clip's phase back,
inverts the STFT and runs the classifier: the masked clips are the same sounds. `plain passes` is what the classifier
alone takes for as many clips in batches of 16; so Captum's time over that of the plain passes is the most that any
method can gain that runs them all. A run of Captum serves one label, a run of ours all of them. The variance of
KernelSHAP's values is that over runs with other samples (ours draws pairs of opposites); Captum needs as many times our
samples for values as steady as ours.
"""

import argparse
import statistics
import time

import torch
from captum.attr import KernelShap as CaptumShap
from captum.attr import Lime as CaptumLime
from tables import markdown, put

import earmark as em
from earmark.classifiers.small import SmallCnn, SmallCnnConfig
from earmark.explainers.perturbation import Canvas
from earmark.explainers.surrogates import KernelShap, Lime
from earmark.training.loop import seeded_globals

N_PARTS = 40
METHODS = {"lime": (Lime, CaptumLime), "kernel-shap": (KernelShap, CaptumShap)}


def small():
    """Returns a network with an eighth of the multiplications of the embedded one (random weights)."""
    with seeded_globals(0):
        module = SmallCnn(SmallCnnConfig(channels=(8, 16, 32, 64)))
    return em.wrap(module, em.LogMel(), [f"label {i}" for i in range(10)], map_layer="blocks", name="small-cnn")


def timed(function):
    """Returns seconds and result."""
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def captum(method, classifier, samples, target, n_samples, per_eval):
    """Returns Captum's values on the STFT grid."""
    stft, n = classifier.stft(samples), samples.shape[-1]
    phase = torch.polar(torch.ones_like(stft.abs()), stft.angle())
    explainer = KernelShap(classifier, max_parts=N_PARTS)
    parts = explainer._parts(Canvas(classifier, samples[0], explainer.config))
    mask = parts.spread(torch.arange(parts.n_parts).float()[None]).round().long()

    def forward(magnitude):
        return classifier.logits(classifier.stft.inverse(magnitude * phase, n))

    return method(forward).attribute(
        stft.abs(), target=target, feature_mask=mask, n_samples=n_samples, perturbations_per_eval=per_eval
    )[0]


def ours(kind, classifier, samples, target, n_samples, seed=42):
    """Returns our values on the STFT grid."""
    explainer = kind(classifier, max_parts=N_PARTS, n_samples=n_samples, seed=seed)
    label = em.Target(target, classifier.labels[target])
    return explainer.evidence(samples, [label])[0].values


def plain(classifier, samples, n_samples):
    """Runs the classifier as often as it takes, and nothing else."""
    batch = samples.repeat(16, 1)
    with torch.no_grad():
        for _ in range(-(-n_samples // 16)):
            classifier.logits(batch)


def spread(values):
    """Returns the root mean variance over runs, per bin."""
    return float(torch.stack(values).var(0).mean().sqrt())


def row(name, classifier, samples, n_samples, n_runs):
    """Returns one line of the table; the ways take turns, and each ratio is that of one turn."""
    kind, method = METHODS[name]
    target = int(classifier.logits(samples)[0].argmax())
    times, values = [], {"ours": [], "captum": []}
    with seeded_globals(0):
        for seed in range(n_runs):
            base, _ = timed(lambda: plain(classifier, samples, n_samples))
            own, mine = timed(lambda s=seed: ours(kind, classifier, samples, target, n_samples, s))
            one, other = timed(lambda: captum(method, classifier, samples, target, n_samples, 1))
            many, _ = timed(lambda: captum(method, classifier, samples, target, n_samples, 32))
            times.append((base, own, one, many))
            values["ours"].append(mine)
            values["captum"].append(other)
    seconds = [statistics.median(turn) for turn in zip(*times, strict=True)]
    ratios = [statistics.median(turn[i] / turn[1] for turn in times) for i in (2, 3)]
    bound = statistics.median(turn[2] / turn[0] for turn in times)
    noise = (spread(values["captum"]) / spread(values["ours"])) ** 2 if name == "kernel-shap" else "-"
    return [classifier.name, name, *seconds, *ratios, bound, ratios[0] * len(classifier.labels), noise]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    quick = options.quick
    n_samples, n_runs = (64, 2) if quick else (500, options.runs)
    header = ["classifier", "method", "plain passes, s", "ours, s", "Captum (1 per pass), s", "Captum (32), s"]
    header += ["times faster than 1", "than 32", "most possible", "times faster for all 10 labels"]
    header += ["variance, Captum's / ours"]
    rows = []
    for classifier in (em.load_classifier("esc10-cnn"), small()):
        samples = classifier.prepare(em.scenes(1, 11)[0].source())
        rows += [row(name, classifier, samples, n_samples, n_runs) for name in METHODS]
    table = markdown(header, rows)
    if quick:
        print(table)
    else:
        put("perturbation_speed", f"python benchmarks/perturbation_speed.py --runs {n_runs}", table)


if __name__ == "__main__":
    main()
