"""Baselines of `nmt bench train`: training as most people write it, with torch's modules and defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config.model import ModelConfig, RnnConfig, TransformerConfig
from nmt.corpus.tokenizer import PAD
from nmt.errors import ConfigError
from nmt.models import Model
from nmt.models.transformer.model import Transformer
from nmt.models.transformer.positions import sinusoids
from nmt.runtime.device import autocast
from nmt.training.batches import Batch

# B sentences, S source positions, T target positions, D width, H hidden, E embedding, V vocabulary


class TorchTransformer(nn.Module):
    """`nn.Transformer` between embeddings and a linear layer, with the boolean masks of its tutorial."""

    def __init__(self, config: TransformerConfig, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.width = config.width
        self.target = nn.Embedding(target_vocabulary, config.width)
        self.source = self.target if config.tie == "all" else nn.Embedding(source_vocabulary, config.width)
        self.transformer = nn.Transformer(
            config.width,
            config.heads,
            config.encoder_layers,
            config.decoder_layers,
            config.feed_forward,
            config.dropout,
            config.activation,
            batch_first=True,
            norm_first=config.norm == "pre",
        )
        self._drop_as(config)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.width, target_vocabulary)
        if config.tie != "none":
            self.output.weight = self.target.weight
        self.register_buffer("positions", sinusoids(512, config.width).float())

    def _drop_as(self, config: TransformerConfig) -> None:
        """Drops attention weights and activations as the recipe says; torch drops both as it drops states."""
        for part in self.transformer.modules():
            if isinstance(part, nn.MultiheadAttention):
                part.dropout = config.attention_dropout
            elif isinstance(part, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                part.dropout.p = config.activation_dropout

    def forward(self, batch: Batch) -> Tensor:
        """Returns logits (B, T, V)."""
        source, target = batch.source, batch.target_input
        causal = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool, device=target.device).triu(1)
        states = self.transformer(
            self._embed(self.source, source),
            self._embed(self.target, target),
            tgt_mask=causal,
            src_key_padding_mask=source == PAD,
            tgt_key_padding_mask=target == PAD,
            memory_key_padding_mask=source == PAD,
            tgt_is_causal=True,
        )
        return self.output(states)

    if TYPE_CHECKING:
        __call__ = forward

    def copy(self, model: Transformer) -> None:
        """Copies the weights of one of our models, so that both can be trained side by side."""
        with torch.no_grad():
            self.target.weight.copy_(model.target_embedding.table.weight)
            self.source.weight.copy_(model.source_embedding.table.weight)
            self.output.load_state_dict(model.output.state_dict())
            stacks = (self.transformer.encoder, model.encoder_layers), (self.transformer.decoder, model.decoder_layers)
            for theirs, ours in stacks:
                for layer, own in zip(theirs.layers, ours, strict=True):
                    _copy_layer(layer, own)
            norms = (
                (self.transformer.encoder.norm, model.encoder_norm),
                (self.transformer.decoder.norm, model.decoder_norm),
            )
            for norm, own in norms:
                if norm is not None and model.config.norm == "pre":
                    norm.load_state_dict(own.state_dict())

    def _embed(self, table: nn.Embedding, tokens: Tensor) -> Tensor:
        positions = self.get_buffer("positions")[: tokens.shape[1]]
        return self.dropout(table(tokens) * self.width**0.5 + positions)


class CellLoopSeq2Seq(nn.Module):
    """Bidirectional encoder, keys projected once, then a Python loop over positions: attention, cell and readout."""

    def __init__(self, config: RnnConfig, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        hidden, embedding, width = config.hidden, config.embedding, config.hidden * 2
        rnn, cell = (nn.LSTM, nn.LSTMCell) if config.cell == "lstm" else (nn.GRU, nn.GRUCell)
        self.source = nn.Embedding(source_vocabulary, embedding)
        self.target = nn.Embedding(target_vocabulary, embedding)
        self.encoder = rnn(embedding, hidden, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(width, hidden)
        self.keys, self.query = nn.Linear(width, hidden), nn.Linear(hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.cell = cell(embedding + width, hidden)
        readout = embedding * (2 if config.readout == "maxout" else 1)
        self.readout = nn.Linear(hidden + embedding + width, readout)
        self.maxout = config.readout == "maxout"
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(embedding, target_vocabulary)
        if config.tie != "none":
            self.output.weight = self.target.weight

    def forward(self, batch: Batch) -> Tensor:
        """Returns logits (B, T, V)."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.dropout(self.source(batch.source)), batch.lengths, batch_first=True, enforce_sorted=False
        )
        values, _ = nn.utils.rnn.pad_packed_sequence(self.encoder(packed)[0], batch_first=True)  # (B, S, 2H)
        keys, mask = self.keys(values), batch.source != PAD
        embedded = self.dropout(self.target(batch.target_input))  # (B, T, E)
        state = torch.tanh(self.bridge(values[:, 0]))
        memory = torch.zeros_like(state)
        logits: list[Tensor] = []
        for word in embedded.unbind(1):
            energy = self.score(torch.tanh(self.query(state)[:, None] + keys)).squeeze(-1)  # (B, S)
            weights = energy.masked_fill(~mask, -torch.inf).softmax(-1)
            context = torch.bmm(weights[:, None], values).squeeze(1)  # (B, 2H)
            if isinstance(self.cell, nn.LSTMCell):
                state, memory = self.cell(torch.cat([word, context], 1), (state, memory))
            else:
                state = self.cell(torch.cat([word, context], 1), state)
            read = self.readout(torch.cat([state, word, context], 1))
            read = read.unflatten(1, (-1, 2)).amax(-1) if self.maxout else torch.tanh(read)
            logits.append(self.output(self.dropout(read)))
        return torch.stack(logits, 1)

    if TYPE_CHECKING:
        __call__ = forward


