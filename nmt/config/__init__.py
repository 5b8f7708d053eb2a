"""The settings of a user: the recipe, its sections, and how they are read.

Read `recipe.py` first: it has every key, its default and its meaning. `reading.py` reads TOML and reports all errors at once.
"""
