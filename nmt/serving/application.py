"""The application: routes, and around them what each answer has in common: one line for errors, headers, log and counts."""

from __future__ import annotations

import time
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from nmt.serving import interface, libretranslate, pages
from nmt.serving.reading import Refused
from nmt.serving.service import Gone, Service

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
MOST = 1000
"""Requests that are answered at once; more are refused."""
LEFT = 499
"""Status in the log of a request whose client has left."""


def refusal(request: Request, error: Exception) -> Response:
    """Answers a wrong request with one line of JSON."""
    if isinstance(error, Refused):
        return JSONResponse({"error": error.message}, error.status, error.headers)
    if isinstance(error, HTTPException):
        texts = {404: "there is no such page", 405: f"{request.method} is not for this page"}
        return JSONResponse({"error": texts.get(error.status_code, error.detail)}, error.status_code, error.headers)
    raise error


def gone(_: Request, __: Exception) -> Response:
    """Answers a client that has left, so nobody reads it; the status goes to the log."""
    return Response(status_code=LEFT)


def fault(_: Request, __: Exception) -> Response:
    """Answers where the server is wrong; the error goes to the log."""
    return JSONResponse({"error": "the server has a fault; its log says more"}, 500)


class Application:
    """An ASGI application."""

    def __init__(self, service: Service) -> None:
        self.service = service
        translating = libretranslate.routes(service) if service.opened.models else []
        routes = [*translating, *interface.routes(service), *pages.routes()]
        handlers: Any = {Refused: refusal, HTTPException: refusal, Gone: gone, ClientDisconnect: gone, Exception: fault}
        self._inner = Starlette(routes=routes, exception_handlers=handlers)
        self._inner.router.redirect_slashes = False  # it would believe any header Host
        self._paths = {route.path for route in routes if "{" not in route.path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            return
        answer, metrics, begun = _Answer(send), self.service.metrics, time.perf_counter()
        scope["state"] = {}
        metrics.running += 1
        try:
            refused = self._refused()
            inner = self._inner if refused is None else refusal(Request(scope), refused)
            await inner(scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - the client has got its line, and the log gets more
            metrics.failed(error)
        finally:
            metrics.running -= 1
            self._note(scope, answer.status, time.perf_counter() - begun)

    def _refused(self) -> Refused | None:
        """Says why no request is answered now, if none is."""
        later = {"Connection": "close", "Retry-After": "5"}
        if self.service.stopping:
            return Refused(503, "the server is stopping", later)
        if self.service.metrics.running > MOST:
            return Refused(503, f"the server has {MOST:,} requests to answer; ask again later", later)
        return None

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts the answer and writes it to the log: what is unknown, which may be text, is left out."""
        path, method, state = scope["path"], scope["method"], scope["state"]
        folder = path[: path.rfind("/")]
        route = (
            path
            if path in self._paths
            else f"{folder}/..."
            if folder in ("/page", "/download_file", "/v1/runs")
            else "?"
        )
        method = method if method in ("GET", "HEAD", "POST", "OPTIONS") else "?"
        self.service.metrics.answered(method, route, status, seconds)
        line = f"{method} {route} {status} {1000 * seconds:.0f} ms"
        if "characters" in state:
            line += f" {state['characters']} characters"
        self.service.metrics.say(f"{line}: {state['text']}" if "text" in state else line)


class _Answer:
    """Sends an answer, with the headers that all have, and keeps its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)
