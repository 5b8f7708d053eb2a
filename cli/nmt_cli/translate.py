"""`nmt translate`: files or stdin to stdout; n lines in, n lines out."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, get_args

import typer

from nmt_cli import decoding as options
from nmt_cli.console import note
from nmt_cli.models import open_translator
from nmt_cli.options import BatchSizeOption, BeamOption, DeviceOption, LatestOption, ModelArgument, ToOption
from nmt_cli.standard import binary_output
from nmt_cli.streams import WINDOW, Meter, Sink, chunks, decode, job_of, reading, writing
from nmt_cli.workers import Task, translated

if TYPE_CHECKING:
    from nmt.translation.result import Report, Translation
    from nmt.translation.translator import Translator

FORMATS = ("text", "tsv", "moses", "json")


def translate(
    model: ModelArgument,
    file: Annotated[
        Path | None, typer.Argument(help="Text to translate, one segment a line. Default: stdin.", show_default=False)
    ] = None,
    output: options.OutputOption = None,
    n_best: options.NBestOption = 1,
    output_format: options.FormatOption = None,
    align: options.AlignOption = False,
    long_lines: options.LongLinesOption = "cut",
    max_source: options.MaxSourceOption = 1024,
    to: ToOption = None,
    beam: BeamOption = None,
    length_penalty: options.LengthPenaltyOption = None,
    alpha: options.AlphaOption = None,
    coverage_penalty: options.CoveragePenaltyOption = None,
    groups: options.GroupsOption = None,
    diversity: options.DiversityOption = None,
    stopping: options.StoppingOption = None,
    min_length: options.MinLengthOption = None,
    max_length_ratio: options.MaxLengthRatioOption = None,
    max_length_constant: options.MaxLengthConstantOption = None,
    sample: options.SampleOption = False,
    mbr: options.MbrOption = None,
    samples: options.SamplesOption = None,
    temperature: options.TemperatureOption = None,
    top_k: options.TopKOption = None,
    top_p: options.TopPOption = None,
    min_p: options.MinPOption = None,
    epsilon: options.EpsilonOption = None,
    seed: options.SeedOption = None,
    prefix: options.PrefixOption = None,
    forbid: options.ForbidOption = None,
    constrained: options.ConstrainedOption = False,
    word_starts: options.WordStartsOption = False,
    no_repeat_ngram: options.NoRepeatNgramOption = None,
    repetition_penalty: options.RepetitionPenaltyOption = None,
    replace_unknown: options.ReplaceUnknownOption = False,
    ensemble: options.EnsembleOption = None,
    shortlist: options.ShortlistOption = None,
    engine: options.EngineOption = "nmt",
    workers: options.WorkersOption = 1,
    verify: options.VerifyOption = 0,
    precision: options.PrecisionOption = "auto",
    batch_size: BatchSizeOption = None,
    latest: LatestOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Translate text, line by line."""
    given = dict(locals())  # not the record that Typer keeps of the options: in older releases its paths are text
    _begin(output, (file, prefix, shortlist))
    translator = open_from(given)
    job = _job(given, file) if file and file.is_file() else None  # a pipe cannot be read again
    with reading(file) as source, writing(output, job) as sink:
        verification = Verification(verify)
        report = _translate(translator, given, source, sink, verification)
    for line in (*report.summary(), *verification.summary(given)):
        note(f"nmt: {line}")


def _begin(output: Path | None, inputs: Sequence[Path | None]) -> None:
    """Refuses, before the model is read, what cannot be written or what the output would overwrite; sets the threads."""
    from nmt.runtime.device import set_threads
    from nmt.runtime.files import check_output, refuse_overwriting

    if output:
        refuse_overwriting(output, inputs)
        check_output(output)
    else:
        binary_output()
    set_threads()


