"""The viewer in JupyterLab: drawn, clicked, and seen from Python."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from browsers import browser  # noqa: F401 - the fixture

CELLS = [
    "from faimed3d.basics import *\nimport torch\n"
    "image = TensorDicom3D(torch.arange(9 * 10 * 11).reshape(9, 10, 11).short(), {'spacing': (1, 2, 3)})\n"
    "v = image.view_3d(TensorMask3D(image > 800, like=image), height=360)\nv",
    "v.position = (3, 4, 6)\nv.window = (400, 50)",
    "print('seen', *v.position, v.value, v.window[1])",
    "from faimed3d.browser.case_list import CaseList, ListedView\n"
    "CaseList([ListedView('the first', v), ListedView('the other', view_3d(-image))])",
]

TILE = """() => {
  const { faimed3d } = [...document.querySelectorAll(".jp-OutputArea-output *")].find((one) => one.faimed3d);
  return faimed3d.nv.screenSlices[0].leftTopWidthHeight;
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    root = tmp_path_factory.mktemp("lab")
    cells = [
        {"cell_type": "code", "id": f"c{k}", "metadata": {}, "execution_count": None, "outputs": [], "source": text}
        for k, text in enumerate(CELLS)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (root / "viewer.ipynb").write_text(json.dumps(notebook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {f"JUPYTER_{name}_DIR": str(root / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    options = ["--no-browser", "--allow-root", f"--ServerApp.port={port}", f"--ServerApp.root_dir={root}"]
    options += ["--IdentityProvider.token=x", "--LabApp.news_url=None"]
    with open(root / "log.txt", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], stdout=log, stderr=log, env={**os.environ, **folders}
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/api?token=x", server, root / "log.txt")
            yield f"http://127.0.0.1:{port}/doc/tree/viewer.ipynb?token=x"
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(url, server, log, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"JupyterLab does not answer: {log.read_text()[-2000:]}")


def test_python_moves_the_viewer_and_the_mouse_is_seen_in_python(browser, lab):  # noqa: F811
    """Lasts as long as JupyterLab and a kernel take to start."""
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.set_default_timeout(90_000)
    page.goto(lab)
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")

    def run(number):
        page.locator(".jp-Notebook .jp-InputArea-editor").nth(number).click()
        prompt = page.locator(".jp-Notebook .jp-InputArea-prompt").nth(number)
        for _ in range(40):  # a key that comes before the kernel is ready is lost
            page.keyboard.press("Control+Enter")
            page.wait_for_timeout(500)
            if prompt.inner_text().strip("[ ]:"):
                break

    run(0)
    page.wait_for_function("() => document.querySelector('.f3d-foot')?.innerText.includes('mm')")
    run(1)
    page.wait_for_function("() => document.querySelector('.f3d-foot').innerText.includes('x 3.0')")
    assert "y 4.0 P" in page.inner_text(".f3d-foot")
    box = page.locator(".f3d canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 - 60, box["y"] + 60)
    page.mouse.down(button="right")
    page.mouse.move(box["x"] + box["width"] / 2 + 40, box["y"] + 60, steps=3)
    page.mouse.up(button="right")
    left, top, width, height = page.evaluate(TILE)
    before = page.inner_text(".f3d-foot")
    page.mouse.click(box["x"] + left + width * 0.7, box["y"] + top + height * 0.3)
    page.wait_for_function("old => document.querySelector('.f3d-foot').innerText !== old", arg=before)
    page.wait_for_timeout(300)  # what the browser tells Python of itself waits 50 ms
    shown = re.search(r"x (-?[\d.]+).*?y (-?[\d.]+).*?z (-?[\d.]+)", page.inner_text(".f3d-foot")).groups()
    value = re.search(r"image: (\d+)", page.inner_text(".f3d-foot")).group(1)
    run(2)
    page.wait_for_selector(".jp-OutputArea-output >> text=seen")
    seen = page.inner_text(".jp-OutputArea-output:has-text('seen')").split()[1:]
    if folder := os.environ.get("VIEWER_SHOTS"):
        page.screenshot(path=os.path.join(folder, "notebook.png"))
    assert [float(part) for part in seen[:3]] == pytest.approx([float(part) for part in shown], abs=0.06)
    assert seen[3] == value
    assert float(seen[4]) > 55

    run(3)
    foot = page.locator(".f3d-foot").nth(1)
    foot.wait_for()
    page.click(".f3d-list >> text=the other")
    page.wait_for_function("() => document.querySelectorAll('.f3d-foot')[1]?.innerText.includes('image: -')")
    page.click(".f3d-list >> text=the first")
    page.wait_for_function(f"() => document.querySelectorAll('.f3d-foot')[1]?.innerText.includes('image: {value}')")
    if folder := os.environ.get("VIEWER_SHOTS"):
        page.screenshot(path=os.path.join(folder, "list.png"))
    page.close()
