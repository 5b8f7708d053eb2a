"""Translates chunks of lines in several single-threaded processes, which is faster than threads sharing a batch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from nmt_cli.console import note
from nmt_cli.opening import open_for

if TYPE_CHECKING:
    from nmt.translation.result import Report, Translation
    from nmt_cli.translation_request import TranslationRequest


@dataclass(frozen=True)
class Task:
    """Consecutive lines."""

    lines: list[str]
    prefixes: list[str] | None
    first: int
    """Number of the first line."""
    count: int
    """Number of translations wanted per line."""
    replaced: int = 0
    """Lines with bytes that are not UTF-8."""

    def __str__(self) -> str:
        return f"lines {self.first + 1} to {self.first + len(self.lines)}"


@dataclass(frozen=True)
class TranslatedTask:
    """The result of a task."""

    translations: list[list[Translation]]
    report: Report


def translated(tasks: Iterable[Task], request: TranslationRequest) -> Generator[TranslatedTask]:
    """Yields outcomes in the order of the tasks; only a few more tasks than workers run at a time.

    Args:
        tasks: read on demand; one without lines stands for a pause.
        request: each worker opens its translator from it.

    Raises:
        NmtError: a worker was killed twice at the same lines.
    """
    from nmt.runtime.cluster import ClusterCrew
    from nmt.runtime.crew import Crew, Pause

    given = (task if task.lines else Pause() for task in tasks)
    if request.cluster is not None:
        return ClusterCrew(partial(_opened, _everywhere(request)), request.cluster, _takes_gpu(request)).results(given)
    remedy = "if memory ran out, take fewer --workers or a smaller --batch-size"
    crew: Crew[Task, TranslatedTask] = Crew(
        partial(_opened, request), request.workers, name=str, remedy=remedy, say=lambda line: note(f"nmt: {line}")
    )
    return crew.results(given)


def _everywhere(request: TranslationRequest) -> TranslationRequest:
    """Returns the request with paths that do not depend on the folder in which a process starts."""
    return replace(
        request,
        model=request.model.absolute(),
        shortlist=request.shortlist and request.shortlist.absolute(),
        ensemble=request.ensemble and [path.absolute() for path in request.ensemble],
    )


def _takes_gpu(request: TranslationRequest) -> bool:
    return request.device.startswith("cuda")


def _opened(request: TranslationRequest) -> Callable[[Task], TranslatedTask]:
    import torch

    torch.set_num_threads(1)
    translator = open_for(request)

    def work(task: Task) -> TranslatedTask:
        found = translator.translate_n_best(task.lines, task.count, task.prefixes, task.first)
        translator.report.replaced += task.replaced
        return TranslatedTask(found, translator.report.taken())

    return work
