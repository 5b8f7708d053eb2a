"""Export of trained models to other engines."""
