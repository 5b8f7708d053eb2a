"""The views by name: what a server offers, and what Python may call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nmt.inspection.alternatives import AlternativesRequest, alternatives
from nmt.inspection.asking import Request, Translators
from nmt.inspection.attention import AttentionRequest, attention
from nmt.inspection.beam import BeamRequest, beam
from nmt.inspection.growth import GrowthRequest, growth
from nmt.inspection.scores import ScoresRequest, scores
from nmt.inspection.surprise import SurpriseRequest, surprise

__all__ = ["VIEWS", "Translators", "View"]


@dataclass(frozen=True)
class View:
    """A question about models and the function that answers it."""

    name: str
    request: type[Request]
    """Fields and limits of the question."""
    run: Callable[[Translators, Any], dict[str, Any]]
    """Takes the models and a request; returns what JSON can hold. Raises NmtError where the user can mend something."""


VIEWS = {
    view.name: view
    for view in (
        View("attention", AttentionRequest, attention),
        View("beam", BeamRequest, beam),
        View("alternatives", AlternativesRequest, alternatives),
        View("surprise", SurpriseRequest, surprise),
        View("scores", ScoresRequest, scores),
        View("growth", GrowthRequest, growth),
    )
}
