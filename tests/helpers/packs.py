"""Packed rows for tests, and errors beside float64."""

from __future__ import annotations

import torch
from torch import Tensor


def spans(queries: list[int], keys: list[int], empty: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Key starts and counts of query rows, query starts and counts of key rows: sentences of such lengths, then empty rows."""
    rows, columns = sum(queries) + empty, sum(keys) + empty
    key_starts, key_counts, query_starts, query_counts = (
        torch.zeros(count, dtype=torch.int32) for count in (rows, rows, columns, columns)
    )
    row = column = 0
    for height, width in zip(queries, keys, strict=True):
        key_starts[row : row + height], key_counts[row : row + height] = column, width
        query_starts[column : column + width], query_counts[column : column + width] = row, height
        row, column = row + height, column + width
    return key_starts, key_counts, query_starts, query_counts


def error(found: Tensor, wanted: Tensor) -> float:
    """Of what was found, relative to the size of what was wanted."""
    difference = (found.detach().double().cpu() - wanted.detach().double().cpu()).norm()
    return float(difference / wanted.detach().double().norm().clamp(min=1e-30))
