"""The mask that `earmark explain` puts beside the prototypes; both are embedded in a folder like the package's own."""

import json

import pytest
from tests.hardening import killing
from typer.testing import CliRunner

from earmark.classifiers.load import load_classifier
from earmark.cli.root import app
from earmark.explainers.lmac.config import LmacConfig
from earmark.explainers.lmac.decoder import Masker
from earmark.explainers.lmac.explainer import Lmac


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A classifier named `toy` to which every label counts as present, what is embedded for it, and sounds of 0.3 s."""
    root = tmp_path_factory.mktemp("material")
    killing.make_material(root)
    several = killing.TOY.replace('name="toy"', 'name="toy", task="multilabel", threshold=0.01')
    (root / "toy.py").write_text(several)
    fitted = killing.arguments("fit", root, root / "weights" / "toy" / "apex")
    assert CliRunner().invoke(app, fitted).exit_code == 0
    embed(root, root / "weights")
    return root


def embed(root, weights, **changes):
    """Writes a decoder with first weights."""
    classifier = load_classifier(f"{root / 'toy.py'}:build")
    masker = Masker.untrained(classifier, LmacConfig(width=4, **changes))
    Lmac(classifier, masker.config, masker.taps, masker.decoder).save(weights / "toy" / "lmac")


@pytest.fixture
def desk(material, tmp_path, monkeypatch):
    monkeypatch.setattr("earmark.explainers.load.WEIGHTS", material / "weights")
    return Desk(material, tmp_path / "out")


class Desk:
    """Runs `earmark explain` on one clip, into one folder."""

    def __init__(self, root, out):
        self.root, self.out = root, out

    def run(self, *options):
        """Returns what is said of the clip, and what was said on standard error."""
        model, sound = f"{self.root / 'toy.py'}:build", self.root / "clips" / "a" / "0.wav"
        line = ["explain", sound, "--classifier", model, "--top", 1, "--prototypes", 1, "--out", self.out, "--json"]
        done = CliRunner().invoke(app, list(map(str, [*line, *options])))
        assert done.exit_code == 0, done.output
        (entry,) = json.loads(done.stdout)["explained"]
        return {**entry, "seconds": 0}, done.stderr

    def masks(self, *options):
        return [one["mask"] for one in self.run(*options)[0]["explanations"]]


def written(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_label_has_its_mask_and_a_second_run_changes_no_byte(desk):
    entry, _ = desk.run()
    assert [one["target"] for one in entry["explanations"]] == ["high", "low"]
    for one in entry["explanations"]:
        folder = desk.out / one["target"]
        assert one["mask"] == str(folder / "mask")
        about = json.loads((folder / "mask" / "explanation.json").read_text())
        assert (about["target"]["label"], about["provenance"]["method"]) == (one["target"], "lmac")
        assert about["provenance"]["forward_passes"] == 3
        assert {"prob_inside", "prob_outside"} <= set(about["evidence"]["measured"])
        page = (folder / "index.html").read_text()
        assert "What is enough on its own?" in page and 'href="mask/index.html"' in page
        assert (folder / "mask" / "index.html").is_file()
    before = written(desk.out)
    again, said = desk.run()
    assert "1 of 1 were there already" in said
    assert again == entry and written(desk.out) == before


def test_it_is_made_where_an_older_run_or_damage_left_none(desk):
    low = ("--target", "low")
    assert desk.masks(*low, "--no-mask") == [None]
    assert not (desk.out / "mask").exists()
    without = written(desk.out)
    assert "were there already" in desk.run(*low, "--no-mask")[1]
    assert desk.masks(*low) == [str(desk.out / "mask")]
    (desk.out / "mask" / "evidence.flac").unlink()
    assert "were there already" not in desk.run(*low)[1]
    assert (desk.out / "mask" / "evidence.flac").is_file()
    desk.run(*low, "--no-mask")
    assert written(desk.out) == without


def test_another_decoder_makes_it_again(desk, tmp_path, monkeypatch):
    desk.run("--target", "low")
    (tmp_path / "weights" / "toy").mkdir(parents=True)
    (tmp_path / "weights" / "toy" / "apex").symlink_to(desk.root / "weights" / "toy" / "apex")
    embed(desk.root, tmp_path / "weights", seed=5)
    monkeypatch.setattr("earmark.explainers.load.WEIGHTS", tmp_path / "weights")
    assert "were there already" not in desk.run("--target", "low")[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--explainer", "apex"], ""), (["--target", "low", "--against", "high"], "one label is drawn at a time")],
)
def test_nothing_stands_beside_a_named_explainer_or_a_contrast(desk, options, said):
    entry, told = desk.run(*options)
    assert said in told and all(one["mask"] is None for one in entry["explanations"])
    assert not list(desk.out.rglob("mask"))


def test_a_mask_that_fails_is_named_costs_nothing_and_is_tried_again(desk, tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    (weights / "toy").mkdir(parents=True)
    (weights / "toy" / "apex").symlink_to(desk.root / "weights" / "toy" / "apex")
    embed(desk.root, weights, conditioned=False)  # it draws the label put first, and no other
    monkeypatch.setattr("earmark.explainers.load.WEIGHTS", weights)
    for _ in range(2):
        entry, said = desk.run()
        assert sorted(one["mask"] is None for one in entry["explanations"]) == [False, True]
        assert "0.wav: there is no mask for" in said and "This decoder was trained to explain" in said
        assert "were there already" not in said
    (weights / "toy" / "lmac" / "model.safetensors").write_bytes(b"damaged")
    for already in (False, True):
        entry, said = desk.run()
        assert "there is no mask beside the prototypes" in said
        assert all(one["mask"] is None for one in entry["explanations"])
        assert ("were there already" in said) == already
