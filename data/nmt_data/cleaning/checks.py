"""Whether the cleaning that a recipe asks for can be done: checked before any work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from nmt.config.data import DataConfig
from nmt.corpus.languages import is_known
from nmt.errors import ConfigError
from nmt_data.cleaning.scripts import scripts_of
from nmt_data.model_scores import direction_of
from nmt_data.parts import Part


def check_cleaning(data: DataConfig, parts: Sequence[Part], say: Callable[[str], None]) -> None:
    """Refuses cleaning that cannot be done, and says which languages cannot be judged.

    Raises:
        ConfigError: names the key, and the command that installs what it needs; or references would be normalised.
    """
    cleaning = data.cleaning
    needed = {
        "data.cleaning.mend_encoding": ("ftfy", cleaning.mend_encoding),
        "data.cleaning.language_confidence": ("py3langid", cleaning.language_confidence is not None),
        "data.normalise": ("sacremoses", data.normalise == "moses"),
    }
    for key, (library, wanted) in needed.items():
        if wanted and find_spec(library) is None:
            raise ConfigError(f"{key} needs {library}; pip install 'nmt[cleaning]' or leave the key out")
    if cleaning.score_with is not None:
        direction = direction_of(cleaning.score_with)
        if all(part.languages != direction for part in parts):
            told = "-".join(direction)
            raise ConfigError(
                f"data.cleaning.score_with: {cleaning.score_with} translates {told}, as no corpus here does"
            )
    for part in parts:
        if data.normalise != "none" and part.card.holdout.total:
            raise ConfigError(
                f"data.normalise: corpus {part.card.name} holds pairs out of train, and would normalise references; "
                "give the card files for valid and test, or leave the key out"
            )
    for language in dict.fromkeys(side for part in parts for side in part.languages):
        if cleaning.min_script is not None and not scripts_of(language):
            say(f"data.cleaning.min_script: the script of {language} is not known; its lines are not judged")
        if cleaning.language_confidence is not None and not is_known(language):
            say(f"data.cleaning.language_confidence: {language} cannot be identified; its lines are not judged")
