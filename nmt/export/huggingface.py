"""Hugging Face transformers: exports post-norm Transformers as an equivalent `MarianMTModel`."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from nmt.config.model import TransformerConfig
from nmt.corpus.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from nmt.errors import ConfigError
from nmt.export.agreement import Agreement, plain
from nmt.export.positions import positions_for
from nmt.models.transformer.layers import DecoderLayer, EncoderLayer
from nmt.models.transformer.model import Transformer
from nmt.runtime.atomic import atomic_folder, write_json
from nmt.runtime.stages import counted
from nmt.storage.bundle import LoadedModel
from nmt.translation.result import SearchBatch
from nmt.translation.translator import Translator


def export_huggingface(loaded: LoadedModel, folder: Path) -> None:
    """Writes a folder for `MarianMTModel.from_pretrained` and `MarianTokenizer.from_pretrained`.

    Args:
        loaded: a Transformer with post-norm layers; Marian has no others.
        folder: is created, complete or not at all.

    Raises:
        ConfigError: another family, or a setting that Marian lacks.
    """
    model = _supported(loaded)
    config, search = model.config, loaded.recipe.search
    positions = positions_for(search)
    settings = {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "vocab_size": loaded.tokenizers.source.vocabulary_size,
        "decoder_vocab_size": loaded.tokenizers.target.vocabulary_size,
        "share_encoder_decoder_embeddings": config.tie == "all",
        "tie_word_embeddings": config.tie != "none",
        "d_model": config.width,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "encoder_attention_heads": config.heads,
        "decoder_attention_heads": config.heads,
        "encoder_ffn_dim": config.feed_forward,
        "decoder_ffn_dim": config.feed_forward,
        "activation_function": config.activation,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "scale_embedding": True,
        "max_position_embeddings": positions,
        "is_encoder_decoder": True,
        "torch_dtype": "float32",
        **_SPECIAL,
    }
    generation = {
        **_SPECIAL,
        "num_beams": search.beam,
        "length_penalty": search.alpha if search.length_penalty == "average" else 0.0,
        "max_length": positions,
        "bad_words_ids": [[PAD], [BOS]],
    }
    with atomic_folder(folder) as draft:
        (draft / "model.safetensors").write_bytes(save(_weights(model, positions), {"format": "pt"}))
        write_json(draft / "config.json", settings)
        write_json(draft / "generation_config.json", generation)
        _write_tokenizers(draft, loaded)


def compare_with_marian(loaded: LoadedModel, lines: Sequence[str]) -> Agreement:
    """Compares greedy search here and in transformers, each with its tokenizer, and both scores of our hypotheses.

    Raises:
        ConfigError: the model cannot be exported, or transformers is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        export_huggingface(loaded, Path(folder) / "model")
        model, tokenizer = _loaded_by_transformers(Path(folder) / "model")
    ours = Translator(loaded, search=plain(loaded.recipe.search).model_copy(update={"beam": 1}))
    identical = cut = 0
    differences: list[float] = []
    for line in counted(lines, "decoding by both engines", len(lines)):
        if ours.source.is_cut(line):
            cut += 1
            continue
        encoded = tokenizer([line], return_tensors="pt")
        mine = ours.decoder.search_batch(SearchBatch([ours.encode(line)]), 1)[0][0]
        said = [*mine.tokens, EOS]
        with torch.inference_mode():
            written = torch.tensor([[BOS, *said]])
            logits = model(**encoded, decoder_input_ids=written[:, :-1]).logits[0]  # (T, V)
            theirs = model.generate(**encoded, num_beams=1, do_sample=False, max_length=len(said) + 1)[0]
        chosen = logits.log_softmax(-1).gather(1, written[0, 1:, None]).sum().item()
        differences.append(abs(chosen - mine.log_probability))
        cut += mine.cut
        identical += not mine.cut and theirs.tolist() == [BOS, *said]
    return Agreement(len(lines) - cut, identical, cut, max(differences, default=0.0))


def _loaded_by_transformers(folder: Path) -> tuple[Any, Any]:
    """Loads model and tokenizer as a user of transformers does."""
    try:
        import transformers
    except ImportError:
        raise ConfigError("transformers is not installed; pip install transformers") from None
    library: Any = transformers  # only partly typed
    library.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it recommends sacremoses for a normalisation that this tokenizer does not do
        return library.MarianMTModel.from_pretrained(folder), library.MarianTokenizer.from_pretrained(folder)


_SPECIAL = {
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "decoder_start_token_id": BOS,
    "forced_eos_token_id": EOS,
}


