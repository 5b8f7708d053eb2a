"""The routes of LibreTranslate, so that its clients work unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nmt.corpus.languages import language_name
from nmt.serving.batching import CLOSED
from nmt.serving.files import SUFFIXES
from nmt.serving.languages import Detected, detect
from nmt.serving.layout import Layout, layout_of
from nmt.serving.reading import Refused, Upload, no_room
from nmt.serving.service import Service
from nmt.serving.tasks import Group, Line, Said

_ALTERNATIVES = 20


def routes(service: Service) -> list[Route]:
    """Returns the routes."""
    here = LibreTranslate(service)
    return [
        Route("/translate", here.translate, methods=["POST"]),
        Route("/detect", here.detect, methods=["POST"]),
        Route("/translate_file", here.translate_file, methods=["POST"]),
        Route("/download_file/{key}", here.download, methods=["GET"]),
        Route("/languages", here.languages, methods=["GET"]),
        Route("/frontend/settings", here.settings, methods=["GET"]),
        Route("/health", here.health, methods=["GET"]),
    ]


class LibreTranslate:
    """The answers."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def translate(self, request: Request) -> Response:
        """Translates a text, or several."""
        fields = await self.service.fields(request)
        texts, several = _texts(fields), isinstance(fields.get("q"), list)
        form = _choice(fields, "format", ("text", "html"))
        wanted = _number(fields, "alternatives", 0, _ALTERNATIVES)
        if len(texts) > (most := self.service.limits.lines):
            raise Refused(413, f"a request may have {most:,} texts, this one has {len(texts):,}")
        layouts = await asyncio.to_thread(lambda: [layout_of(text, form) for text in texts])
        detected, group = await self._group(fields, layouts, wanted)
        said = await self.service.translate(request, group, [Line(line) for part in layouts for line in part.lines])
        found = [_filled(layout, part) for layout, part in zip(layouts, _parts(layouts, said), strict=True)]
        answer: dict[str, Any] = {"translatedText": [best for best, *_ in found] if several else found[0][0]}
        if wanted:
            others = [others[:wanted] for _, *others in found]
            answer["alternatives"] = others if several else others[0]
        if detected is not None:
            answer["detectedLanguage"] = [detected.shown()] * len(texts) if several else detected.shown()
        return JSONResponse(answer)

    async def detect(self, request: Request) -> Response:
        """Says which of the served languages a text is in."""
        fields = await self.service.fields(request)
        text = "\n".join(_texts(fields))
        self.service.limits.check(text.split("\n"))
        served = {side for model in self.service.opened.models for pair in model.pairs for side in pair}
        return JSONResponse([found.shown() for found in await detect(text, served)])

    async def translate_file(self, request: Request) -> Response:
        """Translates a file of plain text or HTML."""
        fields = await self.service.fields(request)
        upload = fields.get("file")
        if not isinstance(upload, Upload):
            raise Refused(400, "file must be a file, sent as multipart/form-data")
        name = PurePosixPath(upload.name.replace("\\", "/")).name
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in SUFFIXES:
            raise Refused(400, f"files of this kind are not translated; there are {', '.join(SUFFIXES)}")
        try:
            text = upload.content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Refused(400, "the file is not UTF-8") from None
        layout = await asyncio.to_thread(layout_of, text, suffix.removeprefix("."))
        _, group = await self._group(fields, [layout], 0)
        said = await self.service.translate(request, group, [Line(line) for line in layout.lines])
        stem = f"{name.removesuffix(PurePosixPath(name).suffix)}_{group.target}{suffix}"
        try:
            key = self.service.files.put(stem, _filled(layout, said)[0].encode())
        except OSError as error:
            raise no_room(error) from None
        return JSONResponse({"translatedFileUrl": f"{request.base_url}download_file/{key}"})

    async def download(self, request: Request) -> Response:
        """Returns a translated file."""
        found = self.service.files.get(request.path_params["key"])
        if found is None:
            raise Refused(404, "there is no such file, or no longer")
        name, data = found
        header = f"attachment; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'))}"
        return Response(data, media_type="text/plain", headers={"Content-Disposition": header})

    async def languages(self, _: Request) -> Response:
        """Lists the source languages, and the targets of each."""
        targets: dict[str, set[str]] = {}
        for source, target in (pair for model in self.service.opened.models for pair in model.pairs):
            targets.setdefault(source, set()).add(target)
            targets.setdefault(target, set())
        return JSONResponse(
            [
                {"code": code, "name": language_name(code), "targets": sorted(others)}
                for code, others in sorted(targets.items())
            ]
        )

    async def settings(self, _: Request) -> Response:
        """Tells what a user interface may offer."""
        first, service = self.service.opened.models[0], self.service
        sides = {"source": first.source, "target": first.target}
        return JSONResponse(
            {
                "apiKeys": bool(service.keys),
                "keyRequired": bool(service.keys),
                "charLimit": service.limits.characters,
                "filesTranslation": True,
                "frontendTimeout": 500,
                "suggestions": False,
                "supportedFilesFormat": list(SUFFIXES),
                "language": {side: {"code": code, "name": language_name(code)} for side, code in sides.items()},
            }
        )

    async def health(self, _: Request) -> Response:
        """Says that the server answers, and has the models."""
        if self.service.queue.is_closed:
            raise Refused(CLOSED.status, CLOSED.message)
        return JSONResponse({"status": "ok"})

    async def _group(
        self, fields: dict[str, Any], layouts: Sequence[Layout], alternatives: int
    ) -> tuple[Detected | None, Group]:
        """Returns the detected language, if it was to be detected, and the group of the lines."""
        source, target, named = _word(fields, "source"), _word(fields, "target"), fields.get("model")
        models = self.service.opened.models if named is None else [self.service.model(named)]
        detected = None
        if source == "auto":
            sources = {one for model in models for one, other in model.pairs if other == target}
            if not sources:
                self.service.between(source, target, models)
            (detected, *_) = await detect("\n".join(line for part in layouts for line in part.lines), sources)
            source = detected.language
        if source == target:
            raise Refused(400, "source and target are the same language")
        model = self.service.between(source, target, models)
        return detected, Group(model.name, target, min(1 + alternatives, model.beam))


