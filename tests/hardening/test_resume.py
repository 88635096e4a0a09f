"""What is made again and what is not, and what killed fits leave in a cache."""

import json
import shutil
import subprocess
import sys
from itertools import cycle

import numpy as np
import pytest
import soundfile
from tests.hardening import killing
from typer.testing import CliRunner

import earmark as em
from earmark.classifiers.fit import fit_classifier
from earmark.cli.root import app
from earmark.errors import InputError, MismatchError
from earmark.explainers.apex.fit import _beyond
from earmark.run.known import known, made_from
from earmark.store.explanations import save_explanation
from earmark.training.config import LoopConfig

CLIPS = ("a/0", "a/1", "b/2", "b/3")


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    root = tmp_path_factory.mktemp("material")
    killing.make_material(root)
    assert CliRunner().invoke(app, killing.arguments("fit", root, root / "apex")).exit_code == 0
    assert CliRunner().invoke(app, killing.arguments("explain", root, root / "made" / "out")).exit_code == 0
    return root


class Desk:
    """A copy of the sounds and of a finished run, and what a rerun makes again of it."""

    def __init__(self, material, tmp_path):
        self.root, self.clips, self.out = material, tmp_path / "clips", tmp_path / "out"
        shutil.copytree(material / "clips", self.clips)
        shutil.copytree(material / "made" / "out", self.out)

    def run(self, *more, code=0):
        line = killing.arguments("explain", self.root, self.out)
        line[1] = str(self.clips)
        done = CliRunner().invoke(app, [*line, *map(str, more), "--json"])
        assert done.exit_code == code, done.stderr
        return done

    def made_again(self, *more):
        """Returns the names of the clips whose explanation was written by a rerun."""
        before = {name: self.written(name) for name in CLIPS}
        said = json.loads(self.run(*more).stdout)
        again = [name for name in CLIPS if self.written(name) != before[name]]
        fresh, kept = ({"folder", "page", "label", "prob", "explanations", "seconds", "input"} for _ in range(2))
        assert all(entry.keys() == fresh == kept for entry in said["explained"])
        return again

    def written(self, name):
        place = self.out / name / "explanation.json"
        return (place.stat().st_mtime_ns, place.stat().st_ino) if place.is_file() else None


@pytest.fixture
def desk(material, tmp_path):
    return Desk(material, tmp_path)


def test_nothing_is_made_again_and_the_same_is_said(desk):
    first = json.loads(desk.run("--fresh").stdout)["explained"]
    before = killing.tree(desk.out)
    done = desk.run()
    assert "4 of 4 were there already" in done.stderr
    again = json.loads(done.stdout)["explained"]
    assert [{**entry, "seconds": 0} for entry in again] == [{**entry, "seconds": 0} for entry in first]
    assert killing.tree(desk.out) == before
    assert desk.made_again() == []
    assert desk.made_again("--fresh") == list(CLIPS)


def test_only_a_replaced_or_added_sound_is_explained(desk):
    shutil.copyfile(desk.clips / "b" / "3.wav", desk.clips / "a" / "1.wav")
    assert desk.made_again() == ["a/1"]
    shutil.copyfile(desk.clips / "b" / "3.wav", desk.clips / "b" / "4.wav")
    assert "4 of 5 were there already" in desk.run().stderr
    shutil.rmtree(desk.out / "a" / "0")
    assert desk.made_again() == ["a/0"]


@pytest.mark.parametrize(
    "options",
    [
        ["--top", 2],
        ["--prototypes", 2],
        ["--target", "low"],
        ["--end", 0.2],
        ["--mode", "paper"],
        ["--basis", "identity"],
    ],
)
def test_other_options_make_all_again(desk, options):
    assert desk.made_again(*options) == list(CLIPS)
    assert desk.made_again(*options) == []
    assert desk.made_again() == list(CLIPS)
    assert killing.tree(desk.out).keys() == killing.tree(desk.root / "made" / "out").keys()


def test_another_explainer_or_bank_folder_makes_all_again(desk, material, tmp_path):
    shutil.copytree(material / "apex", tmp_path / "apex")
    assert desk.made_again("--explainer", tmp_path / "apex") == []  # the same files in another place
    (tmp_path / "apex" / "README.md").write_text("my own words")
    assert desk.made_again("--explainer", tmp_path / "apex") == []
    about = json.loads((tmp_path / "apex" / "config.json").read_text())
    about["config"]["seed"] += 1
    (tmp_path / "apex" / "config.json").write_text(json.dumps(about))
    assert desk.made_again("--explainer", tmp_path / "apex") == list(CLIPS)
    (tmp_path / "elsewhere").mkdir()
    assert desk.made_again("--bank-audio", tmp_path / "elsewhere") == list(CLIPS)


