"""Translation of lines: tokenizers, search and postprocessing.

Read `translator.py` first.
"""
