import subprocess
import sys

import pytest
from tests.reference import apex as twin

from earmark.errors import InputError
from earmark.explainers.apex.config import ApexConfig, prototype_schedule


@pytest.mark.parametrize(
    ("name", "numbers", "total"),
    [
        ("paper", (100, 89, 78, 68, 57, 47, 36, 26, 15, 5), 521),
        ("epic", (100, 90, 81, 71, 62, 52, 43, 33, 24, 14), 570),
    ],
)
def test_schedules_are_the_published_ones(name, numbers, total):
    assert prototype_schedule(name) == numbers
    assert sum(numbers) == total
    assert list(numbers) == twin.schedule(name)


def test_a_schedule_of_another_length_still_goes_from_100_to_5():
    assert prototype_schedule("paper", 20)[0] == 100
    assert prototype_schedule("paper", 20)[-1] == 5
    assert prototype_schedule("paper", 1) == (100,)


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"bank_size": 0}, "bank_size"), ({"held_out": 1.0}, "held_out"), ({"learning_rate": 0.0}, "learning_rate")],
)
def test_a_number_out_of_range_is_named(changes, word):
    with pytest.raises(InputError, match=word):
        ApexConfig(**changes)


def test_the_numbers_survive_json():
    import json

    config = ApexConfig(view="square", learning_rate=1e-2)
    assert ApexConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_schedule_is_named():
    with pytest.raises(InputError, match="paper, epic, got 'linear'"):
        prototype_schedule("linear")


def test_config_imports_without_torch():
    code = "import sys, earmark.explainers.apex.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
