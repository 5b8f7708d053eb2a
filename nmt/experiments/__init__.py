"""Several runs together: studies, and scores that a recipe is expected to reach."""
