"""Pages, and what is asked of them in a browser."""

import math
from functools import lru_cache

import numpy as np
import torch
from tests.store import examples

from earmark.audio.waveform import Waveform
from earmark.render.page import explanation_page

RATE = 22050
PLAYER = "earmark.viewer.player"


def tone(hz, duration_s=1.0, level=0.5, rate=RATE):
    seconds = torch.arange(round(duration_s * rate)) / rate
    return Waveform((level * torch.sin(2 * math.pi * hz * seconds))[None], rate)


def page_of(kind="prototypes", waveform=None, **options):
    """Returns a page as HTML; pages of the same clip are made once."""
    return _page_of(kind, waveform, tuple(options.items()))


@lru_cache(maxsize=16)
def _page_of(kind, waveform, options):
    return explanation_page(examples.explanation(kind, waveform, **dict(options)))


def rendered(page, name):
    """Returns what the player's nodes give in an OfflineAudioContext, [channel, sample]."""
    values = page.evaluate(f"async () => (await {PLAYER}.rendered('{name}')).map((channel) => [...channel])")
    return np.array(values)


def state(page, expression):
    return page.evaluate(f"async () => {{ const viewer = earmark.viewer; return {expression}; }}")


def set_box(page, start_s, end_s, low_hz, high_hz):
    for field, value in (("start_s", start_s), ("end_s", end_s), ("low_hz", low_hz), ("high_hz", high_hz)):
        page.locator(f"[data-field={field}]").fill(str(value))
        page.locator(f"[data-field={field}]").press("Tab")


def level_db(samples, rate, low_hz, high_hz):
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / rate)
    return 10 * np.log10(power[(hz >= low_hz) & (hz <= high_hz)].sum() + 1e-20)
