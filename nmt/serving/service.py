"""What the routes share: the models, the queue, the limits; and the way of a request through the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from starlette.requests import Request

from nmt.serving.batching import Full, Job, Queue
from nmt.serving.files import Files
from nmt.serving.metrics import Metrics
from nmt.serving.reading import Keys, Limits, Refused, read_fields
from nmt.serving.tasks import Group, Line, Look, Opened, Said, ServedModel, Wrong

RETRY_AFTER = 2
"""Seconds after which a refused client should ask again."""


class Gone(Exception):  # noqa: N818 - nothing went wrong
    """The client has left."""


@dataclass
class Service:
    """All that answers need."""

    opened: Opened
    queue: Queue
    metrics: Metrics
    keys: Keys = field(default_factory=Keys)
    limits: Limits = field(default_factory=Limits)
    runs: tuple[Path, ...] = ()
    """Folders of the trainings that are shown."""
    log_text: bool = False
    files: Files = field(default_factory=Files)
    stopping: bool = False

    async def fields(self, request: Request) -> dict[str, Any]:
        """Reads the fields of a request and checks its key.

        Raises:
            Refused: something is wrong with either.
        """
        found = await read_fields(request, self.limits)
        self.keys.check(request, found)
        found.pop("api_key", None)
        return found

    def model(self, name: object) -> ServedModel:
        """Returns the model of a name; of None the first.

        Raises:
            Refused: there is none.
        """
        models = self.opened.models
        found = next((model for model in models if name in (None, model.name)), None)
        if found is None:
            raise Refused(404, f"there is no model {name!r}; there are {', '.join(model.name for model in models)}")
        return found

    def between(self, source: str, target: str, models: Sequence[ServedModel]) -> ServedModel:
        """Returns the first of some models that translates between two languages.

        Raises:
            Refused: there is none.
        """
        for model in models:
            if (source, target) in model.pairs:
                return model
        pairs = ", ".join(dict.fromkeys(f"{one}-{other}" for model in models for one, other in model.pairs))
        raise Refused(400, f"there is no model from {source!r} to {target!r}; there are {pairs}")

    async def translate(self, request: Request, group: Group, lines: Sequence[Line]) -> list[Said]:
        """Translates lines, once the limits are checked.

        Raises:
            Refused, Gone: there are no translations.
        """
        characters = self.limits.check([line.text + line.prefix for line in lines])
        self.metrics.characters += characters
        request.state.characters = characters
        if self.log_text:
            request.state.text = " / ".join(line.text for line in lines)
        return await self.done(request, group, lines)

    async def look(self, request: Request, look: Look) -> dict[str, Any]:
        """Runs a view.

        Raises:
            Refused, Gone: there is no result.
        """
        return cast(dict[str, Any], (await self.done(request, look, [Line("")]))[0])

    async def done(self, request: Request, what: Group | Look, lines: Sequence[Line]) -> list[Any]:
        """Returns the results of a job; drops it if they take too long or the client leaves.

        Raises:
            Refused: the queue is full, time is up, or the request is wrong.
            Gone: the client has left.
        """
        if not lines:
            return []
        job = asyncio.create_task(self.queue.do(Job(what, lines)))
        leaving = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({job, leaving}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                if leaving.done():
                    raise Gone
                raise Refused(504, f"no answer within {self.limits.seconds:g} seconds; ask for less, or later")
            results = job.result()
        except Full:
            raise Refused(429, "too many requests wait; ask again later", {"Retry-After": str(RETRY_AFTER)}) from None
        finally:
            for task in (job, leaving):
                task.cancel()
        if isinstance(wrong := results[0], Wrong):
            raise Refused(wrong.status, wrong.message)
        return results


async def _left(request: Request) -> None:
    """Returns when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
