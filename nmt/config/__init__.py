"""What a user may set: the recipe, the settings of its sections, and how they are read.

Read `recipe.py` first: every key, its default and what it means. `reading.py` turns TOML into it, with all errors at once.
"""
