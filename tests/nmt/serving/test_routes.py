"""Over real sockets: what clients of LibreTranslate and of our own routes get, and what wrong requests get."""

from __future__ import annotations

import asyncio
import errno
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
from libretranslatepy import LibreTranslateAPI

from nmt.corpus.languages import language_name
from nmt.errors import DataError
from nmt.serving.files import Files
from nmt.serving.languages import detect
from nmt.serving.reading import Keys, Limits
from nmt.serving.tasks import Group
from serving import Answer, Gate, Running, model, running

FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """A server of German-English, French-English and one model of two targets."""
    models = [model(), model("french", "fr"), model("two", "en", "de", "fr")]
    limits = Limits(body=200_000, characters=2000, lines=100, seconds=20)
    with running(models=models, limits=limits, views=["look"], log_text=False) as found:
        yield found


def _field(name: str, value: str) -> str:
    """A field of a form of several parts."""
    return f'--x\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


def _upload(name: str, content: bytes, **fields: str) -> tuple[bytes, str]:
    """A form with a file, and its content type."""
    parts = [_field(key, value) for key, value in fields.items()]
    head = f'--x\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return "".join([*parts, head]).encode() + content + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


def _is_one_line_of_json(answer: Answer) -> bool:
    return list(answer.json) == ["error"] and "\n" not in answer.json["error"] and "Traceback" not in str(answer.body)


def test_the_client_of_libretranslate_works(server: Running) -> None:
    """Its three calls: translate, detect and languages."""
    client = LibreTranslateAPI(f"http://127.0.0.1:{server.port}")
    assert client.translate("Guten Tag.\n\n  Ja", "de", "en") == "GUTEN TAG.\n\n  JA"
    assert client.detect("Der Hund schläft, und die Katze auch.")[0]["language"] == "de"
    codes = {item["code"]: (item["name"], item["targets"]) for item in client.languages()}
    assert codes == {"de": ("German", ["en"]), "en": ("English", ["de", "fr"]), "fr": ("French", ["en"])}


def test_bodies_may_be_json_or_forms(server: Running) -> None:
    """The same fields in three encodings get the same answer."""
    fields = {"q": "ä b", "source": "de", "target": "en"}
    body, kind = _upload("x.txt", b"", **fields)
    answers = [
        server.ask("/translate", fields),
        server.ask("/translate", urlencode(fields).encode(), content_type=FORM),
        server.ask("/translate", body, content_type=kind),
    ]
    assert [answer.json for answer in answers] == [{"translatedText": "Ä B"}] * 3


def test_texts_alternatives_and_markup(server: Running) -> None:
    """A list gives a list; alternatives are the next best of each line; HTML keeps its tags."""
    fields: dict[str, Any] = {"source": "de", "target": "en", "alternatives": 2}
    assert server.ask("/translate", {**fields, "q": ["a\nb", ""]}).json == {
        "translatedText": ["A\nB", ""],
        "alternatives": [["A!\nB!", "A!!\nB!!"], []],
    }
    page = server.ask("/translate", {**fields, "q": "<p>a<br>b</p>", "format": "html", "alternatives": 0})
    assert page.json == {"translatedText": "<p>A<br>B</p>"}


def test_the_source_language_is_detected_among_those_that_are_served(server: Running) -> None:
    """With two sources the text decides; with one there is no choice."""
    german = {"q": "Der Hund schläft, und die Katze auch.", "source": "auto", "target": "en"}
    assert server.ask("/translate", german).json["detectedLanguage"]["language"] == "de"
    french = {"q": "Le chien dort, et le chat aussi.", "source": "auto", "target": "en"}
    assert server.ask("/translate", french).json["detectedLanguage"]["language"] == "fr"
    assert server.ask("/translate", {"q": "x", "source": "auto", "target": "fr"}).json["detectedLanguage"] == {
        "language": "en",
        "confidence": 100.0,
    }


def test_a_model_may_be_named() -> None:
    """Of two models of a direction the first translates, unless a request names the other; so it is for files and by `auto`."""
    gate = Gate()
    gate.opened.set()
    with running(gate, models=[model("one"), model("other"), model("french", "fr")]) as server:
        for named, name in (({}, "one"), ({"model": "other"}, "other")):
            for source in ("de", "auto"):
                fields = {"q": "Der Hund schläft, und die Katze auch.", "source": source, "target": "en", **named}
                assert server.ask("/translate", fields).status == 200
                body, kind = _upload("x.txt", fields.pop("q").encode(), **fields)
                assert server.ask("/translate_file", body, content_type=kind).status == 200
            assert [task.what.model for task in gate.tasks if isinstance(task.what, Group)] == [name] * 4
            gate.tasks.clear()
        wrong = {"q": "x", "source": "de", "target": "en", "model": "french"}
        assert "no model from 'de' to 'en'; there are fr-en" in server.ask("/translate", wrong).json["error"]
        assert server.ask("/translate", {**wrong, "model": "none"}).status == 404


