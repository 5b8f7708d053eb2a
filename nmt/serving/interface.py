"""Routes of our own under /v1: translations with scores and links, the views, and the trainings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from nmt.config.search import check_count
from nmt.errors import DataError
from nmt.serving.reading import Refused
from nmt.serving.service import Service
from nmt.serving.tasks import Group, Line, Look

_LARGEST_BEAM = 20
_FIELDS = {"model", "text", "target", "n_best", "beam", "prefix", "alignments"}


def routes(service: Service) -> list[Route]:
    """Returns the routes; each view has one."""
    here = Interface(service)
    return [
        Route("/v1/models", here.models, methods=["GET"]),
        Route("/v1/translate", here.translate, methods=["POST"]),
        Route("/v1/runs", here.runs, methods=["GET"]),
        Route("/v1/runs/{name}", here.run, methods=["GET"]),
        Route("/metrics", here.metrics, methods=["GET"]),
        *(Route(f"/v1/{name}", here.look, methods=["POST"]) for name in service.opened.views),
    ]


class Interface:
    """The answers."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def models(self, _: Request) -> Response:
        """Lists the models."""
        return JSONResponse({"models": [model.shown() for model in self.service.opened.models]})

    async def metrics(self, request: Request) -> Response:
        """Returns the counts for Prometheus."""
        self.service.keys.check(request)
        return PlainTextResponse(self.service.metrics.text(), media_type="text/plain; version=0.0.4")

    async def translate(self, request: Request) -> Response:
        """Translates lines, with scores and, if wanted, links between words."""
        fields = await self.service.fields(request)
        if unknown := sorted(fields.keys() - _FIELDS):
            raise Refused(400, f"there is no field {unknown[0]!r}; there are {', '.join(sorted(_FIELDS))}")
        model = self.service.model(fields.get("model"))
        lines, prefixes = _lines(fields, "text"), _lines(fields, "prefix", [])
        if prefixes and len(prefixes) != len(lines):
            raise Refused(400, f"there are {len(lines)} lines and {len(prefixes)} prefixes")
        target = fields.get("target") or model.target
        if target not in model.targets:
            raise Refused(400, f"{model.name} translates into {', '.join(model.targets)}, not into {target!r}")
        count, beam = _number(fields, "n_best", 1), _number(fields, "beam", model.beam, model.beam)
        try:
            check_count(count, beam)
        except DataError as error:
            raise Refused(400, str(error)) from None
        links = fields.get("alignments", False)
        if not isinstance(links, bool):
            raise Refused(400, "alignments must be true or false")
        if links and not model.attention:
            raise Refused(400, f"{model.name} has no attention, so it links no words")
        group = Group(model.name, target, count, None if beam == model.beam else beam, links, bool(prefixes))
        asked = [Line(line, prefix) for line, prefix in zip(lines, prefixes or [""] * len(lines), strict=True)]
        return JSONResponse({"translations": await self.service.translate(request, group, asked)})

    async def runs(self, request: Request) -> Response:
        """Lists the trainings."""
        self.service.keys.check(request)
        return JSONResponse(await asyncio.to_thread(_list_runs, self.service.runs))

    async def run(self, request: Request) -> Response:
        """Tells what a training has logged since an earlier answer."""
        self.service.keys.check(request)
        after = request.query_params.get("after", "0")
        if not after.isascii() or not after.isdigit() or len(after) > 18:
            raise Refused(400, "after must be the offset of an earlier answer")
        name = request.path_params["name"]
        found = await asyncio.to_thread(_show_run, self.service.runs, name, int(after))
        if found is None:
            raise Refused(404, "there is no such run")
        return JSONResponse(found)

    async def look(self, request: Request) -> Response:
        """Runs the view that the path names."""
        body = await self.service.fields(request)
        return JSONResponse(await self.service.look(request, Look(request.scope["path"].removeprefix("/v1/"), body)))


def _list_runs(folders: Sequence[Path]) -> dict[str, Any]:
    from nmt.report.live import list_runs

    return list_runs(folders)


def _show_run(folders: Sequence[Path], name: str, after: int) -> dict[str, Any] | None:
    from nmt.report.live import show_run

    return show_run(folders, name, after)


def _lines(fields: dict[str, Any], name: str, default: list[str] | None = None) -> list[str]:
    """Returns the lines of a text, or of a list of lines."""
    found = fields.get(name)
    if found is None and default is not None:
        return default
    lines = found.removesuffix("\n").split("\n") if isinstance(found, str) else found
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise Refused(400, f"{name} must be text, or a list of lines")
    return lines


def _number(fields: dict[str, Any], name: str, default: int, known: int = 1) -> int:
    found = fields.get(name, default)
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= max(known, _LARGEST_BEAM):
        raise Refused(400, f"{name} must be a whole number from 1 to {max(known, _LARGEST_BEAM)}")
    return found
