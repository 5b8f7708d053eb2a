"""`nmt translate`: files or stdin to stdout, one line of output per line of input."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nmt.errors import ConfigError, DataError
from nmt_cli.console import note
from nmt_cli.opening import open_for
from nmt_cli.requests import options, takes_request
from nmt_cli.standard import binary_output
from nmt_cli.text_files import WINDOW, Meter, Sink, chunks, decoded_lines, job_of, reading, writing
from nmt_cli.translation_request import TranslationRequest
from nmt_cli.workers import Task, translated

if TYPE_CHECKING:
    from nmt.translation.result import Report, Translation
    from nmt.translation.translator import Translator


@takes_request(TranslationRequest)
def translate(request: TranslationRequest) -> None:
    """Translate text, line by line."""
    translator = _begin(request)
    _refuse_settings(request, translator)
    file, output = request.file, request.output
    again = file is not None and file.is_file() and str(request.prefix) != "-"  # a pipe cannot be read again
    job = _job(request, file) if file and again else None
    with reading(file) as source, writing(output, job) as sink:
        verification = Verification(request.verify)
        report = _translate(translator, request, source, sink, verification)
    for line in (*report.summary(), *verification.summary(request)):
        note(f"nmt: {line}")


def _begin(request: TranslationRequest) -> Translator:
    """Opens the model; refuses outputs that cannot be written or would overwrite an input before."""
    from nmt.runtime.device import set_threads
    from nmt.runtime.files import check_output, refuse_overwriting

    if request.output:
        refuse_overwriting(request.output, (request.file, request.prefix, request.shortlist))
        check_output(request.output)
    else:
        binary_output()
    set_threads()
    return open_for(request)


def _refuse_settings(request: TranslationRequest, translator: Translator) -> None:
    """Refuses settings of search that mean nothing in what was asked for.

    Raises:
        ConfigError: one was given.
    """
    sampled = translator.options.sampling is not None
    given = [name for name in ("groups", "diversity", "stopping") if getattr(request.search, name) is not None]
    if given and (sampled or request.constrained):
        what = "sampling" if sampled else "--constrained"
        raise ConfigError(f"--{given[0]} is for plain search, and changes nothing in {what}; leave it out")
    if request.search.diversity is not None and translator.search.groups == 1:
        raise ConfigError("--diversity is for groups; add --groups")


class Verification:
    """Keeps the first lines translated, to translate them again."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.lines: list[str] = []
        self.prefixes: list[str] | None = None
        self.first = 0
        self.texts: list[str] = []

    def watch(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """Keeps the lines of passing tasks."""
        for task in tasks:
            if not self.lines:
                self.first = task.first
            missing = self.count - len(self.lines)
            self.lines += task.lines[:missing]
            if task.prefixes is not None:
                self.prefixes = [*(self.prefixes or ()), *task.prefixes[:missing]]
            yield task

    def keep(self, found: list[list[Translation]]) -> None:
        """Keeps the translations of the next lines."""
        self.texts += [items[0].text for items in found[: self.count - len(self.texts)]]

    def summary(self, request: TranslationRequest) -> Iterator[str]:
        """Yields a sentence on how many lines our fp32 search translates differently one at a time, if any lines were kept."""
        if not self.texts:
            return
        alone = open_for(replace(request, precision="fp32", batch_size=1, engine="nmt"))
        again = alone.translate_n_best(self.lines, 1, self.prefixes, self.first)
        differing = sum(text != items[0].text for text, items in zip(self.texts, again, strict=True))
        yield f"{differing} of {len(self.texts)} lines come out otherwise in fp32, one line at a time"


def _translate(
    translator: Translator, request: TranslationRequest, source: IO[bytes], sink: Sink, verification: Verification
) -> Report:
    """Translates chunk by chunk, until the source ends."""
    from nmt.fast.kernels import why_missing
    from nmt.translation.result import Report

    if translator.device.type == "cpu" and translator.decoder.engine is None and (reason := why_missing()):
        note(f"nmt: search is slower than it could be: {reason}")
    report = translator.report
    report.add(Report.of(sink.kept))
    with Meter(source, sink.lines) as meter, _prefixes(request.prefix, sink.lines) as prefixes:
        window = _window(translator, request.is_shared)
        tasks = verification.watch(_tasks(source, prefixes, sink.lines, window, request))
        if not request.is_shared:
            for task in tasks:
                found = translator.translate_n_best(task.lines, task.count, task.prefixes, task.first)
                report.replaced += task.replaced
                verification.keep(found)
                _deliver(found, request, sink, meter, report)
        else:
            with closing(translated(tasks, request)) as outcomes:
                for outcome in outcomes:
                    report.add(outcome.report)
                    verification.keep(outcome.translations)
                    _deliver(outcome.translations, request, sink, meter, report)
        if prefixes is not None and next(prefixes, None) is not None:
            raise DataError(f"{request.prefix}: more prefixes than the {sink.lines} lines of the text")
    return report


def _deliver(
    found: list[list[Translation]], request: TranslationRequest, sink: Sink, meter: Meter, report: Report
) -> None:
    """Writes the translations of the next lines, and what was counted so far."""
    rows = (row for number, items in enumerate(found, sink.lines) for row in _formatted(number, items, request.form))
    sink.write("".join(rows).encode(), len(found), asdict(report))
    meter.advance(len(found))


def _window(translator: Translator, shared: bool) -> int:
    """Returns how many lines are read at a time: few for each of several workers, many for a GPU."""
    if translator.device.type == "cuda":
        return 16 * WINDOW
    return WINDOW // 8 if shared else WINDOW


def _tasks(
    source: IO[bytes],
    prefixes: Iterator[str] | None,
    first: int,
    window: int,
    request: TranslationRequest,
) -> Iterator[Task]:
    """Yields the lines from `first` on, in chunks, with their prefixes; for workers, none while a pipe delivers nothing."""
    for chunk in chunks(source, first, window, pauses=request.is_shared):
        lines, replaced = decoded_lines(chunk)
        begins = None if prefixes is None else list(islice(prefixes, len(lines)))
        if begins is not None and len(begins) < len(lines):
            raise DataError(f"{request.prefix}: {first + len(begins)} prefixes are fewer than the lines of the text")
        yield Task(lines, begins, first, request.n_best, replaced)
        first += len(lines)


def _job(request: TranslationRequest, file: Path) -> str:
    """Returns an identifier of what decides on the output: options, weights and the current state of input files."""
    from nmt.runtime.untrusted import read_object
    from nmt.storage.bundle import locate
    from nmt.storage.integrity import MANIFEST

    try:
        states = [path.stat() for path in (file, request.prefix, request.shortlist) if path is not None]
    except OSError as error:
        raise DataError(f"{error.filename}: {error.strerror}") from None
    settings = sorted(
        (name, str(value))
        for name, value in options(request).items()
        if name not in ("output", "workers", "cluster", "verify")
    )
    models = (request.model, *(request.ensemble or ()))
    weights = [json.dumps(read_object(locate(path, request.latest) / MANIFEST)).encode() for path in models]
    return job_of(settings, weights, [(state.st_size, state.st_mtime_ns) for state in states])


@contextmanager
def _prefixes(path: Path | None, skip: int) -> Generator[Iterator[str] | None]:
    """Yields the lines of the prefix file from `skip` on."""
    if path is None:
        yield None
        return
    with reading(path) as stream:
        yield (text for chunk in chunks(stream, skip) for text in decoded_lines(chunk)[0])


def _formatted(number: int, items: list[Translation], form: str) -> Iterator[str]:
    """Yields the lines of output for one line of input."""
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
