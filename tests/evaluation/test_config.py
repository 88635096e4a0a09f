"""Settings are refused in one sentence before any work."""

import subprocess
import sys

import pytest

from earmark.errors import InputError
from earmark.evaluation.config import EvaluateConfig


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"areas": ()}, "at least one"),
        ({"areas": (0.0, 0.1)}, "between 0 and 1"),
        ({"areas": (0.2, 0.1)}, "sort"),
        ({"areas": (0.1, 0.1)}, "different"),
        ({"reentry": ()}, "got none"),
        ({"reentry": ("stft", "stft")}, "each once"),
        ({"batch": 0}, "batch"),
        ({"seeds": ()}, "Seeds"),
        ({"seeds": (1, 1)}, "different"),
        ({"seeds": (-1,)}, "from 0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        EvaluateConfig(**changes)


def test_settings_are_plain_json():
    assert EvaluateConfig(areas=(0.1, 0.2)).to_dict() == {
        "areas": [0.1, 0.2],
        "reentry": ["waveform"],
        "soft": True,
        "insertion": True,
        "fill": "silence",
        "smooth": False,
        "seeds": [0],
        "batch": 16,
    }


def test_settings_import_no_torch():
    code = "import sys, earmark.evaluation.config; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
