"""After every public call, also one that raises, the user's model and the process are what they were, bit for bit.

`untouched` records everything that a user could find changed. A table says how each public name is called, once so
that it succeeds and once so that it fails in the middle, and a test asserts that the table leaves no name out.
"""

import inspect
import os
import random
import shutil
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from tests.classifiers import networks
from torch import nn
from torch.nn.utils import parametrizations

import earmark as em
from earmark.audio.waveform import Waveform
from earmark.checks.verify import verify
from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.wrap import wrap
from earmark.classifiers.zero_shot import Towers, zero_shot
from earmark.errors import EarmarkError, ModelError
from earmark.explainers.apex.config import ApexConfig
from earmark.explainers.apex.explainer import Apex
from earmark.prototypes.bank import BankRules, PrototypeBank, basis_hash

LABELS = ("a", "b", "c")


class Interrupt(KeyboardInterrupt):
    """What a person's Ctrl-C is, told apart from a real one."""


# -- what is compared -----------------------------------------------------------------------------------------------


def bits(tensor):
    """The bytes of a tensor with its kind and shape, `None` for none; NaN equals NaN."""
    if tensor is None:
        return None
    return str(tensor.dtype), tuple(tensor.shape), tensor.detach().contiguous().view(-1).view(torch.uint8).tolist()


def hooks_of(part):
    """Every table of hooks of one module, by name: those that torch has today and those that it will have."""
    return {name: dict(table) for name, table in vars(part).items() if name.endswith("_hooks") and table is not None}


def about_module(module):
    parts = dict(module.named_modules())
    parameters = dict(module.named_parameters(remove_duplicate=False))
    return {
        "state_dict": {key: bits(value) for key, value in module.state_dict().items()},
        "buffers": {key: bits(value) for key, value in module.named_buffers()},
        "same tensors": {key: (id(p), p.data_ptr()) for key, p in parameters.items()},
        "kinds": {key: type(part) for key, part in parts.items()},
        "training": {key: part.training for key, part in parts.items()},
        "hooks": {key: hooks_of(part) for key, part in parts.items()},
        "requires_grad": {key: p.requires_grad for key, p in parameters.items()},
        "grad": {key: bits(p.grad) for key, p in parameters.items()},
        "tensor hooks": {key: dict(p._backward_hooks or {}) for key, p in parameters.items()},
        "names": {key: sorted(vars(part)) for key, part in parts.items()},
    }


def about_process():
    numpy = np.random.get_state(legacy=False)["state"]
    return {
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": (numpy["key"].tobytes(), numpy["pos"]),
        # the type checks of the test run draw from Python's generator: it is compared where they are off, see `main`
        "python generator": random.getstate() if __name__ == "__main__" else None,
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
        ),
        "numpy errors": np.geterr(),
        "global hooks": len(torch.nn.modules.module._global_forward_hooks),
        "warning filters": list(warnings.filters),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "path": list(sys.path),
        "threads alive": {t.name for t in threading.enumerate() if not t.daemon},
    }


def differences(before, after):
    """What is not the same, with the key where there is one."""
    flat = [
        {(what, key): v for what, values in about.items() for key, v in keyed(values).items()}
        for about in (before, after)
    ]
    missing = object()
    return [
        f"{w}: {k}" for w, k in flat[0].keys() | flat[1].keys() if not_same(*(f.get((w, k), missing) for f in flat))
    ]


def keyed(values):
    return values if isinstance(values, dict) else {"": values}


def not_same(a, b):
    return a is not b and a != b


@contextmanager
def untouched(*modules):
    """Asserts that the modules, and the process, are afterwards what they were, also if the block raises."""
    before = [about_module(module) for module in modules], about_process()
    try:
        yield
    finally:
        after = [about_module(module) for module in modules], about_process()
        found = [d for a, b in zip(before[0], after[0], strict=True) for d in differences(a, b)]
        found += differences(before[1], after[1])
        assert not found, found


