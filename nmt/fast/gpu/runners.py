"""Runs a model on a batch for a static update: returns the target's hidden states, one row per position."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from nmt.fast.gpu.layouts import StaticBatch
from nmt.fast.gpu.lists import copy_all
from nmt.fast.gpu.packed_transformer import PackedTransformer, kept_exact
from nmt.fast.gpu.packing import Packed
from nmt.fast.gpu.rounding import Rounded
from nmt.fast.gpu.seeds import Seeds
from nmt.models import Model
from nmt.models.transformer.model import Transformer
from nmt.runtime.device import Precision, autocast

# N rows of the target, D width


class Runner(Protocol):
    """The view of a model in a static update."""

    leaves: list[Tensor]
    """Tensors to take gradients by, one per trained parameter, in order."""

    def refresh(self) -> None:
        """Takes over the current values of the parameters."""

    def hidden(self, batch: StaticBatch) -> Tensor:
        """Returns hidden states (N, D)."""
        ...

    def projection(self) -> tuple[Tensor, Tensor]:
        """Returns weight and bias of the output layer, in the precision of the hidden states."""
        ...


class PackedRunner:
    """A Transformer on packed rows. In bf16 most weights are copies, and the states between layers are bf16 too."""

    def __init__(self, model: Transformer, precision: Precision, seeds: Seeds, longest: int) -> None:
        """Takes sentences of at most `longest` tokens, with EOS."""
        parameters, exact = list(model.parameters()), kept_exact(model)
        self._masters = [one.detach() for one in parameters if precision == "bf16" and one not in exact]
        weights: dict[Tensor, Tensor] = {parameter: parameter for parameter in parameters}
        self._copies: list[Tensor] = []
        for parameter in parameters if precision == "bf16" else ():
            if parameter not in exact:
                weights[parameter] = parameter.detach().to(torch.bfloat16).requires_grad_(parameter.requires_grad)
                self._copies.append(weights[parameter])
        self.leaves = [weights[parameter] for parameter in parameters if parameter.requires_grad]
        self.packed = PackedTransformer(model, weights, seeds, longest)

    def refresh(self) -> None:
        """Copies the parameters to half precision."""
        if self._copies:
            copy_all([copy.detach() for copy in self._copies], self._masters)

    def hidden(self, batch: StaticBatch) -> Tensor:
        """See `Runner`."""
        if not isinstance(batch, Packed):
            raise TypeError("a Transformer takes packed batches")
        return self.packed.hidden(batch)

    def projection(self) -> tuple[Tensor, Tensor]:
        """See `Runner`."""
        output = self.packed.model.output
        return self.packed.of(output.weight), self.packed.of(output.bias)


class PaddedRunner:
    """Any model, unchanged, on padded batches."""

    def __init__(self, model: Model, precision: Precision, device: torch.device) -> None:
        self.model, self.device = model, device
        self.precision: Precision = precision
        self.leaves: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def refresh(self) -> None:
        """Does nothing, as the parameters themselves are used."""

    def hidden(self, batch: StaticBatch) -> Tensor:
        """See `Runner`."""
        if not isinstance(batch, Rounded):
            raise TypeError("only a Transformer takes packed batches")
        with autocast(self.device, self.precision):
            hidden = self.model(batch.source, batch.lengths.long(), batch.target_input)  # (B, T, D)
        return hidden.to(self._dtype(hidden.dtype)).flatten(0, 1)

    def projection(self) -> tuple[Tensor, Tensor]:
        """See `Runner`."""
        output: nn.Linear = self.model.output
        dtype = self._dtype(output.weight.dtype)
        return output.weight.to(dtype), output.bias.to(dtype)

    def _dtype(self, own: torch.dtype) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.promote_types(own, torch.float32)


def runner_for(model: Model, precision: Precision, seeds: Seeds, longest: int) -> Runner:
    """Makes the runner of a model."""
    if isinstance(model, Transformer):
        return PackedRunner(model, precision, seeds, longest)
    return PaddedRunner(model, precision, model.output.weight.device)
