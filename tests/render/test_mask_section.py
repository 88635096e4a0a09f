"""The section for the mask beside an explanation, and its sounds among the page's."""

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from tests.render.reading import HOSTILE, Reader
from tests.store import examples

from earmark.evidence import Mask
from earmark.masking import common_gain
from earmark.render.page import explanation_page
from earmark.render.words import number

NUMBERS = {"prob_inside": 0.91, "prob_outside": 0.04, "energy_kept": 0.625, "mask_mean": 0.15}


def told(waveform=None, measured=NUMBERS, **options):
    main = examples.explanation("prototypes", waveform, **options)
    mask = examples.explanation("mask", waveform, **options)
    mask = replace(mask, provenance=replace(mask.provenance, method="lmac", forward_passes=3))
    return main, replace(mask, evidence=replace(mask.evidence, measured=measured))


@pytest.fixture(scope="module")
def page():
    main, mask = told()
    html = explanation_page(main, mask)
    return main, mask, html, Reader(html)


def sounds_of(html):
    packed = json.loads(re.search(r'id="earmark-data">(.*?)</script>', html, re.DOTALL).group(1))["clip"]["sounds"]
    return {name: soundfile.read(io.BytesIO(base64.b64decode(one["data"])))[0].T for name, one in packed.items()}


def test_what_is_kept_and_what_is_left_out_is_told(page):
    _, mask, _, reader = page
    for said in ("What is enough on its own?", "L-MAC, draws a mask", "62\xa0% of the clip’s energy, its mean is 0.15"):
        assert said.replace("\xa0", " ") in reader.text
    kept, rest = (part.rms_db - mask.waveform.rms_db for part in (mask.listen(), mask.complement()))
    assert "Whole clip0.850 dBPlay" in reader.text
    assert f"Kept0.91{number(kept, 0)} dBPlay Left out0.04{number(rest, 0)} dBPlay" in reader.text
    assert "Mask beside itlmac; 3 forward passes, 0 back" in reader.text
    assert [attrs["href"] for attrs in reader.all("a")] == ["mask/index.html"]


def test_its_buttons_and_its_picture_have_names(page):
    _, _, _, reader = page
    buttons = {a["data-hear"]: a["aria-label"] for a in reader.all("button") if "data-hear" in a}
    assert buttons == {"original": "Play: Whole clip", "mask": "Play: Kept", "unmasked": "Play: Left out"}
    assert sum("with the mask for dog" in attrs["alt"] for attrs in reader.all("img")) == 1


def test_its_sound_has_the_gain_of_the_others(page):
    main, mask, html, _ = page
    found, gain = sounds_of(html), common_gain(*main.sounds().values(), *mask.sounds().values())
    assert set(found) == {"original", "evidence", "mask"}  # the rests are differences
    for name, sound in (("original", main.waveform), ("mask", mask.listen())):
        assert np.abs(found[name] - gain * sound.samples.numpy()).max() < 0.6 / 2**15  # 16 bit
    rest = found["original"] - found["mask"]
    assert np.abs(rest - gain * mask.complement().samples.numpy()).max() < 1.2 / 2**15


def test_a_page_without_a_mask_is_as_it_was():
    html = explanation_page(told()[0])
    assert "data-hear=" not in html.partition("<script")[0] and "Mask beside it" not in html
    assert set(sounds_of(html)) == {"original", "evidence"}


def test_what_was_not_measured_is_not_told():
    main, mask = told(measured={})
    text = Reader(explanation_page(main, mask)).text
    assert "What is enough on its own?" in text and "Probability is that of" not in text and "its mean is" not in text


def test_all_of_a_mask_of_zeros_is_left_out():
    main, mask = told()
    nothing = replace(mask, evidence=Mask(0 * mask.evidence.gain, mask.grid, measured=NUMBERS))
    text = Reader(explanation_page(main, nothing)).text
    assert "Kept0.91silentPlay Left out0.040 dBPlay" in text and "strongest nowhere" not in text


@pytest.mark.parametrize("nasty", HOSTILE[:2])
def test_names_are_escaped(nasty):
    html = explanation_page(*told(name=nasty, labels=(nasty, "b", "c")))
    assert html.count("<script") == 2 and "<script>alert" not in html and nasty in Reader(html).text


def test_where_there_is_little_room_its_sound_is_made_smaller_with_the_others(page):
    main, mask, html, _ = page
    small = explanation_page(main, mask, most_characters=len(html) // 2)
    assert len(small) < 0.75 * len(html) and "To keep this page small" in small
    assert set(sounds_of(small)) == {"original", "evidence", "mask"}
