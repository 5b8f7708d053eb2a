"""What the server asks of its worker processes, and what they tell of their models. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nmt.errors import NmtError


@dataclass(frozen=True)
class Setup:
    """How a worker process opens its models."""

    models: tuple[Path, ...]
    device: str = "auto"
    beam: int | None = None
    """Hypotheses per sentence; None: those of each model's recipe."""
    threads: int = 1


@dataclass(frozen=True)
class Group:
    """What lines have in common that are searched together."""

    model: str
    target: str | None = None
    """Target language; None: the model's first."""
    count: int = 1
    """Translations per line."""
    beam: int | None = None
    links: bool = False
    """Whether links between words are wanted."""
    prefixed: bool = False
    """Whether translations have forced beginnings."""


@dataclass(frozen=True)
class Line:
    """A line to translate, and the forced beginning of its translation."""

    text: str
    prefix: str = ""


@dataclass(frozen=True, eq=False)
class Look:
    """A view to run, with the body of its request; no two are alike, so each runs alone."""

    view: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A batch: lines of one group, or nothing but a view."""

    what: Group | Look | None
    """None: asks for `Opened`."""
    lines: tuple[Line, ...] = ()


class Results(list[Any]):
    """One result per line of a task, and what was counted on the way."""

    def __init__(self, results: Sequence[Any] = (), counts: Mapping[str, int] | None = None) -> None:
        """Keeps both; `counts` go by the names of `nmt.translation.result.Report`."""
        super().__init__(results)
        self.counts = dict(counts or {})


Said = list[dict[str, Any]]
"""The translations of a line, best first, as JSON objects."""


@dataclass(frozen=True)
class ServedModel:
    """A model that is served, as `GET /v1/models` shows it."""

    name: str
    source: str
    target: str
    targets: list[str]
    family: str
    layers: int
    """Layers of attention."""
    heads: int
    parameters: int
    attention: bool
    visual: bool
    beam: int
    pairs: list[tuple[str, str]]
    """Directions: source and target language."""

    def shown(self) -> dict[str, Any]:
        """Returns the public facts."""
        return {name: value for name, value in asdict(self).items() if name != "pairs"}


@dataclass(frozen=True)
class Opened:
    """What a worker process has opened."""

    models: list[ServedModel]
    views: list[str]
    device: str


class UnopenedError(NmtError):
    """The models of a worker process could not be opened."""


@dataclass(frozen=True)
class Wrong:
    """The answer to a request that cannot be done: a status of HTTP and one line."""

    status: int
    message: str
