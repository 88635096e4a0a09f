"""What cannot be explained, and what is damaged, is refused with a sentence: what came, what was expected, what to do.

The damaged folders are also read in a process without type checks, as users have it: `main`.
"""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.classifiers import networks
from tests.hardening.test_state import apex_on, noise
from torch import nn

import earmark as em
from earmark.audio.waveform import Waveform
from earmark.checks.verify import verify
from earmark.classifiers.fit import save_small
from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.load import load_classifier
from earmark.classifiers.small import SmallCnn, SmallCnnConfig
from earmark.classifiers.wrap import wrap
from earmark.errors import AudioError, EarmarkError, MismatchError, ModelError, TargetError
from earmark.explainers.apex.explainer import Apex
from earmark.explainers.load import load_explainer
from earmark.store.explanations import load_explanation

SENTENCE = re.compile(r"^\S.{20,}[.?]$", re.DOTALL)


def says(error, *words):
    """Asserts that an error is a sentence with these words in it."""
    text = str(error.value)
    assert SENTENCE.match(text), text
    assert "Traceback" not in text and "\n\n" not in text
    for word in words:
        assert word in text, text


def classifier_of(head=networks.gap_linear, **options):
    return networks.wrapped(head, **options)


# -- names ----------------------------------------------------------------------------------------------------------


def test_unknown_names_are_answered_with_near_ones():
    apex = apex_on(classifier_of())
    with pytest.raises(TargetError) as error:
        apex.explain(noise(), "aa")
    says(error, "'aa' is unknown", "did you mean", "'a'")
    with pytest.raises(TargetError) as error:
        apex.explain(noise(), 7)
    says(error, "Label 7 does not exist", "0 to 2")
    with pytest.raises(TargetError) as error:
        apex.explain(noise(), "a", against="a")
    says(error, "two different labels")
    with pytest.raises(ModelError) as error:
        load_classifier("esc10cnn")
    says(error, "did you mean 'esc10-cnn'?")
    with pytest.raises(ModelError) as error:
        load_classifier("x" * 5000)
    says(error, "neither an embedded classifier")
    with pytest.raises(ModelError) as error:
        load_classifier("esc10-cnn", treshold=0.4)
    says(error, "has no option treshold", "threshold")
    with pytest.raises(ModelError) as error:
        load_explainer("apx", classifier=apex.classifier)
    says(error, "'apx' is no explainer", "did you mean 'apex'?")
    with pytest.raises(ModelError) as error:
        load_classifier("esc10-cnn", device="gpu")
    says(error, "cannot run on 'gpu'", "cuda:0")


def test_folders_of_another_kind_are_named(tmp_path):
    apex = apex_on(classifier_of())
    apex.save(tmp_path / "apex")
    with pytest.raises(ModelError) as error:
        load_classifier(tmp_path / "apex")
    says(error, "of kind 'apex'", "small-cnn was expected")
    small_classifier(tmp_path / "small")
    with pytest.raises(ModelError) as error:
        load_explainer(tmp_path / "small", classifier=apex.classifier)
    says(error, "holds a 'small-cnn', which is no fitted explainer")


def test_what_belongs_to_another_classifier_is_refused(tmp_path):
    one, other = apex_on(classifier_of()), classifier_of(seed=5)
    one.save(tmp_path / "apex")
    with pytest.raises(MismatchError) as error:
        load_explainer(tmp_path / "apex", classifier=other)
    says(error, "was fitted to", "fit APEX to this classifier")
    with pytest.raises(MismatchError) as error:
        Apex(other, one.U, one.U_inv, one.config, one.bank, {})
    says(error, "bank was made for a classifier with fingerprint")
    with pytest.raises(MismatchError) as error:
        Apex(one.classifier, 2 * one.U, one.U_inv / 2, one.config, one.bank, {})
    says(error, "another basis U")


# -- models ---------------------------------------------------------------------------------------------------------


def net(after=None, **changes):
    """A network whose logits pass through `after`."""

    class Odd(networks.Net):
        def forward(self, x):
            logits = super().forward(x)
            return logits if after is None else after(logits)

    return networks.seeded(lambda: Odd(networks.gap_linear()))


def wrap_net(module, labels=("a", "b", "c"), front_end=None, **options):
    settings = {"map_layer": "features", "feature_axes": "CFT", "probe_s": 0.5, **options}
    return wrap(module, front_end or networks.small_front_end(), labels, **settings)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_name_verify(value):
    module = net()
    classifier = wrap_net(module)
    apex = apex_on(classifier)
    module.forward = lambda x: networks.Net.forward(module, x) * torch.tensor([1.0, 1.0, value])
    for call in (
        lambda: classifier.predict(noise()),
        lambda: apex.explain(noise()),
        lambda: apex.explain_all(noise()),
        lambda: apex.evidence(classifier.prepare(noise()), [None]),
    ):
        with pytest.raises(ModelError) as error:
            call()
        says(error, "logit of 'c'", "`earmark verify`")
    report = verify(classifier, apex)
    assert not report.ok
    assert next(check for check in report.checks if check.name == "logits that are not finite").value == 3


