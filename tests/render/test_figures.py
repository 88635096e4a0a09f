import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.store import examples

from earmark.audio.waveform import Waveform
from earmark.render.figures import PLACE, Mark, draw_explanation, heat_of, marks, spectrogram_png
from earmark.render.raster import Axes
from earmark.types import Region


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def lines(marked):
    """Returns the middle of each run of marked pixels."""
    runs = np.split(marked.nonzero()[0], (np.diff(marked.nonzero()[0]) > 1).nonzero()[0] + 1)
    return [run.mean() + 0.5 for run in runs]


def test_a_box_lands_on_its_seconds_and_hertz():
    clip, width, height = Waveform(torch.zeros(1, 32000), 16000), 900, 320
    box = Region(0.5, 1.25, 500.0, 3000.0)
    size = {"size": (width, height)}
    changed = pixels(spectrogram_png(clip, regions=[box], **size)) != pixels(spectrogram_png(clip, **size))
    changed = changed.any(2)
    left, bottom, wide, high = PLACE[0] * width, PLACE[1] * height, PLACE[2] * width, PLACE[3] * height
    axes = Axes.of(clip)
    columns = lines(changed.sum(0) > 40)  # a side of the box; top and bottom are thinner than that
    rows = [height - row for row in lines(changed.sum(1) > 100)]
    assert columns == pytest.approx([left + wide * 0.25, left + wide * 0.625], abs=1)
    assert rows == pytest.approx([bottom + high * axes.y(3000), bottom + high * axes.y(500)], abs=1)


def test_heat_changes_the_picture_where_it_is():
    clip = Waveform(torch.zeros(1, 32000), 16000)
    heat = torch.zeros(128, 300)
    heat[:, :150] = 1.0
    shown = pixels(spectrogram_png(clip, heatmap=lambda axes, columns, rows: heat))
    middle = 160
    assert shown[middle, 300].max() > 60  # orange
    assert shown[middle, 700].max() == 0


def test_pictures_are_small():
    assert len(spectrogram_png(examples.scene(), title="a scene")) < 400_000


@pytest.mark.parametrize("kind", examples.KINDS)
def test_every_kind_is_drawn(kind):
    figure = draw_explanation(examples.explanation(kind))
    assert len(figure.axes) == (1 + 2 * 3 if kind == "prototypes" else 2)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert "was heard as dog" in figure.axes[0].get_title(loc="left")


def test_a_figure_says_where_sound_is_not_at_hand():
    pictures = {examples.prototype(0, 0).sha256: torch.zeros(64, 40, dtype=torch.uint8)}
    figure = draw_explanation(examples.explanation("prototypes", find_sound=None, pictures=pictures))
    assert [len(axes.images) for axes in figure.axes] == [1, 2, 1, 0, 2, 0, 0]
    assert "sound not at hand" in [text.get_text() for axes in figure.axes for text in axes.texts]


def test_nothing_touches_pyplot():
    code = (
        "import sys; from tests.store import examples; from earmark.render.figures import draw_explanation; "
        "draw_explanation(examples.explanation('mask')); sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_boxes_of_a_channel_share_a_color_and_channels_differ():
    found = marks(examples.explanation("prototypes"))
    assert [m.tag for m in found] == ["0", "0", "1", "1"]
    assert found[0].color == found[1].color != found[2].color
    assert isinstance(found[0], Mark)


def test_attributions_reach_full_color_at_the_strongest_hundredth():
    explanation = examples.explanation("attribution")
    heat = heat_of(explanation)(Axes.of(explanation.waveform), 200, 100)
    assert float((heat.abs() > 1).float().mean()) == pytest.approx(0.01, abs=0.005)
