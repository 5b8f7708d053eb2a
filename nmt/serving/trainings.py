"""The page of trainings: a fixed list of files of `nmt.report`, read when the server starts."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nmt.report.curves import CURVES
from nmt.report.templating import write_page
from nmt.serving.reading import Refused

_TYPES = {
    "charts.js": "text/javascript; charset=utf-8",
    "trainings.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}


def routes(alone: bool) -> list[Route]:
    """Returns the routes of the page, which asks those of `/v1/runs`; `alone`: there is no other page."""
    folder = files("nmt.report").joinpath("templates")
    found = {name: folder.joinpath(name).read_bytes() for name in _TYPES}

    subtitle = "The figures are new every few seconds. What runs here goes on without this page."
    whole = write_page("trainings.html", title="Trainings", subtitle=subtitle, curves=CURVES)

    async def page(_: Request) -> Response:
        """Returns the page."""
        return Response(whole, media_type="text/html")

    async def file(request: Request) -> Response:
        """Returns a file of the page."""
        name = request.path_params["name"]
        if name not in found:
            raise Refused(404, "there is no such file")
        return Response(found[name], headers={"Content-Type": _TYPES[name], "Cache-Control": "no-cache"})

    paths = ["/", "/trainings"] if alone else ["/trainings"]
    return [*(Route(path, page, methods=["GET"]) for path in paths), Route("/trainings/{name}", file, methods=["GET"])]
