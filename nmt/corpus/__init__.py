"""From text to model input: lines, words, subwords, and the encoded corpus on disk.

Read `lines.py` first, then `tokenizer.py` and `prepared.py`.
"""