def test_a_language_is_known_by_its_other_codes() -> None:
    """Three letters and regions are detected and named, and the code stays that of the model."""
    found = asyncio.run(detect("Der Hund schläft, und die Katze auch.", ["en", "deu", "fr-CA"]))
    assert (found[0].language, len(found)) == ("deu", 3)
    assert found[0].confidence > 99
    assert (language_name("deu"), language_name("fr-CA"), language_name("tlh")) == ("German", "French", "tlh")


def test_a_file_is_translated_and_fetched(server: Running) -> None:
    """The answer has an address where the translated file lies; its name is never a path."""
    body, kind = _upload("../../etc/ä.txt", b"eins\n\nzwei\n", source="de", target="en")
    url = server.ask("/translate_file", body, content_type=kind).json["translatedFileUrl"]
    found = server.ask(re.sub(r"^http://[^/]+", "", url))
    assert found.body == b"EINS\n\nZWEI\n"
    assert found.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A4_en.txt"
    for name, content, status in (("x.exe", b"", 400), ("x.txt", b"\xff\xfe", 400), ("", b"", 400)):
        body, kind = _upload(name, content, source="de", target="en")
        assert server.ask("/translate_file", body, content_type=kind).status == status


def test_files_go_on_after_a_clean_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has removed the folder: what was there is no longer, and the next file is kept in a new one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = Files()
    first = files.put("a.txt", b"a")
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder)
    second = files.put("b.txt", b"b")
    assert (files.get(first), files.get(second)) == (None, ("b.txt", b"b"))
    files.close()


def test_a_long_text_may_come_in_any_form() -> None:
    """A field of a form may be as long as a body."""
    text = ("a" * 10_000 + "\n") * 140
    with running(limits=Limits(characters=10**7, seconds=20)) as server:
        body, kind = _upload("x.txt", b"", q=text, source="de", target="en")
        assert server.ask("/translate", body, content_type=kind).json == {"translatedText": text.upper()}


def test_a_form_may_have_as_many_texts_as_json() -> None:
    """A thousand and more fields of one name are a list; those that are too many are counted in one line."""
    texts = [f"text {number}" for number in range(1500)]
    fields = [*(("q", text) for text in texts), ("source", "de"), ("target", "en")]
    coded = urlencode(fields).encode()
    multipart = "".join([*(_field(*field) for field in fields), "--x--\r\n"]).encode()
    with running(limits=Limits(lines=1500, seconds=20)) as server:
        for body, kind in ((coded, FORM), (multipart, "multipart/form-data; boundary=x")):
            found = server.ask("/translate", body, content_type=kind).json
            assert found == {"translatedText": [text.upper() for text in texts]}
        more = server.ask("/translate", b"q=more&" + coded, content_type=FORM)
        assert (more.status, more.json["error"]) == (413, "a request may have 1,500 texts, this one has 1,501")
        most = server.ask("/translate", b"q=more&" * 1000 + coded, content_type=FORM)
        assert most.status == 400
        assert _is_one_line_of_json(most)


def test_a_server_without_its_models_is_not_healthy(server: Running) -> None:
    """The status is 503 when no worker has them."""
    assert server.ask("/health").json == {"status": "ok"}
    with running() as other:
        for worker in other.service.queue._workers:
            worker.is_open = False
        assert other.ask("/health").status == 503
        assert other.ask("/translate", {"q": "a", "source": "de", "target": "en"}).status == 503


