"""An exported model has room for every translation that its search allows."""

from __future__ import annotations

import pytest

from nmt.config.search import SearchConfig
from nmt.errors import ConfigError
from nmt.export.positions import longest_translation, positions_for


@pytest.mark.parametrize("ratio", [0, 0.5, 2, 3.7, 20])
@pytest.mark.parametrize("constant", [0, 10, 3000])
def test_the_longest_translation_fits(ratio: float, constant: int) -> None:
    """Of any source up to the limit of 1,024 tokens, with its begin token; the source fits too."""
    search = SearchConfig(max_length_ratio=ratio, max_length_constant=constant)
    for source in (1, 500, 1025):
        assert positions_for(search) >= max(source, 1 + longest_translation(source, search))


def test_what_is_too_long_to_export_is_refused() -> None:
    """The error names the keys; the usual limits need what they always did."""
    assert positions_for(SearchConfig()) == 2112
    with pytest.raises(ConfigError, match=r"search.max_length_ratio = 1000 .* at most 65,536"):
        positions_for(SearchConfig(max_length_ratio=1000))