def test_what_is_not_whole_is_made_again(desk):
    files = [path.relative_to(desk.out / "a/0") for path in sorted((desk.out / "a/0").rglob("*")) if path.is_file()]
    damages = (bytes.upper, lambda content: content[:-1], lambda content: content + b" ", lambda _: b"")
    for file, damage in zip(files, cycle(damages), strict=False):
        path = desk.out / "a/0" / file
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        assert desk.made_again() == ["a/0"], file
        assert path.read_bytes() == whole
    (desk.out / "a/0/notes.txt").write_text("mine")
    assert desk.made_again() == []
    (desk.out / "a/0/tensors.safetensors").unlink()
    assert desk.made_again() == ["a/0"]
    assert (desk.out / "a/0/notes.txt").read_text() == "mine"


def test_failed_clips_are_tried_again(desk):
    whole = (desk.clips / "a/0.wav").read_bytes()
    (desk.clips / "a/0.wav").write_bytes(b"RIFF but no more")
    shutil.rmtree(desk.out)
    for _ in range(2):
        said = json.loads(desk.run().stdout)
        assert [entry["input"] for entry in said["failed"]] == [str(desk.clips / "a/0.wav")]
        assert len(said["explained"]) == 3
    (desk.clips / "a/0.wav").write_bytes(whole)
    assert desk.made_again() == ["a/0"]
    assert killing.differences(killing.tree(desk.out), killing.tree(desk.root / "made" / "out")) == ["run.json"]


def test_what_the_api_saved_is_nobodys_result(desk, tmp_path):
    folder = save_explanation(em.load_explanation(desk.out / "a/0"), tmp_path / "saved", page=False)
    assert known(folder, made_from(desk.clips / "a/0.wav", "settings")) is None
    assert known(folder, {}) is None and known(tmp_path / "nothing", {}) is None


def test_training_does_not_go_on_with_other_sounds(tmp_path):
    draw = np.random.default_rng(0)
    for label in ("high", "low"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(4):
            soundfile.write(tmp_path / "data" / label / f"{index}.wav", 0.1 * draw.standard_normal(9600), 32000)
    clips = list(em.folder(tmp_path / "data"))
    parts = [clips[:3] + clips[4:7], [clips[3], clips[7]]]

    def train(stop=None):
        def progress(done, _all, _values):
            if done == stop:
                raise KeyError

        options = {"clip_s": 0.3, "loop": LoopConfig(2, 3), "progress": progress, "resume_dir": tmp_path / "resume"}
        return fit_classifier(*parts, tmp_path / "model", **options)

    with pytest.raises(KeyError):
        train(stop=3)
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["checkpoint.safetensors"]
    soundfile.write(tmp_path / "data" / "low" / "0.wav", 0.1 * draw.standard_normal(9600), 32000)
    with pytest.raises(MismatchError, match="unfinished training"):
        train()
    path = tmp_path / "resume" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"damaged .* remove it to begin anew"):
        train()


def test_what_killed_fits_left_in_a_cache_is_removed_and_what_is_in_use_is_not(tmp_path):
    hold = (
        "import sys; from pathlib import Path; from earmark.explainers.apex.fit import _beyond\n"
        "with _beyond(Path(sys.argv[1])) as folder:\n    print(folder, flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", hold, tmp_path], **pipes) as other:
        theirs = other.stdout.readline().strip()
        (tmp_path / "shards").mkdir()
        (tmp_path / "shards" / ".shard-1.safetensors.part").write_text("half")
        (tmp_path / "shards" / "shard-2.safetensors").write_text("whole")
        with _beyond(tmp_path) as mine:
            assert sorted(path.name for path in tmp_path.glob(".beyond*")) == sorted([mine.name, theirs.split("/")[-1]])
            assert (tmp_path / "shards" / ".shard-1.safetensors.part").exists()  # the other may be writing it
        other.kill()
    with _beyond(tmp_path) as mine:
        assert [path.name for path in tmp_path.glob(".beyond*")] == [mine.name]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["shard-2.safetensors"]
