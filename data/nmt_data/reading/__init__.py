"""Reads pairs of raw lines from the files that people have, from the Hugging Face hub or from a generator.

Read `split.py` first: it chooses one of the other files, one for each kind of file.
"""

from nmt_data.reading.files import find_file
from nmt_data.reading.pairs import Pair, Unreadable
from nmt_data.reading.parallel import read_text
from nmt_data.reading.split import Split

__all__ = ["Pair", "Split", "Unreadable", "find_file", "read_text"]
