"""What was expected before anything was measured, for one NVIDIA H100 (80 GB): by arithmetic, see RESULTS.

Keys are "step: figure". A figure far from its prediction says that something is not understood.
"""

from __future__ import annotations

PREDICTIONS: dict[str, float] = {}
