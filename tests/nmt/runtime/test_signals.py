"""Stops are noticed where Python can notice them, and nothing fails elsewhere."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from nmt.runtime.signals import stop_signals


def _before_and_within() -> tuple[object, object]:
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as stop:
        assert stop.number == 0
        return before, signal.getsignal(signal.SIGTERM)


def test_another_thread_leaves_signals_alone() -> None:
    """Only the main thread may handle them, and there they are handled."""
    with ThreadPoolExecutor(1) as pool:
        before, within = pool.submit(_before_and_within).result()
    assert before == within
    before, within = _before_and_within()
    assert before != within
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_handler_of_a_library_in_c_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python knows it as None and could not set it again."""
    known, set_ones = signal.getsignal, list[int]()
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGUSR1 else known(number))
    monkeypatch.setattr(signal, "signal", lambda number, _: set_ones.append(number))
    with stop_signals():
        assert signal.SIGTERM in set_ones
    assert signal.SIGUSR1 not in set_ones
