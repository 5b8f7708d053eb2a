"""Corpora: cards, reading, cleaning, splitting, auditing and encoding."""
