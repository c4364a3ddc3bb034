"""Two models, compared by a person who does not know which answer is whose."""