class PlainTraining:
    """Forward, `F.cross_entropy`, backward, clipping and AdamW with torch's defaults; on CUDA with autocast to bf16.

    When compiled, model and loss are one function of `torch.compile` for all shapes, and AdamW is fused.
    """

    def __init__(
        self,
        model: nn.Module,
        smoothing: float,
        learning_rate: float,
        betas: tuple[float, float],
        compiled: bool = False,
    ) -> None:
        self.model, self.smoothing = model, smoothing
        self.loss = torch.compile(self._loss, dynamic=True) if compiled else self._loss
        self.optimizer = torch.optim.AdamW(
            model.parameters(), learning_rate, betas, eps=1e-9, weight_decay=0.0, fused=compiled or None
        )

    def update(self, batch: Batch) -> Tensor:
        """Makes one update; returns the loss per token, on the device."""
        device = batch.target_output.device
        with autocast(device, "bf16" if device.type == "cuda" else "fp32"):
            loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()

    def _loss(self, batch: Batch) -> Tensor:
        logits, labels = self.model(batch).flatten(0, 1), batch.target_output.flatten()
        return F.cross_entropy(logits, labels, ignore_index=PAD, label_smoothing=self.smoothing)


def plain_model(config: ModelConfig, source_vocabulary: int, target_vocabulary: int, like: Model) -> nn.Module:
    """Makes the plain counterpart of a model; a Transformer copies its weights."""
    if isinstance(config, RnnConfig):
        return CellLoopSeq2Seq(config, source_vocabulary, target_vocabulary)
    if not isinstance(config, TransformerConfig):
        raise ConfigError(f"there is no plain counterpart of a model of kind {config.kind}")
    plain = TorchTransformer(config, source_vocabulary, target_vocabulary)
    if isinstance(like, Transformer):
        plain.copy(like)
    return plain


def _copy_layer(theirs: nn.Module, ours: nn.Module) -> None:
    """Copies a layer of ours to `nn.TransformerEncoderLayer` or `nn.TransformerDecoderLayer`."""
    own = dict(ours.named_parameters())
    cross = "cross_attention.query.weight" in own
    names = {
        "self_attn.in_proj_{}": "self_attention.projection.{}",
        "self_attn.out_proj.{}": "self_attention.output.{}",
        "linear1.{}": "feed_forward.inner.{}",
        "linear2.{}": "feed_forward.outer.{}",
        "norm1.{}": "self_residual.norm.{}",
        ("norm3.{}" if cross else "norm2.{}"): "feed_forward_residual.norm.{}",
    }
    if cross:
        names |= {"multihead_attn.out_proj.{}": "cross_attention.output.{}", "norm2.{}": "cross_residual.norm.{}"}
    target = dict(theirs.named_parameters())
    for part in ("weight", "bias"):
        for their_name, our_name in names.items():
            target[their_name.format(part)].copy_(own[our_name.format(part)])
        if cross:
            query, memory = own[f"cross_attention.query.{part}"], own[f"cross_attention.memory.{part}"]
            target[f"multihead_attn.in_proj_{part}"].copy_(torch.cat([query, memory]))
