"""The whole update of a training as one piece of work on static shapes: on a GPU, one CUDA graph per shape of a batch.

    batch   fast.gpu.layouts      sentences packed end to end in one shape; for recurrences padded, in few shapes
    model   fast.gpu.runners      a Transformer on packed rows, with bf16 copies of fp32 parameters; other models unchanged
    loss    training.packed_loss  one pass over the logits
    update  here                  gradients, clipping and the recipe's optimizer; nothing waits for the host

Everything that changes between updates is in tensors: the batch, the learning rate and the seed of dropout. Parameters and
optimizer state are those of the plain update (`nmt.training.updater`). So the two can alternate, and checkpoints are equal.
`why_plain` tells when the plain one is needed. `nmt.training.rehearsal.rehearse` makes the stream of batches and the updater
agree on it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nmt.config.recipe import Recipe
from nmt.fast.gpu.aside import collected
from nmt.fast.gpu.layouts import StaticBatch
from nmt.fast.gpu.lists import copy_all
from nmt.fast.gpu.runners import runner_for
from nmt.fast.gpu.seeds import Seeds
from nmt.fast.triton import missing
from nmt.runtime.device import onednn_products, seed_update, update_seed
from nmt.runtime.processes import World
from nmt.training.loss import Loss
from nmt.training.packed_loss import packed_cross_entropy

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from nmt.training.updater import Updater

_DEVICES = {"cuda"}  # where static updates pay; tests also make them on a CPU
_WARM_UPS = 2


def why_plain(recipe: Recipe, device: torch.device, world: World) -> str | None:
    """Returns why a training makes plain updates of padded batches, as a clause for the log; None: it makes static ones."""
    training, model = recipe.training, recipe.model
    reasons = {
        f"on {device.type.upper()} they are as fast": device.type not in _DEVICES,
        "weighting = 'hard' rewards its draws": model.kind == "rnn" and model.weighting == "hard",
        "pictures of text are drawn by the CPU": model.kind == "visual",
        "several processes exchange gradients": world.size > 1,
        "training.accumulate takes several batches": training.accumulate > 1,
        "training.r_drop takes each batch twice": training.r_drop > 0,
        "training.recompute drops activations": training.recompute,
        "training.compile compiles layers": training.compile,
    }
    found = next((reason for reason, holds in reasons.items() if holds), None)
    return found or (missing() if device.type == "cuda" and torch.cuda.is_available() else None)


class StaticUpdate:
    """Makes updates of batches laid out for it, with the model and optimizer of an updater."""

    def __init__(self, updater: Updater, longest: int, graphs: bool = True, beside: bool = False) -> None:
        """Captures CUDA graphs on a GPU, unless `graphs` is false.

        Args:
            updater: provides model, optimizer and settings.
            longest: most tokens of a sentence on either side, with EOS.
            graphs: whether to capture CUDA graphs.
            beside: whether to compute gradients of weights in parallel to the rest; see `nmt.fast.gpu.aside`.
        """
        self.config, self.device, self.seed = updater.config, updater.device, updater.seed
        self.arithmetic, self.optimizer = updater.arithmetic, updater.optimizer
        self.seeds = Seeds(self.device)
        self.runner = runner_for(updater.model, self.arithmetic.precision, self.seeds, longest)
        self._beside = beside
        self._captures = graphs and self.device.type == "cuda"
        self._graphs: dict[Hashable, tuple[StaticBatch, torch.cuda.CUDAGraph]] = {}
        self._parameters = [parameter for parameter in updater.model.parameters() if parameter.requires_grad]
        dtype = self._parameters[0].dtype
        self._rate = torch.zeros((), dtype=torch.float32 if self.device.type == "cuda" else dtype, device=self.device)
        self._figures = torch.zeros(5, dtype=dtype, device=self.device)
        self._flat = torch.zeros(0, dtype=dtype, device=self.device)
        self._used: list[tuple[nn.Parameter, Tensor]] = []

    def update(self, number: int, batch: StaticBatch, rate: float) -> Tensor:
        """Makes update `number`, which seeds its dropout; returns the figures of `nmt.training.updater.Outcome`."""
        self.prepare(batch)
        self._rate.fill_(rate)
        self.seeds.number.fill_(update_seed(self.seed, number))
        seed_update(self.seed, number)
        if batch.capacity in self._graphs:
            held, graph = self._graphs[batch.capacity]
            held.numbers.copy_(batch.numbers, non_blocking=True)
            graph.replay()
        else:
            self._work(batch)
        return self._figures.clone()

    def prepare(self, batch: StaticBatch) -> None:
        """Captures the update of batches of this shape on a GPU, once; changes nothing else.

        Raises:
            torch.OutOfMemoryError: the update does not fit into memory.
        """
        if self._captures and batch.capacity not in self._graphs:
            self._graphs[batch.capacity] = self._captured(batch.on(batch.numbers.clone()))

    def _captured(self, held: StaticBatch) -> tuple[StaticBatch, torch.cuda.CUDAGraph]:
        """Captures the graph of an update on the memory of a batch."""
        held.count.zero_()  # an update without tokens changes nothing
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):  # compiles kernels, lets libraries allocate, makes the optimizer's state
                self._work(held)
        torch.cuda.current_stream(self.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        pool = next((other.pool() for _, other in self._graphs.values()), None)
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            self._work(held)
        return held, graph

    def _work(self, batch: StaticBatch) -> None:
        """Runs the captured work: from the numbers of a batch to the changed parameters and the figures."""
        self.seeds.begin()
        self.runner.refresh()
        with torch.enable_grad(), onednn_products(self.arithmetic.onednn):
            hidden = self.runner.hidden(batch)
            weight, bias = self.runner.projection()
            loss = packed_cross_entropy(hidden, weight, bias, batch.wanted, self.config.label_smoothing)
            with collected(self.device, self._beside):
                gradients = torch.autograd.grad(loss.total, self.runner.leaves, allow_unused=True)
        self._apply(gradients, loss, batch.count[0])

    def _apply(self, gradients: Sequence[Tensor | None], loss: Loss, tokens: Tensor) -> None:
        """Divides the gradients by the number of tokens, clips them and updates the parameters.

        Nothing changes if a value is not finite, or there was no token.
        """
        self._make_room([gradient is not None for gradient in gradients])
        copy_all([part for _, part in self._used], [gradient for gradient in gradients if gradient is not None])
        share = tokens.clamp(min=1).to(self._flat.dtype).reciprocal()
        norm = torch.linalg.vector_norm(self._flat) * share
        total = loss.total.detach()
        finite = ((norm + total).isfinite() & tokens.bool()).float()
        self._flat.mul_((self.config.clip / (norm + 1e-6)).clamp(max=1) * share)
        for parameter, part in self._used:
            parameter.grad = part
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate
        self.optimizer.found_inf = 1 - finite
        self.optimizer.step()
        for parameter in self._parameters:
            parameter.grad = None
        figures = torch.stack([total, loss.negative_log_likelihood, loss.correct, norm, finite.to(norm.dtype)])
        self._figures.copy_(figures)

    def _make_room(self, used: Sequence[bool]) -> None:
        """Lays the gradients of the parameters that have one end to end; others are neither clipped nor updated."""
        parameters = list(itertools.compress(self._parameters, used))
        if len(parameters) == len(self._used):
            return
        sizes = [parameter.numel() for parameter in parameters]
        self._flat = self._flat.new_zeros(sum(sizes))
        parts = self._flat.split(sizes)
        self._used = [(parameter, part.view_as(parameter)) for parameter, part in zip(parameters, parts, strict=True)]
