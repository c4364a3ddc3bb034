"""JSON → batch: reading preference pairs, encoding them, laying them out for the model."""
