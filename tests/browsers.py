"""A headless chromium, driven by Playwright, with the network blocked; for the tests of the viewer."""

import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--force-device-scale-factor=1",
]


def chromium_or_skip():
    """The path of a chromium; the test is skipped where there is none."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("no chromium is installed: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def browser():
    path = chromium_or_skip()
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield opened
        opened.close()


class Page:
    """A saved page, opened from the disk; ``asked`` lists what it asked for, ``faults`` its errors."""

    def __init__(self, browser, path, size=(640, 480)):
        self.context = browser.new_context(viewport=dict(zip(("width", "height"), size, strict=True)), offline=True)
        self.page = self.context.new_page()
        self.asked, self.faults = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda text: self.faults.append(text.text) if text.type == "error" else None)
        self.page.goto(f"file://{path}")
        self.run("() => faimed3dReady.then(() => null)")

    def run(self, script, *arguments):
        return self.page.evaluate(script, *arguments)

    def set(self, **changes):
        self.run("changes => { faimed3d.viewer.set(changes, true); faimed3d.viewer.nv.gl.finish(); }", changes)

    @property
    def state(self):
        return self.run("faimed3d.viewer.state")

    @property
    def values(self):
        return self.run("faimed3d.viewer.values()")

    def tiles(self):
        """Axial, coronal, sagittal -> (left, top, width, height) in pixels of the canvas."""
        return self.run(
            "Object.fromEntries(faimed3d.viewer.nv.screenSlices.filter(s => s.axCorSag < 3).map("
            "s => [['axial', 'coronal', 'sagittal'][s.axCorSag], s.leftTopWidthHeight]))"
        )

    def canvas(self):
        """(left, top) of the canvas in the page."""
        box = self.page.locator("canvas").first.bounding_box()
        return box["x"], box["y"]

    def picture(self, name):
        """A screenshot as (rows, columns, 3); kept in the folder that VIEWER_SHOTS names, if it is set."""
        bytes_ = self.page.screenshot()
        if folder := os.environ.get("VIEWER_SHOTS"):
            with open(os.path.join(folder, f"{name}.png"), "wb") as file:
                file.write(bytes_)
        return np.asarray(Image.open(io.BytesIO(bytes_)).convert("RGB")).astype(int)

    def stage(self, name):
        """The part of a screenshot that NiiVue draws."""
        box = self.page.locator(".f3d-stage").bounding_box()
        left, top, width, height = (round(box[key]) for key in ("x", "y", "width", "height"))
        return self.picture(name)[top : top + height, left : left + width]

    def close(self):
        self.context.close()
