"""The commands as a user calls them, each in a process of its own; `cold` ones load torch by themselves, too."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import earmark as em
from earmark.classifiers.load import WEIGHTS
from earmark.cli.lazy import COMMANDS, real


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    em.scenes(1, 7)[0].source().save(folder / "scene.wav")
    return folder / "scene.wav"


def write_noise(path, seconds=1.0, rate=22050, channels=1, seed=0):
    samples = 0.1 * np.random.default_rng(seed).standard_normal((int(seconds * rate), channels))
    soundfile.write(path, samples.astype(np.float32), rate)
    return path


def test_help_is_instant_and_imports_nothing_heavy(cold):
    best = min(cpu_seconds(lambda: cold("--help")) for _ in range(3))
    assert best < 0.5  # the promise, in seconds of a processor: others may have the cores while tests run
    code = "import sys, earmark.cli.root; print([m for m in ('torch', 'numpy', 'matplotlib') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name):
    command = real(name)
    assert command.name == name and command.help.splitlines()[0] == COMMANDS[name][1]


def cpu_seconds(function):
    """Returns the processor time of the processes that a call runs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    function()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_explain_writes_a_page_and_says_where(run_json, scene, tmp_path):
    said = run_json("explain", scene, "--classifier", "scenes-cnn", "--target", "chirp_up", "--out", tmp_path / "out")
    (entry,) = said["explained"]
    assert said["failed"] == []
    assert entry["page"] == str(tmp_path / "out" / "index.html")
    about = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert about["target"]["label"] == "chirp_up"
    assert about["regions"] == entry["explanations"][0]["regions"]
    assert {"start_s", "end_s", "low_hz", "high_hz", "weight", "label"} <= set(about["regions"][0])


