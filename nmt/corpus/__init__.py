"""Text on its way to a model: lines, words, subwords, and the encoded corpus on disk.

Read `lines.py` first, then `tokenizer.py` and `prepared.py`.
"""
