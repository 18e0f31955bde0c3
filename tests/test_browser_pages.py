"""Saved pages in a real browser: opened from the disk with the network blocked, looked at and clicked."""

import numpy as np
import pytest
import torch
from browsers import Page, browser  # noqa: F401 - the fixture
from scipy.spatial.transform import Rotation

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.browser import view_3d
from faimed3d.browser.view import write_page
from faimed3d.display import class_color

ORDERS = ["LPS", "RAS", "SPL", "AIR", "PIR", "ILA", "RSP", "LAS", "SLP", "IPR"]  # as nearly as the rotation leaves them
SHAPE, SPACING = (7, 9, 11), (1.3, 2.1, 3.7)


def oblique(k):
    """The k-th volume: a grid turned anyhow, stored anyhow, with one bright corner voxel; and that voxel's index."""
    draw = np.random.default_rng(k)
    direction = Rotation.from_rotvec(draw.uniform(-0.7, 0.7, 3)).as_matrix()
    geometry = Geometry(SHAPE, SPACING, draw.uniform(-200, 200, 3), direction.ravel())
    voxels = draw.integers(0, 100, SHAPE).astype(np.int16)
    image = TensorDicom3D(torch.from_numpy(voxels), geometry).reorient(ORDERS[k % len(ORDERS)])
    if k >= len(ORDERS):  # turned by any angle: named after no plane any more
        image.set_direction(Rotation.random(random_state=k).as_matrix().ravel())
    corner = tuple(int(n - 1) * int(draw.integers(0, 2)) for n in image.shape)
    image[corner] = 1000
    return image, corner


# brightest pixels of each plane and what a click on them finds; where clicks from edge to edge of each plane lead
LOOK = """
async ([number, position]) => {
  await faimed3d.open(number);
  const viewer = faimed3d.viewer, nv = viewer.nv, gl = nv.gl;
  nv.resizeListener();
  nv.isBusy = true; // draws once below
  viewer.set({ position, crosshair: false, smooth: false, window: [500, 1000] });
  nv.isBusy = true;
  viewer.redrawPicture();
  nv.isBusy = false;
  const pixels = new Uint8Array(4 * gl.canvas.width * gl.canvas.height);
  const canvas = gl.canvas.getBoundingClientRect();
  const letters = [];
  for (const name of ["drawTextRight", "drawTextLeft", "drawTextBelow", "drawTextAbove"]) {
    const draw = Object.getPrototypeOf(nv)[name];
    nv[name] = (xy, text, ...more) => { letters.push([text, ...xy]); draw.call(nv, xy, text, ...more); };
  }
  nv.drawScene();
  gl.readPixels(0, 0, gl.canvas.width, gl.canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  const click = (x, y) => {
    for (const kind of ["mousedown", "mouseup"]) {
      const where = { clientX: canvas.left + x, clientY: canvas.top + y, bubbles: true };
      gl.canvas.dispatchEvent(new MouseEvent(kind, where));
    }
    return [...viewer.state.position];
  };
  const slices = nv.screenSlices.filter((one) => one.axCorSag < 3);
  const at = { position: [...viewer.state.position], value: viewer.values().pictures[0] };
  nv.isBusy = true; // draws nothing: clicks alone are of interest
  const planes = slices.map(({ axCorSag: plane, leftTopWidthHeight: rect }) => {
    const [left, top, width, height] = rect;
    let sum = [0, 0, 0];
    for (let y = Math.ceil(top); y < top + height; y++) for (let x = Math.ceil(left); x < left + width; x++) {
      const k = 4 * ((gl.canvas.height - 1 - y) * gl.canvas.width + x);
      if (pixels[k] > 180 && pixels[k + 2] > 180) sum = [sum[0] + 1, sum[1] + x + 0.5, sum[2] + y + 0.5];
    }
    viewer.set({ position });
    const spot = [sum[1] / sum[0], sum[2] / sum[0]];
    const found = click(...spot), value = viewer.values().pictures[0];
    const middle = [left + width / 2, top + height / 2];
    const across = [left + 2, left + width - 2].map((x) => click(x, middle[1]));
    const down = [top + 2, top + height - 2].map((y) => click(middle[0], y));
    return { plane, rect, bright: sum[0], found, value, ends: [...across, ...down] };
  });
  nv.isBusy = false;
  for (const name of ["drawTextRight", "drawTextLeft", "drawTextBelow", "drawTextAbove"]) delete nv[name];
  return { ...at, planes, letters };
}
"""


