"""The page of trainings and its files."""

from __future__ import annotations

from serving import running


def test_the_page_of_trainings_and_its_files_are_served() -> None:
    """The page and what it loads, with their types and no address elsewhere; no other file of the folder."""
    with running() as server:
        page = server.ask("/trainings")
        assert page.headers["content-type"].startswith("text/html")
        assert b"https://" not in page.body.replace(b"http://www.w3.org/2000/svg", b"")
        for name, kind in (("trainings.js", "javascript"), ("charts.js", "javascript"), ("page.css", "css")):
            file = server.ask(f"/trainings/{name}")
            assert (file.status, kind in file.headers["content-type"]) == (200, True)
        assert server.ask("/trainings/base.html").status == server.ask("/trainings/..%2fpage.py").status == 404
        assert b"<script>" not in page.body
        assert b"<style>" not in page.body
