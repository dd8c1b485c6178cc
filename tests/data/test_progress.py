"""Progress lines, and how they estimate the time left."""

import pytest

from pixpro_tf.data import progress
from pixpro_tf.data.progress import Progress, counted, duration


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_time_left_follows_from_what_was_done_here(clock):
    lines = []
    working = Progress(600, "steps", done=100, print_line=lines.append)
    clock.now += 9
    working.add(40)
    assert lines == []
    clock.now += 1
    working.add(10)
    # 50 steps took ten seconds, and 450 are left.
    assert lines == ["150 of 600 steps, 1m 30s left"]
    clock.now += 5
    working.add(50)
    assert len(lines) == 1


def test_counted_items_are_the_items(clock, capsys):
    found = []
    for item in counted("abc", 3, "letters"):
        found.append(item)
        clock.now += 20
    assert found == ["a", "b", "c"]
    assert capsys.readouterr().out.splitlines() == [
        "1 of 3 letters, 40s left",
        "2 of 3 letters, 20s left",
        "3 of 3 letters, 0s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.4, "12s"), (250, "4m 10s"), (7500, "2h 05m"), (59.6, "1m 00s")]
)
def test_duration_is_formatted(seconds, text):
    assert duration(seconds) == text
