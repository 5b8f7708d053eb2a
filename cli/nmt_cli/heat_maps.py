"""Heat maps of attention in a folder, as PNG and SVG."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nmt_cli.console import note

if TYPE_CHECKING:
    from nmt.translation.attention import Attention

_FORMATS = ("png", "svg")
_SHOWN = 10  # letters


@dataclass
class HeatMaps:
    """Draws what a model attended to, a picture for each line and format."""

    folder: Path
    model: str
    layer: int | None = None
    head: int | None = None
    shifted: bool = False
    missing: set[str] = field(default_factory=set[str])
    """Letters that no font of this computer has."""

    def draw(self, number: int, seen: Attention) -> None:
        """Draws the attention of a line, and what a model of pictures saw of it."""
        from nmt.report.heat_map import plot_attention, plot_over_line
        from nmt.translation.attention import END

        ends = [] if self.shifted else [END]
        columns, rows = [*seen.source, *ends], [*seen.target, *ends]
        weights, title = seen.chosen(self.layer, self.head, self.shifted), self._title(seen)
        for suffix in _FORMATS:
            self.missing |= set(plot_attention(self.folder / f"{number}.{suffix}", title, columns, rows, weights))
        if seen.picture is None or self.shifted:
            return
        looks = seen.picture.chosen(seen.place(self.layer, False), None if self.head is None else self.head - 1)
        for suffix in _FORMATS:
            path = self.folder / f"{number}.line.{suffix}"
            self.missing |= set(plot_over_line(path, title, rows, seen.picture, looks))

    def tell(self) -> None:
        """Says where the pictures are, and what they lack."""
        note(f"heat maps in {self.folder}")
        if self.missing:
            letters = " ".join(sorted(self.missing)[:_SHOWN])
            note(
                f"no font of this computer has {letters}, so boxes stand for such letters; install a font of that script"
            )

    def _title(self, seen: Attention) -> str:
        layers, heads = seen.maps.shape[:2]
        place, parts = seen.place(self.layer, self.shifted), [self.model]
        if layers > 1:
            parts.append(f"mean of {layers} layers" if place is None else f"layer {place + 1} of {layers}")
        if heads > 1:
            parts.append(f"head {self.head} of {heads}" if self.head is not None else f"mean of {heads} heads")
        return ", ".join(parts)
