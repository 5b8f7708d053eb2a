"""Writes the table of decoding speed by CPU into RESULTS.md, from what `nmt bench decode --json` printed.

usage: table.py ROWS.jsonl RESULTS.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- decoding by CPU: made by table.py -->", "<!-- end of decoding by CPU -->"
HEADS = (
    "CPU (instructions), threads",
    "model",
    "search",
    "fp32, x CTranslate2 float32",
    "int8, x CTranslate2 int8",
    "bf16, x CTranslate2 float32",
    "fp32, x a loop over cells",
    "one sentence, ms: fp32 / CTranslate2 float32 (RNN: the loop)",
    "int8 / CTranslate2 int8",
    "CTranslate2",
)
ALIGNED = ("---", "---", "---", *["---:"] * 6, "---")

Row = dict[str, Any]
Key = tuple[str, str, int, int]


def table(rows: Sequence[Row]) -> str:
    """A line for each CPU, model and way to search, of the newest rows of each."""
    found: dict[Key, dict[tuple[str, str], Row]] = {}
    for row in rows:
        key = (row["device"], row["model"], -row["beam"], row["batch"])
        found.setdefault(key, {})[row["engine"], row["precision"]] = row
    lines = [HEADS, ALIGNED, *(_line(key, found[key]) for key in sorted(found))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(key: Key, engines: dict[tuple[str, str], Row]) -> Sequence[str]:
    device, model, beam, batch = key
    search = "greedy" if beam == -1 else f"beam {-beam}"
    reference = engines.get(("ctranslate2", "float32"), {})
    plain = ("ctranslate2", "float32") if reference else ("cell loop", "fp32")
    return (
        device,
        model,
        f"{search}, batch {batch}",
        _ratio(engines.get(("nmt", "fp32"), {}), "ctranslate2_float32"),
        _ratio(engines.get(("nmt", "int8"), {}), "ctranslate2_int8"),
        _ratio(engines.get(("nmt", "bf16"), {}), "ctranslate2_float32"),
        _ratio(engines.get(("nmt", "fp32"), {}), "cell_loop"),
        _latencies(engines, ("nmt", "fp32"), plain),
        _latencies(engines, ("nmt", "int8"), ("ctranslate2", "int8")),
        reference.get("version", ""),
    )


def _ratio(row: Row, yardstick: str) -> str:
    """With its range over the rounds; blank where there is none."""
    ratio = row.get(f"ratio_to_{yardstick}")
    if ratio is None:
        return ""
    low, high = row[f"ratio_to_{yardstick}_range"]
    return f"{ratio:.2f} [{low:.2f}, {high:.2f}]"


def _latencies(engines: dict[tuple[str, str], Row], *names: tuple[str, str]) -> str:
    """Milliseconds of one after the other; a dash for what was not measured."""
    found = [engines.get(name, {}).get("latency_p50_ms") for name in names]
    return " / ".join("-" if value is None else f"{value:.1f}" for value in found)


def read(path: Path) -> Iterator[Row]:
    """Rows of the file that have all that the table needs."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row: Row = json.loads(line)
        if "model" in row:
            yield row


def placed(text: str, block: str) -> str:
    """The page with this table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"


if __name__ == "__main__":
    rows, page = Path(sys.argv[1]), Path(sys.argv[2])
    page.write_text(placed(page.read_text(encoding="utf-8"), table(list(read(rows)))), encoding="utf-8")
