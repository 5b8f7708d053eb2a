"""Lines in, lines out: tokenizers, search and what belongs to a translation.

Read `translator.py` first.
"""