def test_the_meter_sees_every_kind_of_change():
    """Each change is undone by hand, so that `untouched` is known to miss none of them."""
    module = odd_module()
    layer = module.features[0]

    def changes():
        yield "state_dict", lambda: module.features[1].running_mean.add_(1)
        yield "training", lambda: module.head.train(not module.head.training)
        yield "requires_grad", lambda: layer.bias.requires_grad_(not layer.bias.requires_grad)
        yield "grad", lambda: module.again.bias.grad.add_(1)
        yield "hooks", lambda: layer.register_forward_pre_hook(lambda *_: None)
        yield "hooks", lambda: layer.register_full_backward_hook(lambda *_: None)
        yield "torch generator", lambda: torch.rand(1)
        yield "numpy generator", lambda: np.random.rand()
        yield "environment", lambda: os.environ.update(EARMARK_TEST_OF_STATE="1")

    for what, change in changes():
        with pytest.raises(AssertionError, match=what), untouched(module):
            change()
    del os.environ["EARMARK_TEST_OF_STATE"]


# -- a model in an odd state ----------------------------------------------------------------------------------------


class Odd(nn.Module):
    """All at once: shared weights, parametrizations, in-place layers, batch norm, dropout, all kinds of chance."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            parametrizations.weight_norm(nn.Conv2d(1, 6, 3, 2, 1)),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.3),
            nn.Conv2d(6, 6, 3, 1, 1),
            nn.BatchNorm2d(6, momentum=None),
            parametrizations.spectral_norm(nn.Conv2d(6, 6, 3, 2, 1)),
        )
        self.again = nn.Conv2d(6, 6, 3, 1, 1)
        self.again.weight = self.features[4].weight  # shared
        self.head = nn.Sequential(networks.Mean(), nn.Linear(6, 3))
        self.register_buffer("unused", torch.full((2,), float("nan")))
        self.after = lambda logits: logits  # what a test does to the logits, or raises

    def forward(self, x):
        torch.rand(1), np.random.rand(), random.random()
        return self.after(self.head(self.features(x)))


def odd_module():
    """Partly in train mode, partly frozen, with gradients left from training and hooks of the user's own."""
    module = networks.seeded(Odd)
    module.train()
    module.features[1].eval()
    module.head.eval()
    for i, parameter in enumerate(module.parameters()):
        parameter.requires_grad_(i % 3 != 0)
        parameter.grad = None if i % 4 == 0 else torch.full_like(parameter, float("nan") if i == 1 else i)
    module.again.bias.grad = torch.ones_like(module.again.bias)
    module.fired = []
    module.features[0].register_forward_hook(lambda *_: module.fired.append("forward"))
    module.features[4].register_forward_hook(lambda _m, _i, output: 2 * output)  # changes what comes out
    module.features[4].register_forward_pre_hook(lambda *_: module.fired.append("pre"))
    module.features[4].register_full_backward_hook(lambda *_: module.fired.append("backward"))
    module.features[6].register_forward_hook(lambda _m, _a, _k, output: output + 0.5, with_kwargs=True)
    module.head[1].weight.requires_grad_(True).register_hook(lambda grad: grad)
    module.register_state_dict_post_hook(lambda *_: None)
    return module


def wrap_odd(module, **options):
    front_end = LogMel(sample_rate=8000, n_fft=256, hop_length=128, n_mels=16)
    settings = {"map_layer": "features", "feature_axes": "CFT", "probe_s": 0.5, **options}
    return wrap(module, front_end, LABELS, **settings)


class OddTowers(Towers):
    """The user's module as an encoder of sounds, three dimensions for its logits."""

    def __init__(self, module):
        super().__init__()
        self.sound = module

    def audio(self, features):
        return self.sound(features)

    def text(self, texts):
        return torch.eye(3)[[len(text) % 3 for text in texts]]

    def scale(self):
        return torch.ones(())


def zero_shot_odd(module):
    front_end = LogMel(sample_rate=8000, n_fft=256, hop_length=128, n_mels=16)
    settings = {"map_layer": "sound.features", "feature_axes": "CFT", "probe_s": 0.5}
    return zero_shot(OddTowers(module), front_end, ["a", "bb", "ccc"], **settings)


