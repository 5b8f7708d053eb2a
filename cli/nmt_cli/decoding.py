"""The options of `nmt translate`, in the panels of its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SEARCH, SAMPLING, CONTENT = "Search", "Sampling", "What may be said"
LINES, ENGINE = "Lines in and out", "Engine"

OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        rich_help_panel=LINES,
        help="Write here instead of stdout; the file appears whole at the end, and an interrupted run goes on.",
    ),
]
NBestOption = Annotated[
    int, typer.Option("--n-best", min=1, rich_help_panel=LINES, help="Print so many translations per line.")
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        show_default=False,
        rich_help_panel=LINES,
        help="text, tsv (line, score, log-probability, text), moses or json. Default: text, or tsv for several.",
    ),
]
AlignOption = Annotated[
    bool,
    typer.Option(
        "--align", rich_help_panel=LINES, help="Give the links between words too: after a tab, or in the JSON."
    ),
]
LongLinesOption = Annotated[
    str,
    typer.Option(
        "--long-lines", rich_help_panel=LINES, help="cut a line above the limit, or split it; both are counted."
    ),
]
MaxSourceOption = Annotated[
    int, typer.Option("--max-source", min=1, rich_help_panel=LINES, help="Longest source in tokens.")
]
LengthPenaltyOption = Annotated[
    str | None,
    typer.Option(
        "--length-penalty",
        show_default=False,
        rich_help_panel=SEARCH,
        help="none, average or gnmt. Default: the recipe's, as below.",
    ),
]
AlphaOption = Annotated[
    float | None,
    typer.Option("--alpha", show_default=False, rich_help_panel=SEARCH, help="Exponent of the length penalty."),
]
CoveragePenaltyOption = Annotated[
    float | None,
    typer.Option(
        "--coverage-penalty",
        show_default=False,
        rich_help_panel=SEARCH,
        help="Weight of source words left out, when finished translations are ranked.",
    ),
]
StoppingOption = Annotated[
    str | None,
    typer.Option(
        "--stopping",
        show_default=False,
        rich_help_panel=SEARCH,
        help="exact: no better one can still come; count: as many as the beam have ended.",
    ),
]
GroupsOption = Annotated[
    int | None,
    typer.Option(
        "--groups",
        show_default=False,
        rich_help_panel=SEARCH,
        help="Diverse beam search: groups of the beam that avoid each other's words.",
    ),
]
DiversityOption = Annotated[
    float | None,
    typer.Option(
        "--diversity",
        show_default=False,
        rich_help_panel=SEARCH,
        help="What a word costs for each earlier group that has just chosen it.",
    ),
]
MinLengthOption = Annotated[
    int | None,
    typer.Option("--min-length", show_default=False, rich_help_panel=SEARCH, help="Shortest translation in tokens."),
]
MaxLengthRatioOption = Annotated[
    float | None,
    typer.Option(
        "--max-length-ratio",
        show_default=False,
        rich_help_panel=SEARCH,
        help="Longest translation in tokens: this times the source ...",
    ),
]
MaxLengthConstantOption = Annotated[
    int | None, typer.Option("--max-length-constant", show_default=False, rich_help_panel=SEARCH, help="... plus this.")
]
SampleOption = Annotated[
    bool,
    typer.Option("--sample", rich_help_panel=SAMPLING, help="Draw translations instead of searching for the best."),
]
MbrOption = Annotated[
    str | None,
    typer.Option(
        "--mbr",
        metavar="UTILITY",
        show_default=False,
        rich_help_panel=SAMPLING,
        help="chrf or bleu: draw, and give the draw that agrees most with the others. Epsilon sampling unless told otherwise.",
    ),
]
SamplesOption = Annotated[
    int | None,
    typer.Option(
        "--samples", min=2, show_default=False, rich_help_panel=SAMPLING, help="Draws for --mbr. Default: 32."
    ),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(
        "--temperature", show_default=False, rich_help_panel=SAMPLING, help="Below 1 sharper, above 1 flatter."
    ),
]
TopKOption = Annotated[
    int | None,
    typer.Option("--top-k", show_default=False, rich_help_panel=SAMPLING, help="Draw from the k most probable tokens."),
]
TopPOption = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        show_default=False,
        rich_help_panel=SAMPLING,
        help="Draw from the nucleus that holds this probability.",
    ),
]
MinPOption = Annotated[
    float | None,
    typer.Option(
        "--min-p",
        show_default=False,
        rich_help_panel=SAMPLING,
        help="Draw from tokens of at least this share of the largest probability.",
    ),
]
EpsilonOption = Annotated[
    float | None,
    typer.Option(
        "--epsilon", show_default=False, rich_help_panel=SAMPLING, help="Draw from tokens of at least this probability."
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        show_default=False,
        rich_help_panel=SAMPLING,
        help="The draws of a line depend on this and the number of the line alone.",
    ),
]
PrefixOption = Annotated[
    Path | None,
    typer.Option(
        "--prefix",
        show_default=False,
        rich_help_panel=CONTENT,
        help="File with the beginning of each translation, one a line.",
    ),
]
ForbidOption = Annotated[
    list[str] | None,
    typer.Option(
        "--forbid",
        metavar="PHRASE",
        show_default=False,
        rich_help_panel=CONTENT,
        help="A word or phrase never to be said, however its pieces spell it; as it is written. Repeatable.",
    ),
]
WordStartsOption = Annotated[
    bool,
    typer.Option(
        "--word-starts",
        rich_help_panel=CONTENT,
        help="Phrases of --forbid and --constrained also stand for longer words that begin with them.",
    ),
]
ShortlistOption = Annotated[
    Path | None,
    typer.Option(
        "--shortlist",
        show_default=False,
        rich_help_panel=ENGINE,
        help="Search among the likely translations of each line's words alone; `nmt shortlist` makes the file.",
    ),
]
ConstrainedOption = Annotated[
    bool,
    typer.Option(
        "--constrained",
        rich_help_panel=CONTENT,
        help="Lines carry phrases, after tabs, that their translations must contain.",
    ),
]
NoRepeatNgramOption = Annotated[
    int | None,
    typer.Option(
        "--no-repeat-ngram", show_default=False, rich_help_panel=CONTENT, help="Never n tokens in a row twice."
    ),
]
RepetitionPenaltyOption = Annotated[
    float | None,
    typer.Option(
        "--repetition-penalty",
        show_default=False,
        rich_help_panel=CONTENT,
        help="Above 1, tokens said before cost more.",
    ),
]
ReplaceUnknownOption = Annotated[
    bool,
    typer.Option(
        "--replace-unknown",
        rich_help_panel=CONTENT,
        help="Copy the source word attended to most in place of an unknown one.",
    ),
]
EnsembleOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--ensemble",
        metavar="MODEL",
        show_default=False,
        rich_help_panel=ENGINE,
        help="Another model that votes on each word. Repeatable.",
    ),
]
EngineOption = Annotated[
    str, typer.Option("--engine", rich_help_panel=ENGINE, help="nmt, or ctranslate2 where that is installed.")
]
VerifyOption = Annotated[
    int,
    typer.Option(
        "--verify",
        min=0,
        metavar="N",
        rich_help_panel=ENGINE,
        help="Translate the first N lines again, one at a time in fp32, and say how many come out otherwise.",
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        rich_help_panel=ENGINE,
        help="Processes of one thread each; for large files as many as there are cores.",
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        rich_help_panel=ENGINE,
        help="auto, fp32, bf16 or int8. On CPU auto is fp32: the same output for any batch.",
    ),
]
