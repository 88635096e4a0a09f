"""Controls: other places of the same area, the same energy within a decibel, by seed, and what cannot be matched."""

from dataclasses import replace

import pytest
import torch
from tests.evaluation.ablation import planted

from earmark.evaluation.ablation.chosen import Chosen, Pick, chosen, with_view
from earmark.evaluation.ablation.config import CONTROLS, DRAWN, AblationConfig
from earmark.evaluation.ablation.controls import Scene, conditions, matched
from earmark.evaluation.ablation.places import Ground, Place, overlap, shaped
from earmark.types import Target, seeded

CONFIG = AblationConfig(draws=6)


@pytest.fixture(scope="module")
def model():
    return planted.classifier()


def scene(model, samples, view="square"):
    ground = Ground(model.geometry(planted.N), model.grid(planted.N))
    return Scene(ground, model.at(samples[None].double(), "stft")[0].abs().square(), view)


def said(view="square", place=None):
    place = place or shaped(view, *planted.CELL)
    others = tuple(Pick(k, shaped(view, k, 1)) for k in (0, 1, 3))
    return Chosen(Pick(2, place), Pick(7, shaped(view, 7, 0)), others, Pick(2, place))


def db(scene, places):
    return 10 * (scene.ground.energies(places, scene.power)[0] / scene.power.sum()).log10()


@pytest.mark.parametrize("view", ("square", "time", "frequency", "time-frequency"))
def test_a_matched_region_has_the_area_and_within_a_decibel_the_energy(model, view):
    here = scene(model, planted.two_bursts(), view)
    region = shaped(view, *planted.CELL)
    found = [pick.place for pick in matched(here, region, CONFIG, seeded(1))]
    assert len(found) == 6
    assert ((db(here, found) - db(here, [region])).abs() <= 1).all()
    areas = here.ground.areas(found) / here.ground.areas([region])
    assert ((areas - 1).abs() <= 0.05).all()
    assert (overlap(here.ground.gains(found), here.ground.gains([region])[0]) < 0.5).all()


def test_what_cannot_be_matched_is_told_and_not_dropped(model):
    alone = 1e-12 * torch.ones(planted.N)
    alone[2048:2560] = planted.burst()[1536:2048] * 4  # nothing else is as loud as this
    few = replace(CONFIG, proposals=200, within_db=0.01)
    rows = [one for one in conditions(scene(model, alone), said(), few, "x") if one.condition == "energy-matched"]
    unmatched = [one for one in rows if one.pick is None]
    assert len(rows) == len(unmatched) == 6
    quiet = scene(model, planted.burst(), "frequency")
    lonely = replace(said("frequency", shaped("frequency", 2, None)))
    rows = [one for one in conditions(quiet, lonely, CONFIG, "x") if one.condition == "energy-matched"]
    assert all((one.pick is None) == (one.failed is not None) for one in rows)


def test_controls_of_the_same_shape_are_other_cells_each_once_before_any_twice(model):
    here = scene(model, planted.two_bursts())
    rows = list(conditions(here, said(), CONFIG, "x"))
    random = [one.pick.place for one in rows if one.condition == "random"]
    assert len(set(random)) == 6 and shaped("square", *planted.CELL) not in random
    assert all((p.height, p.width) == (1, 1) and p.freq == int(p.freq) for p in random)
    counts = {name: sum(one.condition == name for one in rows) for name in CONTROLS}
    assert counts == {name: 6 if name in DRAWN else 1 for name in CONTROLS}


def test_sound_is_where_energy_is(model):
    samples = torch.zeros(planted.N)
    samples[1000:3000] = planted.two_bursts()[1000:3000]
    here = scene(model, samples, "time")
    drawn = [o.pick.place for o in conditions(here, said("time"), CONFIG, "x") if o.condition == "random-sounding"]
    assert {place.frame for place in drawn} <= {1, 2, 4, 5}  # of 8 columns, the others but the region's are silent
    assert (db(here, drawn) >= CONFIG.sound_db).all()


def test_the_loudest_place_is_where_a_region_takes_most(model):
    here = scene(model, planted.burst(cell=6, band=5, level=1.0) + planted.burst(level=0.1))
    (loudest,) = (one.pick.place for one in conditions(here, said(), CONFIG, "x") if one.condition == "loudest")
    assert loudest == Place(5, 6)


def test_draws_are_those_of_the_seed_and_the_clip(model):
    here = scene(model, planted.two_bursts())
    first, again = (list(conditions(here, said(), CONFIG, "x")) for _ in range(2))
    other = list(conditions(here, said(), replace(CONFIG, seeds=(1,)), "x"))
    elsewhere = list(conditions(here, said(), CONFIG, "y"))
    assert first == again
    for changed in (other, elsewhere):
        both = zip(first, changed, strict=True)
        assert any(a.pick != b.pick for a, b in both if a.condition in DRAWN)


VIEWS = ("square", "time", "frequency", "time-frequency")


def asked(model, cells, view="square"):
    """What APEX says of a clip whose map is `cells [channel, freq, frame]`."""
    tapped = model.tap(planted.two_bursts()[None].double())
    apex = with_view(planted.apex(model), view)
    return chosen(apex, replace(tapped, map=cells[None].to(tapped.map)), 0, Target(0, "band 0"))


@pytest.mark.parametrize("view", VIEWS)
def test_a_map_without_places_has_the_first_region_of_its_view(model, view):
    told = asked(model, torch.ones(model.tap(planted.two_bursts()[None].double()).map.shape[1:]), view)
    first = scene(model, planted.two_bursts(), view).places[0]
    assert told.top.place == told.least.place == told.identity.place == first and told.others == ()
    rows = list(conditions(scene(model, planted.two_bursts(), view), told, CONFIG, "x"))
    assert {one.failed for one in rows if one.condition == "other-channel"} == {"no other channel with a place"}


def test_another_channel_is_not_the_one_that_stands_for_a_top_channel_without_a_place(model):
    shape = model.tap(planted.two_bursts()[None].double()).map.shape[1:]
    cells = 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(0))
    cells[planted.CELL[0]] = 1.0  # the top channel is the same everywhere
    told = asked(model, cells)
    assert told.top.channel != planted.CELL[0]
    left = set(range(shape[0])) - {planted.CELL[0], told.top.channel}
    assert {pick.channel for pick in told.others} == left