class Broken(LogMel):
    """A front end that spoils its features."""

    def __init__(self, spoil):
        super().__init__(sample_rate=8000, n_fft=256, hop_length=128, n_mels=16)
        self.spoil = spoil

    def from_stft(self, stft, n_samples):
        return self.spoil(super().from_stft(stft, n_samples))


def test_a_front_end_that_is_not_finite_is_refused():
    class Unfloored(LogMel):
        """The logarithm of a power without a floor."""

        def forward(self, samples):
            return (self.stft(samples).abs()[:, :16, :32] ** 2).log()

    front_end = Unfloored(sample_rate=8000, n_fft=256, hop_length=128, n_mels=16)
    classifier = wrap_net(net(), front_end=front_end)
    classifier.predict(noise())
    with pytest.raises(ModelError) as error:
        classifier.predict(Waveform(torch.zeros(4000), 8000))
    says(error, "front end", "NaN or infinite", "give it a floor")
    with pytest.raises(ModelError) as error:
        wrap_net(net(), front_end=Broken(lambda x: x * float("nan")))
    says(error, "front end", "NaN or infinite")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(ModelError) as error:
        wrap_net(net().to(dtype))
    says(error, f"parameters in {dtype}", "module.float()")


def test_double_precision_is_explained_in_double_precision():
    explanation = apex_on(wrap_net(net().double())).explain(noise())
    assert explanation.prediction.logits.dtype == torch.float64
    assert explanation.evidence.exact


@pytest.mark.parametrize(
    "after, got",
    [
        (lambda logits: (logits, logits), "returned tuple"),
        (lambda logits: {"logits": logits}, "returned dict"),
        (lambda logits: None, "returned NoneType"),
        (lambda logits: logits[0], r"returned (3,)"),
        (lambda logits: logits[:, None], r"returned (1, 1, 3)"),
        (lambda logits: logits[:, :2], r"returned (1, 2)"),
    ],
)
def test_what_is_not_logits_is_refused(after, got):
    with pytest.raises(ModelError) as error:
        wrap_net(net(after))
    says(error, got, "logits [batch, 3] were expected", "one logit per label")


def test_labels_that_do_not_fit_are_refused():
    for labels, words in (
        (("a", "b"), ["logits [batch, 2] were expected"]),
        (("a", "b", "a"), ["'a' more than once", "unique"]),
        ((), ["got none"]),
        ("abc", ["the one string 'abc'"]),
    ):
        with pytest.raises(ModelError) as error:
            wrap_net(net(), labels=labels)
        says(error, *words)


def test_modules_that_cannot_be_run_are_refused():
    with pytest.raises(ModelError) as error:
        wrap_net(nn.Sequential(nn.LazyConv2d(3, 3)), map_layer="0")
    says(error, "lazy layers", "run it once")
    with torch.inference_mode():
        module = net()
    with pytest.raises(ModelError) as error:
        wrap_net(module)
    says(error, "torch.inference_mode", "outside")
    with pytest.raises(ModelError) as error:
        wrap_net(net(), threshold=1.5)
    says(error, "probability from 0 to 1", "1.5")
    with pytest.raises(ModelError) as error:
        wrap_net(net(), map_layer="feature")
    says(error, "'feature' is no layer", "did you mean 'features'")


def test_a_head_of_another_shape_is_refused():
    with pytest.raises(ModelError) as error:
        wrap_net(net(), head=lambda maps: maps.mean((2, 3)))
    says(error, "returned (4, 6)", "logits [batch, 3] were expected")
    with pytest.raises(ModelError) as error:
        wrap_net(net(), head=nn.Linear(5, 3))
    says(error, "failed on a map of shape")


# -- clips ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes_apex():
    return load_explainer("apex", classifier=load_classifier("scenes-cnn"))


def test_silence_and_the_shortest_clips_are_explained_or_refused(scenes_apex, tmp_path):
    silence = scenes_apex.explain(Waveform(torch.zeros(2, 32000), 32000))
    assert float(silence.listen().peak) == 0.0
    silence.save(tmp_path / "silence")
    assert load_explanation(tmp_path / "silence").prediction.label == silence.prediction.label
    for n_samples, rate in ((1, 32000), (1, 8000), (2000, 32000)):  # a sample; less than one cell of 8 frames
        with pytest.raises(ModelError) as error:
            scenes_apex.explain(Waveform(torch.ones(n_samples), rate))
        says(error, "too short for the model", "use another length")
    with pytest.raises(AudioError) as error:
        scenes_apex.explain(Waveform(torch.ones(1), 655350))
    says(error, "too short to become 32000 Hz")


