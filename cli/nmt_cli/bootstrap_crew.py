"""Does the work of a bootstrap's stages as `nmt train` and `nmt translate` do theirs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nmt_cli.requests import options
from nmt_cli.train import train_run
from nmt_cli.translate import translate
from nmt_cli.translation_request import SamplingOptions, SearchOptions, TranslationRequest

if TYPE_CHECKING:
    from nmt.config.recipe import Recipe
    from nmt_data.bootstrap.work import Job

_FEW = 1024  # lines for which a process of its own is worth its start


@dataclass(frozen=True)
class Crew:
    """Who works."""

    device: str
    workers: int | None
    """Processes that translate; None: one a core, or one on a GPU."""

    def train(self, recipe: Recipe, run: Path) -> None:
        """Trains to the end, from where it was stopped."""
        train_run(recipe, run, self.device)

    def translate(self, job: Job) -> None:
        """Writes a translation of each line, from where it was stopped."""
        first, *others = job.models
        request = TranslationRequest(
            model=first,
            file=job.text,
            output=job.output,
            ensemble=others or None,
            search=_search(job),
            sample=job.sampling is not None,
            sampling=SamplingOptions(**(job.sampling or {})),
            workers=self._for_lines(job.lines),
            device=self.device,
        )
        translate(**options(request))

    def _for_lines(self, lines: int) -> int:
        """Returns how many processes translate so many lines."""
        from nmt.runtime.cpu import usable_cores
        from nmt.runtime.device import choose_device

        if self.workers is not None:
            return self.workers
        return 1 if choose_device(self.device).type == "cuda" else min(usable_cores(), 1 + lines // _FEW)


def _search(job: Job) -> SearchOptions:
    """Returns the settings that mean something: `nmt translate` refuses the others."""
    one_group = ("diversity",) if job.search["groups"] == 1 else ()
    idle = one_group if job.sampling is None else ("groups", "diversity", "stopping")
    return SearchOptions(**{name: value for name, value in job.search.items() if name not in idle})
