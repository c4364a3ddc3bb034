"""Of examples/."""
