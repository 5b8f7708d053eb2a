"""One optimizer update: gradients of its batches weighted by tokens, clipped, and applied only if finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nmt.config.recipe import TrainingConfig
from nmt.fast.cpu.rnn_training import ScannedRnn, scanned
from nmt.fast.cpu.transformer_training import CpuPackedTransformer, packed_transformer
from nmt.fast.gpu.attending import attend_by_kernels
from nmt.fast.gpu.layouts import StaticBatch
from nmt.models import Model
from nmt.models.protocol import Forced
from nmt.models.visual.image import RunningStatistics
from nmt.runtime.device import autocast, onednn_products, seed_update
from nmt.runtime.processes import World, whole
from nmt.training.arithmetic import Arithmetic
from nmt.training.averaging import RunningMean
from nmt.training.batches import Batch
from nmt.training.loss import Loss, consistent_cross_entropy, rewarded, smoothed_cross_entropy
from nmt.training.optim import make_optimizer
from nmt.training.static_update import StaticUpdate


@dataclass(frozen=True)
class Outcome:
    """The result of an update. The figures stay on the device, as reading them waits for it."""

    tokens: int
    """Number of target tokens."""
    splits: int
    """Batches that were halved because they did not fit into memory."""
    figures: Tensor
    """(5,): sums of loss, negative log-likelihood and correct tokens; gradient norm; 1 if all was finite, else 0."""


class Updater:
    """Holds model and optimizer, and makes updates from batches."""

    def __init__(
        self,
        model: Model,
        config: TrainingConfig,
        device: torch.device,
        arithmetic: Arithmetic,
        seed: int = 1,
        world: World | None = None,
    ) -> None:
        self.model, self.config, self.device, self.arithmetic, self.seed = model, config, device, arithmetic, seed
        self.world = world or World(device)
        attend_by_kernels(model)
        self.optimizer = make_optimizer(model, config)
        self.statistics = RunningStatistics(model)
        self.shards = config.shard and self.world.size > 1
        self.mean = RunningMean(model, config.ema) if config.ema else None
        self.static: StaticUpdate | None = None
        """Makes the updates of static batches; see `nmt.training.static_update`."""

    def update(self, number: int, batches: Sequence[Batch | StaticBatch], rate: float) -> Outcome:
        """Makes update `number`, which seeds its dropout, at a learning rate.

        With several processes, `batches` are the part of this one, and all make the update together. A static batch is an
        update by itself.
        """
        padded = [batch for batch in batches if isinstance(batch, Batch)]
        outcome = self._plain(number, padded, rate) if padded else self._static(number, batches, rate)
        if self.mean:
            self.mean.update(number)
        return outcome

    def _static(self, number: int, batches: Sequence[Batch | StaticBatch], rate: float) -> Outcome:
        (batch,) = batches
        if self.static is None or isinstance(batch, Batch):
            raise TypeError("a batch that was laid out is for a static update")
        return Outcome(batch.tokens, 0, self.static.update(number, batch, rate))

    def _plain(self, number: int, batches: Sequence[Batch], rate: float) -> Outcome:
        own = sum(batch.tokens for batch in batches)
        tokens = self.world.total(own)
        sums, splits = self._gradients(number, batches, tokens)
        self.statistics.weigh(own / max(tokens, 1))
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._share_gradients(parameters, sums)
        norm = whole(torch.nn.utils.clip_grad_norm_(parameters, self.config.clip))
        finite = (norm.isfinite() & sums[0].isfinite()).float()
        # With one here the fused kernel changes neither weights nor moments, and nothing waits for the device.
        self.optimizer.found_inf = 1 - finite
        self.statistics.put_back(unless=finite.bool())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return Outcome(tokens, splits, torch.stack([*sums, norm, finite]))

    def loss(self, batch: Batch, smoothing: float) -> Loss:
        """Computes the loss of a batch on the device. Logits are in training precision for gradients, else in fp32."""
        twice = self.config.r_drop > 0 and self.model.training
        source, lengths, target = batch.source, batch.lengths, batch.target_input
        if twice:
            source, lengths, target = source.repeat(2, 1), lengths.repeat(2), target.repeat(2, 1)
        with autocast(self.device, self.arithmetic.precision):
            forced = self._forward(source, lengths, target)
        half = self.arithmetic.precision == "bf16" and torch.is_grad_enabled()
        hidden = forced.states
        hidden = hidden.to(torch.bfloat16 if half else torch.promote_types(hidden.dtype, torch.float32))
        if twice:
            divergence = self.config.r_drop
            return consistent_cross_entropy(
                hidden, self.model.output, batch.target_output, smoothing, divergence, batch.rows
            )
        loss = smoothed_cross_entropy(hidden, self.model.output, batch.target_output, smoothing, batch.rows)
        if forced.drawn is None:
            return loss
        return rewarded(loss, forced.drawn.flatten().index_select(0, batch.rows))

    def _forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Forced:
        """Runs the model on the target, or its CPU replacement for training."""
        if self.model.training and torch.is_grad_enabled():
            fast = self.replacement()
            if fast is not None:
                return Forced(fast(source, lengths, target))
        return self.model.forced(source, lengths, target)

    def replacement(self) -> CpuPackedTransformer | ScannedRnn | None:
        """Returns what trains on compiled kernels in place of the model on this CPU; None: the model itself does."""
        whole_model = not self.shards and not self.config.compile
        if not (self.arithmetic.packed and whole_model):
            return None
        return packed_transformer(self.model) or scanned(self.model)

    def rehearse(self, batch: Batch) -> int:
        """Computes the gradients of a batch and drops them; returns how often it was halved to fit into memory."""
        _, splits = self._gradients(0, [batch], batch.tokens)
        self.statistics.put_back()
        self.optimizer.zero_grad()
        return splits

    def _gradients(self, number: int, batches: Sequence[Batch], tokens: int) -> tuple[Tensor, int]:
        """Computes the gradients of all batches, and their sums; a batch that does not fit into memory is halved.

        The update then starts again, since an aborted backward pass leaves partial gradients.
        """
        self.statistics.keep()
        parts, splits = list(batches), 0
        while True:
            self.optimizer.zero_grad()
            seed_update(self.seed, number, self.world.rank)
            sums = torch.zeros(3, device=self.device, dtype=next(self.model.parameters()).dtype)
            for index, batch in enumerate(parts):
                try:
                    sums += self._backward(batch, tokens)
                except torch.OutOfMemoryError:
                    if len(batch.source) == 1 or self.shards:  # the other processes continue to the next exchange
                        raise
                    parts[index : index + 1] = batch.halves()
                    splits += 1
                    self.statistics.put_back()
                    break
            else:
                return sums, splits
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _share_gradients(self, parameters: list[nn.Parameter], sums: Tensor) -> None:
        """Adds up gradients, sums and running statistics over the processes, once per update, however many batches it has.

        If processes divide the model, the backward pass has already added up the gradients.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        self.world.add_up([*([] if self.shards else gradients), sums, *self.statistics.moving])

    def _backward(self, batch: Batch, tokens: int) -> Tensor:
        """Adds a batch's part of the gradient; returns its sums of loss, negative log-likelihood and correct tokens."""
        with onednn_products(self.arithmetic.onednn):
            loss = self.loss(batch.to(self.device), self.config.label_smoothing)
            (loss.total / tokens).backward()
        return torch.stack([loss.total.detach(), loss.negative_log_likelihood, loss.correct])