@pytest.fixture(scope="module")
def gallery(browser, tmp_path_factory):  # noqa: F811
    path = tmp_path_factory.mktemp("pages") / "gallery.html"
    volumes = [oblique(k) for k in range(8)]
    write_page(path, [view_3d(image).entry(head=f"case {k}") for k, (image, _) in enumerate(volumes)], "gallery")
    page = Page(browser, path, size=(620, 300))
    yield page, volumes
    page.close()


def test_the_bright_corner_of_oblique_volumes_lies_where_the_geometry_says(gallery):
    page, volumes = gallery
    for k, (image, corner) in enumerate(volumes):
        geometry = image.geometry
        position = geometry.index_to_world(corner)
        seen = page.run(LOOK, [k, position.tolist()])
        half = np.array(geometry.spacing) / 2
        apart = np.abs(np.reshape(geometry.direction, (3, 3)).T @ (np.array(seen["position"]) - position))
        assert (apart < half).all(), k
        assert np.linalg.norm(np.array(seen["position"]) - position) < 1e-2, k
        assert seen["value"] == 1000, k
        assert [plane["plane"] for plane in seen["planes"]] == [0, 1, 2]
        for plane in seen["planes"]:
            assert plane["bright"] > 0, (k, plane["plane"])
            assert plane["value"] == 1000, (k, plane["plane"])
            assert np.linalg.norm(np.array(plane["found"]) - position) < 1e-2, (k, plane["plane"])
            left, right, top, bottom = map(np.array, plane["ends"])
            # from letter to letter: R to L, A to P, I to S
            across, down = right - left, bottom - top
            assert across[[0, 0, 1][plane["plane"]]] > 0, (k, plane["plane"])
            assert down[[1, 2, 2][plane["plane"]]] * [1, -1, -1][plane["plane"]] > 0, (k, plane["plane"])
            assert letters_around(plane["rect"], seen["letters"]) == ["RLAP", "RLSI", "APSI"][plane["plane"]]
    assert page.faults == []


def letters_around(rect, letters):
    """The letters at the left, right, top and bottom edge of a plane."""
    left, top, width, height = rect
    middle = left + width / 2, top + height / 2
    edges = [(left, middle[1]), (left + width, middle[1]), (middle[0], top), (middle[0], top + height)]
    return "".join(min(letters, key=lambda one: np.hypot(one[1] - x, one[2] - y))[0] for x, y in edges)


@pytest.fixture(scope="module")
def case(browser, tmp_path_factory):  # noqa: F811
    """An image with a bright box and a dark one, two masks, a second image, two channels."""
    geometry = Geometry((12, 16, 20), (2, 2, 4), (10, -20, 30), Rotation.from_rotvec([0, 0, 0.3]).as_matrix().ravel())
    voxels = np.full((2, 12, 16, 20), 100, np.int16)
    voxels[0, 3:7, 4:9, 5:12] = 900
    voxels[1] = 50
    labels = np.zeros((12, 16, 20), np.uint8)
    labels[3:7, 4:9, 5:12] = 2
    labels[9:11, 12:14, 15:18] = 7
    found = np.roll(labels, 2, 2)
    image = TensorDicom3D(torch.from_numpy(voxels), geometry)
    truth = TensorMask3D(torch.from_numpy(labels), geometry, codes={2: "liver", 7: "node"})
    path = tmp_path_factory.mktemp("pages") / "case.html"
    view = view_3d(image, truth, TensorMask3D(torch.from_numpy(found), like=truth), names=("truth", "prediction"))
    view.window = (500, 1000)
    view.save(path)
    page = Page(browser, path, size=(900, 560))
    yield page, image, truth
    page.close()


@pytest.fixture
def fresh(case):
    page, image, truth = case
    page.set(
        position=[0, 0, 0], window=[500, 1000], channel=0, shown=0, opacity=0.5, outline=False, zoom=1, beside=False
    )
    page.set(plane="all", crosshair=True, smooth=True, hidden=[])
    page.set(position=list(image.geometry.index_to_world((5, 6, 8))))
    return page, image, truth


