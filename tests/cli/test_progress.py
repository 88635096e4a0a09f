"""What is told of a long work where nobody watches a terminal."""

import time

import pytest

from earmark.cli import progress as progress_module
from earmark.cli.progress import progress


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress_module, "is_terminal", lambda: False)
    return now


def test_the_time_left_is_told_every_twenty_seconds(clock, capsys):
    with progress("training") as report:
        for done in range(1, 101):
            clock[0] += 1.0
            report(done, 100, {"loss": 2 / 3})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 20/100, 80 s left loss 0.6667"
    assert lines[-1] == "training: 100/100, 0 s left loss 0.6667"
    assert len(lines) == 5


def test_what_was_done_before_says_nothing_about_the_time_left(clock, capsys):
    with progress("training") as report:
        for done in range(501, 541):  # a resumed training: 40 steps in 40 s, 460 to go
            clock[0] += 1.0
            report(done, 1000)
    assert capsys.readouterr().err.splitlines()[-1] == "training: 540/1000, 8 min left"


@pytest.mark.parametrize(
    "seconds, text", [(0, "0 s"), (119, "119 s"), (121, "2 min"), (7199, "120 min"), (7201, "2 h")]
)
def test_times_have_units_that_people_use(seconds, text):
    assert progress_module._time(seconds) == text
