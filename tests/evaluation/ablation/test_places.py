"""Regions in units of cells: as the slow twin has them, of one size everywhere, and where APEX draws its boxes."""

import pytest
import torch
from tests.evaluation.ablation import planted
from tests.reference import ablation as slow

from earmark.evaluation.ablation.places import Ground, Place, everywhere, overlap, shaped

VIEWS = ("square", "time", "frequency", "time-frequency")
PLACES = [
    Place(2, 3),
    Place(None, 0),
    Place(7, None),
    Place(0, 7, cross=True),
    Place(3.3, 4.1, 2.5, 1.7),
    Place(1.25, 2.0, 0.5, 0.75),
]


@pytest.fixture(scope="module")
def model():
    return planted.classifier()


@pytest.fixture(scope="module")
def ground(model):
    return Ground(model.geometry(planted.N), model.grid(planted.N))


def test_masks_areas_and_energies_are_those_of_the_slow_twin(model, ground):
    geometry, grid = model.geometry(planted.N), model.grid(planted.N)
    power = model.at(planted.burst()[None].double(), "stft")[0].abs().square()
    gains, areas = ground.gains(PLACES), ground.areas(PLACES)
    removed, left = ground.energies(PLACES, power)
    for i, place in enumerate(PLACES):
        mask = slow.mask(place, geometry, grid.hz.tolist(), grid.seconds.tolist())
        torch.testing.assert_close(gains[i].double(), torch.tensor(mask).double(), rtol=0, atol=1e-5)  # float32
        assert float(areas[i]) == pytest.approx(slow.area(place, geometry), rel=1e-9)
        assert float(removed[i]) == pytest.approx(slow.energy(mask, power.tolist()), rel=1e-6)
        rest = [[1 - g for g in row] for row in mask]
        assert float(left[i]) == pytest.approx(slow.energy(rest, power.tolist()), rel=1e-6)


@pytest.mark.parametrize("view", VIEWS)
def test_a_shape_has_one_area_wherever_it_lies(ground, view):
    areas = ground.areas(everywhere(view, ground.n_cells))
    # an edge keeps the area but for how it falls on whole rows and columns, and at the end of the features
    torch.testing.assert_close(areas, areas[len(areas) // 2].expand_as(areas), rtol=0.03, atol=0)


def test_a_border_is_where_apex_draws_it(model, ground):
    box = model.geometry(planted.N).box(2, 3)
    gain, grid = ground.gains([Place(2, 3)])[0], model.grid(planted.N)
    inside = (grid.hz[:, None] > box.low_hz) & (grid.hz[:, None] < box.high_hz)
    inside = inside & (grid.seconds > box.start_s) & (grid.seconds < box.end_s)
    row, column = gain[40], gain[:, 28]  # through the middle of the cell
    assert ((row > 0.5) == inside[40]).all() and ((column > 0.5) == inside[:, 28]).all()


def test_a_region_that_ends_with_the_features_has_no_edge_there(ground):
    first = ground.gains([shaped("frequency", 0, None)])[0, :, 0]
    assert first[0] == 1 and 0 < first[16] < 1 and first[30] == 0


def test_a_cross_is_a_row_and_a_column_taken_out_one_after_the_other(ground):
    row, column, cross = ground.gains([Place(2, None), Place(None, 3), Place(2, 3, cross=True)])
    torch.testing.assert_close(1 - cross, (1 - row) * (1 - column), rtol=0, atol=1e-6)  # float32


def test_overlap_is_one_for_itself_and_nothing_far_away(ground):
    gains = ground.gains([Place(2, 3), Place(6, 6)])
    assert overlap(gains, gains[0]).tolist() == [1.0, 0.0]
