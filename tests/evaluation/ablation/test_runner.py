"""A planted classifier under ablation: one cell decides, and only the region on it costs the decision."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.evaluation.ablation import planted
from tests.reference import ablation as slow

from earmark.errors import DataError, InputError, ModelError
from earmark.evaluation.ablation import runner
from earmark.evaluation.ablation.config import FILLS, AblationConfig
from earmark.evaluation.ablation.rows import rows_of
from earmark.evaluation.ablation.runner import ablate, asked_of
from earmark.evaluation.ablation.table import load_ablation
from earmark.evaluation.ablation.words import reading
from earmark.explainers.load import load_explainer

SMALL = AblationConfig(views=("square",), draws=4, keep_draws=2)


@pytest.fixture(scope="module")
def model():
    return planted.classifier()


@pytest.fixture(scope="module")
def found(model):
    return ablate(model, planted.clips(), planted.apex(model), SMALL)


def rows(found, **where):
    return [row for row in found.table.to_pylist() if all(row[k] == v for k, v in where.items())]


def test_the_region_costs_the_decision_and_other_places_do_not(found):
    (region,) = {(r["freq"], r["frame"]) for r in rows(found, condition="region")}
    assert region == planted.CELL
    assert [r["flip"] for r in rows(found, condition="region", kept=False)] == [1, 1, 1]
    assert [r["flip"] for r in rows(found, condition="region", kept=True)] == [0, 0, 0]
    for control in ("random", "random-sounding", "other-channel", "least-channel", "energy-matched"):
        away = [r for r in rows(found, condition=control, kept=False) if r["failed"] is None and r["overlap"] == 0]
        assert away and not any(r["flip"] for r in away)
    kept = rows(found, condition="random", kept=True)
    assert len(kept) == 3 * 2 and all(r["flip"] for r in kept)


def test_rows_are_those_of_the_slow_twin(model, found):
    geometry, grid = model.geometry(planted.N), model.grid(planted.N)
    clip = planted.clip(0)
    samples = model.prepare(clip.source)
    spectrum = model.stft(samples)
    whole = model.logits(samples)[0].softmax(0)[0].item()
    seen = 0
    for row in rows(found, clip="clip-0"):
        if row["condition"] == "none" or row["failed"] is not None:
            continue
        place = slow_place(row)
        mask = torch.tensor(slow.mask(place, geometry, grid.hz.tolist(), grid.seconds.tolist())).to(samples)
        gain = mask if row["kept"] else 1 - mask
        logits = model.logits(model.stft.inverse(spectrum * gain, planted.N))[0]
        assert row["logit"] == pytest.approx(logits[0].item(), abs=1e-3)  # masks are float32, logits near 10
        assert row["prob"] == pytest.approx(logits.softmax(0)[0].item(), abs=1e-3)
        assert row["drop"] == pytest.approx(100 * max(0, whole - row["prob"]) / whole, abs=1e-3)
        assert row["flip"] == float(logits.argmax() != 0)
        assert row["prob_lost"] == pytest.approx(whole - row["prob"], abs=1e-6)
        seen += 1
    assert seen > 20


class slow_place:  # noqa: N801
    def __init__(self, row):
        self.freq, self.frame, self.height, self.width = (row[k] for k in ("freq", "frame", "height", "width"))
        self.cross = row["view"] == "time-frequency"


def test_energies_of_matched_rows_lie_within_a_decibel(found):
    own = {r["clip"]: r["removed_db"] for r in rows(found, condition="region", kept=False)}
    matched = [r for r in rows(found, condition="energy-matched") if r["failed"] is None]
    assert matched and all(abs(r["removed_db"] - own[r["clip"]]) <= 1 for r in matched)


def test_areas_of_controls_are_those_of_the_region(found):
    scored = [r for r in rows(found, kept=False) if r["condition"] != "none" and r["failed"] is None]
    own = next(r["area"] for r in scored if r["condition"] == "region")
    assert all(r["area"] == pytest.approx(own, rel=0.05) for r in scored)


def test_identity_is_what_an_apex_without_a_basis_points_at(model):
    mixed = ablate(model, planted.clips(), planted.apex(model, planted.mixing()), SMALL, views=("frequency",))
    plain = ablate(model, planted.clips(), planted.apex(model), SMALL, views=("frequency",))
    where = ("clip", "channel", "freq", "frame", "prob")
    theirs, own = (
        [[r[k] for k in where] for r in rows(run, condition=condition, kept=False)]
        for run, condition in ((mixed, "identity"), (plain, "region"))
    )
    assert theirs == own
    assert plain.about["explainers"]["frequency"]["fitted"] == "square"


def test_all_fills_take_the_evidence_away(model):
    run = ablate(model, planted.clips(2), planted.apex(model), SMALL, fills=tuple(FILLS), draws=1, keep_draws=0)
    lost = {f: min(r["logit_lost"] for r in rows(run, condition="region", fill=f)) for f in FILLS}
    assert all(value > 3 for value in lost.values()), lost
    assert lost["waveform"] > lost["attenuation"]


def test_clips_of_the_training_folds_are_warned_of(model, monkeypatch):
    given = [replace(clip, fold=fold) for clip, fold in zip(planted.clips(2), (1, 4), strict=True)]
    apex = planted.apex(model)
    assert ablate(model, given, apex, SMALL, draws=1, told={"data": "bursts"}).summary()["warnings"] == []
    monkeypatch.setattr(model, "card", {"data": "bursts", "folds": "1,2,3"})
    run = ablate(model, given, apex, SMALL, draws=1, told={"data": "bursts"})
    assert "1 of 2 clips are of the training folds (1,2,3)" in " ".join(reading(run.summary()))


def test_a_table_of_an_older_earmark_is_read_in_the_words_of_today(model, tmp_path):
    run = ablate(model, planted.clips(2), planted.apex(model), SMALL, fills=("attenuation",), draws=1, folder=tmp_path)
    path = tmp_path / "ablation.parquet"
    table = pq.read_table(path)
    older = pa.array(["attenuate"] * len(table))
    pq.write_table(table.set_column(table.schema.get_field_index("fill"), "fill", older), path)
    about = (tmp_path / "ablation.json").read_text()
    (tmp_path / "ablation.json").write_text(about.replace("attenuation", "attenuate"))
    read = load_ablation(tmp_path)
    assert read.table.equals(run.table) and read.about["config"] == run.about["config"]


def test_the_same_seed_gives_the_same_table_in_any_order_of_clips(model, found):
    again = ablate(model, planted.clips()[::-1], planted.apex(model), SMALL)
    assert again.table.equals(found.table)
    assert not ablate(model, planted.clips(), planted.apex(model), SMALL, seeds=(3,)).table.equals(found.table)


class KilledError(Exception):
    pass


def test_a_killed_run_goes_on_and_a_finished_one_is_read(model, tmp_path, monkeypatch):
    apex, config = planted.apex(model), AblationConfig(views=("square", "time"), draws=2, keep_draws=0)
    whole = ablate(model, planted.clips(), apex, config)

    def kill(done, total, values=None):
        raise KilledError(f"{done} of {total}")

    with pytest.raises(KilledError, match="3 of 6"):
        ablate(model, planted.clips(), apex, config, folder=tmp_path, progress=kill)
    (part,) = tmp_path.glob(".parts-*/*.parquet")
    steps, asked = [], []
    monkeypatch.setattr(runner, "rows_of", lambda *given: asked.append(given[1].config.view) or rows_of(*given))
    resumed = ablate(
        model, planted.clips(), apex, config, folder=tmp_path, progress=lambda d, t, values=None: steps.append(d)
    )
    assert steps == [3, 6] and part and asked == ["time"]  # what was finished is read
    assert resumed.table.equals(whole.table)
    assert {p.name for p in tmp_path.iterdir()} == {
        "ablation.json",
        "ablation.parquet",
        "summary.json",
        "summary.md",
    }
    times = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    read = ablate(model, planted.clips(), apex, config, folder=tmp_path)
    assert read.table.equals(whole.table) and load_ablation(tmp_path).about["key"] == read.about["key"]
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == times


def test_what_cannot_be_is_refused_before_any_work(model):
    with pytest.raises(ModelError, match="Regions of views are APEX's"):
        ablate(model, planted.clips(), load_explainer("energy", classifier=model))
    with pytest.raises(InputError, match="views are"):
        AblationConfig(views=("square", "square"))
    with pytest.raises(InputError, match="fills are"):
        AblationConfig(fills=())
    flat = planted.classifier(map_axes="T")
    with pytest.raises(ModelError, match="frequency axis"):
        asked_of(flat, planted.apex(flat), ("time", "frequency"))
    with pytest.raises(DataError, match="twice"):
        ablate(model, [planted.clip(0)] * 2, planted.apex(model))
    with pytest.raises(InputError, match="draws"):
        AblationConfig(draws=0)


def test_a_silent_clip_is_counted(model):
    silent = planted.clip(9, torch.zeros(planted.N))
    run = ablate(model, [*planted.clips(1), silent], planted.apex(model), SMALL)
    assert run.about["clips"]["excluded"] == {"silent or constant": 1} and run.about["clips"]["coverage"] == 0.5
