"""Several runs together: studies, and the expected scores of recipes."""