def apex_on(classifier):
    A = 0.2 * torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    U, U_inv = torch.matrix_exp(A), torch.matrix_exp(-A)
    bank = PrototypeBank(
        (),
        torch.zeros(0, 6, dtype=torch.float64),
        BankRules("time-frequency"),
        classifier.fingerprint,
        basis_hash(U),
        6,
        0,
    )
    return Apex(classifier, U, U_inv, ApexConfig(), bank, {})


def noise(n_samples=4000, seed=1, rate=8000):
    generator = torch.Generator().manual_seed(seed)
    return Waveform((0.2 * torch.randn(n_samples, generator=generator)).clamp(-1, 1), rate)


def other_apex(world):
    """A basis and its bank on a classifier that they do not belong to."""
    apex = world.apex
    return Apex(em.load_classifier("scenes-cnn"), apex.U, apex.U_inv, apex.config, apex.bank, {})


class World:
    """A classifier around an odd module, an explainer on it, and a place for files."""

    def __init__(self, folder):
        self.folder = folder
        self.module = odd_module()
        self.classifier = wrap_odd(self.module)
        self.apex = apex_on(self.classifier)
        self.explanation = self.apex.explain(noise())
        self.saved = self.explanation.save(folder / "saved", page=False)
        self.sound = noise().save(folder / "noise.wav")

    @contextmanager
    def breaking(self, kind):
        """Makes the module fail in a pass: `interrupt` at its second, `nan` in its logits, `error` at its first."""
        passes = []

        def after(logits):
            passes.append(1)
            if kind == "nan":
                return logits * float("nan")
            if kind == "interrupt" and len(passes) == 2:
                raise Interrupt
            if kind == "error":
                raise OSError("on purpose")
            return logits

        before, self.module.after = self.module.after, after
        try:
            yield
        finally:
            self.module.after = before


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


def clips(n=16):
    return [em.Clip(f"clip-{i}", noise(seed=i), labels=(LABELS[i % 3],), group=f"group-{i}") for i in range(n)]


QUICK = {"areas": (0.1,), "insertion": False}
REGIONS = {"views": ("time",), "draws": 1, "keep_draws": 0}
BRIEF = {"epochs": 1, "batch_size": 4}
FAST = {"n_stages": 1, "epochs_per_stage": 1, "pictures": False}


#: How each public name is called. "normal" succeeds; the others fail in the middle, as `World.breaking` says, or by
#: what they are given ("wrong"). A value that is `None` says why: no code of ours runs, or nothing can fail.
def gradient_at_the_map(world):
    """Takes a gradient inside a pass that is cut at the map."""
    with world.classifier.cut(world.classifier.prepare(noise())) as cut:
        return cut.gradient(cut.logits[:, 0])


