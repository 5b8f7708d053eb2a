"""What a device can do is read off it, the same at each start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nmt import device

Facts = Callable[[dict[str, str]], None]


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> Facts:
    """Makes the processor another one."""

    def become(said: dict[str, str]) -> None:
        monkeypatch.setattr(device, "cpu_facts", lambda: said)

    return become


@pytest.mark.parametrize(
    ("said", "fast"),
    [
        ({"flags": "fma avx512f avx512_bf16"}, True),
        ({"flags": "fma amx_bf16 amx_tile"}, True),
        ({"Features": "fp asimd bf16 sve"}, True),
        ({"flags": "fma avx2"}, False),
        ({}, False),
    ],
)
def test_bf16_is_for_processors_that_have_it(facts: Facts, said: dict[str, str], fast: bool) -> None:
    facts(said)
    assert device.has_fast_bf16.__wrapped__() is fast


def test_onednn_is_for_amd_and_only_if_exact(facts: Facts) -> None:
    for said in ({"vendor_id": "GenuineIntel"}, {}):
        facts(said)
        assert not device.onednn_is_faster.__wrapped__()
    facts({"vendor_id": "AuthenticAMD"})
    left, right = torch.randn(64, 64), torch.randn(64, 64)
    with device.fast_products(device.onednn_is_faster.__wrapped__()):
        torch.testing.assert_close(left @ right, (left.double() @ right.double()).float(), rtol=1e-4, atol=1e-4)


def test_the_processor_is_described() -> None:
    assert device.describe(torch.device("cpu"), 3).endswith(", 3 threads")
    assert device.describe(torch.device("cpu"), 1).endswith(", 1 thread")
