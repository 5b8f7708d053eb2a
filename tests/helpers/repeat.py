"""Trains every option that a training depends on, whole or killed on the way, and prints what came of each, as JSON.

As a script: `python tests/helpers/repeat.py whole` or `… killed`. Two processes that draw alike print the same.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from nmt.training.trainer import Trainer
from nmt.training.updater import Outcome
from nmt_data.prepare import prepare
from tiny import LETTERS, MONO, make_recipe

Changes = dict[str, dict[str, Any]]

_RNN = {"kind": "rnn", "embedding": 8, "hidden": 8}
_CONVOLUTION = {"kind": "convolution", "embedding": 8, "hidden": 8, "encoder_layers": 1, "decoder_layers": 1}
_WORDS: Changes = {
    "data": {"corpus": "phrasebook", "source": "de", "target": "en", "limit": 300},
    "tokenizer": {"kind": "bpe", "vocabulary": 200},
}
_TWICE = {"corpus": str(LETTERS), "source": "output", "target": "input"}
_PASSES = {"updates": 9, "batch_tokens": 3000}  # several epochs
_TWO: dict[str, Any] = {"more": [_TWICE], "tag_target": True}


def _denoising(**noises: Any) -> Changes:
    """Training on text without translations, by these noises."""
    return {"data": {"mono": MONO}, "training": {**_PASSES, "objective": "denoise", "denoising": noises}}


# Each option of [training], with a value that is not its default and what that value needs.
TRAINING: dict[str, Changes] = {
    "updates": {"training": {"updates": 7}},
    "batch_tokens": {"training": {"batch_tokens": 90}},
    "accumulate": {"training": {"accumulate": 2}},
    "max_length": {"training": {"max_length": 5}},
    "optimizer": {"training": {"optimizer": "muon"}},
    "learning_rate": {"training": {"learning_rate": 0.01}},
    "schedule": {"training": {"schedule": "plateau"}},
    "warmup": {"training": {"warmup": 3}},
    "plateau_patience": {"training": {"plateau_patience": 1, "schedule": "plateau", "learning_rate": 1.0}},
    "adam_betas": {"training": {"adam_betas": [0.5, 0.6]}},
    "weight_decay": {"training": {"weight_decay": 0.1}},
    "clip": {"training": {"clip": 0.01}},
    "label_smoothing": {"training": {"label_smoothing": 0.3}},
    "objective": {"data": {"mono": MONO, "weight": 0}, "training": {**_PASSES, "objective": "mass"}},
    "denoising.permute": _denoising(permute=True),
    "denoising.rotate": _denoising(rotate=True),
    "denoising.delete": _denoising(delete=0.3),
    "denoising.mask": _denoising(mask=0.3, infill=0.0),
    "denoising.infill": _denoising(infill=0.5),
    "denoising.span": _denoising(span=2.0),
    "bpe_dropout": {**_WORDS, "training": {"bpe_dropout": 0.3, "batch_tokens": 1500}},
    "typos": {**_WORDS, "training": {"typos": 0.3, "batch_tokens": 1500}},
    "r_drop": {"training": {"r_drop": 2.0}},
    "ema": {"training": {"ema": 0.9}},
    "average": {"training": {"average": 2}},
    "initialise": {"training": {"initialise": "another"}},
    "freeze": {"training": {"freeze": ["encoder*"]}},
    "recompute": {"training": {"recompute": True}},
    "precision": {"training": {"precision": "bf16"}},
    "validate_every": {"training": {"validate_every": 2}},
    "validation_sentences": {"training": {"validation_sentences": 3}},
    "metric": {"training": {"metric": "chrf2"}},
    "patience": {"training": {"patience": 1, "validate_every": 1, "learning_rate": 1e-9}},
    "keep": {"training": {"keep": 1}},
    "log_every": {"training": {"log_every": 1}},
}
NOT_TRIED = {
    "compile": "takes a minute to compile",
    "shard": "needs several processes: see test_distributed.py",
}

# The options of the other sections that draw.
DRAWING: dict[str, Changes] = {
    "seed": {"recipe": {"seed": 2}},
    "data.weight": {"data": {**_TWO, "weight": 3.0}},
    "data.temperature": {"data": {**_TWO, "temperature": 5.0, "more": [{**_TWICE, "weight": 2.0}]}},
    "data.more": {"data": _TWO},
    "data.mono": {
        "data": {"mono": [{**MONO[0], "weight": 2.0}, MONO[1]], "tag_target": True},
        "training": {**_PASSES, "objective": "denoise"},
    },
    "model[rnn].weighting": {"model": {**_RNN, "weighting": "hard"}},
    "model[rnn].dropout": {"model": {**_RNN, "dropout": 0.4, "layers": 2, "cell": "lstm"}},
    "model[rnn].word_dropout": {"model": {**_RNN, "word_dropout": 0.4, "weighting": "gumbel"}},
    "model[transformer].dropout": {"model": {"dropout": 0.4}},
    "model[transformer].attention_dropout": {"model": {"attention_dropout": 0.4}},
    "model[transformer].activation_dropout": {"model": {"activation_dropout": 0.4}},
    "model[transformer].word_dropout": {"model": {"word_dropout": 0.4}},
    "model[convolution].dropout": {"model": {**_CONVOLUTION, "dropout": 0.4}},
    "model[convolution].word_dropout": {"model": {**_CONVOLUTION, "word_dropout": 0.4}},
    "model[visual].image_encoder": {
        "model": {"kind": "visual", "image_encoder": "visrep", "base": {**_RNN, "dropout": 0.2}}
    },
}


class _Killed(BaseException):
    """Stands for the process going away."""


class _Mortal(Trainer):
    dies_at: int

    def _step(self, batches: Any, rate: float) -> Outcome:
        if self.progress.step == self.dies_at:
            raise _Killed
        return super()._step(batches, rate)


def train(changes: Changes, run: Path, deaths: tuple[int, ...]) -> str:
    """Fingerprint of the weights of all checkpoints and of the model, after a training that was killed in these updates."""
    changes = dict(changes)
    if changes.get("training", {}).get("initialise"):
        train({}, run.with_name("another"), ())
        changes["training"] = {"initialise": str(run.with_name("another"))}
    own = changes.pop("recipe", {})
    recipe = make_recipe(changes.pop("model", None), **changes).model_copy(update=own)
    prepared = prepare(recipe)
    for update in deaths:
        with suppress(_Killed):
            mortal = _Mortal(recipe, prepared, run, torch.device("cpu"))
            mortal.dies_at = update
            mortal.run()
    Trainer(recipe, prepared, run, torch.device("cpu")).run()
    found = hashlib.sha256()
    for path in sorted(run.rglob("*.safetensors")):
        found.update(str(path.relative_to(run)).encode() + path.read_bytes())
    return found.hexdigest()


def main(deaths: tuple[int, ...]) -> None:
    """Trains each option by itself."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cases = {f"training.{name}": changes for name, changes in TRAINING.items()} | DRAWING
        found = {name: train(changes, Path(folder) / name, deaths) for name, changes in cases.items()}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main({"whole": (), "killed": (2, 5)}[sys.argv[1]])
