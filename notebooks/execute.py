"""Run the notebook from top to bottom and keep its outputs, as they are committed: `make notebook`.

Beside them stands a hash of the cells that gave them, so that a test can tell if they still do.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("reward_margins.ipynb")


def sources_hash(notebook: Any) -> str:
    """Hash the source of all cells of code, in hexadecimal."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells in a folder, without a trace of when.

    Raises:
        CellExecutionError: A cell failed.
    """
    # A message of the debugger's, of no use to who only runs cells.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, record_timing=False, resources=resources).execute()
    notebook.metadata["executed_sources"] = sources_hash(notebook)
    notebook.metadata["language_info"] = {"name": "python"}  # whatever version it is


if __name__ == "__main__":
    found = nbformat.read(NOTEBOOK, as_version=4)
    execute(found, NOTEBOOK.parent)
    nbformat.write(found, NOTEBOOK)