def _texts(fields: dict[str, Any]) -> list[str]:
    """Returns the texts of `q`."""
    found: Any = fields.get("q")
    given: list[Any] = found if isinstance(found, list) else [found]
    texts = [text for text in given if isinstance(text, str)]
    if not texts or len(texts) < len(given):
        raise Refused(400, "q must be text, or a list of texts")
    return texts


def _word(fields: dict[str, Any], name: str) -> str:
    """Returns a field that must be a word."""
    found = fields.get(name)
    if not isinstance(found, str) or not found:
        raise Refused(400, f"{name} must be the code of a language, such as de")
    return found


def _choice(fields: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    found = fields.get(name) or allowed[0]
    if found not in allowed:
        raise Refused(400, f"{name} must be {' or '.join(allowed)}")
    return found


def _number(fields: dict[str, Any], name: str, least: int, most: int) -> int:
    """Returns a field that must be a whole number; in forms it is text."""
    found = fields.get(name, least)
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 10:
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
        raise Refused(400, f"{name} must be a whole number from {least} to {most}")
    return found


def _parts(layouts: Sequence[Layout], said: list[Said]) -> list[list[Said]]:
    """Divides translations among the texts."""
    parts, start = list[list[Said]](), 0
    for layout in layouts:
        parts.append(said[start : start + len(layout.lines)])
        start += len(layout.lines)
    return parts


def _filled(layout: Layout, said: list[Said]) -> list[str]:
    """Returns the translated text and its alternatives, which take the next best translation of each line."""
    count = max(map(len, said), default=1)
    return [layout.filled([items[min(rank, len(items) - 1)]["text"] for items in said]) for rank in range(count)]