def test_a_clip_whose_map_is_empty_is_refused():
    """Strided slicing leaves no cell and raises nothing; the mean over no cells would be NaN."""

    class Cut(nn.Module):
        def forward(self, x):
            return x[..., 8:]

    module = net()
    module.features.append(Cut())
    module.features[0].stride = (2, 1)
    classifier = wrap_net(module)
    for call in (classifier.predict, apex_on(classifier).explain):
        with pytest.raises(ModelError) as error:
            call(noise(800))
        assert SENTENCE.match(str(error.value))
    with pytest.raises(ModelError) as error:
        classifier.tap(classifier.prepare(noise(800)))
    says(error, "empty map", "use a longer clip")


def test_no_positive_evidence_is_said_in_words(scenes_apex, tmp_path):
    """Every channel of this head takes from its label: nothing speaks for it, so nothing is heard."""
    module = net()
    with torch.no_grad():
        module.head[2].weight.fill_(-1.0)
        module.features.append(nn.ReLU())
    classifier = wrap_net(module)
    apex = apex_on(classifier)
    apex.U, apex.U_inv = torch.eye(6).double(), torch.eye(6).double()
    explanation = apex.explain(noise(), "a")
    assert bool((explanation.evidence.contributions <= 0).all())
    assert explanation.regions() == []
    assert explanation.listen().peak == 0.0
    assert torch.equal(explanation.complement().samples, explanation.waveform.samples)
    explanation.figure()
    explanation.save(tmp_path / "none")
    page = (tmp_path / "none" / "index.html").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).lower()
    assert "silent" in text or "nothing" in text or "no channel" in text
    assert (tmp_path / "none" / "regions.audacity.txt").read_text() == ""
    assert load_explanation(tmp_path / "none").regions() == []


# -- damaged folders ------------------------------------------------------------------------------------------------


def small_classifier(folder):
    folder.mkdir(parents=True)
    module = networks.seeded(lambda: SmallCnn(SmallCnnConfig(16, 3, (4, 6)))).eval()
    front_end = LogMel(sample_rate=8000, n_fft=256, hop_length=128, n_mels=16)
    save_small(folder, module, front_end, ("a", "b", "c"), "multiclass", {})
    return folder


FREE = ("diagnostics", "training", "card", "notes")  # told to people, used by nothing
WRONG = (None, "much", -1, 10**12, [], {}, True, 1.5, float("nan"))


def paths_in(values, at=()):
    """The way to every value of a nested object, two levels deep."""
    for key, value in values.items():
        yield (*at, key)
        if isinstance(value, dict) and not at:
            yield from paths_in(value, (*at, key))


def changed(values, path, value, *, drop=False):
    values = copy.deepcopy(values)
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return values