CALLS = {
    "Apex": {"normal": lambda w: apex_on(w.classifier), "wrong": lambda w: other_apex(w)},
    "Classifier": {
        "normal": lambda w: wrap_odd(w.module).fingerprint,
        "wrong": lambda w: wrap_odd(w.module, map_layer="no"),
    },
    "Clip": {"normal": lambda w: em.Clip("a", noise())},
    "EarmarkError": {"normal": lambda w: em.EarmarkError("a")},
    "Explanation": {"normal": lambda w: repr(w.explanation)},
    "FrontEnd": {"normal": lambda w: w.classifier.front_end.to_dict()},
    "LogMel": {"normal": lambda w: em.LogMel(n_mels=8), "wrong": lambda w: em.LogMel(n_fft=16, hop_length=16)},
    "Prediction": {"normal": lambda w: w.classifier.predict(noise()).top()},
    "Region": {"normal": lambda w: em.Region(0, 1, 0, 1).to_dict()},
    "Target": {"normal": lambda w: em.Target(0, "a")},
    "Waveform": {"normal": lambda w: noise().resample(11025), "wrong": lambda w: Waveform(torch.zeros(0), 8000)},
    "ablate": {
        "normal": lambda w: em.ablate(w.classifier, clips(1), w.apex, **REGIONS),
        "interrupt": lambda w: em.ablate(w.classifier, clips(1), w.apex, **REGIONS),
        "wrong": lambda w: em.ablate(w.classifier, clips(1), "no"),
    },
    "check": {
        "normal": lambda w: em.check(w.classifier, "saliency", clips(2), ("determinism", "randomization"), seeds=(0,)),
        "interrupt": lambda w: em.check(w.classifier, "saliency", clips(2), ("randomization",), seeds=(0,)),
        "wrong": lambda w: em.check(w.classifier, "no", clips(2)),
    },
    "compare": {
        "normal": lambda w: em.compare(w.classifier, clips(1), ["saliency", "random"]),
        "interrupt": lambda w: em.compare(w.classifier, clips(1), ["saliency"]),
        "wrong": lambda w: em.compare(w.classifier, clips(1), ["no"]),
    },
    "evaluate": {
        "normal": lambda w: em.evaluate(w.classifier, clips(1), ["saliency", "random"], **QUICK),
        "interrupt": lambda w: em.evaluate(w.classifier, clips(1), ["saliency"], **QUICK),
        "wrong": lambda w: em.evaluate(w.classifier, clips(1), ["no"], **QUICK),
    },
    "fit_apex": {
        "normal": lambda w: em.fit_apex(w.classifier, clips(), **FAST),
        "interrupt": lambda w: em.fit_apex(w.classifier, clips(), **FAST),
        "error": lambda w: em.fit_apex(w.classifier, clips(), **FAST),
        "wrong": lambda w: em.fit_apex(w.classifier, clips(3), **FAST),
    },
    "fit_l2i": {
        "normal": lambda w: em.fit_l2i(w.classifier, clips(), **BRIEF, n_components=4, nmf_steps=3),
        "interrupt": lambda w: em.fit_l2i(w.classifier, clips(), **BRIEF, n_components=4, nmf_steps=3),
        "error": lambda w: em.fit_l2i(w.classifier, clips(), **BRIEF, n_components=4, nmf_steps=3),
        "wrong": lambda w: em.fit_l2i(w.classifier, clips(2), **BRIEF, n_components=4, nmf_steps=3),
    },
    "fit_lmac": {
        "normal": lambda w: em.fit_lmac(w.classifier, clips(), **BRIEF, width=4),
        "interrupt": lambda w: em.fit_lmac(w.classifier, clips(), **BRIEF, width=4),
        "error": lambda w: em.fit_lmac(w.classifier, clips(), **BRIEF, width=4),
        "wrong": lambda w: em.fit_lmac(w.classifier, clips(2), **BRIEF, width=4),
    },
    "fit_lmac_td": {
        "normal": lambda w: em.fit_lmac_td(w.classifier, clips(), **BRIEF, channels=8, width=4),
        "interrupt": lambda w: em.fit_lmac_td(w.classifier, clips(), **BRIEF, channels=8, width=4),
        "error": lambda w: em.fit_lmac_td(w.classifier, clips(), **BRIEF, channels=8, width=4),
        "wrong": lambda w: em.fit_lmac_td(w.classifier, clips(2), **BRIEF, channels=8, width=4),
    },
    "fit_lmac_zs": {
        "normal": lambda w: em.fit_lmac_zs(zero_shot_odd(w.module), clips(), **BRIEF, width=4, most_alike=1.0),
        "interrupt": lambda w: em.fit_lmac_zs(zero_shot_odd(w.module), clips(), **BRIEF, width=4, most_alike=1.0),
        "error": lambda w: em.fit_lmac_zs(zero_shot_odd(w.module), clips(), **BRIEF, width=4, most_alike=1.0),
        "wrong": lambda w: em.fit_lmac_zs(w.classifier, clips(), **BRIEF),
    },
    "folder": {"wrong": lambda w: em.folder(w.folder / "no")},
    "load_classifier": {
        "normal": lambda w: em.load_classifier("scenes-cnn"),
        "wrong": lambda w: em.load_classifier("no"),
    },
    "load_explainer": {
        "normal": lambda w: em.load_explainer(w.apex.save(w.folder / "apex"), classifier=w.classifier),
        "wrong": lambda w: em.load_explainer("no", classifier=w.classifier),
    },
    "load_explanation": {
        "normal": lambda w: em.load_explanation(w.saved),
        "wrong": lambda w: em.load_explanation(w.folder),
    },
    "read": {"normal": lambda w: em.read(w.sound), "wrong": lambda w: em.read(w.folder / "no.wav")},
    "scenes": {"normal": lambda w: em.scenes(1, seed=1)[0].source()},
    "verify": {
        "normal": lambda w: verify(w.classifier, w.apex),
        "interrupt": lambda w: verify(w.classifier),
        "error": lambda w: verify(w.classifier),
    },
    "wrap": {
        "normal": lambda w: wrap_odd(w.module),
        "interrupt": lambda w: wrap_odd(w.module),
        "error": lambda w: wrap_odd(w.module),
        "wrong": lambda w: wrap_odd(w.module, map_layer="head"),
    },
    "Classifier.predict": {
        "normal": lambda w: w.classifier.predict(noise(rate=22050)),
        "nan": lambda w: w.classifier.predict(noise()),
        "error": lambda w: w.classifier.predict(noise()),
    },
    "Classifier.prepare": {"normal": lambda w: w.classifier.prepare(noise(rate=22050))},
    "Classifier.prediction": {
        "normal": lambda w: w.classifier.prediction(torch.zeros(3)),
        "wrong": lambda w: w.classifier.prediction(torch.full((3,), float("nan"))),
    },
    "Classifier.logits": {
        "normal": lambda w: traced(w.classifier),
        "error": lambda w: traced(w.classifier),
        "wrong": lambda w: w.classifier.logits(w.classifier.stft(w.classifier.prepare(noise())), at="stft"),
    },
    "Classifier.at": {
        "normal": lambda w: [w.classifier.at(noise(), stage) for stage in ("stft", "features", "map", "logits")],
        "error": lambda w: w.classifier.at(noise(), "map"),
    },
    "Classifier.tap": {
        "normal": lambda w: w.classifier.tap(w.classifier.prepare(noise())),
        "error": lambda w: w.classifier.tap(w.classifier.prepare(noise())),
    },
    "Classifier.map_of_features": {
        "normal": lambda w: w.classifier.map_of_features(w.classifier.at(noise(), "features")),
        "error": lambda w: w.classifier.map_of_features(w.classifier.at(noise(), "features")),
    },
    "Classifier.geometry": {
        "normal": lambda w: w.classifier.geometry(4321),
        "error": lambda w: w.classifier.geometry(4568),
    },
    "Classifier.grid": {"normal": lambda w: w.classifier.grid(4000).shape},
    "Classifier.inside": {"normal": lambda w: w.classifier.inside(w.classifier.at(noise(), "map"), 4000)},
    "Classifier.with_map": {
        "normal": lambda w: w.classifier.with_map(w.classifier.map_layer),
        "wrong": lambda w: w.classifier.with_map("no such layer"),
        "error": lambda w: w.classifier.with_map(w.classifier.map_layer),
    },
    "Classifier.at_block": {"wrong": lambda w: w.classifier.at_block(1)},
    "Classifier.cut": {"normal": gradient_at_the_map, "error": gradient_at_the_map},
    "Classifier.with_labels": {"normal": lambda w: w.classifier.with_labels(["d"])},
    "Apex.explain": {
        "normal": lambda w: w.apex.explain(noise(5000, rate=44100)),
        "wrong": lambda w: w.apex.explain(noise(), "no such label"),
        "nan": lambda w: w.apex.explain(noise()),
        "error": lambda w: w.apex.explain(noise()),
        "interrupt": lambda w: w.apex.explain(noise(4100)),
    },
    "Apex.explain_all": {
        "normal": lambda w: w.apex.explain_all(noise()),
        "nan": lambda w: w.apex.explain_all(noise()),
        "error": lambda w: w.apex.explain_all(noise()),
    },
    "Apex.evidence": {
        "normal": lambda w: w.apex.evidence(w.classifier.prepare(noise()), [None]),
        "error": lambda w: w.apex.evidence(w.classifier.prepare(noise()), [None]),
    },
    "Apex.using": {"normal": lambda w: w.apex.using(top=2), "wrong": lambda w: w.apex.using(top=0)},
    "Apex.folded_logits": {
        "normal": lambda w: w.apex.folded_logits(w.classifier.prepare(noise())),
        "error": lambda w: w.apex.folded_logits(w.classifier.prepare(noise())),
    },
    "Apex.find_sound": None,  # reads files, no model
    "Apex.fits": {"normal": lambda w: type(w.apex).fits(w.classifier)},
    "Apex.ready": None,  # for methods that need no training
    "Apex.save": {"normal": lambda w: w.apex.save(w.folder / "apex-2"), "wrong": lambda w: w.apex.save(w.sound)},
    "Apex.load": {
        "normal": lambda w: Apex.load(w.apex.save(w.folder / "apex-3"), w.classifier),
        "wrong": lambda w: Apex.load(w.folder, w.classifier),
    },
    "Explanation.listen": {"normal": lambda w: w.apex.explain(noise()).listen()},
    "Explanation.complement": {"normal": lambda w: w.explanation.complement()},
    "Explanation.sounds": {"normal": lambda w: w.explanation.sounds()},
    "Explanation.regions": {"normal": lambda w: w.explanation.regions()},
    "Explanation.renamed": {"normal": lambda w: w.explanation.renamed("b")},
    "Explanation.of_part": {"normal": lambda w: w.explanation.of_part(1.0, 2.0)},
    "Explanation.save": {
        "normal": lambda w: w.explanation.save(w.folder / "page"),
        "wrong": lambda w: w.explanation.save(w.sound),
    },
    "Explanation.figure": {"normal": lambda w: w.explanation.figure()},
    "Explanation.show": {"normal": lambda w: shutil.rmtree(w.explanation.show().parent)},
    "Explanation._repr_html_": {"normal": lambda w: w.explanation._repr_html_()},
}


