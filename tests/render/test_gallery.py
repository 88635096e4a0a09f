from dataclasses import replace

import pytest
import torch
from tests.store import examples

from earmark.audio.waveform import Waveform
from earmark.render import gallery


@pytest.fixture
def explanation():
    return examples.explanation("prototypes")


def test_each_training_clip_is_read_once(explanation):
    asked = []

    def find(prototype):
        asked.append(prototype.sha256)
        return examples.noise(0.5, 8000, 1) if prototype.rank == 0 else None

    evidence = replace(explanation.evidence, find_sound=find)
    twice = evidence.channels[0].prototypes * 2
    channels = (replace(evidence.channels[0], prototypes=twice, similarity=(0.5,) * 4), evidence.channels[1])
    sounds = gallery.training_sounds(replace(explanation, evidence=replace(evidence, channels=channels)))
    assert len(asked) == len(set(asked)) == 4
    assert set(sounds) == {examples.prototype(channel, 0).sha256 for channel in (0, 1)}


def test_other_evidence_has_no_training_sounds():
    assert gallery.training_sounds(examples.explanation("mask")) == {}


def test_a_sound_is_there_whole_and_around_its_regions(explanation):
    sha256 = examples.prototype(0, 0).sha256
    clip = Waveform(torch.zeros(1, 80_000), 8000)
    sounds = gallery.page_sounds(explanation, {sha256: clip})
    whole, part = sounds[sha256], sounds[f"{sha256}-part"]
    assert (whole.kind, whole.waveform.n_samples) == ("training", 80_000)
    # regions from 0 to 0.5 s: a quarter of that and 100 ms follow them
    assert (part.kind, part.start_s, part.waveform.n_samples) == ("excerpt", 0.0, round(0.725 * 8000))


@pytest.mark.parametrize("suffix", ["", "-part"])
def test_the_viewer_gets_the_sound_that_is_on_the_page(explanation, suffix):
    shown = examples.prototype(1, 1)
    data = gallery.gallery_data(explanation, {f"{shown.sha256}{suffix}": {}})
    assert [channel["overlay"] for channel in data] == ["channel-0", "channel-1"]
    assert data[1]["prototypes"][1]["sound"] == f"{shown.sha256}{suffix}"
    assert data[0]["prototypes"][0]["sound"] is None
    assert data[1]["prototypes"][1]["boxes"][0] == {"start_s": 0.1, "end_s": 0.2, "low_hz": 0.0, "high_hz": 4000.0}


def test_boxes_lie_at_their_place_in_the_picture(explanation):
    card = gallery.channel_cards(explanation, {})[0]["prototypes"][0]
    first, second = card["plot"].boxes
    assert (first["left"], first["width"]) == ("20.0000", "20.0000")  # 0.1 to 0.2 of 0.5 s
    assert (second["left"], second["width"]) == ("0.0000", "100.0000")
    assert first["bottom"] == "0.0000" and float(second["bottom"]) > 0


def test_many_prototypes_have_smaller_pictures():
    few, many = (
        gallery.channel_cards(examples.explanation("prototypes", n_prototypes=n), {})[0]["prototypes"][0]["plot"].image
        for n in (2, 17)
    )
    assert 0 < len(many) < len(few)


def test_a_channel_that_takes_away_says_so():
    cards = gallery.channel_cards(examples.explanation("prototypes", n_channels=5), {})
    assert cards[4]["sentence"].startswith("takes −1.00 of 2.60; found ")
