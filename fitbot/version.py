"""The version, below everything that writes it down; pyproject.toml has the same."""

__version__ = "0.1.0"