def traced(classifier):
    """A gradient through the model, taken outside of any call of ours."""
    samples = classifier.prepare(noise()).requires_grad_(True)
    classifier.logits(samples).sum().backward()
    assert samples.grad.abs().sum() > 0


def public_names():
    methods = {
        f"{kind.__name__}.{name}"
        for kind in (em.Classifier, em.Apex, em.Explanation)
        for name, value in inspect.getmembers(kind)
        if not name.startswith("_") and callable(value)
    }
    return methods | set(em.__all__)


def test_the_table_covers_every_public_name():
    assert public_names() - set(CALLS) == set(), "say how a new public name is called, in CALLS"
    assert set(CALLS) - public_names() == {"Explanation._repr_html_"}  # a notebook calls it


FITS = ("fit_apex", "fit_l2i", "fit_lmac", "fit_lmac_td", "fit_lmac_zs")
SLOW = (*FITS, "Explanation.figure", "Explanation.show", "Explanation._repr_html_")
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")

EVERY = [(name, kind) for name, calls in CALLS.items() for kind in calls or ()]


@pytest.fixture(autouse=True)
def without_a_display(monkeypatch):
    """So that `show` writes the page and opens no window."""
    for name in DISPLAYS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name, kind", EVERY, ids=[f"{name}-{kind}" for name, kind in EVERY])
