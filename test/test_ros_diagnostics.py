"""Errors by kind, and the texts of diagnostics."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from diagnostic_msgs.msg import DiagnosticStatus

from uniref_model.errors import ImageError
from uniref_ros.diagnostics import ErrorLog
from uniref_ros.status import make_status, plain


class Log:
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def errors(log):
    """An ErrorLog on a clock that is moved by hand."""
    errors = ErrorLog(log, clock=lambda: errors.now)
    errors.now = 1000.0
    return errors


def test_a_flood_of_one_kind_is_a_few_lines_that_say_how_many(errors, log):
    for index in range(3000):  # 100 s at 30 Hz
        errors.now += 1 / 30
        errors.report("image", f"bad {index}")
    assert 5 <= len(log.lines) <= 10
    assert "more since the last such line" in log.lines[-1]
    counts, last, fresh = errors.summary()
    assert counts == {"image": 3000} and last == "image: bad 2999" and fresh
    assert not errors.summary()[2]


def test_kinds_do_not_silence_each_other(errors, log):
    for _ in range(100):
        errors.report("image", "bad")
    errors.report("command", "unknown")
    assert log.lines[-1] == "command: unknown"


def test_a_traceback_comes_once_for_each_kind_and_type(errors, log):
    for error in (RuntimeError, RuntimeError, ValueError):
        for kind in ("left", "right"):
            try:
                raise error("broken")
            except error as caught:
                assert errors.report_exception(kind, caught) == f"internal error: {error.__name__}: broken"
    assert sum("Traceback" in line for line in log.lines) == 4
    assert errors.report_exception("left", ImageError("cut short")) == "cut short"
    assert sum("Traceback" in line for line in log.lines) == 4


def test_an_error_that_cannot_say_what_it_is_is_an_error_like_others(errors):
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert "Mute" in errors.report_exception("image", Mute())


def test_kinds_are_bounded(errors):
    for index in range(1000):
        errors.report(f"kind {index}", "bad")
    counts, _, _ = errors.summary()
    assert len(counts) <= 201 and sum(counts.values()) == 1000


NASTY = "a\nb\x1b[31mred\x07\r\u2028\u202e\udce9"


def test_no_text_holds_control_characters_or_is_endless(errors, log):
    assert plain(NASTY).isprintable() and "\\n" in plain(NASTY)
    assert len(plain("x" * 10_000_000)) < 600
    errors.report("prompt", NASTY + "x" * 100_000)
    _, last, _ = errors.summary()
    values = {f"object {NASTY}": NASTY, "y" * 5000: "x" * 10_000_000, "last error": last}
    status = make_status(NASTY, DiagnosticStatus.OK, NASTY * 1000, values)
    texts = [status.name, status.message, *log.lines]
    texts += [text for pair in status.values for text in (pair.key, pair.value)]
    assert all(text.isprintable() and len(text) < 2000 for text in texts)