def _supported(loaded: LoadedModel) -> Transformer:
    model = loaded.model
    if not isinstance(model, Transformer):
        kind = loaded.recipe.model.kind
        raise ConfigError(f"Marian is a Transformer, and {loaded.path} is of another family (model.kind = {kind!r})")
    needed: dict[str, tuple[object, ...]] = {
        "norm": ("post",),
        "normalization": ("layer",),
        "positions": ("none", "sinusoidal", "learned"),
        "scaled": (True,),
        "residual": (True,),
    }
    for key, kept in needed.items():
        if (value := getattr(model.config, key)) not in kept:
            raise ConfigError(
                f"Marian's layers have no counterpart of model.{key} = {value!r} (only {' or '.join(map(repr, kept))}), "
                "so the folder would not be exact"
            )
    for key in ("lowercase", "tag_target"):
        if getattr(loaded.recipe.data, key):
            raise ConfigError(f"Marian's tokenizer has no counterpart of data.{key}, so the folder would not be exact")
    if loaded.recipe.data.normalise != "none":
        raise ConfigError("Marian's tokenizer has no counterpart of data.normalise, so the folder would not be exact")
    if loaded.recipe.tokenizer.kinds[0] == "word":
        raise ConfigError(
            "Marian's tokenizer makes one token of unknown words in a row, so the folder would not be exact"
        )
    return model


def _weights(model: Transformer, positions: int) -> dict[str, Tensor]:
    """Returns all tensors by Marian's names; tensors shared there are listed once."""
    config: TransformerConfig = model.config
    source, target = model.source_embedding, model.target_embedding
    named: dict[str, Tensor] = {"final_logits_bias": model.output.bias[None]}
    if config.tie == "all":
        named["model.shared.weight"] = target.table.weight
    else:
        named["model.encoder.embed_tokens.weight"] = source.table.weight
        named["model.decoder.embed_tokens.weight"] = target.table.weight
    if config.tie == "none":
        named["lm_head.weight"] = model.output.weight
    for side, embedding, layers in (
        ("encoder", source, model.encoder_layers),
        ("decoder", target, model.decoder_layers),
    ):
        named[f"model.{side}.embed_positions.weight"] = embedding.added(positions)
        for number, layer in enumerate(layers):
            for name, tensor in _layer(layer):
                named[f"model.{side}.layers.{number}.{name}"] = tensor
    return {name: tensor.detach().float().cpu().contiguous() for name, tensor in named.items()}


def _layer(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    assert isinstance(layer, EncoderLayer | DecoderLayer)  # noqa: S101 - for the type checkers
    yield from _projections("self_attn", ("q_proj", "k_proj", "v_proj"), layer.self_attention.projection)
    yield from _named("self_attn.out_proj", layer.self_attention.output)
    yield from _named("self_attn_layer_norm", layer.self_residual.norm)
    if isinstance(layer, DecoderLayer):
        yield from _named("encoder_attn.q_proj", layer.cross_attention.query)
        yield from _projections("encoder_attn", ("k_proj", "v_proj"), layer.cross_attention.memory)
        yield from _named("encoder_attn.out_proj", layer.cross_attention.output)
        yield from _named("encoder_attn_layer_norm", layer.cross_residual.norm)
    yield from _named("fc1", layer.feed_forward.inner)
    yield from _named("fc2", layer.feed_forward.outer)
    yield from _named("final_layer_norm", layer.feed_forward_residual.norm)


def _projections(prefix: str, names: Sequence[str], linear: nn.Linear) -> Iterator[tuple[str, Tensor]]:
    """Splits a joint projection into Marian's matrices."""
    parts = zip(names, linear.weight.chunk(len(names)), linear.bias.chunk(len(names)), strict=True)
    for name, weight, bias in parts:
        yield f"{prefix}.{name}.weight", weight
        yield f"{prefix}.{name}.bias", bias


def _named(prefix: str, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in module.named_parameters():
        yield f"{prefix}.{name}", parameter


def _write_tokenizers(folder: Path, loaded: LoadedModel) -> None:
    """Writes the SentencePiece models and, as Marian needs, the numbers of their pieces."""
    source, target = loaded.tokenizers.source, loaded.tokenizers.target
    source.save(folder / "source.spm")
    target.save(folder / "target.spm")
    write_json(folder / "vocab.json", _numbers(source))
    separate = source is not target
    if separate:
        write_json(folder / "target_vocab.json", _numbers(target))
    pieces = source.pieces()
    settings = {
        "tokenizer_class": "MarianTokenizer",
        "unk_token": pieces[UNK],
        "eos_token": pieces[EOS],
        "pad_token": pieces[PAD],
        "source_lang": loaded.recipe.data.source,
        "target_lang": loaded.recipe.data.target,
        "separate_vocabs": separate,
        "model_max_length": 1024,
        "split_special_tokens": True,  # a text may hold "</s>"
    }
    write_json(folder / "tokenizer_config.json", settings)


def _numbers(tokenizer: Tokenizer) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(tokenizer.pieces())}
