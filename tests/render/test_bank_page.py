import base64
import io
import json
import re
from dataclasses import replace

import markupsafe
import pytest
import soundfile
import torch
from tests.render.reading import HOSTILE, check_page
from tests.store.examples import noise, prototype

from earmark.audio.mel import band_edges_hz
from earmark.prototypes.bank import BankRules, PrototypeBank
from earmark.prototypes.overview import Weights, overview
from earmark.render.bank_clips import Material, by_priority, key_of, media_of
from earmark.render.bank_page import MOST_COLUMNS, MOST_PROTOTYPES, bank_page, fitted
from earmark.types import Region, seeded

EDGES = tuple(band_edges_hz(64, 0.0, 8000.0).tolist())
N_CHANNELS = 6


def a_bank(labels, n_channels=N_CHANNELS, size=2, **changes):
    """Returns a bank made by hand: channel k stands for label k, and every second channel shares its clips."""
    made = [
        replace(
            prototype(k, rank), label=labels[k % len(labels)], sha256=f"{k // 2:03d}-{rank}", group=f"yard {k // 2}"
        )
        for k in range(n_channels)
        for rank in range(size)
    ]
    histograms = tuple({labels[k % len(labels)]: size} for k in range(n_channels))
    means = torch.rand(len(labels), n_channels, generator=seeded(1), dtype=torch.float64)
    values = {
        "prototypes": tuple(made),
        "vectors": torch.eye(len(made), n_channels),
        "rules": BankRules("time-frequency"),
        "fingerprint": "f" * 64,
        "basis_sha256": "0" * 64,
        "n_channels": n_channels,
        "n_clips": 40,
        "class_histograms": histograms,
        "class_purity": (1.0,) * n_channels,
        "purity": (0.5,) * n_channels,
        "dead": (1,),
        "duplicates": ((0, 2),),
        "class_labels": tuple(labels),
        "class_counts": (10,) * len(labels),
        "class_means": means,
    }
    return PrototypeBank(**values | changes)


def html_escaped(text):
    return str(markupsafe.escape(text))


def told_of(bank, top=3):
    labels = bank.class_labels
    folded = torch.randn(len(labels), bank.n_channels, generator=seeded(2), dtype=torch.float64)
    weights = Weights(labels, folded, torch.zeros(len(labels), dtype=torch.float64))
    return overview(bank, labels, weights, top=top)


def material(find=None, pictures=None):
    return Material("apex", "toy", "apex", EDGES, find, pictures or {})


@pytest.fixture(scope="module")
def page():
    told = told_of(a_bank(HOSTILE))
    html = bank_page(told, material(lambda p: noise(0.5, 16000, 1)))
    return told, html, check_page(html, own_scripts=2)


def test_a_page_is_whole_escaped_and_offline(page):
    _, html, reader = page
    assert "<script>alert" not in html
    for label in HOSTILE:
        assert label in reader.text


def test_the_table_of_classes_shows_the_shares_in_percent(page):
    told, html, _ = page
    cells = re.findall(r'<td(?: class="against")? style="--h:[0-9.]+" title="([^"]*)">', html)
    columns = [int(k) for k in re.findall(r'<th scope="col"><span>(\d+)</span>', html)]
    assert len(cells) == len(columns) * len(told.classes)
    for i in range(len(told.classes)):
        for j, channel in enumerate(columns):
            percent = float(cells[i * len(columns) + j].replace("−", "-").rstrip("\u00a0%"))
            assert percent == pytest.approx(100 * float(told.shares[i, channel]), abs=0.051)  # one decimal is shown


def test_each_picture_and_each_sound_is_there_once(page):
    told, html, reader = page
    shown = [p for one in told.classes for row in one.channels for p in row.prototypes]
    assert html.count("data:image/png") == len({p.sha256 for p in shown})
    sounds = json.loads(next(script for script in reader.scripts if script.startswith("{")))
    assert len(sounds) == len({key_of(p) for p in shown}) + len({p.sha256 for p in shown})
    buttons = [attrs for attrs in reader.all("button") if "data-sound" in attrs]
    assert {attrs["data-sound"] for attrs in buttons} == sounds.keys()
    assert all(attrs["aria-label"].startswith("Play") and attrs["type"] == "button" for attrs in buttons)
    assert len(reader.of_class("pic")) == len(shown)


def test_what_to_beware_of_is_said(page):
    told, html, reader = page
    assert "active together with 2" in reader.text and "0 and 2" in reader.text
    assert told.recordings and told.shared
    rows = re.sub(r"<[^>]*>", " ", html)
    for name, channels in told.recordings.items():
        assert re.search(rf"{name}\s+{', '.join(map(str, channels))}\s", rows)
    for channel, labels in told.shared.items():
        assert re.search(rf"\s{channel}\s+{re.escape(html_escaped(labels[0]))}", rows)


