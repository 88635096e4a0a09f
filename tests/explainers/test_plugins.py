"""Explainers of other packages: found by their entry points, refused in one sentence where they are broken."""

import pytest
from tests.evaluation.material import clips, toy

from earmark.errors import InputError, ModelError
from earmark.evaluation.runner import evaluate
from earmark.explainers.load import load_explainer
from earmark.explainers.plugins import plugins

MODULE = '''
import torch
from earmark.explainers.base import Explainer, Pass
from earmark.evidence import Attribution

class Loudest(Explainer):
    """The loudest bin of each frame."""

    method = "loudest"
    random = False

    def __init__(self, classifier, sign=1):
        self.classifier, self.sign = classifier, sign

    def _forward(self, samples):
        with torch.no_grad():
            return Pass(self.classifier.logits(samples), self.classifier.stft(samples).abs())

    def _evidence(self, done, index, target, n_samples):
        magnitude = done.state[index]
        return Attribution(self.sign * (magnitude == magnitude.amax(0)).float(), self.classifier.grid(n_samples))

    def _config(self):
        return {"sign": self.sign}

    @classmethod
    def load(cls, folder, classifier, **options):
        return cls(classifier, int((folder / "sign.txt").read_text()))

nothing = 3
'''
POINTS = """[earmark.explainers]
loudest = tiny_plug:Loudest
energy = tiny_plug:Loudest
gone = tiny_plug_that_is_not_there:Loudest
number = tiny_plug:nothing
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A tiny package on the path, as an installer leaves it."""
    (tmp_path / "tiny_plug.py").write_text(MODULE)
    about = tmp_path / "tiny_plug-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-plug\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_an_installed_explainer_is_scored_beside_the_others(installed):
    scores = evaluate(toy(), clips(2), ["loudest", "energy"], areas=(0.1,), insertion=False, batch=32)
    assert scores.about["explainers"]["loudest"][0]["config"] == {"sign": 1}
    assert min(scores.column("faithfulness", explainer="loudest", protocol="soft")) > 0.5
    assert "sign" not in scores.about["explainers"]["energy"][0]["config"]  # own names win


def test_its_options_and_folders_are_taken(installed, tmp_path):
    classifier = toy()
    assert load_explainer("loudest", classifier=classifier, sign=-1).sign == -1
    folder = tmp_path / "fitted"
    folder.mkdir()
    (folder / "config.json").write_text('{"kind": "loudest"}')
    (folder / "sign.txt").write_text("7")
    assert load_explainer(folder, classifier=classifier).sign == 7


@pytest.mark.parametrize(
    "name, words",
    [
        ("gone", r"'gone' of the package tiny-plug cannot be loaded \(ModuleNotFoundError"),
        ("number", "'number' of the package tiny-plug is tiny_plug:nothing, and a subclass"),
    ],
)
def test_a_broken_package_is_one_sentence_with_its_name(installed, name, words):
    with pytest.raises(ModelError, match=words):
        load_explainer(name, classifier=toy())
    with pytest.raises(ModelError, match=r"'loudest' of the package tiny-plug cannot be made .*frobnicate"):
        load_explainer("loudest", classifier=toy(), frobnicate=1)
    with pytest.raises(InputError, match="frobnicate"):
        load_explainer("energy", classifier=toy(), frobnicate=1)


def test_its_name_is_listed_and_guessed(installed):
    assert sorted(plugins()) == ["gone", "loudest", "number"]
    with pytest.raises(ModelError, match=r"all-zeros, edge, .*loudest.*did you mean 'loudest'"):
        load_explainer("loudst", classifier=toy())
