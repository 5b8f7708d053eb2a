"""Looks inside a translator: attention, surprise, beam, alternatives, scores, growth; each answer can be written as JSON.

Start with `views.py`, which lists the views. Each has a file of its own: what is asked for, and the function that answers.
"""
