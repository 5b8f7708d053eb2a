"""The whole update of a training as one piece of work on static shapes: on a GPU one CUDA graph, which is captured once.

    batch   nmt.fast.packing             sentences end to end, every batch of one shape, already on the device
    model   nmt.fast.packed_transformer  weights in the precision of training: on a GPU bf16 copies of the fp32 parameters
    loss    nmt.fast.loss                one visit of the logits
    update  here                         gradients, clipping, the recipe's optimizer; nothing of it waits for the host

What changes from update to update lies in tensors: the batch, the learning rate, the seed of dropout. The parameters and the
state of the optimizer are those of the plain update (`nmt.updater`): the two can follow each other, and checkpoints are the
same. `why_plain` says when the plain one is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.config import Recipe
from nmt.device import Arithmetic, fast_products, seed_update, update_seed
from nmt.distributed import World
from nmt.fast.packed_transformer import PackedTransformer
from nmt.fast.packing import Capacity, Packed
from nmt.fast.seeds import Seeds
from nmt.fast.triton import missing
from nmt.models.transformer import Transformer
from nmt.tokenizer import PAD

if TYPE_CHECKING:
    from nmt.updater import Updater

_DEVICES = {"cuda"}  # where static updates pay; tests make them on a CPU too
_WARM_UPS = 2


def why_plain(recipe: Recipe, device: torch.device, world: World) -> str | None:
    """Why a training makes plain updates of padded batches, as a clause for the log; None if it makes static ones."""
    training = recipe.training
    reasons = {
        f"on {device.type.upper()} they are as fast": device.type not in _DEVICES,
        f"model.kind = '{recipe.model.kind}' has none": recipe.model.kind != "transformer",
        "several processes exchange gradients": world.size > 1,
        "training.accumulate takes several batches": training.accumulate > 1,
        "training.r_drop takes each batch twice": training.r_drop > 0,
        "training.recompute drops activations": training.recompute,
        "training.compile compiles layers": training.compile,
    }
    found = next((reason for reason, holds in reasons.items() if holds), None)
    return found or (missing() if device.type == "cuda" and torch.cuda.is_available() else None)


class StaticUpdate:
    """Makes updates of packed batches of one shape, with the model and the optimizer of an updater."""

    def __init__(self, updater: Updater, capacity: Capacity, longest: int) -> None:
        """For batches of a capacity with sentences of at most `longest` tokens on either side, EOS counted."""
        self.config, self.device, self.seed = updater.config, updater.device, updater.seed
        self.arithmetic: Arithmetic = updater.arithmetic
        self.optimizer = updater.optimizer
        if not isinstance(updater.model, Transformer):
            raise TypeError(f"{type(updater.model).__name__} has no static update")
        self.model = updater.model
        self.capacity = capacity
        self.graph: torch.cuda.CUDAGraph | None = None
        self._parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        half = self.arithmetic.precision == "bf16"
        self._copies = [
            parameter.detach().to(torch.bfloat16).requires_grad_(parameter.requires_grad)
            for parameter in (self.model.parameters() if half else ())
        ]
        weights: dict[Tensor, Tensor] = dict(
            zip(self.model.parameters(), self._copies or self.model.parameters(), strict=True)
        )
        self._leaves = [weights[parameter] for parameter in self._parameters]
        self._masters = [parameter.detach() for parameter in self.model.parameters()] if half else []
        self.seeds = Seeds(self.device)
        self.packed = PackedTransformer(self.model, weights, self.seeds, longest)
        dtype = self._parameters[0].dtype
        self._batch = Packed(torch.zeros(capacity.numbers, dtype=torch.int32, device=self.device), capacity, 0)
        self._rate = torch.zeros((), dtype=torch.float32 if self.device.type == "cuda" else dtype, device=self.device)
        sizes = [parameter.numel() for parameter in self._parameters]
        self._flat = torch.zeros(sum(sizes), dtype=dtype, device=self.device)
        self._gradients = [
            part.view_as(parameter) for part, parameter in zip(self._flat.split(sizes), self._parameters, strict=True)
        ]
        self._figures = torch.zeros(5, dtype=dtype, device=self.device)

    def update(self, number: int, batch: Packed, rate: float) -> Tensor:
        """Makes the update of that number, which seeds its dropout; returns the figures of `nmt.updater.Outcome`."""
        self.prepare()
        self._batch.numbers.copy_(batch.numbers)
        self._rate.fill_(rate)
        self.seeds.number.fill_(update_seed(self.seed, number))
        seed_update(self.seed, number)
        if self.graph is None:
            self._work()
        else:
            self.graph.replay()
        return self._figures.clone()

    def prepare(self) -> None:
        """On a GPU captures the update, if that was not done: from batches without a token, which change nothing.

        Raises:
            torch.OutOfMemoryError: an update does not fit into memory.
        """
        if self.device.type != "cuda" or self.graph is not None:
            return
        self._batch.numbers.zero_()
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(
                _WARM_UPS
            ):  # kernels are compiled, libraries take their memory, the optimizer makes its state
                self._work()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        capturable = [group.get("capturable") for group in self.optimizer.param_groups]
        try:
            for group in self.optimizer.param_groups:
                group["capturable"] = True
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._work()
        finally:
            for group, value in zip(self.optimizer.param_groups, capturable, strict=True):
                group["capturable"] = value
        self.graph = graph

    def _work(self) -> None:
        """What is captured: from the numbers of the batch to the changed parameters and the figures."""
        self.seeds.begin()
        if self._copies:
            torch._foreach_copy_([copy.detach() for copy in self._copies], self._masters)
        with torch.enable_grad(), fast_products(self.arithmetic.onednn):
            hidden = self.packed.hidden(self._batch)
            output, target = self.model.output, self._batch.target[1]
            loss = packed_cross_entropy(
                hidden,
                self.packed.of(output.weight),
                self.packed.of(output.bias),
                target,
                self.config.label_smoothing,
            )
            gradients = torch.autograd.grad(
                loss.total, self._leaves, self._batch.count[0].to(loss.total.dtype).reciprocal()
            )
        self._apply(gradients, loss)

    def _apply(self, gradients: tuple[Tensor, ...], loss: Loss) -> None:
        """Clips the gradients and moves the parameters, unless something is not finite or there was no token."""
        torch._foreach_copy_(self._gradients, list(gradients))
        norm = torch.linalg.vector_norm(self._flat)
        total = loss.total.detach()
        finite = ((norm + total).isfinite() & self._batch.count[0].bool()).float()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate
        self._flat.mul_((self.config.clip / (norm + 1e-6)).clamp(max=1))
        self.optimizer.found_inf = 1 - finite  # type: ignore[attr-defined]  # the optimizer then leaves all as it is
        self.optimizer.step()
        for parameter in self._parameters:
            parameter.grad = None
        figures = torch.stack([total, loss.negative_log_likelihood, loss.correct, norm, finite.to(norm.dtype)])
        self._figures.copy_(figures)


@dataclass(frozen=True)
class Loss:
    """Sums."""

    total: Tensor
    negative_log_likelihood: Tensor
    correct: Tensor


def packed_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float) -> Loss:
    """Interim."""
    logits = F.linear(hidden, weight, bias)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    wanted = target.long()
    total = F.cross_entropy(logits, wanted, ignore_index=PAD, reduction="sum", label_smoothing=smoothing)
    with torch.no_grad():
        each = F.cross_entropy(logits, wanted, ignore_index=PAD, reduction="sum")
        correct = ((logits.argmax(1) == target) & (target != PAD)).sum().to(total.dtype)
    return Loss(total, each, correct)
