"""Adapter → text: export a trained adapter, and ask it questions."""
