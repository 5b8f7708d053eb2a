"""The page: a fixed list of files, read when the server starts, so that no request names a path."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nmt.serving.reading import Refused

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


def routes() -> list[Route]:
    """Returns the routes of the page."""
    folders = files("nmt.serving").joinpath("page"), files("nmt.report").joinpath("templates/shared")
    found = {file.name: file.read_bytes() for folder in folders for file in folder.iterdir() if _type(file.name)}

    async def page(request: Request) -> Response:
        """Returns a file of the page."""
        name = request.path_params.get("name", "index.html")
        if name not in found:
            raise Refused(404, "there is no such file")
        return Response(found[name], headers={"Content-Type": str(_type(name)), "Cache-Control": "no-cache"})

    return [Route("/", page, methods=["GET"]), Route("/page/{name}", page, methods=["GET"])]


def _type(name: str) -> str | None:
    return next((kind for suffix, kind in _TYPES.items() if name.endswith(suffix)), None)
