"""The server; it lies in serve/ at the top level of a checkout."""

from pathlib import Path

__path__ = [str(Path(__file__).parent.parent / "serve")]
