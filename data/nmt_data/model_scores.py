"""Scores pairs by a trained model: the log-probability of the target given the source, by forced decoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nmt.config.data import DataConfig
from nmt.config.paths import model_root
from nmt.errors import ConfigError
from nmt.runtime.device import choose_device, set_threads
from nmt.runtime.files import file_sha256
from nmt.storage.bundle import load_model, locate, read_recipe
from nmt.storage.integrity import MANIFEST
from nmt.translation.translator import Translator
from nmt_data.audit import Suspect
from nmt_data.shards import Mask, unpacked


def model_identity(path: str) -> str:
    """Returns a hash of all files of a model.

    Raises:
        CheckpointError: there is no such model.
    """
    return file_sha256(locate(Path(path)) / MANIFEST)


def direction_of(path: str) -> tuple[str, str]:
    """Returns the languages that a model translates from and into.

    Raises:
        CheckpointError: there is no such model.
    """
    recipe = read_recipe(model_root(locate(Path(path))))
    return recipe.data.source, recipe.data.target


class ModelScorer:
    """Finds pairs of a shard that a model thinks improbable."""

    def __init__(self, data: DataConfig) -> None:
        """Loads the model that `cleaning.score_with` names.

        Raises:
            ConfigError: the model has several directions.
            CheckpointError: the model is damaged.
        """
        path, least = data.cleaning.score_with, data.cleaning.min_score
        assert path is not None  # noqa: S101 - the config has both or none
        assert least is not None  # noqa: S101
        loaded, self._least = load_model(Path(path)), least
        if loaded.recipe.data.tag_target:
            raise ConfigError(f"data.cleaning.score_with: {path} has several directions; take a model with one")
        set_threads()
        self._translator = Translator(loaded, choose_device("auto"))

    def __call__(self, suspect: Suspect) -> Mask:
        """Returns which of the rows that are left of a shard have a lower score per token, in nats, than `min_score`."""
        scores = self._translator.score_targets(*unpacked(suspect.shard, suspect.kept))
        low = np.array([item.log_probability < self._least * item.tokens for item in scores], bool)
        rows = np.zeros(len(suspect.kept), bool)
        rows[np.flatnonzero(suspect.kept)[low]] = True
        return rows
