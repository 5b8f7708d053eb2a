"""Opens the model that MODEL names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from nmt.errors import ConfigError

if TYPE_CHECKING:
    from nmt.translation.result import Options
    from nmt.translation.translator import Translator
    from nmt_cli.translation_request import TranslationRequest


def open_translator(
    model: Path,
    device: str,
    latest: bool,
    search: Mapping[str, object],
    precision: str = "auto",
    batch_size: int | None = None,
    options: Options | None = None,
    others: Sequence[Path] = (),
    engine: str = "nmt",
) -> Translator:
    """Opens a model, or an ensemble, for translation with the given search options."""
    from nmt.config.reading import parse_search
    from nmt.export.ctranslate2 import CTranslate2Engine
    from nmt.runtime.device import choose_device, choose_search_precision
    from nmt.storage.bundle import load_model
    from nmt.translation.translator import Translator

    if engine not in ("nmt", "ctranslate2"):
        raise ConfigError(f"--engine must be nmt or ctranslate2, got {engine}")
    if engine == "ctranslate2" and device not in ("auto", "cpu"):
        raise ConfigError(f"--engine ctranslate2 runs on the CPU here, got --device {device}")
    place = choose_device("cpu" if engine == "ctranslate2" else device)
    arithmetic = choose_search_precision(precision, place)
    loaded = load_model(model, latest)
    other = None
    if engine == "ctranslate2":
        names = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
        other = CTranslate2Engine(loaded, names[arithmetic])
    return Translator(
        loaded,
        place,
        parse_search(loaded.recipe.search, search),
        "fp32" if other else arithmetic,
        batch_size,
        options,
        [load_model(path, latest) for path in others],
        other,
    )


FORMATS = ("text", "tsv", "moses", "json")
_SAMPLES, _EPSILON = 32, 0.02  # for minimum Bayes risk decoding, as in Freitag et al. 2023


def open_for(request: TranslationRequest) -> Translator:
    """Opens the translator that a request describes.

    Raises:
        ConfigError: options are wrong or conflict; raised before the model is read.
    """
    from nmt.config.reading import parse_sampling
    from nmt.translation.mbr import Utility
    from nmt.translation.result import LongLines, Options

    _known("--format", request.output_format, FORMATS)
    long_lines = _known("--long-lines", request.long_lines, get_args(LongLines))
    mbr = _known("--mbr", request.mbr, get_args(Utility), "chrf2 or bleu")
    if request.form == "text" and request.n_best > 1:
        raise ConfigError(
            f"--format text cannot say which line --n-best {request.n_best} is of; take tsv, moses or json"
        )
    if str(request.prefix) == "-" and (request.file is None or str(request.file) == "-"):
        raise ConfigError("--prefix - and the text would both be read from standard input; name a file for one of them")
    if request.samples and not mbr:
        raise ConfigError("--samples is for --mbr")
    if request.word_starts and not (request.forbid or request.constrained):
        raise ConfigError("--word-starts is for --forbid and --constrained")
    sampled = request.sample or mbr is not None
    draws = {name: value for name, value in asdict(request.sampling).items() if value is not None}
    if not sampled and draws:
        raise ConfigError(f"--{next(iter(draws)).replace('_', '-')} is for sampling; add --sample")
    if mbr and draws.keys() <= {"seed"}:
        draws["epsilon"] = _EPSILON
    search = asdict(request.search)
    if sampled:
        if request.samples and search["beam"]:
            raise ConfigError("--samples and --beam both say how many translations are drawn; give one of them")
        search |= {"beam": search["beam"] or ((request.samples or _SAMPLES) if mbr else request.n_best), "groups": 1}
    wanted = Options(
        sampling=parse_sampling(draws) if sampled else None,
        mbr=mbr,
        forbidden=request.forbid or (),
        constrained=request.constrained,
        word_starts=request.word_starts,
        shortlist=request.shortlist,
        align=request.align,
        replace_unknown=request.replace_unknown,
        long_lines=long_lines,
        max_source=request.max_source,
        target_language=request.to,
    )
    return open_translator(
        request.model,
        request.device,
        request.latest,
        search,
        request.precision,
        request.batch_size,
        wanted,
        request.ensemble or (),
        request.engine,
    )


def _known(option: str, word: str | None, allowed: tuple[Any, ...], wanted: str = "") -> Any:
    """Checks the value of an option; None if it was left out.

    Raises:
        ConfigError: the value is not allowed.
    """
    if word not in (None, *allowed):
        raise ConfigError(f"{option} must be {wanted or 'one of ' + ', '.join(allowed)}, got {word}")
    return word
