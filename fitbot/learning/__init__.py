"""Learning from choices: what a person prefers, kept, and made into a new version."""