def test_without_sounds_coarse_pictures_are_shown_and_nothing_can_be_clicked():
    told = told_of(a_bank(("dog", "rain")))
    pictures = {"000-0": torch.arange(64 * 40).reshape(64, 40).to(torch.uint8)}
    html = bank_page(told, material(None, pictures))
    reader = check_page(html, own_scripts=2)
    assert reader.all("button") == [] and "--bank-audio" in reader.text
    assert html.count("data:image/png") == 1
    assert all(attrs["role"] == "img" for attrs in reader.of_class("pic"))


def test_without_shares_the_page_says_why():
    told = overview(a_bank(("dog", "rain")), ("dog", "rain"), None, note="No shares: a reason.")
    reader = check_page(bank_page(told, material()), own_scripts=2)
    assert "No shares: a reason." in reader.text and reader.of_class("matrix") == []


def test_a_class_that_is_not_known_is_not_left_out():
    bank = a_bank(("dog",))
    weights = Weights(("dog", "owl"), torch.ones(2, N_CHANNELS, dtype=torch.float64), torch.zeros(2))
    told = overview(bank, ("dog", "owl"), replace(weights, bias=weights.bias.double()))
    assert "No training clip carries this label" in check_page(bank_page(told, material()), own_scripts=2).text


def test_a_page_of_hundreds_of_classes_stays_small_and_says_so():
    labels = tuple(f"class {i}" for i in range(200))
    told = told_of(a_bank(labels, 200, size=5), top=8)
    cut, notes = fitted(told)
    n_shown = sum(len(row.prototypes) for one in cut.classes for row in one.channels)
    assert len(cut.classes) == 200 and n_shown <= MOST_PROTOTYPES
    assert "too many" in notes[0]
    reader = check_page(bank_page(told, material()), own_scripts=2)
    assert "too many" in reader.text and len(reader.of_class("rows")) == 200
    assert fitted(told_of(a_bank(("dog", "rain"))))[1] == []


def test_few_columns_fit_into_the_table():
    html = bank_page(told_of(a_bank(tuple(f"c{i}" for i in range(12)), 200), top=8), material())
    assert 12 <= len(re.findall(r'<th scope="col"><span>\d+</span>', html)) <= MOST_COLUMNS


# -- sounds ---------------------------------------------------------------------------------------------------------


def decoded(uri):
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    return torch.from_numpy(samples), rate


def test_a_region_lets_hear_its_band_and_its_time_only():
    box = Region(1.0, 1.4, 1000.0, 2000.0)
    one = replace(prototype(0, 0), regions=(box,), duration_s=3.0)
    media = media_of([one], material(lambda p: noise(3.0, 44100, 2)), 10**6)
    heard = media.sounds[key_of(one)]
    samples, rate = decoded(heard.uri)
    assert rate == 24000
    # Soft edges reach a quarter of the box beyond it, and 50 ms are added.
    assert heard.start_s == pytest.approx(0.85, abs=1e-3)
    assert len(samples) / rate == pytest.approx(0.7, abs=2e-3)
    power = torch.fft.rfft(samples).abs().square()
    hz = torch.fft.rfftfreq(len(samples), 1 / rate)
    inside = power[(hz > 700) & (hz < 2300)].sum() / power.sum()
    assert inside > 0.99  # what Vorbis adds elsewhere is far below a hundredth
    assert samples.abs().max() == pytest.approx(0.5, abs=0.08)  # a quiet region is raised; Vorbis changes its peak


def test_the_strongest_prototypes_are_heard_first_where_room_is_short():
    made = [replace(prototype(k, rank), sha256=f"{k}-{rank}") for k in range(3) for rank in range(3)]
    order = by_priority(made)
    assert order[:3] == [key_of(p) for p in made if p.rank == 0]
    assert order[3:6] == [key_of(p) for p in made if p.rank == 1]
    assert order[6:9] == [key_of(p, whole=True) for p in made if p.rank == 0]
    source = material(lambda p: noise(0.5, 16000, 1))
    everything = media_of(made, source, 10**7)
    assert everything.left_out == 0 and len(everything.sounds) == 18
    images = sum(map(len, everything.images.values()))
    room = images + sum(len(everything.sounds[key].uri) for key in order[:4])
    some = media_of(made, source, room)
    assert list(some.sounds) == order[:4] and some.left_out == 14
    assert media_of(made, source, 0).sounds == {}


def test_one_clip_at_a_time_and_each_once():
    asked = []
    made = [replace(prototype(k, 0), sha256=f"{k % 2}") for k in range(6)]
    media_of(made, material(lambda p: asked.append(p.sha256)), 10**6, lambda done, every: asked.append((done, every)))
    assert asked == ["0", (1, 2), "1", (2, 2)]
