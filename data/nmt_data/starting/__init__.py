"""From the files that a person has to a card and a recipe, as `nmt init` writes them.

Read `start.py` first, then `look.py`. `inputs.py` sorts files into splits, `columns.py` finds the text in a table,
`languages.py` tells languages, and `sizes.py` chooses a model for the size of a corpus.
"""
