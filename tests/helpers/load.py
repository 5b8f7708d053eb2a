"""Measures a server that speaks as LibreTranslate does: `python tests/helpers/load.py PORT FILE SOURCE TARGET [CLIENTS]`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from serving import Client


@dataclass(frozen=True)
class Load:
    """What a server did for some clients at a time."""

    texts: list[str]
    """The translation of each line."""
    seconds: float
    waits: list[float]
    """Seconds of each request, the shortest first."""

    def __str__(self) -> str:
        """The waits, and the lines a second."""
        p50, p95 = (1000 * self.waits[int(share * len(self.waits))] for share in (0.5, 0.95))
        return f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, {len(self.texts) / self.seconds:.0f} lines a second"


def load(client: Client, lines: Sequence[str], clients: int, source: str = "de", target: str = "en") -> Load:
    """Asks for each line in a request of its own, by so many clients at a time."""

    def timed(line: str) -> tuple[str, float]:
        begun = time.perf_counter()
        answer = client.ask("/translate", {"q": line, "source": source, "target": target})
        return answer.json["translatedText"], time.perf_counter() - begun

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        found = list(threads.map(timed, lines))
    seconds = time.perf_counter() - begun
    return Load([text for text, _ in found], seconds, sorted(wait for _, wait in found))


if __name__ == "__main__":
    port, file, source, target, *many = sys.argv[1:]
    text = Path(file).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    clients = int(many[0]) if many else 64
    sys.stdout.write(f"{clients} clients: {load(Client(int(port)), text, clients, source, target)}\n")
