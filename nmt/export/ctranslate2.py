"""CTranslate2 (OpenNMT's C++ engine): exports Transformers, and runs its beam search behind our translator."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nmt.config.model import TransformerConfig
from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS, UNK
from nmt.decoding.batches import search_batches
from nmt.decoding.beam_search import Hypothesis, length_limits
from nmt.errors import ConfigError
from nmt.export.agreement import Agreement, plain
from nmt.export.positions import LONGEST_SOURCE, positions_for
from nmt.models.transformer.model import Transformer
from nmt.runtime.atomic import atomic_folder
from nmt.runtime.stages import counted_batches
from nmt.storage.bundle import LoadedModel
from nmt.translation.result import SearchBatch
from nmt.translation.translator import Translator


def export_ctranslate2(loaded: LoadedModel, folder: Path, quantization: str | None = None) -> None:
    """Writes weights, vocabularies and tokenizers for CTranslate2 and its users.

    Args:
        loaded: a Transformer; CTranslate2 lacks the other families.
        folder: is created, complete or not at all.
        quantization: `int8`, `bfloat16`, `float16` and so on; None keeps float32.

    Raises:
        ConfigError: another family, an unknown quantization, translations of any length, or CTranslate2 is not installed.
    """
    library = _library()
    model = loaded.model
    if not isinstance(model, Transformer):
        kind = loaded.recipe.model.kind
        raise ConfigError(f"CTranslate2 runs Transformers only, and {loaded.path} is not one (model.kind = {kind!r})")
    spec = _specification(library, model, loaded)
    spec.validate()
    try:
        spec.optimize(quantization=quantization)
    except ValueError as error:
        raise ConfigError(f"quantization: {error}") from None
    with atomic_folder(folder) as draft:
        spec.save(str(draft))
        loaded.tokenizers.save(draft)


class CTranslate2Engine:
    """Beam search by CTranslate2, on the same token ids as ours."""

    def __init__(
        self, loaded: LoadedModel, compute_type: str = "float32", threads: int = 0, device: torch.device | None = None
    ) -> None:
        """Exports the model to a temporary folder and loads it.

        Args:
            loaded: a Transformer.
            compute_type: `float32`, `float16`, `int8` and so on.
            threads: CPU threads; 0: the library chooses.
            device: where to compute; the CPU if left out.

        Raises:
            ConfigError: the model cannot be exported, or CTranslate2 lacks this type or device here.
        """
        library, place = _library(), device or torch.device("cpu")
        try:
            known = library.get_supported_compute_types(place.type, place.index or 0)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"CTranslate2 does not compute on {place}: {error}") from None
        if compute_type not in known:
            where = "this CPU" if place.type == "cpu" else str(place)
            raise ConfigError(f"CTranslate2 has no {compute_type} on {where}, only {', '.join(sorted(known))}")
        with tempfile.TemporaryDirectory() as folder:
            export_ctranslate2(loaded, Path(folder) / "model")
            self.translator: Any = library.Translator(
                str(Path(folder) / "model"),
                device=place.type,
                device_index=place.index or 0,
                compute_type=compute_type,
                intra_threads=threads,
            )
        self._positions = positions_for(loaded.recipe.search)
        self.source_pieces = loaded.tokenizers.source.pieces()
        self.target_pieces = loaded.tokenizers.target.pieces()
        self.target_ids = {piece: index for index, piece in enumerate(self.target_pieces)}

    def search(
        self, ids: list[list[int]], config: SearchConfig, best: int = 1, size: int = 0
    ) -> list[list[Hypothesis]]:
        """Returns the `best` hypotheses of each sentence; CTranslate2 uses its own stopping rule.

        CTranslate2 has one length limit for all that it is given, so sentences of one limit are searched together, and no
        sentence depends on the others. With a `size` it gets them all, makes batches of so many, and takes the largest limit.

        Raises:
            ConfigError: CTranslate2 has no counterpart of a search setting, or too few positions for so long translations.
        """
        if config.length_penalty == "gnmt":
            raise ConfigError("CTranslate2 has no GNMT length penalty; use average or none as length_penalty")
        alpha = config.alpha if config.length_penalty == "average" else 0.0
        lengths = torch.tensor([len(tokens) + 1 for tokens in ids])
        limits = length_limits(lengths, config)
        longest = int(limits.max())
        if max(longest + 1, int(lengths.max())) > self._positions:
            raise ConfigError(
                f"CTranslate2 has {self._positions} positions of this model, but sources of {int(lengths.max()) - 1} tokens "
                f"and translations of {longest} are asked for; take a smaller max_source or max_length_ratio"
            )
        rows: dict[int, list[int]] = {}
        for row, limit in enumerate(limits.tolist()):
            rows.setdefault(longest if size else limit, []).append(row)
        results: dict[int, list[Hypothesis]] = {}
        for limit, chosen in rows.items():
            found = self.translator.translate_batch(
                [[self.source_pieces[token] for token in ids[row]] for row in chosen],
                beam_size=config.beam,
                num_hypotheses=best,
                length_penalty=alpha,
                max_decoding_length=limit - 1,
                max_input_length=0,
                return_scores=True,
                max_batch_size=size,
                return_end_token=True,
            )
            for row, item in zip(chosen, found, strict=True):
                pairs = zip(item.hypotheses, item.scores, strict=True)
                results[row] = [self._hypothesis(pieces, score, alpha) for pieces, score in pairs]
        return [results[row] for row in range(len(ids))]

    def score(self, ids: list[list[int]], targets: list[list[int]]) -> list[float]:
        """Returns the log-probability of each target, end of sentence counted, by forced decoding.

        (In its search CTranslate2 gives the probability of BOS to the other tokens, so that scores are higher by some 1e-5 per
        token.)
        """
        results = self.translator.score_batch(
            [[self.source_pieces[token] for token in tokens] for tokens in ids],
            [[self.target_pieces[token] for token in tokens] for tokens in targets],
        )
        return [float(sum(result.log_probs)) for result in results]

    def _hypothesis(self, pieces: list[str], score: float, alpha: float) -> Hypothesis:
        """Converts a hypothesis; CTranslate2 normalises its score by the length with the end token, if that is returned."""
        ids = [self.target_ids[piece] for piece in pieces]
        ended = bool(ids) and ids[-1] == EOS
        return Hypothesis(ids[:-1] if ended else ids, score * len(ids) ** alpha, score, not ended)


def compare_engines(loaded: LoadedModel, lines: Sequence[str]) -> Agreement:
    """Decodes with our search and with CTranslate2, both in float32, with CTranslate2's stopping rule."""
    search = plain(loaded.recipe.search).model_copy(update={"stopping": "count"})
    filled = [tokens for tokens in loaded.tokenizers.source.encode(list(lines)) if tokens]
    ids = [tokens for tokens in filled if len(tokens) <= LONGEST_SOURCE]
    ours, theirs = Translator(loaded, search=search), CTranslate2Engine(loaded)
    identical, count, cut = 0, 0, len(filled) - len(ids)
    differences: list[float] = []
    batches = search_batches([len(tokens) for tokens in ids], 0, search.beam, 32)
    for batch in counted_batches(batches, "decoding by both engines"):
        rows = [ids[index] for index in batch]
        mine = [found[0] for found in ours.decoder.search_batch(SearchBatch(rows), 1)]
        both = [(one, two[0]) for one, two in zip(mine, theirs.search(rows, search), strict=True)]
        same = [one.tokens == two.tokens for one, two in both if not one.cut and not two.cut]
        identical, count, cut = identical + sum(same), count + len(same), cut + len(both) - len(same)
        scores = theirs.score(rows, [item.tokens for item in mine])
        differences += [abs(item.log_probability - score) for item, score in zip(mine, scores, strict=True)]
    return Agreement(count, identical, cut, max(differences, default=0.0))