def test_every_label_that_was_heard_gets_a_folder_of_its_own(run_json, scene, tmp_path):
    said = run_json("explain", scene, "--classifier", "scenes-cnn", "--out", tmp_path / "out")
    explanations = said["explained"][0]["explanations"]
    prediction = em.load_classifier("scenes-cnn").predict(em.read(scene))
    assert tuple(e["target"] for e in explanations) == prediction.decided
    assert len(explanations) > 1  # the scene of seed 7 has three events
    assert run_json("info", tmp_path / "out")["folders"] == [e["target"] for e in explanations]
    assert all((tmp_path / "out" / e["target"] / "explanation.json").is_file() for e in explanations)
    run_json("explain", scene, "--classifier", "scenes-cnn", "--target", "siren", "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "explanation.json").read_text())["target"]["label"] == "siren"
    assert not any((tmp_path / "out" / e["target"]).exists() for e in explanations)  # nothing stale stays


def test_bad_files_among_good_ones_are_named_and_skipped(run, tmp_path):
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    write_noise(sounds / "a good.wav")
    write_noise(sounds / "b stereo.flac", rate=44100, channels=2)
    (sounds / "broken.wav").write_bytes(b"RIFF but no more")
    (sounds / "empty.mp3").write_bytes(b"")
    done = run("explain", sounds, "--target", "dog", "--out", tmp_path / "out", "--json")
    said = json.loads(done.stdout)
    assert len(said["explained"]) == 2
    assert {entry["input"].rsplit("/", 1)[1] for entry in said["failed"]} == {"broken.wav", "empty.mp3"}
    assert "broken.wav" in done.stderr and "empty.mp3" in done.stderr
    run("explain", sounds, "--target", "dog", "--out", tmp_path / "again", "--strict", code=2)


def test_nothing_explained_is_exit_code_2(run, tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    done = run("explain", tmp_path / "text.wav", "--out", tmp_path / "out", code=2)
    assert "text.wav" in done.stderr
    assert not (tmp_path / "out").exists()


def test_long_clips_are_refused_before_decoding_with_the_remedy(run, tmp_path):
    path = tmp_path / "hour.wav"
    with soundfile.SoundFile(path, "w", 8000, 1, subtype="PCM_U8") as file:
        for _ in range(60):
            file.write(np.zeros(8000 * 60, np.float32))
    done = run("explain", path, "--out", tmp_path / "out", code=2)
    assert "3600.0 s" in done.stderr and "--start" in done.stderr and "--end" in done.stderr
    run("explain", path, "--start", "10", "--end", "12", "--out", tmp_path / "part")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--classifier", "no-such"], ["no-such", "esc10-cnn"]),
        (["--target", "dgo"], ["dgo", "dog"]),
        (["--explainer", "/nowhere"], ["/nowhere", "earmark fit apex"]),
        (["--mode", "loud"], ["loud", "signed"]),
        (["--against", "dog", "--target", "dog"], ["dog", "different"]),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, tmp_path, arguments, words):
    sound = write_noise(tmp_path / "noise.wav")
    done = run("explain", sound, "--out", tmp_path / "out", *arguments, code=2)
    assert all(word in done.stderr for word in words)


def test_a_run_is_repeated_from_its_params(run_json, tmp_path):
    sound = write_noise(tmp_path / "noise.wav")
    run_json("explain", sound, "--target", "rain", "--top", "2", "--out", tmp_path / "first")
    run_json("explain", sound, "--params", tmp_path / "first" / "run.json", "--out", tmp_path / "second")
    first, second = (json.loads((tmp_path / n / "explanation.json").read_text()) for n in ("first", "second"))
    assert first == second
    assert len(second["evidence"]["channels"]) == 2


def test_results_for_people_go_to_standard_output(cold):
    for arguments, words in ((["info", "esc10-cnn"], "what: classifier"), (["verify", "esc10-cnn"], "ok   module")):
        done = cold(*arguments)
        assert words in done.stdout and done.stderr == ""


def test_verify_passes_for_what_is_embedded(run_json):
    for name in ("esc10-cnn", "scenes-cnn", "words-cnn"):
        said = run_json("verify", name, "--explainer", "apex")
        assert said["ok"] and said["tier"] == "T1"
        values = {check["name"]: check["value"] for check in said["checks"]}
        assert values["max |dlogit|, tapped"] == 0


def test_info_tells_what_things_are(run_json, tmp_path):
    about = run_json("info", "esc10-cnn")
    assert about["what"] == "classifier" and "apex" in about["explainers"]
    assert 500_000 <= about["parameters"] <= 2_000_000
    sound = write_noise(tmp_path / "noise.wav")
    run_json("explain", sound, "--target", "rain", "--out", tmp_path / "out")
    assert run_json("info", tmp_path / "out")["what"] == "explanation"
    assert "nothing that earmark knows" in run_json("info", tmp_path / "nowhere", code=2)["error"]


def test_demo_prints_where_its_pages_are(cold, tmp_path):
    done = cold("demo", "--out", tmp_path / "demo", "--json")
    pages = [Path(entry["page"]) for entry in json.loads(done.stdout)["explained"]]
    assert pages == [tmp_path / "demo" / "scene" / "index.html"]  # without EARMARK_DATA there is no recording
    assert all(page.is_file() and f"open {page.resolve()}" in done.stderr for page in pages)
    assert (tmp_path / "demo" / "scene.wav").is_file()
    masks = [one["mask"] for entry in json.loads(done.stdout)["explained"] for one in entry["explanations"]]
    assert all(masks) if (WEIGHTS / "scenes-cnn" / "lmac").is_dir() else not any(masks)  # shown where it is embedded


def test_train_fit_and_explain_on_data_of_ones_own(run, run_json, tmp_path):
    """The whole way on twelve-second-long data: train, fit, explain with the fitted explainer, refuse a wrong one."""
    data = tmp_path / "data"
    for label, rate in (("low", 300.0), ("high", 3000.0)):
        (data / label).mkdir(parents=True)
        for i in range(12):
            time_s = np.arange(22050) / 22050
            tone = 0.3 * np.sin(2 * np.pi * (rate + 20 * i) * time_s) * (time_s > 0.3 + 0.02 * i)
            soundfile.write(data / label / f"{i}.wav", tone.astype(np.float32), 22050)
    (data / "low" / "broken.wav").write_bytes(b"RIFF but no more")
    model, apex = tmp_path / "model", tmp_path / "apex"
    settings = ["--epochs", 3, "--clip-s", 1, "--batch-size", 8]
    trained = run("train", "classifier", "--data", data, *settings, "--out", model, "--json")
    train = json.loads(trained.stdout)
    assert list(train["skipped"]) == ["low/broken.wav"]
    assert "skipped low/broken.wav" in trained.stderr and "--group-column" in trained.stderr
    assert not list(model.glob(".*"))
    assert set(train["labels"]) == {"low", "high"}
    fit = ["fit", "apex", "--classifier", model, "--data", data, "--n-stages", 2, "--epochs-per-stage", 1]
    said = run_json(*fit, "--out", apex)
    assert said["diagnostics"]["n_backbone_passes"] > 0
    about = json.loads((apex / "config.json").read_text())["diagnostics"]
    assert {key: about[key] for key in ("data", "folds", "group_column")} == {
        "data": "data",
        "folds": None,
        "group_column": None,
    }
    options = json.loads((apex / "run.json").read_text())["options"]
    assert (options["device"], options["cache"]) == ("cpu", None)
    sound = data / "low" / "3.wav"
    explain = ["explain", sound, "--explainer", apex, "--bank-audio", data]
    done = run_json(*explain, "--classifier", model, "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["options"]["bank_audio"] == [str(data)]
    assert done["explained"][0]["label"] in ("low", "high")
    assert list((tmp_path / "out" / "prototypes").glob("*.flac"))
    wrong = run_json(*explain, "--classifier", "esc10-cnn", "--out", tmp_path / "wrong", code=2)
    assert "fingerprint" in wrong["error"]
