"""Execute the notebooks from a clean kernel and keep their outputs: `make notebooks`.

    python notebooks/execute.py [NOTEBOOK ...]        # all of this folder by default

It runs in an empty folder with an empty home, so that no output depends on what is there. The
outputs go into the file, beside a hash of the cells that they are of: a test compares it, so that
no cell is changed without being executed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from hashlib import blake2b
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent


def executed(file: Path, folder: Path, seconds: int = 600) -> NotebookNode:
    """The notebook with its outputs, run in `folder` by a kernel of its own; a cell that fails, or
    takes longer than `seconds`, raises."""
    notebook = nbformat.read(file, as_version=4)
    # Cells are run as they stand: outputs and times of before are no part of them.
    for cell in notebook.cells:
        cell.metadata = {}
    client = NotebookClient(
        notebook,
        timeout=seconds,
        kernel_name="python3",
        extra_arguments=["--InlineBackend.figure_formats={'jpeg'}"],  # a third of PNG's bytes
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "sources": sources(notebook),
    }
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Lines that were printed one by one, as one text."""
    joined: list[NotebookNode] = []
    for output in outputs:
        stream = output.get("name")
        if joined and stream is not None and stream == joined[-1].get("name"):
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def sources(notebook: NotebookNode) -> str:
    """A hash of the code cells, in their order."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return blake2b("\0".join(code).encode(), digest_size=16).hexdigest()


def main() -> None:
    """Execute each notebook and write it back."""
    for name in sys.argv[1:] or sorted(map(str, HERE.glob("*.ipynb"))):
        with tempfile.TemporaryDirectory() as folder:
            os.environ |= {"HOME": folder}
            os.environ.pop("PETS_CACHE", None)
            notebook = executed(Path(name), Path(folder))
        nbformat.write(notebook, name)
        print(f"{name}: {Path(name).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
