"""Errors that the user can fix. The command line prints them as one line and exits with 1; a bug keeps its traceback."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


class NmtError(Exception):
    """Base of every error that the user can fix; its text is one clear line (or a short list of lines)."""


class ConfigError(NmtError):
    """A recipe has an unknown key, a wrong value or an impossible combination."""


class DataError(NmtError):
    """A corpus, test set or line of text cannot be used as it is."""


class TextError(DataError, TypeError):
    """A value given as text has another type."""


class CheckpointError(NmtError):
    """A checkpoint or bundle is missing, damaged, or belongs to another model, tokenizer or corpus."""


@contextmanager
def explain_memory() -> Generator[None]:
    """Converts an out-of-memory error to one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch raises RuntimeError
        text = str(error).splitlines()[0] if str(error) else ""
        if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
            raise NmtError(
                f"memory is used up ({text or 'MemoryError'}); use smaller batches, beams or models"
            ) from None
        raise