def test_the_page_asks_for_nothing_and_shows_something(fresh):
    page, _, _ = fresh
    shown = page.stage("case")
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 50
    assert [url for url in page.asked if not url.startswith(("file:", "blob:", "data:"))] == []
    assert len([url for url in page.asked if url.startswith("file:")]) == 1
    assert page.faults == []


def test_the_legend_names_the_classes_and_their_volumes(fresh):
    page, _, _ = fresh
    text = page.page.inner_text(".f3d-legend").replace("\u202f", " ")
    assert [part for part in ("truth", "liver", "2 240 mm³", "node", "192 mm³") if part not in text] == []
    page.page.click(".f3d-legend >> text=node")
    assert page.values["labels"][0] == "node"
    foot = page.page.inner_text(".f3d-foot")
    assert "image: 100" in foot
    assert "truth: node" in foot


def shares(page, tile):
    """Where in the plane the picture is red as class 2's colour, and where bright grey."""
    left, top = page.canvas()
    x, y, width, height = (round(part) for part in page.tiles()[tile])
    part = page.picture("overlay")[round(top) + y : round(top) + y + height, round(left) + x : round(left) + x + width]
    color = 255 * np.array(class_color(2))
    return np.abs(part - color).max(2) < 60, (part.min(2) > 180)


@pytest.mark.parametrize("tile", ["axial", "sagittal"])
def test_the_mask_lies_on_what_it_labels(fresh, tile):
    page, _, _ = fresh
    page.set(opacity=1, crosshair=False, smooth=False, plane=tile)
    colored, _ = shares(page, tile)
    page.set(opacity=0)
    _, bright = shares(page, tile)
    assert bright.sum() > 1000
    assert (colored & bright).sum() > 0.95 * (colored | bright).sum()


def test_a_right_drag_changes_the_window_and_the_picture(fresh):
    page, _, _ = fresh
    before, mouse = page.stage("before_drag"), page.page.mouse
    left, top = page.canvas()
    mouse.move(left + 150, top + 150)
    mouse.down(button="right")
    mouse.move(left + 100, top + 220, steps=3)
    mouse.up(button="right")
    centre, width = page.state["window"]
    assert centre < 400
    assert width < 900
    page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    after = page.stage("after_drag")
    assert np.abs(after - before).max(2).mean() > 5


def test_the_wheel_scrolls_slices_and_with_ctrl_zooms(fresh):
    page, image, _ = fresh
    left, top = page.canvas()
    x, y, width, height = page.tiles()["axial"]
    page.page.mouse.move(left + x + width / 2, top + y + height / 2)
    before = np.array(page.state["position"])
    page.page.mouse.wheel(0, 100)
    page.page.wait_for_function("old => faimed3d.viewer.state.position[2] !== old", arg=before[2])
    step = np.array(page.state["position"]) - before
    assert np.abs(step) == pytest.approx([0, 0, image.geometry.spacing[2]], abs=1e-3)
    page.page.keyboard.down("Control")
    page.page.mouse.wheel(0, -100)
    page.page.wait_for_function("() => faimed3d.viewer.state.zoom > 1")
    page.page.keyboard.up("Control")


def test_errors_channels_classes_and_sides(fresh):
    page, _, _ = fresh
    page.set(shown=2)
    assert "agreement" in page.page.inner_text(".f3d-legend")
    assert "missed" in page.page.inner_text(".f3d-legend")
    page.picture("errors")
    page.set(channel=1)
    assert page.values["pictures"][0] == 50
    page.set(channel=0, shown=0, hidden=[2])
    color = 255 * np.array(class_color(2))
    page.set(opacity=1, plane="axial", crosshair=False)
    assert (np.abs(page.stage("hidden") - color).max(2) < 60).sum() == 0
    page.set(beside=True)
    page.page.wait_for_function(
        "() => faimed3d.viewer.cells.length === 2 && faimed3d.viewer.cells[1].nv.volumes.length === 2"
    )
    page.picture("beside")
    assert page.page.locator(".f3d-cell span").all_inner_texts() == ["truth", "prediction"]
    page.set(plane="3d", beside=False, hidden=[])
    page.page.wait_for_function("() => faimed3d.viewer.nv.meshes.length === 2")
    assert len(np.unique(page.stage("surfaces").reshape(-1, 3), axis=0)) > 20
    assert page.faults == []