def test_nothing_is_changed(world, name, kind):
    check(world, name, kind)


def check(world, name, kind):
    """Calls as the table says, and asserts that it ends as it should, with nothing changed."""
    call = CALLS[name][kind]
    if kind == "normal":
        with untouched(world.module):
            call(world)
        return
    expected = {"interrupt": Interrupt, "error": (OSError, EarmarkError), "nan": ModelError, "wrong": EarmarkError}
    with untouched(world.module), pytest.raises(expected[kind]), world.breaking(kind):
        call(world)


def test_nothing_is_changed_without_type_checks():
    """The same in a process as users have it; there Python's own generator is compared, too."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error", str(Path(__file__)), *(f"{n}-{k}" for n, k in EVERY if n not in SLOW)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [str(len(command) - 4)]


def main(names):
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        for name in names:
            try:
                check(world, *name.rsplit("-", 1))
            except Exception as error:
                raise AssertionError(name) from error
    print(len(names))


# -- the user's own ways --------------------------------------------------------------------------------------------


def test_the_users_hooks_fire_and_what_they_change_counts(world):
    module, classifier = world.module, world.classifier
    module.fired.clear()
    samples = classifier.prepare(noise()).requires_grad_(True)
    tapped = classifier.tap(samples)
    tapped.logits.sum().backward()
    assert {"forward", "pre", "backward"} <= set(module.fired)
    hook = next(iter(module.features[6]._forward_hooks))
    kept = module.features[6]._forward_hooks.pop(hook)
    without = classifier.tap(samples)
    module.features[6]._forward_hooks[hook] = kept
    torch.testing.assert_close(tapped.map, without.map + 0.5)
    torch.testing.assert_close(tapped.logits, classifier.logits(tapped.map, at="map"), rtol=1e-5, atol=1e-6)


def test_logits_are_those_of_the_module_in_eval_mode_whatever_its_state(world):
    module = networks.seeded(Odd).eval()
    module.features[4].register_forward_hook(lambda _m, _i, output: 2 * output)
    module.features[6].register_forward_hook(lambda _m, _i, output: output + 0.5)
    with torch.no_grad():
        expected = module(world.classifier.at(noise(), "features")[:, None])
        assert torch.equal(world.classifier.logits(world.classifier.prepare(noise())), expected)


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SURROUNDINGS = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "deterministic": deterministic,
}


@pytest.fixture(scope="module")
def plainly_explained():
    classifier = em.load_classifier("scenes-cnn")
    sound = noise(8000, rate=classifier.sample_rate)
    return sound, em.load_explainer("apex", classifier=classifier).explain(sound)


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_what_is_said_does_not_depend_on_the_users_torch_settings(plainly_explained, name):
    """Everything is loaded, probed and explained inside; and what is kept is of use outside."""
    sound, expected = plainly_explained
    with SURROUNDINGS[name](), untouched():
        classifier = em.load_classifier("scenes-cnn")
        explanation = em.load_explainer("apex", classifier=classifier).explain(sound)
        assert explanation.listen().n_samples == sound.n_samples
    assert torch.equal(explanation.prediction.logits, expected.prediction.logits)
    assert torch.equal(explanation.evidence.contributions, expected.evidence.contributions)
    assert explanation.regions() == expected.regions()
    maps = classifier.at(Waveform(sound.samples, sound.sample_rate), "map").clone().requires_grad_(True)
    classifier.logits(maps, at="map").sum().backward()
    assert maps.grad.abs().sum() > 0


def test_threads_take_turns(world):
    """Mode, hooks and generators are the process's: two threads at once would undo each other's surgery."""
    expected = world.apex.explain(noise()).prediction.logits
    wrong = []

    def work():
        for _ in range(5):
            logits = world.apex.explain(noise()).prediction.logits
            if not torch.equal(logits, expected):
                wrong.append(logits)

    with untouched(world.module):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_shared_front_end_and_head_are_restored_too():
    module = odd_module()
    head = nn.Sequential(networks.Mean(), nn.Dropout(0.5), nn.Linear(6, 3))
    module.head = head
    front_end = LogMel(sample_rate=8000, n_fft=256, hop_length=128, n_mels=16)
    front_end.train()
    with untouched(module, head, front_end):
        classifier = wrap(
            module, front_end, LABELS, map_layer="features", feature_axes="CFT", probe_s=0.5, head=module.head
        )
        logits = [classifier.logits(classifier.at(noise(), "map"), at="map") for _ in range(2)]
    assert torch.equal(*logits)


if __name__ == "__main__":
    main(sys.argv[1:])
