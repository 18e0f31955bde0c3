"""Every notebook runs from a clean kernel, and the committed file is executed, small and free of local traces."""

import asyncio
import base64
import io
import os
import re
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
from PIL import Image

with warnings.catch_warnings():
    # jupyter_core announces a coming change of its folders; zmq and tornado import asyncio names that Python retires
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "nbs"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 1_500_000
MOST_SECONDS = 1200  # for one cell: a guard against hanging, no test of speed

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def texts(path):
    """Sources and all outputs that are text; pictures are left out."""
    for cell in read(path).cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield output.get("text", "")
            for kind, content in output.get("data", {}).items():
                if not kind.startswith("image/"):
                    yield str(content)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:(jupyter_client|jupyter_core|nbclient|zmq|tornado|asyncio).*")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # sockets of the kernel that zmq closes later
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_runs_from_a_clean_kernel(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # a test run may have set another
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER), str(FOLDER.parent), *sys.path]))
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    # a new loop: pytest's own thread may have none, and zmq needs one of the selector kind on Windows
    loop = asyncio.SelectorEventLoop()
    client = NotebookClient(
        notebook, timeout=MOST_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    try:
        loop.run_until_complete(client.async_execute())
    finally:
        loop.close()
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_is_committed_executed_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


def test_shows_pictures_and_no_errors(path):
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]


def test_is_small(path):
    assert path.stat().st_size < MOST_BYTES


def test_names_no_local_path(path):
    # absolute paths of this or any other machine: /<top folder>/..., C:\...
    tops = "|".join(("home", "tmp", "root", "Users", "media", "mnt", "var", "opt", "usr", FOLDER.resolve().parts[1]))
    found = re.compile(rf"(?<![\w.])/(?:{tops})/\w|\b[A-Z]:\\\w")
    assert not [text for text in texts(path) if found.search(text)]


def test_has_no_warnings_and_no_debris_of_progress_bars(path):
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not [text for text in texts(path) if "\r" in text or "█" in text or "<progress" in text]
    assert not [output for output in outputs if any("widget" in kind for kind in output.get("data", {}))]


def test_has_no_stray_metadata(path):
    notebook = read(path)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert not [cell.metadata for cell in notebook.cells if cell.metadata]


def test_shows_who_the_patient_is_only_where_a_cell_asks_for_headers(path):
    # names and dates as DICOM writes them; the patients are made up, but a habit would not be
    identifying = re.compile(r"\b[A-Za-z]\w*\^\w|\b(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])\b")
    asks = re.compile(r"metadata\[|header_table|tags=")
    outputs = [output for cell in code_cells(path) if not asks.search(cell.source) for output in cell.outputs]
    shown = [
        str(content) for output in outputs for kind, content in output.get("data", {}).items() if "image/" not in kind
    ]
    shown += [output.get("text", "") for output in outputs]
    assert not [text for text in shown if identifying.search(text)]


def test_pictures_carry_no_texts(path):
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    for picture in [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]:
        with Image.open(io.BytesIO(base64.b64decode(picture))) as opened:
            assert set(opened.text) <= {"Software"}