def test_a_full_disk_is_one_line(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A translated file that cannot be kept is refused by 507."""

    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/place")

    monkeypatch.setattr(Files, "put", full)
    body, kind = _upload("x.txt", b"a", source="de", target="en")
    answer = server.ask("/translate_file", body, content_type=kind)
    assert (answer.status, answer.json) == (507, {"error": "the server's disk is full"})


def test_our_own_routes(server: Running) -> None:
    """Models, translations by line with their number, prefixes, and views."""
    assert [item["name"] for item in server.ask("/v1/models").json["models"]] == ["fake", "french", "two"]
    asked = {"model": "two", "text": "a\nb", "n_best": 2, "prefix": ["x ", ""], "target": "fr"}
    found = server.ask("/v1/translate", asked).json["translations"]
    assert [[said["text"] for said in line] for line in found] == [["x A", "x A!"], ["B", "B!"]]
    assert server.ask("/v1/look", {"text": "a", "model": "fake"}).json == {"seen": {"text": "a", "model": "fake"}}
    assert server.ask("/v1/runs").json == {"runs": []}
    assert server.ask("/v1/runs/x").status == 404


WRONG: list[tuple[str, dict[str, Any], int]] = [
    ("/translate", {}, 400),
    ("/translate", {"q": 1, "source": "de", "target": "en"}, 400),
    ("/translate", {"q": ["a", None], "source": "de", "target": "en"}, 400),
    ("/translate", {"q": [], "source": "de", "target": "en"}, 400),
    ("/translate", {"q": "a", "source": ["de"], "target": "en"}, 400),
    ("/translate", {"q": "a", "source": "de", "target": "<script>"}, 400),
    ("/translate", {"q": "a", "source": "en", "target": "en"}, 400),
    ("/translate", {"q": "a", "source": "de", "target": "en", "format": "pdf"}, 400),
    ("/translate", {"q": "a", "source": "de", "target": "en", "alternatives": -1}, 400),
    ("/translate", {"q": "a", "source": "de", "target": "en", "alternatives": "9" * 99}, 400),
    ("/translate", {"q": "a" * 2001, "source": "de", "target": "en"}, 413),
    ("/translate", {"q": "a\n" * 101, "source": "de", "target": "en"}, 413),
    ("/translate", {"q": "a" * 200_000, "source": "de", "target": "en"}, 413),
    ("/translate", {"q": [""] * 101, "source": "de", "target": "en"}, 413),
    ("/detect", {"q": {}}, 400),
    ("/translate_file", {"file": "x"}, 400),
    ("/v1/translate", {"text": 1}, 400),
    ("/v1/translate", {"text": "a", "wrong": 1}, 400),
    ("/v1/translate", {"text": "a", "model": "nix"}, 404),
    ("/v1/translate", {"text": "a", "model": []}, 404),
    ("/v1/translate", {"text": "a", "n_best": 5}, 400),
    ("/v1/translate", {"text": "a", "n_best": True}, 400),
    ("/v1/translate", {"text": "a", "beam": 21}, 400),
    ("/v1/translate", {"text": "a", "target": "de"}, 400),
    ("/v1/translate", {"text": "a\nb", "prefix": ["x"]}, 400),
    ("/v1/translate", {"text": "a", "alignments": "yes"}, 400),
    ("/v1/nix", {}, 404),
    ("/health", {}, 405),
    ("/health/", {}, 404),
]


@pytest.mark.parametrize(("path", "body", "status"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_request_gets_one_line(server: Running, path: str, body: dict[str, Any], status: int) -> None:
    """The status says whose fault it is, and the line says what."""
    answer = server.ask(path, body)
    assert answer.status == status
    assert _is_one_line_of_json(answer)


BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff",
    b'{"q": "\\ud800"}',
    b"[" * 100_000,
    b'{"q": NaN}',
    b"9" * 5000,
    b"\0" * 99,
]


@pytest.mark.parametrize(
    "kind", ["application/json", FORM, "multipart/form-data", "multipart/form-data; boundary=x", "a/b"]
)
def test_any_bytes_get_one_line(server: Running, kind: str) -> None:
    """Bodies that are nothing, and random ones, are refused in every encoding, with no traceback in the log."""
    draw = random.Random(kind)
    for body in [
        *BODIES,
        *(b"--x\r\n" * (draw.random() < 0.3) + draw.randbytes(draw.randrange(200)) for _ in range(20)),
    ]:
        for path in ("/translate", "/translate_file", "/v1/translate", "/v1/look"):
            answer = server.ask(path, body, content_type=kind)
            fine = path == "/v1/look" and answer.status == 200  # any object is a question to a view
            assert fine or (400 <= answer.status < 500 and _is_one_line_of_json(answer)), (body, answer)
    assert not any("Traceback" in line for line in server.log)


def test_a_host_that_is_none_gets_no_traceback(server: Running) -> None:
    """The address of a translated file is made of the header Host, which may be anything."""
    body, kind = _upload("x.txt", b"a", source="de", target="en")
    assert server.ask("/translate_file", body, content_type=kind, host="[").status in (200, 400)
    for path in ("/health", "/health/", "/", "/v1/look"):
        assert server.ask(path, host="[").status < 500


def test_nothing_but_the_page_is_given_away(server: Running) -> None:
    """No path leads out of the page's files, all answers have the headers, and the page may load only itself."""
    page = server.ask("/")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'self'; img-src 'self' data:;")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert server.ask("/page/index.html").body == page.body
    for path in ("/page/../server.py", "/page/..%2fserver.py", "/page/%00", "/page//etc/passwd", "/download_file/../x"):
        answer = server.ask(path)
        assert answer.status == 404, path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert _is_one_line_of_json(answer)


def test_a_server_without_models_has_its_page() -> None:
    """Which learns that there are none; nothing translates."""
    with running(models=[]) as alone:
        assert b"/page/main.js" in alone.ask("/").body
        assert alone.ask("/page/chart.js").status == 200
        assert alone.ask("/v1/models").json == {"models": []}
        assert alone.ask("/translate", {"q": "a"}).status == 404


def test_the_log_and_the_counts_hold_no_text(server: Running) -> None:
    """A line has method, route, status, milliseconds and characters; unknown paths are left out."""
    server.ask("/translate", {"q": "geheim", "source": "de", "target": "en"})
    server.ask("/geheim")
    text = server.ask("/metrics").body.decode()
    assert any(re.fullmatch(r"POST /translate 200 \d+ ms 6 characters", line) for line in server.log)
    assert any(re.fullmatch(r"GET \? 404 \d+ ms", line) for line in server.log)
    assert "geheim" not in f"{text} {server.log}".lower()
    assert re.search(r'^nmt_requests_total{method="POST",route="/translate",status="200"} [1-9]\d*$', text, re.M)
    assert all(re.fullmatch(r"# TYPE \w+ \w+|\w+({[^{}]*})? [\d.]+", line) for line in text.splitlines())


def test_keys_let_in_those_who_have_one() -> None:
    """In the body, in a form or in the header; without one, or with a wrong one, the status is 403."""
    fields = {"q": "a", "source": "de", "target": "en"}
    with running(keys=["one", "two"]) as server:
        assert LibreTranslateAPI(f"http://127.0.0.1:{server.port}", "two").translate("a", "de", "en") == "A"
        assert server.ask("/translate", {**fields, "api_key": "one"}).status == 200
        assert server.ask("/translate", fields, Authorization="Bearer two").status == 200
        assert server.ask("/v1/translate", {"text": "a", "api_key": "one"}).status == 200
        for wrong in ({}, {"api_key": "on"}, {"api_key": ["one"]}, {"api_key": 1}, {"api_key": ""}):
            answer = server.ask("/translate", {**fields, **wrong})
            assert (answer.status, _is_one_line_of_json(answer)) == (403, True)
        assert server.ask("/metrics").status == server.ask("/v1/runs").status == 403
        assert server.ask("/metrics", Authorization="Bearer one").status == 200
        assert server.ask("/health").status == server.ask("/v1/models").status == 200
        with pytest.raises(HTTPError, match="403"):
            LibreTranslateAPI(f"http://127.0.0.1:{server.port}", "three").translate("a", "de", "en")


def test_a_file_of_keys_without_any_is_refused(tmp_path: Path) -> None:
    """Comments and blank lines are no keys, and a server that lets everybody in must not start by mistake."""
    (tmp_path / "keys").write_text("# mine\n\n")
    with pytest.raises(DataError, match="no key"):
        Keys.read(tmp_path / "keys")
    with pytest.raises(DataError):
        Keys.read(tmp_path / "missing")
    (tmp_path / "keys").write_text("\ufeff# mine\n\n")
    with pytest.raises(DataError, match="no key"):  # whatever editor has written it
        Keys.read(tmp_path / "keys")
    (tmp_path / "keys").write_text("# mine\n key \n")
    assert Keys.read(tmp_path / "keys")


def test_a_text_of_many_lines_is_no_long_line() -> None:
    """Its language is told, as it is translated."""
    with running(limits=Limits(line=20)) as server:
        assert server.ask("/detect", {"q": "ein Hund\n" * 30}).status == 200
        assert server.ask("/detect", {"q": "ein Hund " * 30}).status == 413
