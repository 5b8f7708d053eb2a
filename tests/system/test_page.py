"""The page in a browser: every view works, no text becomes markup, and keyboards and phones reach all of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]  # compiled, and without types

from answers import MARKUP, MODELS, TEXT, VIEWS, answer, log_entries, make_run, trained, validate
from browsing import DESKTOP, PHONE, Visit, axe, browser, visit
from serving import Running, running

pytestmark = pytest.mark.thorough

RUN = "<img src=x onerror=alert(3)>"
LOOKS = {
    "translate": {"text": f"{TEXT}\nsome markup", "model": "many-heads", "beside": "one-vector"},
    "look/attention": {"text": f"{TEXT} picture", "model": "many-heads", "said": TEXT, "layer": "0", "head": "1"},
    "look/beam": {"text": TEXT, "model": "one-vector", "beam": "3", "step": "4"},
    "look/scores": {"text": TEXT, "model": "look-back", "step": "2", "said": TEXT},
    "look/surprise": {"text": TEXT, "model": "one-vector", "said": TEXT},
    "look/growth": {"text": TEXT, "model": "one-vector", "second": "look-back", "step": "3"},
    "trainings": {"runs": RUN, "more": "all", "step": "30"},
}
"""The views, each with inputs that fill it."""


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    """A browser."""
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of models that answer with markup, and of two runs."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder, RUN)
    make_run(folder, "another", 3)
    with running(answer, MODELS, views=VIEWS) as found:
        found.service.runs = (folder,)
        yield found


@pytest.fixture
def window(opened: Any, server: Running) -> Iterator[Visit]:
    """A window of a desktop; whatever goes wrong in it fails the test."""
    with visit(opened, server.port) as found:
        yield found


def shown(page: Any) -> str:
    """Returns the text of the figure."""
    return str(page.locator(".figure").inner_text())


def test_what_is_shown_stays_when_the_page_forgets(window: Visit) -> None:
    """It keeps a number of translations; a text of more lines is translated to its end, whole."""
    page, lines = window.page, [f"line {number}" for number in range(60)]

    def forgetful(route: Any) -> None:
        script = route.fetch()
        route.fulfill(response=script, body=script.text().replace("KEPT = 5000", "KEPT = 30"))

    page.route("**/lines.js*", forgetful)
    window.open("translate", text="\n".join(lines), model="one-vector")
    page.wait_for_function("document.querySelectorAll('.body .line').length >= 60")
    page.wait_for_function("document.querySelectorAll('.waiting').length === 0")
    assert len(page.locator(".body .line").all_inner_texts()) == len(lines)


@pytest.mark.parametrize("route", LOOKS)
def test_text_stays_text(window: Visit, route: str) -> None:
    """Markup in texts, pieces, formulas and names is shown letter by letter, and makes no element."""
    page = window.open(route, **LOOKS[route])
    assert (RUN if route == "trainings" else "<script>") in page.locator("main").inner_text()
    assert page.locator("main :is(script, iframe, object, img, b b), main [onerror]").count() == 0
    assert page.locator(".wrong").count() == 0
    assert not re.search(r"\[object|undefined|NaN", page.locator("main").inner_text())


@pytest.mark.parametrize("route", LOOKS)
def test_a_saved_picture_needs_nothing_else(window: Visit, route: str) -> None:
    """It is XML with its text and colours, without styles, scripts or addresses."""
    window.open(route, **LOOKS[route])
    picture = window.saved()
    root = etree.fromstring(picture.encode())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert int(root.get("width", "0")) > 100
    assert "".join(root.itertext()).strip()
    assert not re.search(r"var\(| class=| style=|<script|color-mix|url\(|(?:href|src)=\"(?!data:)", picture)
    drawn = {element.get("fill") for element in root.iter()} | {element.get("stroke") for element in root.iter()}
    assert any(re.fullmatch("#[0-9a-f]{6}", colour or "") for colour in drawn)


@pytest.mark.parametrize("route", LOOKS)
def test_a_link_restores_what_was_shown(window: Visit, route: str) -> None:
    """Opened in another window, the link of a view shows the same text with the same inputs."""
    page = window.open(route, **LOOKS[route])
    before, fields = shown(page), page.locator("main :is(input, select, textarea)")
    values = fields.evaluate_all("items => items.map(item => item.value)")
    link = window.linked()
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_load_state("networkidle")
    assert shown(page) == before
    assert fields.evaluate_all("items => items.map(item => item.value)") == values


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_everybody_can_use_it(opened: Any, server: Running, size: tuple[int, int], scheme: str) -> None:
    """axe-core finds nothing serious in any view, on phone and desktop, in light and dark."""
    script = axe()
    with visit(opened, server.port, size, scheme) as window:
        for route, inputs in LOOKS.items():
            window.open(route, **inputs)
            assert window.found_by_axe(script) == [], route


def test_a_phone_shows_all_of_its_width(opened: Any, server: Running) -> None:
    """At 360 pixels no view is wider than the screen; wide figures scroll on their own."""
    with visit(opened, server.port, PHONE) as window:
        for route, inputs in LOOKS.items():
            page = window.open(route, **inputs)
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], route


RING = """() => {
  const item = document.activeElement, style = getComputedStyle(item), box = item.getBoundingClientRect();
  const room = parseFloat(style.outlineOffset) + parseFloat(style.outlineWidth);
  if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) return false;
  for (let frame = item.parentElement; frame !== null; frame = frame.parentElement) {
    const { top, bottom } = frame.getBoundingClientRect(), clips = getComputedStyle(frame).overflowY !== "visible";
    if (clips && (box.top - room < top || box.bottom + room > bottom)) return false;
  }
  return true;
}"""
"""Whether what has the focus shows a ring, which nothing around it cuts off."""


@pytest.mark.parametrize("route", LOOKS)
def test_the_keyboard_reaches_everything(window: Visit, route: str) -> None:
    """Tab visits each control, which then shows a ring; words of a row, of which one is visited, are reached by the arrows."""
    page = window.open(route, **LOOKS[route])
    page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
    controls = "a[href], button, input, select, textarea, summary, [tabindex='0']"
    wanted = page.evaluate(
        """controls => [...document.querySelectorAll(controls)].filter(item => item.tabIndex >= 0 && !item.disabled
           && item.checkVisibility()).map((item, index) => { item.dataset.nth = index; return index; }).length""",
        controls,
    )
    reached, unseen = set[str](), list[str]()
    for _ in range(wanted + 3):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement?.dataset.nth ?? ''"))
        if page.evaluate("document.activeElement !== document.body") and not page.evaluate(RING):
            unseen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
    assert {str(number) for number in range(wanted)} <= reached
    assert unseen == []
    for row in page.locator(".words").all():
        row.locator(".word").first.focus()
        page.keyboard.press("End")
        assert row.locator(".word").last.evaluate("item => item === document.activeElement")


def test_the_first_tab_skips_to_the_content(window: Visit) -> None:
    """A link that is hidden until it has the focus goes to the content; the address stays that of the view."""
    page = window.open("look/beam", **LOOKS["look/beam"])
    link, address = page.get_by_role("link", name="Skip to the content"), page.url
    hidden = "item => getComputedStyle(item).clipPath !== 'none'"
    assert link.evaluate(hidden)
    page.keyboard.press("Tab")
    assert link.evaluate("item => item === document.activeElement")
    assert not link.evaluate(hidden)
    assert min(link.bounding_box()["x"], link.bounding_box()["y"]) >= 4  # its ring is seen too
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "view"
    assert page.evaluate(RING)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.views') !== null")
    assert page.url == address


@pytest.mark.parametrize("route", ["look/attention", "look/beam", "look/growth", "trainings"])
def test_arrow_keys_read_a_drawing(window: Visit, route: str) -> None:
    """A drawing that has the focus says other values, also aloud, when an arrow key is pressed."""
    page = window.open(route, **LOOKS[route])
    drawing = page.locator("svg[tabindex='0']").first
    told = page.get_by_role("status").and_(page.locator(".readout, .legend")).first.element_handle()
    drawing.focus()
    page.keyboard.press("ArrowLeft")
    before = told.inner_text()
    page.keyboard.press("ArrowRight")
    assert told.inner_text() != before  # the same element, or nothing is read


def test_a_wrong_beam_is_said(window: Visit) -> None:
    """What is no whole number from 1 to 20 gets one line, and is not asked for; of a link the nearest is taken."""
    page = window.open("look/beam", text=TEXT, model="one-vector", beam="10000")
    box, asked = page.get_by_label("Beam", exact=True), list[str]()
    assert box.input_value() == "20"
    page.on("request", lambda request: asked.append(request.url))
    for wrong in ("0", "1.5", "10000", "", "-3"):
        box.fill(wrong)
        box.press("Enter")
        assert page.locator(".wrong").all_inner_texts() == ["The beam must be a whole number from 1 to 20."], wrong
    assert asked == []
    box.fill("5")
    with page.expect_request("**/v1/beam") as found:
        box.press("Enter")
    assert found.value.post_data_json["beam"] == 5
    page.locator(".wrong").wait_for(state="detached")
    page.wait_for_load_state("networkidle")
    assert box.input_value() == "5"


def test_a_translation_appears_while_one_types(window: Visit) -> None:
    """No button is needed, and the answer to an earlier text, which comes late, is dropped."""
    page = window.open("translate")
    page.get_by_label("German").press_sequentially("slow one")
    page.wait_for_timeout(600)  # the slow line has been asked for
    page.get_by_label("German").fill("quick")
    page.locator(".body", has_text="QUICK").wait_for()
    page.wait_for_timeout(1500)
    assert page.locator(".body").first.inner_text().split("\n")[0] == "QUICK"
    assert "SLOW" not in page.locator("main").inner_text()


def test_words_show_their_links(window: Visit) -> None:
    """A word that is pointed at or has the focus marks the source words that it is linked to."""
    page = window.open("translate", text="one two", model="look-back")
    page.get_by_role("button", name="TWO").focus()
    assert page.locator(".source .linked").all_inner_texts() == ["two"]
    page.locator(".source span").first.hover()
    assert "linked" in page.get_by_role("button", name="ONE").get_attribute("class")


def test_another_word_changes_the_rest(window: Visit) -> None:
    """A click on a word offers others; the chosen one and what follows replace the translation, which can be had back."""
    page = window.open("translate", text="one two", model="look-back")
    page.get_by_role("button", name="TWO").click()
    page.get_by_role("region", name="In place of TWO").get_by_role("button", name=MARKUP).click()
    row = page.locator(".words").first
    assert row.inner_text() == f"ONE {MARKUP} and more"
    page.get_by_role("button", name="Back to the model's own").click()
    assert page.locator(".words").first.inner_text() == "ONE TWO"


def test_the_other_words_close_by_escape(window: Visit) -> None:
    """Escape closes them, and the focus goes back to the word."""
    page = window.open("translate", text="one two", model="look-back")
    page.get_by_role("button", name="ONE").press("Enter")
    page.locator(".offer").first.wait_for()
    page.keyboard.press("Escape")
    assert page.locator(".alternatives").count() == 0
    assert page.evaluate("document.activeElement.textContent") == "ONE"


def test_a_long_text_comes_line_by_line(window: Visit) -> None:
    """Each line has its place, blank ones too; only new lines are asked for when the text changes."""
    lines = [f"line {number}" if number % 7 else "" for number in range(1, 200)]
    page = window.open("translate", model="one-vector")
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.post_data or ""))
    page.get_by_label("German").fill("\n".join(lines))
    page.locator(".line", has_text="LINE 198").wait_for()
    assert [row.strip() for row in page.locator(".line").all_inner_texts()] == [line.upper() for line in lines]
    assert len(asked) > 5
    asked.clear()
    page.get_by_label("German").fill("\n".join([*lines, "", "last"]))
    page.locator(".line", has_text="LAST").wait_for()
    assert len(asked) == 1
    assert "line" not in asked[0].partition("text")[2].removeprefix('":["last"]')


def test_the_language_can_be_chosen(window: Visit) -> None:
    """A model of several target languages is asked for the chosen one, and the translation says which it is in."""
    page = window.open("translate", text="one", model="many-heads")
    with page.expect_request("**/v1/translate") as asked:
        page.get_by_label("Into").select_option("he")
    assert asked.value.post_data_json["target"] == "he"
    assert page.locator(".body").first.get_attribute("lang") == "he"
    with page.expect_request("**/v1/attention") as looked:
        page.get_by_role("link", name="Look inside").click()
    assert looked.value.post_data_json["target_language"] == page.get_by_label("Into").input_value() == "he"


def test_a_file_is_translated(window: Visit, tmp_path: Path) -> None:
    """An uploaded file comes back as a download of this server."""
    (tmp_path / "some.txt").write_text("hello\nyou\n")
    page = window.open("translate")
    page.get_by_text("Translate a file").click()
    page.get_by_label("File to translate").set_input_files(tmp_path / "some.txt")
    page.get_by_role("button", name="Translate the file").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_text() == "HELLO\nYOU\n"


def test_a_translated_file_stays_at_hand(window: Visit, tmp_path: Path) -> None:
    """Its link outlives another model, another text and another tab, until the next file is translated."""
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(name)
    page = window.open("translate")
    page.get_by_text("Translate a file").click()
    page.get_by_label("File to translate").set_input_files(tmp_path / "one.txt")
    page.get_by_role("button", name="Translate the file").click()
    link = page.get_by_role("link", name="Download")
    link.wait_for()
    page.get_by_role("combobox", name="Model").select_option("one-vector")
    page.get_by_label("German").fill("hello")
    page.locator(".body", has_text="HELLO").wait_for()
    page.get_by_role("link", name="Trainings").click()
    page.get_by_role("link", name="Translate").click()
    assert link.inner_text() == "Download the translation of one.txt"
    with page.expect_download() as download:
        link.click()
    assert Path(download.value.path()).read_text() == "ONE.TXT"
    page.get_by_label("File to translate").set_input_files(tmp_path / "two.txt")
    assert link.inner_text() == "Download the translation of one.txt"
    page.get_by_text("one-vector translates it.").wait_for()
    page.get_by_role("button", name="Translate the file").click()
    page.get_by_role("link", name="Download the translation of two.txt").wait_for()


def test_history_is_the_browsers_own(window: Visit) -> None:
    """A text that rested is kept after a reload, can be taken up again, and is gone once cleared or not wanted."""
    page = window.open("translate", text="remember me")
    page.wait_for_timeout(3000)
    page.goto(window.address)
    page.get_by_text("History", exact=True).click()
    page.get_by_role("button", name="remember me").click()
    assert page.get_by_label("German").input_value() == "remember me"
    page.get_by_role("button", name="Clear the history").click()
    assert page.evaluate("localStorage['nmt.history']") is None
    page.get_by_label("Keep a history").uncheck()
    page.get_by_label("German").fill("forget me")
    page.wait_for_timeout(3000)
    assert page.evaluate("localStorage['nmt.history']") is None


def test_an_error_is_one_plain_line(opened: Any, server: Running) -> None:
    """What the server says of a wrong request is shown as it is, and the next request is answered again."""
    with visit(opened, server.port, allowed=(400,)) as window:
        page = window.open("translate", text="wrong")
        assert page.locator(".wrong").inner_text() == f"this line is {MARKUP}"
        page.get_by_label("German").fill("right")
        page.locator(".body", has_text="RIGHT").wait_for()
        assert page.locator(".wrong").count() == 0


@pytest.mark.parametrize("status", [429, 503])
def test_a_full_server_is_asked_again(opened: Any, server: Running, status: int) -> None:
    """After as many seconds as the server said, and the page says so meanwhile."""
    with visit(opened, server.port, allowed=(status,)) as window:
        times = list[float]()

        def full(route: Any) -> None:
            times.append(time.monotonic())
            if len(times) > 1:
                return route.continue_()
            return route.fulfill(status=status, headers={"Retry-After": "1"}, json={"error": "too many requests wait"})

        window.page.route("**/v1/translate", full)
        page = window.page
        page.goto(f"{window.address}/#translate?text=hello")
        page.get_by_role("alert").get_by_text("too many requests wait").wait_for()
        page.locator(".body", has_text="HELLO").wait_for()
        assert times[1] - times[0] > 0.9
        assert page.get_by_role("alert").inner_text() == ""


def test_a_request_that_did_harm_is_not_repeated(opened: Any, server: Running) -> None:
    """A refusal that names no time to wait is final."""
    with visit(opened, server.port, allowed=(503,)) as window:
        times = list[float]()

        def broken(route: Any) -> None:
            times.append(time.monotonic())
            route.fulfill(status=503, json={"error": "a process ended"})

        window.page.route("**/v1/translate", broken)
        page = window.open("translate", text="hello", model="one-vector")
        assert page.locator(".wrong").inner_text() == "a process ended"
        page.wait_for_timeout(2500)
        assert len(times) == 1


def test_a_server_that_comes_back_is_asked_anew(opened: Any, server: Running) -> None:
    """It may serve other models under the same names."""
    with visit(opened, server.port, allowed=(0,)) as window:
        page = window.open("look/beam", text="hello")
        asked = list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.get_by_role("button", name="Look", exact=True).click()
        page.locator(".figure svg").wait_for()
        assert not [url for url in asked if url.endswith("/v1/beam")]
        page.route("**/v1/**", lambda route: route.abort())
        page.get_by_label("Text").fill("hello again")
        page.get_by_role("button", name="Look", exact=True).click()
        page.get_by_role("alert").get_by_text("does not answer").wait_for()
        page.get_by_label("Text").fill("hello")
        page.unroute_all()
        page.locator(".figure svg").wait_for()
        assert [url for url in asked if url.endswith("/v1/beam")]


def test_what_comes_late_takes_no_focus(opened: Any, server: Running) -> None:
    """Who has gone on to write is not interrupted by an answer to what was chosen before."""
    with visit(opened, server.port) as window:
        page = window.open("translate", text="one two", model="look-back")

        def slow(route: Any) -> None:
            time.sleep(1)
            route.continue_()

        page.route("**/v1/alternatives", slow)
        page.get_by_role("button", name="ONE").click()
        page.get_by_label("German").focus()
        page.locator(".alternatives .offer").first.wait_for()
        assert page.evaluate("document.activeElement.id") == "text"


def test_a_key_that_no_header_can_hold_is_refused_at_once(opened: Any) -> None:
    """The form stays, and another key can be typed."""
    with (
        running(answer, MODELS, views=VIEWS, keys=["open sesame"]) as server,
        visit(opened, server.port, allowed=(403,)) as window,
    ):
        page = window.open("translate", text="hello")
        page.get_by_label("Key").fill("откройся")
        page.get_by_role("button", name="Use this key").click()
        assert page.get_by_label("Key").evaluate("input => input.validity.patternMismatch")
        page.get_by_label("Key").fill("open sesame")
        page.get_by_role("button", name="Use this key").click()
        page.locator(".body", has_text="HELLO").wait_for()


def test_a_stopped_server_is_said(opened: Any, server: Running) -> None:
    """The page says that nobody answers, and goes on once the server is back."""
    with visit(opened, server.port, allowed=(0,)) as window:
        page = window.open("look/beam", text="hello")
        page.route("**/v1/**", lambda route: route.abort())
        page.route("**/health", lambda route: route.abort())
        page.get_by_label("Text").fill("hello again")
        page.get_by_role("button", name="Look", exact=True).click()
        page.get_by_role("alert").get_by_text("does not answer").wait_for()
        page.unroute_all()
        page.locator(".figure svg").wait_for()
        assert page.get_by_role("alert").inner_text() == ""
        assert page.get_by_label("Text").input_value() == "hello again"


def test_a_key_is_asked_for(opened: Any) -> None:
    """A server with keys is asked with the one that the user types, in a header; this tab alone keeps it."""
    with (
        running(answer, MODELS, views=VIEWS, keys=["open sesame"]) as server,
        visit(opened, server.port, allowed=(403,)) as window,
    ):
        page = window.open("translate", text="hello")
        page.get_by_label("Key").fill("open sesame")
        page.get_by_role("button", name="Use this key").click()
        page.locator(".body", has_text="HELLO").wait_for()
        assert page.get_by_role("alert").inner_text() == ""
        assert page.evaluate("localStorage.length") == 0


def test_a_training_is_followed(opened: Any, tmp_path: Path) -> None:
    """What a training logs while it is shown appears, and only what is new is asked for."""
    run = make_run(tmp_path, "going")
    (tmp_path / "lock").touch()
    with running(answer, MODELS, views=VIEWS) as server, visit(opened, server.port) as window:
        server.service.runs = (tmp_path,)
        page = window.page
        page.clock.install()
        page.goto(f"{window.address}/#trainings")
        page.locator(".legend", has_text="50 updates").first.wait_for()
        log_entries(run, [trained(60)])
        with page.expect_request("**/v1/runs/going?after=*") as asked:
            page.clock.fast_forward(20_000)
        assert not asked.value.url.endswith("=0")
        page.locator(".legend", has_text="60 updates").first.wait_for()


def test_the_slider_goes_through_the_validations(window: Visit) -> None:
    """Each chosen run says what it said by then, with its attention; at first that is the last validation."""
    page = window.open("trainings", runs=f"{RUN}\nanother")
    told, sentences = page.get_by_role("slider"), page.locator(".sentence")
    assert sentences.count() == 2
    assert [f"said-{step}" in sentences.first.inner_text() for step in (20, 30, 40, 50)] == [False, True, False, True]
    told.press("Home")
    assert "After update 20" in page.locator("main").inner_text()
    assert sentences.first.inner_text().count("update 20") == 2
    assert sentences.last.inner_text().count("said-20") == 2
    assert page.locator(".sentence svg.heat").count() == 2
    assert "step=20" in window.linked()
    told.press("End")
    assert "said-50" in sentences.first.inner_text()
    assert "step" not in window.linked()


def test_a_map_of_a_training_says_its_weights(window: Visit) -> None:
    """The arrow keys read it, and say which piece looks at which."""
    page = window.open("trainings", runs="another")
    page.locator("svg.heat").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".sentence .readout").first.inner_text() == "said-30 looks at <img with 9.1 %"


def test_a_validation_under_way_is_shown(opened: Any, tmp_path: Path) -> None:
    """A page at the last validation goes on to the next one; a chosen one stays, and the focus too."""
    run = make_run(tmp_path, "going")
    with running(answer, MODELS, views=VIEWS) as server, visit(opened, server.port) as window:
        server.service.runs = (tmp_path,)
        page = window.page
        page.clock.install()
        page.goto(f"{window.address}/#trainings")
        page.get_by_text("After update 50").wait_for()
        validate(run, 60)
        page.clock.fast_forward(20_000)
        page.get_by_text("After update 60").wait_for()
        page.get_by_role("slider").press("ArrowLeft")
        validate(run, 70)
        with page.expect_response("**/v1/runs/going?after=*"):
            page.clock.fast_forward(20_000)
        page.locator(".legend", has_text="70 updates").first.wait_for()
        assert "After update 50" in page.locator("main").inner_text()
        assert page.get_by_role("slider").evaluate("item => item === document.activeElement")


def test_what_a_resumed_training_repeats_is_dropped(opened: Any, tmp_path: Path) -> None:
    """A training that goes back to a checkpoint has neither points nor sentences behind it until it comes there again."""
    run = make_run(tmp_path, "resumed")
    log_entries(run, [{"kind": "start", "step": 30, "seconds": 3.0, "updates": 1000}, trained(40)])
    with running(answer, MODELS) as server, visit(opened, server.port) as window:
        server.service.runs = (tmp_path,)
        page = window.open("trainings", runs="resumed")
        assert "40 updates" in page.locator(".legend").first.inner_text()
        assert page.locator("polyline").first.get_attribute("points").count(",") == 4
        assert "After update 30" in page.locator("main").inner_text()


def test_curves_are_told_apart_without_colour(opened: Any, tmp_path: Path) -> None:
    """Five have other dashes each; more differ by dashes and colour together."""
    names = [f"run-{number}" for number in range(8)]
    for name in names:
        make_run(tmp_path, name)
    with running(answer, MODELS) as server, visit(opened, server.port) as window:
        server.service.runs = (tmp_path,)
        page = window.open("trainings", runs="\n".join(names))
        curves = page.locator(".chart").first.locator("polyline")
        kinds = curves.evaluate_all(
            "items => items.map(item => [getComputedStyle(item).strokeDasharray, item.classList[1]])"
        )
        assert len({dashes for dashes, _ in kinds[:5]}) == 5
        assert len({tuple(kind) for kind in kinds}) == 8


def test_large_numbers_stand_whole_beside_their_axis(opened: Any, tmp_path: Path) -> None:
    """And an update is named by its own number, not by a rounded one."""
    run = make_run(tmp_path, "fast", 0)
    log_entries(run, [trained(step) | {"tokens_per_second": 12_345_678.0 + step} for step in (123_451, 123_456)])
    with running(answer, MODELS) as server, visit(opened, server.port) as window:
        server.service.runs = (tmp_path,)
        page = window.open("trainings", runs="fast", more="all")
        charts = page.locator(".chart:visible svg[role=img]")
        assert charts.count() >= 4
        starts = charts.locator("text").evaluate_all("items => items.map((item) => item.getBBox().x)")
        assert min(starts) >= 0
        assert "123,456 updates" in page.locator("main").inner_text()


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_without_models_there_are_trainings_alone(
    opened: Any, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    """The address of the server shows them, for everybody, and no other tab; a run that begins later is shown too."""
    with running(answer, []) as server, visit(opened, server.port, size, scheme) as window:
        server.service.runs = (tmp_path,)
        page = window.page
        page.clock.install()
        page.goto(window.address)
        page.get_by_text("There are no runs yet").wait_for()
        make_run(tmp_path, "begun")
        page.clock.fast_forward(20_000)
        page.locator(".legend", has_text="50 updates").first.wait_for()
        assert page.locator("#tabs a:visible").all_inner_texts() == ["Trainings"]
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert window.found_by_axe(axe()) == []


def test_tabs_share_text_and_model(window: Visit) -> None:
    """A line that stands in one tab stands in the other after a change, with its model; several lines are not lost."""
    page = window.open("translate", text="one two", model="look-back")
    text, line = page.get_by_label("German"), page.get_by_label("Text")
    page.get_by_role("link", name="Look inside").click()
    assert (line.input_value(), page.get_by_role("combobox", name="Model").input_value()) == ("one two", "look-back")
    line.fill("three")
    line.press("Enter")
    page.get_by_role("link", name="Translate").click()
    assert text.input_value() == "three"
    text.fill("four\nfive")
    page.get_by_role("link", name="Trainings").click()
    page.get_by_role("link", name="Look inside").click()
    assert line.input_value() == "four"
    line.fill("five")
    line.press("Enter")
    page.get_by_role("link", name="Translate").click()
    assert text.input_value() == "four\nfive"
    page.get_by_role("link", name="Look inside").click()
    assert line.input_value() == "five"


def test_only_fit_models_are_offered(window: Visit) -> None:
    """A model that a view cannot show is listed with the reason, and another takes its place."""
    page = window.open("look/attention", text="hello", model="one-vector")
    assert page.get_by_role("combobox", name="Model").input_value() == "look-back"
    assert page.locator("option[disabled]").all_inner_texts() == ["one-vector (no attention)"]


def test_the_models_own_translation_can_be_judged(window: Visit) -> None:
    """One button fills it in, and its words show their surprise."""
    page = window.open("look/surprise", text="one two", model="look-back")
    page.get_by_role("button", name="Take the model's own").click()
    page.locator(".shaded .word").first.wait_for()
    assert page.get_by_label("Your translation", exact=True).input_value() == "ONE TWO"
    page.get_by_role("button", name="TWO, 2.0 bits").hover()
    assert "choice 2" in page.locator(".details").inner_text()


def test_a_thumbnail_keeps_the_focus(window: Visit) -> None:
    """A head that is chosen by the keyboard is drawn large, and the focus stays where it was."""
    page = window.open("look/attention", text="hello", model="many-heads")
    page.get_by_role("button", name="Layer 1, head 2").press("Enter")
    assert page.locator(".sides p").first.inner_text() == "Layer 1, head 2"
    assert page.evaluate("document.activeElement.name") == "head-0-1"


def test_an_error_of_the_models_own_translation_is_said(opened: Any, server: Running) -> None:
    """Where it cannot be had, the reason is one line, and no fault of the page."""
    with visit(opened, server.port, allowed=(400,)) as window:
        page = window.open("look/surprise", text="wrong", model="look-back")
        page.get_by_role("button", name="Take the model's own").click()
        assert page.locator(".wrong").inner_text() == f"this line is {MARKUP}"