def damage_json(file):
    """Yields a name for every damage, having done it; the file is mended between two."""
    whole = file.read_text(encoding="utf-8")
    values = json.loads(whole)
    for path in paths_in(values):
        wrong = WRONG if path[0] not in FREE else WRONG[:2]
        for text, to in [("dropped", None), *((repr(w), w) for w in wrong)]:
            file.write_text(json.dumps(changed(values, path, to, drop=text == "dropped")), encoding="utf-8")
            yield f"{file.name}: {'.'.join(path)} {text}"
    for text in ("", "{", "[]", "null", '"text"', "1", "[" * 100_000, whole[: len(whole) // 2], "\ufeff{}", "{}"):
        file.write_text(text, encoding="utf-8")
        yield f"{file.name}: {text[:9]!r}"
    file.write_bytes(b"\xff\xfe\x00\x80")
    yield f"{file.name}: no text"
    file.unlink()
    yield f"{file.name}: missing"
    file.write_text(whole, encoding="utf-8")


def damage_tensors(file):
    whole = file.read_bytes()
    tensors = load_file(file)
    spoiled = {
        "empty": b"",
        "garbage": b"\x93NUMPY" * 40,
        "a huge header": (1 << 62).to_bytes(8, "little") + whole[8:],
        "cut by 9": whole[:-9],
        "cut in half": whole[: len(whole) // 2],
        "header cut": whole[:20],
        "trailing bytes": whole + b"abc",
        "zeros": bytes(len(whole)),
    }
    for name, content in spoiled.items():
        file.write_bytes(content)
        yield f"{file.name}: {name}"
    first = sorted(tensors)[0]
    other = {
        "dropped": {k: v for k, v in tensors.items() if k != first},
        "another shape": {**tensors, first: torch.zeros(2, 3, 5)},
        "a scalar": {**tensors, first: torch.zeros(())},
        "integers": {**tensors, first: tensors[first].to(torch.int8)},
        "NaN": {k: torch.full_like(v, float("nan")) if v.is_floating_point() else v for k, v in tensors.items()},
        "none": {},
    }
    for name, values in other.items():
        save_file(values, file)
        yield f"{file.name}: {first} {name}"
    file.unlink()
    yield f"{file.name}: missing"
    file.mkdir()
    yield f"{file.name}: a folder"
    file.rmdir()
    file.write_bytes(whole)


def damage_parquet(file):
    whole = file.read_bytes()
    for name, content in (("empty", b""), ("garbage", b"PAR1" + bytes(90) + b"PAR1"), ("cut", whole[:-30])):
        file.write_bytes(content)
        yield f"{file.name}: {name}"
    file.unlink()
    yield f"{file.name}: missing"
    file.write_bytes(whole)


DAMAGE = {".json": damage_json, ".safetensors": damage_tensors, ".parquet": damage_parquet}


def outcomes(folder, use):
    """What comes of every damage to a folder: `None` where it does no harm, else the error."""
    for file in sorted(p for p in folder.rglob("*") if p.suffix in DAMAGE):
        for name in DAMAGE[file.suffix](file):
            try:
                use()
                yield name, None
            except Exception as error:
                yield name, error


def bad(found):
    """The damages that ended in anything but a sentence."""
    return {
        name: f"{type(error).__name__}: {error}"
        for name, error in found
        if error is not None and not (isinstance(error, EarmarkError) and SENTENCE.match(str(error)))
    }


def use_classifier(folder):
    """Loads and runs it, so that a damage that is taken is at least harmless."""

    def use():
        load_classifier(folder).predict(noise(2000))

    return use


def use_apex(folder, classifier):
    def use():
        load_explainer(folder, classifier=classifier).explain(noise(2000))

    return use


def fitted(folder):
    """A classifier and the folder of an APEX on it, with a bank that holds prototypes."""
    classifier = classifier_of()
    clips = [em.Clip(f"clip-{i}", noise(2000, seed=i), labels=("abc"[i % 3],), group=f"g{i}") for i in range(14)]
    apex = em.fit_apex(classifier, clips, n_stages=1, epochs_per_stage=1, bank_size=1, pictures=False)
    apex.identity_bank = None
    apex.save(folder)
    return classifier


def test_a_damaged_classifier_is_refused(tmp_path):
    folder = small_classifier(tmp_path / "small")
    found = dict(outcomes(folder, use_classifier(folder)))
    assert bad(found.items()) == {}
    use_classifier(folder)()
    # what is taken: texts for people, and numbers that cannot be told from a choice
    taken = [name for name, error in found.items() if error is None]
    free = ("training", "name", "card", "schema dropped", "kind", "threshold", "std_db", "mean_db", "low_hz", "floor")
    optional = ("high_hz", "top_db", "hop_length", "sample_rate", "dropout", "area_norm", "trailing", "schema True")
    assert [name for name in taken if not any(word in name for word in (*free, *optional))] == []
    assert len(found) > 200


def test_damage_is_refused_without_type_checks():
    """Explainers, and what the types of arguments refuse in the test run: as users run it."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, __file__], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["bad"] == {}
    assert said["n"] > 500


def wrong_arguments():
    """Yields calls whose arguments are of the wrong kind."""
    for option, value in (("task", "multi"), ("map_axes", "TT"), ("feature_axes", None), ("threshold", "much")):
        yield f"wrap {option}", lambda o=option, v=value: wrap_net(net(), **{o: v})
    yield "wrap module", lambda: wrap_net("esc10-cnn")
    yield "wrap front end", lambda: wrap_net(net(), front_end=lambda x: x)
    yield "load_explainer", lambda: load_explainer("apex", classifier="esc10-cnn")


def main():
    from tempfile import TemporaryDirectory

    found = []
    with TemporaryDirectory() as name:
        small = small_classifier(Path(name) / "small")
        found += outcomes(small, use_classifier(small))
        classifier = fitted(Path(name) / "apex")
        found += outcomes(Path(name) / "apex", use_apex(Path(name) / "apex", classifier))
    wrong = {}
    for what, call in wrong_arguments():
        try:
            call()
            wrong[what] = "was taken"
        except EarmarkError as error:
            wrong |= {} if SENTENCE.match(str(error)) else {what: str(error)}
    print(json.dumps({"bad": bad(found) | wrong, "n": len(found)}))


if __name__ == "__main__":
    main()
