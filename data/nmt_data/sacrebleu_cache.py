"""Test sets in sacreBLEU's cache, by sacreBLEU's names: WMT, IWSLT and others."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from nmt.errors import DataError


def cached_testset(name: str, source: str, target: str) -> tuple[Path, Path] | None:
    """Returns source and reference files from sacreBLEU's cache (`~/.sacrebleu`); None: the name is unknown.

    A missing test set is not fetched; sacreBLEU completes one that is there in part.

    Raises:
        DataError: the test set lacks these languages, is not in the cache, or has several references.
    """
    from sacrebleu.dataset import DATASETS
    from sacrebleu.utils import SACREBLEU_DIR, get_reference_files

    if name not in DATASETS:
        return None
    pair = f"{source}-{target}"
    known = cast(dict[str, list[str]], DATASETS[name].langpairs)  # typed as a type, by a slip
    if pair not in known:
        raise DataError(f"sacreBLEU's test set {name} is not for {pair}; it has {', '.join(sorted(known))}")
    sources = Path(SACREBLEU_DIR, name, f"{name.replace('/', '_')}.{pair}.src")
    try:
        references = get_reference_files(name, pair) if sources.exists() else []
    except OSError:  # a part is missing, and there is no network
        references = []
    if not references:
        raise DataError(
            f"sacreBLEU's test set {name} is not in its cache; this fetches it: "
            f"sacrebleu --test-set {name} --language-pair {pair} --echo src > {name.replace('/', '-')}.{source}"
        )
    if len(references) > 1:
        raise DataError(f"sacreBLEU's test set {name} has {len(references)} references: name SOURCE:REFERENCE files")
    return sources, Path(references[0])
