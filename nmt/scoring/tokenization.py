"""How sacreBLEU splits words: the ways it knows, and what each of them needs."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.utils import SACREBLEU_DIR

from nmt.config.data import Tokenization
from nmt.config.reading import suggestion
from nmt.corpus.languages import code_of
from nmt.errors import ConfigError


def parse_tokenization(name: str) -> Tokenization:
    """Checks the name of a tokenisation of sacreBLEU.

    Raises:
        ConfigError: there is no such tokenisation.
    """
    if name not in get_args(Tokenization):
        hint = suggestion(str(name), get_args(Tokenization))
        raise ConfigError(f"tokenize must be one of {', '.join(get_args(Tokenization))}, got {name}{hint}")
    return cast(Tokenization, name)


def default_tokenization(language: str) -> Tokenization:
    """Returns sacreBLEU's default tokenisation of a language: special ones for Chinese, Japanese and Korean, else 13a.

    Regions, scripts (zh-TW, zho_Hans) and letter case are ignored.
    """
    return _BY_LANGUAGE.get(code_of(language), "13a")


_BY_LANGUAGE: dict[str, Tokenization] = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}


def check_tokenization(scheme: Tokenization) -> None:
    """Tries a tokenisation, so that a missing package is noticed before the work.

    Raises:
        ConfigError: a package or model that the tokenisation needs is missing.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)  # sacreBLEU fetches the model of flores200
    try:
        BLEU(tokenize=scheme)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - MeCab, the network and sacreBLEU raise what they like
        need = _NEEDS.get(scheme, "sacreBLEU cannot load it ({reason})")
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        place = Path(SACREBLEU_DIR, "models")
        raise ConfigError(
            f"words cannot be split by {scheme}: {need.format(reason=reason, place=place)}; or choose another way, "
            'such as tokenize = "char", which the card of the corpus may say too'
        ) from None
    finally:
        socket.setdefaulttimeout(before)


_PATIENCE = 20.0  # seconds


_NEEDS: dict[str, str] = {
    "ja-mecab": "it needs MeCab with its dictionary (pip install 'sacrebleu[ja]')",
    "ko-mecab": "it needs MeCab with its dictionary (pip install 'sacrebleu[ko]')",
    "flores200": "it needs a model that sacreBLEU fetches into {place}, which failed ({reason})",
}


def unsegmented(lines: Sequence[str]) -> bool:
    """Whether text is mostly in a script without spaces and contains none: 13a would treat its sentences as words."""
    text = "".join(lines)
    letters = sum(_WITHOUT_SPACES.fullmatch(letter) is not None for letter in text)
    spaces = sum(map(str.isspace, text))
    return letters > 0.3 * (len(text) - spaces) and spaces < letters / 8


# Thai, Lao, Tibetan, Burmese, Khmer, kana, Chinese characters
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
