"""Reference methods by name: ready at once, refused in a sentence, and a folder of that name comes first."""

import pytest
from tests.classifiers import networks

from earmark.errors import InputError, ModelError
from earmark.explainers import EXPLAINERS, FITTED
from earmark.explainers.load import is_ready, load_explainer


@pytest.fixture(scope="module")
def classifier():
    return networks.wrapped(networks.gap_linear)


@pytest.mark.parametrize("name", [name for name in EXPLAINERS if name not in FITTED])
def test_every_reference_method_is_ready_and_takes_a_seed(name, classifier):
    explainer = load_explainer(name, classifier=classifier, seed=3)
    assert explainer.method == name
    assert explainer.config.seed == 3
    assert is_ready(name)
    with pytest.raises(InputError, match="frobnicate"):
        load_explainer(name, classifier=classifier, frobnicate=1)


def test_what_is_fitted_is_not_ready(classifier):
    assert not is_ready("apex")
    with pytest.raises(ModelError, match="'apex' is no explainer of Net"):
        load_explainer("apex", classifier=classifier)
    with pytest.raises(ModelError, match="did you mean 'integrated-gradients'"):
        load_explainer("integrated-gradient", classifier=classifier)


def test_a_folder_of_that_name_comes_first(classifier, tmp_path, monkeypatch):
    folder = tmp_path / "saliency"
    folder.mkdir()
    (folder / "config.json").write_text('{"kind": "saliency"}')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="holds a 'saliency', which is no fitted explainer; known are apex"):
        load_explainer("saliency", classifier=classifier)
