"""The options of `nmt translate`, by panel of its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from nmt_cli.options import (
    BatchSizeOption,
    BeamOption,
    ClusterOption,
    DeviceOption,
    LatestOption,
    ModelArgument,
    ToOption,
)
from nmt_cli.requests import field_help

SEARCH, SAMPLING, CONTENT = "Search", "Sampling", "What may be said"
LINES, ENGINE = "Lines in and out", "Engine"
_SEARCH, _SAMPLING = (field_help("nmt.config.search", section) for section in ("SearchConfig", "SamplingConfig"))


def _searched(name: str, panel: str = SEARCH) -> Any:
    """Makes an option of a recipe's search setting, with the field's help; the default is the recipe's value."""
    return typer.Option(show_default=False, rich_help_panel=panel, help=_SEARCH[name])


def _sampled(name: str) -> Any:
    """Makes an option of a sampling setting."""
    return typer.Option(show_default=False, rich_help_panel=SAMPLING, help=_SAMPLING[name])


@dataclass(frozen=True)
class SearchOptions:
    """Fields of `SearchConfig`; None: the recipe's value."""

    beam: BeamOption = None
    length_penalty: Annotated[str | None, _searched("length_penalty")] = None
    alpha: Annotated[float | None, _searched("alpha")] = None
    coverage_penalty: Annotated[float | None, _searched("coverage_penalty")] = None
    groups: Annotated[int | None, _searched("groups")] = None
    diversity: Annotated[float | None, _searched("diversity")] = None
    stopping: Annotated[str | None, _searched("stopping")] = None
    min_length: Annotated[int | None, _searched("min_length")] = None
    max_length_ratio: Annotated[float | None, _searched("max_length_ratio")] = None
    max_length_constant: Annotated[int | None, _searched("max_length_constant")] = None
    no_repeat_ngram: Annotated[int | None, _searched("no_repeat_ngram", CONTENT)] = None
    repetition_penalty: Annotated[float | None, _searched("repetition_penalty", CONTENT)] = None


@dataclass(frozen=True)
class SamplingOptions:
    """Fields of `SamplingConfig`; None: the default."""

    temperature: Annotated[float | None, _sampled("temperature")] = None
    top_k: Annotated[int | None, _sampled("top_k")] = None
    top_p: Annotated[float | None, _sampled("top_p")] = None
    min_p: Annotated[float | None, _sampled("min_p")] = None
    epsilon: Annotated[float | None, _sampled("epsilon")] = None
    seed: Annotated[int | None, _sampled("seed")] = None


@dataclass(frozen=True)
class TranslationRequest:
    """Everything that `nmt translate` was asked for."""

    model: ModelArgument
    file: Annotated[
        Path | None, typer.Argument(help="Text to translate, one segment a line. Default: stdin.", show_default=False)
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            rich_help_panel=LINES,
            help="Write here instead of stdout; the file appears whole at the end, and an interrupted run goes on.",
        ),
    ] = None
    n_best: Annotated[int, typer.Option(min=1, rich_help_panel=LINES, help="Print so many translations per line.")] = 1
    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            show_default=False,
            rich_help_panel=LINES,
            help="text, tsv (line, score, log-probability, text), moses or json. Default: text, or tsv for several.",
        ),
    ] = None
    align: Annotated[
        bool,
        typer.Option(
            "--align", rich_help_panel=LINES, help="Give the links between words too: after a tab, or in the JSON."
        ),
    ] = False
    long_lines: Annotated[
        str, typer.Option(rich_help_panel=LINES, help="cut a line above the limit, or split it; both are counted.")
    ] = "cut"
    max_source: Annotated[int, typer.Option(min=1, rich_help_panel=LINES, help="Longest source in tokens.")] = 1024
    to: ToOption = None
    search: SearchOptions = field(default_factory=SearchOptions)
    sample: Annotated[
        bool,
        typer.Option("--sample", rich_help_panel=SAMPLING, help="Draw translations instead of searching for the best."),
    ] = False
    mbr: Annotated[
        str | None,
        typer.Option(
            metavar="UTILITY",
            show_default=False,
            rich_help_panel=SAMPLING,
            help="chrf2 or bleu: draw, and give the draw that agrees most with the others. By epsilon sampling if not told.",
        ),
    ] = None
    samples: Annotated[
        int | None,
        typer.Option(min=2, show_default=False, rich_help_panel=SAMPLING, help="Draws for --mbr. Default: 32."),
    ] = None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    prefix: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            rich_help_panel=CONTENT,
            help="File with the beginning of each translation, one a line.",
        ),
    ] = None
    forbid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PHRASE",
            show_default=False,
            rich_help_panel=CONTENT,
            help="A word or phrase never to be said, however its pieces spell it; as it is written. Repeatable.",
        ),
    ] = None
    constrained: Annotated[
        bool,
        typer.Option(
            "--constrained",
            rich_help_panel=CONTENT,
            help="Lines carry phrases, after tabs, that their translations must contain.",
        ),
    ] = False
    word_starts: Annotated[
        bool,
        typer.Option(
            "--word-starts",
            rich_help_panel=CONTENT,
            help="Phrases of --forbid and --constrained also stand for longer words that begin with them.",
        ),
    ] = False
    replace_unknown: Annotated[
        bool,
        typer.Option(
            "--replace-unknown",
            rich_help_panel=CONTENT,
            help="Copy the source word attended to most in place of an unknown one.",
        ),
    ] = False
    ensemble: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="MODEL",
            show_default=False,
            rich_help_panel=ENGINE,
            help="Another model that votes on each word. Repeatable.",
        ),
    ] = None
    shortlist: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            rich_help_panel=ENGINE,
            help="Search among the likely translations of each line's words alone; `nmt shortlist` makes the file.",
        ),
    ] = None
    engine: Annotated[
        str, typer.Option(rich_help_panel=ENGINE, help="nmt, or ctranslate2 where that is installed.")
    ] = "nmt"
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel=ENGINE,
            help="Processes of one thread each; for large files as many as there are cores.",
        ),
    ] = 1
    verify: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            rich_help_panel=ENGINE,
            help="Translate the first N lines again, one at a time in fp32, and say how many come out otherwise.",
        ),
    ] = 0
    precision: Annotated[
        str,
        typer.Option(
            rich_help_panel=ENGINE,
            help="auto, fp32, bf16 or int8. On CPU auto is fp32: the same output for any batch.",
        ),
    ] = "auto"
    batch_size: BatchSizeOption = None
    latest: LatestOption = False
    device: DeviceOption = "auto"
    cluster: ClusterOption = None

    @property
    def is_shared(self) -> bool:
        """Whether several processes do the work."""
        return self.workers > 1 or self.cluster is not None

    @property
    def form(self) -> str:
        """The output format."""
        return self.output_format or ("text" if self.n_best == 1 else "tsv")
