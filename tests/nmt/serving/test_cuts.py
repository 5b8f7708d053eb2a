"""A server tells of each line that was cut, as the command does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from nmt.config.search import SearchConfig
from nmt.serving.metrics import COUNTED, Metrics
from nmt.serving.tasks import Setup
from nmt.serving.work import Work
from nmt.storage.bundle import load_model
from nmt.translation.result import Options, Report
from nmt.translation.translator import Translator
from serving import model, running

LINES = ["Der Hund schläft heute nicht in Berlin.", "", "Ja", "Der Hund schläft."]


def _count(text: str, name: str) -> int:
    found = re.search(rf"^nmt_lines_{name}_total (\d+)$", text, re.M)
    assert found, name
    return int(found[1])


def test_a_server_counts_what_it_cuts(trained: Path) -> None:
    """Its counts are those of the translator's report, and each translation says for itself whether it was cut."""
    search = SearchConfig(beam=1, max_length_ratio=0, max_length_constant=1)
    alone, served = (
        Translator(load_model(trained), search=search, options=Options(max_source=3, long_lines="split"))
        for _ in range(2)
    )
    expected = [best[0].cut for best in alone.translate_n_best(LINES, 1)]
    assert True in expected
    assert False in expected
    work = Work(Setup((trained,)), {"fake": served})
    with running(work.do, [model()]) as server:
        said: list[Any] = server.ask("/v1/translate", {"text": LINES}).json["translations"]
        assert [best[0]["cut"] for best in said] == expected
        assert set(server.ask("/translate", {"q": "Ja", "source": "de", "target": "en"}).json) == {"translatedText"}
        alone.translate(["Ja"])
        text = server.ask("/metrics").body.decode()
    assert alone.report.target_cut > 0
    assert alone.report.source_split > 0
    assert {name: _count(text, name) for name in COUNTED} == {name: getattr(alone.report, name) for name in COUNTED}


def test_every_count_of_a_report_is_a_count_of_the_server() -> None:
    """Only those are left out that a server cannot have: bytes that are no text, and phrases that are demanded."""
    numbers = {item.name for item in fields(Report) if isinstance(getattr(Report(), item.name), int)}
    assert numbers - {*COUNTED} == {"lines", "replaced", "unmet"}
    assert {*COUNTED} <= numbers
    assert _count(Metrics().text(), "target_cut") == 0
