"""FSDP2: each process keeps a part of the weights, gradients and moments, for models too large for one device.

Rajbhandari et al. 2020 (ZeRO, stage 3); Zhao et al. 2023. A layer is complete on a device only while it computes.
"""

from __future__ import annotations

from typing import Any

from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from nmt.models.protocol import EncoderDecoder
from nmt.models.visual.image import RunningStatistics
from nmt.runtime.processes import World


def shard(model: EncoderDecoder[Any, Any], world: World) -> None:
    """Divides a model among processes, which all hold it, and moves the parts to their devices.

    Parameters outside the layers (embeddings, norms, the output projection) stay gathered from the forward pass to the end of
    the backward pass, as the loss multiplies by them. Running statistics stay whole, as the forward pass moves them.
    """
    mesh = init_device_mesh(world.device.type, (world.size,))
    whole = set(RunningStatistics(model).moving)
    for part in model.repeated_parts():
        fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=False, ignored_params=whole)
    register_fsdp_forward_method(model, "forced")
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # sums: the loss is already divided by the tokens of all processes
            module.set_force_sum_reduction_for_comms(True)  # plain ones, which gloo has too
    model.to(world.device)
