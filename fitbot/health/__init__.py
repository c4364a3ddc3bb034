"""The health layer: fixed rules on the question and on the answer, around a model that has none."""
