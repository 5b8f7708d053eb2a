"""Corpora that programs make; they are called synthetic wherever their scores are shown."""