class Verification:
    """The first lines that are translated, to be translated again."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.lines: list[str] = []
        self.prefixes: list[str] | None = None
        self.first = 0
        self.texts: list[str] = []

    def watch(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """Keeps the lines of tasks as they pass."""
        for task in tasks:
            if not self.lines:
                self.first = task.first
            missing = self.count - len(self.lines)
            self.lines += task.lines[:missing]
            if task.prefixes is not None:
                self.prefixes = [*(self.prefixes or ()), *task.prefixes[:missing]]
            yield task

    def keep(self, found: list[list[Translation]]) -> None:
        """Keeps what became of the next lines."""
        self.texts += [items[0].text for items in found[: self.count - len(self.texts)]]

    def summary(self, given: Mapping[str, Any]) -> Iterator[str]:
        """A sentence on how many lines our own search in fp32 translates otherwise when each is alone, if any were kept."""
        if not self.texts:
            return
        alone = open_from({**given, "precision": "fp32", "batch_size": 1, "engine": "nmt"})
        again = alone.translate_n_best(self.lines, 1, self.prefixes, self.first)
        differing = sum(text != items[0].text for text, items in zip(self.texts, again, strict=True))
        yield f"{differing} of {len(self.texts)} lines come out otherwise in fp32, one line at a time"


def _translate(
    translator: Translator, given: Mapping[str, Any], source: IO[bytes], sink: Sink, verification: Verification
) -> Report:
    """Chunk by chunk, until the source ends."""
    from nmt.errors import DataError
    from nmt.fast.kernels import why_missing

    if translator.device.type == "cpu" and translator.engine is None and (reason := why_missing()):
        note(f"nmt: search is slower than it could be: {reason}")
    report = translator.report
    with Meter(source) as meter, _prefixes(given["prefix"], sink.lines) as prefixes:
        window = _window(translator, given["workers"])
        tasks = verification.watch(_tasks(source, prefixes, sink.lines, window, given["n_best"], report))
        if given["workers"] == 1:
            for task in tasks:
                found = translator.translate_n_best(task.lines, task.count, task.prefixes, task.first)
                verification.keep(found)
                _deliver(found, given, sink, meter)
        else:
            with closing(translated(tasks, given)) as outcomes:
                for outcome in outcomes:
                    report.add(outcome.report)
                    verification.keep(outcome.translations)
                    _deliver(outcome.translations, given, sink, meter)
        if prefixes is not None and next(prefixes, None) is not None:
            raise DataError(f"{sink.lines} lines but more prefixes")
    return report


def _deliver(found: list[list[Translation]], given: Mapping[str, Any], sink: Sink, meter: Meter) -> None:
    """Writes the translations of the next lines."""
    form = given["output_format"] or ("text" if given["n_best"] == 1 else "tsv")
    rows = (row for number, items in enumerate(found, sink.lines) for row in _formatted(number, items, form))
    sink.write("".join(rows).encode(), len(found))
    meter.advance(len(found))


def _window(translator: Translator, workers: int) -> int:
    """Lines that are read at a time: fewer for each of several workers, many for a GPU, which searches a thousand at once."""
    if translator.device.type == "cuda":
        return 16 * WINDOW
    return WINDOW if workers == 1 else WINDOW // 8


def _tasks(
    source: IO[bytes], prefixes: Iterator[str] | None, first: int, window: int, count: int, report: Report
) -> Iterator[Task]:
    """The lines from one on, in chunks, with what each translation begins with."""
    for chunk in chunks(source, first, window):
        lines, replaced = decode(chunk)
        report.replaced += replaced
        begins = None if prefixes is None else list(islice(prefixes, len(lines)))
        yield Task(lines, begins, first, count)
        first += len(lines)


_SAMPLES, _EPSILON = 32, 0.02  # of minimum Bayes risk decoding, as in Freitag et al. 2023


def open_from(given: Mapping[str, Any]) -> Translator:
    """The translator that the options describe; wrong ones are refused before the model is read."""
    from nmt.config.reading import parse_sampling
    from nmt.config.search import SamplingConfig, SearchConfig
    from nmt.decoding.mbr import Utility
    from nmt.errors import ConfigError
    from nmt.translation.result import Options

    for name, allowed in (("output_format", FORMATS), ("long_lines", ("cut", "split"))):
        if given[name] not in (None, *allowed):
            flag = name.removeprefix("output_").replace("_", "-")
            raise ConfigError(f"--{flag} must be one of {', '.join(allowed)}, got {given[name]}")
    if given["mbr"] not in (None, *get_args(Utility)):
        raise ConfigError(f"--mbr must be chrf or bleu, got {given['mbr']}")
    if given["samples"] and not given["mbr"]:
        raise ConfigError("--samples is for --mbr chrf")
    draws = {name: given[name] for name in SamplingConfig.model_fields}
    sampled = given["sample"] or given["mbr"] is not None
    if given["mbr"] and all(value is None for name, value in draws.items() if name != "seed"):
        draws["epsilon"] = _EPSILON
    if not sampled and (unused := [name for name, value in draws.items() if value is not None]):
        raise ConfigError(f"--{unused[0].replace('_', '-')} is for sampling; add --sample")
    search = {name: given.get(name) for name in SearchConfig.model_fields}
    if sampled and search["beam"] is None:
        search["beam"] = (given["samples"] or _SAMPLES) if given["mbr"] else given["n_best"]
    wanted = Options(
        sampling=parse_sampling(draws) if sampled else None,
        mbr=given["mbr"],
        forbidden=given["forbid"] or (),
        constrained=given["constrained"],
        word_starts=given["word_starts"],
        shortlist=given["shortlist"],
        align=given["align"],
        replace_unknown=given["replace_unknown"],
        long_lines=given["long_lines"],
        max_source=given["max_source"],
        target_language=given["to"],
    )
    return open_translator(
        given["model"],
        given["device"],
        given["latest"],
        search,
        given["precision"],
        given["batch_size"],
        wanted,
        given["ensemble"] or (),
        given["engine"],
    )


def _job(given: Mapping[str, Any], file: Path) -> str:
    """What decides on the output: the options, the weights and the files that are read as they are now."""
    from nmt.errors import DataError
    from nmt.runtime.untrusted import read_object
    from nmt.storage.checkpoint import MANIFEST, locate

    try:
        states = [path.stat() for path in (file, given["prefix"], given["shortlist"]) if path is not None]
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from None
    settings = sorted(
        (name, str(value)) for name, value in given.items() if name not in ("output", "workers", "verify")
    )
    models = (given["model"], *(given["ensemble"] or ()))
    weights = [json.dumps(read_object(locate(path, given["latest"]) / MANIFEST)).encode() for path in models]
    return job_of(settings, weights, [(state.st_size, state.st_mtime_ns) for state in states])


@contextmanager
def _prefixes(path: Path | None, skip: int) -> Generator[Iterator[str] | None]:
    """Lines of the file of prefixes from one on."""
    if path is None:
        yield None
        return
    with reading(path) as stream:
        yield (text for chunk in chunks(stream, skip) for text in decode(chunk)[0])


def _formatted(number: int, items: list[Translation], form: str) -> Iterator[str]:
    """Lines of output for one line of input."""
    for rank, item in enumerate(items):
        links = None if item.alignment is None else " ".join(f"{source}-{target}" for source, target in item.alignment)
        tail = "" if links is None else f"\t{links}"
        match form:
            case "text":
                yield f"{item.text}{tail}\n"
            case "tsv":
                yield f"{number}\t{item.score:.6f}\t{item.log_probability:.6f}\t{item.text}{tail}\n"
            case "moses":
                yield f"{number} ||| {item.text} ||| log_probability= {item.log_probability:.6f} ||| {item.score:.6f}{tail}\n"
            case _:
                row = {"line": number, "rank": rank, "text": item.text, "score": item.score}
                row |= {"log_probability": item.log_probability, "tokens": item.tokens}
                row |= {} if item.alignment is None else {"alignment": item.alignment}
                yield json.dumps(row, ensure_ascii=False) + "\n"