def _library() -> Any:
    try:
        import ctranslate2
    except ImportError:
        raise ConfigError("CTranslate2 is not installed; pip install ctranslate2") from None
    return ctranslate2


def _specification(library: Any, model: Transformer, loaded: LoadedModel) -> Any:
    config: TransformerConfig = model.config
    specs, positions = library.specs, positions_for(loaded.recipe.search)
    _refuse_switches(config)
    activation = {"relu": specs.Activation.RELU, "gelu": specs.Activation.GELU}[config.activation]
    spec = specs.TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        config.heads,
        pre_norm=config.norm == "pre",
        activation=activation,
        rms_norm=config.normalization == "rms",
    )
    spec.encoder.embeddings[0].weight = _array(model.source_embedding.table.weight)
    spec.decoder.embeddings.weight = _array(model.target_embedding.table.weight)
    for side, embedding in ((spec.encoder, model.source_embedding), (spec.decoder, model.target_embedding)):
        side.scale_embeddings = True
        side.position_encodings.encodings = _array(embedding.added(positions))
    if config.norm == "pre":
        _norm(spec.encoder.layer_norm, model.encoder_norm)
        _norm(spec.decoder.layer_norm, model.decoder_norm)
    for target, layer in zip(spec.encoder.layer, model.encoder_layers, strict=True):
        _self_attention(target.self_attention, layer)
        _feed_forward(target.ffn, layer)
    for target, layer in zip(spec.decoder.layer, model.decoder_layers, strict=True):
        _self_attention(target.self_attention, layer)
        _cross_attention(target.attention, layer)
        _feed_forward(target.ffn, layer)
    _linear(spec.decoder.projection, model.output)
    _vocabulary(spec, loaded)
    return spec


def _refuse_switches(config: TransformerConfig) -> None:
    for key, kept in (("positions", ("none", "sinusoidal", "learned")), ("scaled", (True,)), ("residual", (True,))):
        if (value := getattr(config, key)) not in kept:
            raise ConfigError(f"CTranslate2 has no counterpart of model.{key} = {value!r} in a translation model")


def _vocabulary(spec: Any, loaded: LoadedModel) -> None:
    pieces = loaded.tokenizers.source.pieces()
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(loaded.tokenizers.target.pieces())
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = pieces[UNK], pieces[BOS], pieces[EOS]
    spec.config.add_source_eos, spec.config.decoder_start_token = True, pieces[BOS]
    spec.config.layer_norm_epsilon = 1e-5


def _self_attention(target: Any, layer: Any) -> None:
    _linear(target.linear[0], layer.self_attention.projection)
    _linear(target.linear[1], layer.self_attention.output)
    _norm(target.layer_norm, layer.self_residual.norm)


def _cross_attention(target: Any, layer: Any) -> None:
    _linear(target.linear[0], layer.cross_attention.query)
    _linear(target.linear[1], layer.cross_attention.memory)
    _linear(target.linear[2], layer.cross_attention.output)
    _norm(target.layer_norm, layer.cross_residual.norm)


def _feed_forward(target: Any, layer: Any) -> None:
    _linear(target.linear_0, layer.feed_forward.inner)
    _linear(target.linear_1, layer.feed_forward.outer)
    _norm(target.layer_norm, layer.feed_forward_residual.norm)


def _linear(target: Any, linear: nn.Linear) -> None:
    target.weight, target.bias = _array(linear.weight), _array(linear.bias)


def _norm(target: Any, norm: Any) -> None:
    target.gamma = _array(norm.weight)
    if isinstance(norm, nn.LayerNorm):
        target.beta = _array(norm.bias)


def _array(tensor: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return tensor.detach().float().cpu().numpy().copy()
