"""A trained adapter → files that other programs load."""
