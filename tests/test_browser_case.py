"""What goes to the browser: grids, windows, classes, errors, bytes; and that nothing of a header does."""

import base64
import gzip
import io
import json
import re

import nibabel
import numpy as np
import pytest
import torch
from header_values import found_in, telling_scan
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from faimed3d.basics import Geometry, TensorDicom3D, TensorMask3D
from faimed3d.browser import case as cases
from faimed3d.browser import engine, view_3d
from faimed3d.browser.case import make_case
from faimed3d.browser.case_list import CaseList, ListedView
from faimed3d.browser.files import labels_bytes, narrow, pack, picture_bytes, surface_bytes
from faimed3d.browser.reduction import blocks_for, coarser, reduced
from faimed3d.display import class_color
from faimed3d.intensity import WINDOWS

GRID = Geometry((2, 3, 4), (1, 2, 3), (10, -20, 30), Rotation.from_rotvec([0.3, -0.2, 0.4]).as_matrix().ravel())
SHEARED = Geometry((5, 6, 7), (1, 2, 3), (10, -20, 30), (1, 0, 0, 0, np.cos(0.3), 0, 0, np.sin(0.3), 1))


def image(geometry=GRID, dtype=torch.int16):
    return TensorDicom3D(torch.arange(np.prod(geometry.shape)).reshape(geometry.shape).to(dtype), geometry)


def mask(labels=((0, 0, 0), (1, 2, 3)), geometry=GRID, value=2, **kwargs):
    t = TensorMask3D(torch.zeros(geometry.shape, dtype=torch.uint8), geometry, **kwargs)
    for index in labels:
        t[index] = value
    return t


def of(volume, mask=None, other=None, window=None, names=("mask", "other")):
    return make_case(volume, mask, other, window, names)


def loaded(data):
    return nibabel.Nifti1Image.from_bytes(data)


class TestBytes:
    def test_nibabel_finds_every_voxel_where_the_geometry_says(self):
        read = loaded(picture_bytes(of(image()).pictures[0], GRID))
        assert np.array_equal(read.get_fdata().T, image().numpy())
        for index in np.ndindex(2, 3, 4):
            x, y, z = nibabel.affines.apply_affine(read.affine, index[::-1])
            assert [-x, -y, z] == pytest.approx(GRID.index_to_world(index).tolist(), abs=1e-4)
        assert read.header["sform_code"] > 0

    def test_a_mask_says_that_it_holds_labels(self):
        read = loaded(labels_bytes(of(image(), mask()).labels[0], GRID))
        assert read.header.get_intent()[0] == "label"
        assert read.get_data_dtype() == np.uint8

    def test_channels_are_the_fourth_axis(self):
        volume = TensorDicom3D(torch.stack([image(), image() + 100]).as_subclass(torch.Tensor), GRID)
        assert loaded(picture_bytes(of(volume).pictures[0], GRID)).shape == (4, 3, 2, 2)

    @given(
        st.integers(0, 2**32 - 1),
        st.sampled_from([np.uint8, np.int16, np.int32, np.float32, np.float64]),
        st.floats(1e-3, 1e6),
    )
    def test_values_are_kept_within_half_a_step(self, seed, dtype, scale):
        values = (np.random.default_rng(seed).normal(size=(3, 4, 5)) * scale).astype(dtype)
        stored, slope, inter = narrow(values)
        assert stored.dtype in (np.uint8, np.int16, np.float32)
        whole = np.array_equal(values, np.rint(values)) and np.abs(values.astype(float)).max() < 32768
        step = 0 if whole else max(np.ptp(values.astype(float)) / 65535, 1e-6 * np.abs(values.astype(float)).max())
        assert np.abs(stored * slope + inter - values.astype(float)).max() <= 0.51 * step + 1e-6 * scale * (not whole)

    def test_outliers_do_not_take_the_grey_steps(self):
        values = np.linspace(0, 1, 100_000, dtype=np.float32).reshape(10, 100, 100)
        values[0, 0, 0] = 1e6
        assert narrow(values)[0].dtype == np.float32

    def test_what_is_not_finite_is_drawn_darkest(self):
        stored, slope, inter = narrow(np.array([np.nan, -2.0, np.inf, 5.0]))
        assert (stored * slope + inter).tolist() == [-2, -2, -2, 5]

    def test_a_surface_lies_on_its_class(self):
        labels = of(image(), mask([(1, 1, 2)])).labels[0]
        (data,) = surface_bytes(labels, GRID)
        magic, kind = np.frombuffer(data, "<u2", 2)
        faces, vertices, _ = np.frombuffer(data, "<u4", 3, 4)
        points = np.frombuffer(data, "<f4", offset=16 + 12 * int(faces)).reshape(-1, 3)
        assert (magic, kind, len(points)) == (23117, 3, vertices)
        assert points.mean(0) * [-1, -1, 1] == pytest.approx(GRID.index_to_world((1, 1, 2)), abs=1e-4)


class TestWindows:
    def test_one_by_name_or_by_numbers(self):
        assert of(image(), window="lung").pictures[0].windows == (WINDOWS["lung"],)
        assert of(image(), window=(5, 4)).pictures[0].windows == ((5, 4),)

    def test_a_ct_has_that_of_soft_tissue_and_all_to_choose_from(self):
        ct = np.linspace(-1000, 1000, 1000).reshape(10, 10, 10)
        found = of(ct).pictures[0]
        assert found.windows == (WINDOWS["soft_tissue"],)
        assert "temporal bone" in cases.presets(found)

    def test_other_images_are_shown_without_their_outermost_values(self):
        values = np.linspace(0, 1, 10_000).reshape(10, 10, 100)
        values[0, 0, 0] = 1000
        (window,) = of(values).pictures[0].windows
        assert window == pytest.approx((0.5, 0.99), abs=1e-3)
        assert "lung" not in cases.presets(of(values).pictures[0])

    def test_a_constant_has_a_width(self):
        assert of(np.full((2, 3, 4), 7.0)).pictures[0].windows == ((7, 1),)
        assert of(np.full((2, 3, 4), np.nan)).pictures[0].windows[0][1] > 0


class TestMasks:
    def test_classes_have_the_colours_of_all_pictures_their_names_and_volumes(self):
        one = mask(codes={2: "liver", 9: "node"})
        one[0, 1, 1] = 9
        liver, node = of(image(), one).labels[0].classes
        assert (liver.label, liver.name, liver.color, liver.mm3) == (2, "liver", class_color(2), pytest.approx(12))
        assert (node.label, node.name, node.mm3) == (9, "node", pytest.approx(6))
        assert node.position == pytest.approx(GRID.index_to_world((0, 1, 1)))
        assert set(np.unique(of(image(), one).labels[0].voxels)) == {0, 1, 2}

    @pytest.mark.parametrize("order", ["RAS", "SPL", "AIR"])
    def test_one_stored_otherwise_comes_to_lie_on_its_image(self, order):
        here = of(image(), mask()).labels[0].voxels
        assert np.array_equal(of(image(), mask().reorient(order)).labels[0].voxels, here)
        assert np.array_equal(of(image()[None], mask().reorient(order)[None]).labels[0].voxels, here)

    def test_one_on_another_grid_is_refused(self):
        with pytest.raises(ValueError, match=r"mask: .*Bring a mask of another grid .* mask.resample_like\(image\)"):
            of(image(), mask(geometry=GRID.replace(origin=(11, -20, 33))))
        with pytest.raises(ValueError, match=r"other: a mask must hold whole numbers"):
            of(image(), mask(), TensorMask3D(torch.full((2, 3, 4), 0.5), GRID))

    def test_large_labels_and_many_classes_are_numbered(self):
        array = np.arange(24).reshape(2, 3, 4) * 100_000
        labels = of(np.zeros((2, 3, 4)), array).labels[0]
        assert np.array_equal(labels.voxels, np.arange(24).reshape(2, 3, 4))
        many = of(np.zeros((4, 10, 10)), np.arange(400).reshape(4, 10, 10)).labels[0]
        assert many.voxels.dtype == np.int16

    def test_a_mask_alone_is_shown_over_black(self):
        found = of(mask())
        assert found.pictures[0].voxels.max() == 0
        assert [labels.name for labels in found.labels] == ["mask"]

    def test_an_empty_mask_has_no_class(self):
        assert of(image(), mask([])).labels[0].classes == ()

    @given(st.integers(0, 2**32 - 1))
    def test_errors_are_those_of_each_voxel(self, seed):
        draw = np.random.default_rng(seed)
        truth, found = (draw.integers(0, 3, (2, 3, 4)) for _ in range(2))
        errors = of(np.zeros((2, 3, 4)), truth, found).labels[2]
        names = ["", *(one.name for one in errors.classes)]
        for index in np.ndindex(2, 3, 4):
            t, f = truth[index], found[index]
            meant = (
                ""
                if t == f == 0
                else "agreement"
                if t == f
                else "missed"
                if f == 0
                else "false"
                if t == 0
                else "wrong class"
            )
            assert names[errors.voxels[index]] == meant
        assert sum(one.mm3 for one in errors.classes) == ((truth > 0) | (found > 0)).sum()


class TestGrids:
    def test_a_sheared_image_and_its_mask_are_straightened_and_said_to_be(self):
        found = of(image(SHEARED), mask([(2, 3, 3)], SHEARED))
        assert not found.geometry.is_sheared
        assert "right angles" in found.notes[0]
        corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(SHEARED.shape) - 1)
        index = found.geometry.world_to_index(SHEARED.index_to_world(corners))
        assert (index > -0.51).all()
        assert (index < np.array(found.geometry.shape) - 0.49).all()
        (lesion,) = found.labels[0].classes
        assert lesion.mm3 == pytest.approx(SHEARED.voxel_volume)
        assert np.linalg.norm(lesion.position - SHEARED.index_to_world((2, 3, 3))) < 2

    def test_a_second_image_comes_onto_the_grid_of_the_first(self):
        coarse = image().float().resample(4.0)
        found = of(image(), other=coarse)
        assert found.pictures[1].voxels.shape == (1, 2, 3, 4)
        assert found.notes == ("the second image was resampled to the voxels of the first",)
        with pytest.raises(ValueError, match=r"other has \(2, 3, 5\) voxels .* give tensors with a geometry"):
            of(np.zeros((2, 3, 4)), other=np.zeros((2, 3, 5)))

    def test_letters_are_for_stated_places(self):
        assert pack(of(image()))[0]["letters"]
        assert not pack(of(np.zeros((2, 3, 4))))[0]["letters"]

    @given(st.tuples(*[st.integers(1, 30)] * 3), st.tuples(*[st.floats(0.5, 5)] * 3), st.integers(1, 2000))
    def test_blocks_are_no_more_than_needed(self, shape, spacing, most):
        geometry = Geometry(shape, spacing)
        blocks = blocks_for(geometry, most)
        small = coarser(geometry, blocks)
        assert np.prod(small.shape) <= most
        assert (blocks == (1, 1, 1)) == (np.prod(shape) <= most)
        low = geometry.index_to_world((0, 0, 0)) - np.array(spacing) / 2
        assert small.index_to_world((0, 0, 0)) - np.array(small.spacing) / 2 == pytest.approx(low, abs=1e-6)

    def test_the_mean_of_a_block_lies_amid_it(self):
        volume = TensorDicom3D(
            torch.arange(4 * 4 * 4.0).reshape(4, 4, 4), GRID.replace(shape=(4, 4, 4), spacing=(1, 1, 1))
        )
        small = reduced(of(volume), 8)
        assert small.pictures[0].voxels[0, 0, 0, 0] == np.mean(volume.numpy()[:2, :2, :2])
        assert small.geometry.index_to_world((0, 0, 0)) == pytest.approx(
            volume.geometry.index_to_world((0.5, 0.5, 0.5))
        )
        assert small.notes == ("shown with 2x2x2 voxels of 4x4x4: each is the mean of 2x2x2",)

    @given(st.integers(0, 2**32 - 1), st.integers(1, 60))
    def test_no_class_is_lost_in_blocks(self, seed, most):
        draw = np.random.default_rng(seed)
        array = draw.integers(1, 4, (5, 6, 7)) * (draw.random((5, 6, 7)) < 0.05)
        small = reduced(of(np.zeros(array.shape), array), most)
        for number, one in enumerate(small.labels[0].classes, 1):
            index = np.rint(small.geometry.world_to_index(one.position)).astype(int)
            assert (small.labels[0].voxels == number).any() or small.labels[0].voxels[tuple(index)] > 0

    def test_a_small_lesion_stays_beside_a_large_organ(self):
        array = np.zeros((8, 8, 8), np.uint8)
        array[:, :4] = 1
        array[6, 6, 6] = 1
        small = reduced(of(np.zeros(array.shape), array), 64)
        assert small.labels[0].voxels.tolist()[3][3][3] == 1
        assert small.labels[0].voxels.sum() == 4 * 2 * 4 + 1


class TestView:
    def test_state_is_set_and_checked(self):
        v = view_3d(image(), mask(), mask([(0, 0, 0)]), names=("truth", "found"))
        v.position = GRID.index_to_world((1, 2, 3))
        assert v.value == 23
        v.window, v.plane, v.shown, v.opacity, v.outline, v.beside = "bone", "axial", "errors", 1, True, True
        assert (v.window, v.plane, v.shown, v.opacity, v.outline, v.beside) == (
            WINDOWS["bone"],
            "axial",
            "errors",
            1,
            True,
            True,
        )
        v.shown = None
        assert v.shown is None
        for name, value, text in [
            ("position", (1, 2), "position must be three numbers"),
            ("position", (0, 0, 0), "lies outside of the volume, whose first and last voxel"),
            ("window", "lungs", "did you mean 'lung'"),
            ("plane", "oblique", "plane must be one of all, axial"),
            ("shown", "mask", "shown must be one of truth, found, errors, or None"),
            ("opacity", 2, "opacity must be from 0 to 1"),
            ("channel", 1, "channel must be 0 to 0"),
        ]:
            with pytest.raises(ValueError, match=text):
                setattr(v, name, value)

    def test_a_channel_brings_its_window(self):
        v = view_3d(np.stack([np.zeros((2, 3, 4)), np.arange(24.0).reshape(2, 3, 4) + 100]))
        v.channel = 1
        v.position = (3, 2, 1)
        assert v.value == 123
        assert 100 < v.window[0] < 123

    def test_methods_of_both_types_and_wrong_input(self):
        assert "2x3x4 voxels (D, H, W), mask of 1 classes" in repr(image().view_3d(mask()))
        assert "mask of 1 classes" in repr(mask().view_3d())
        with pytest.raises(ValueError, match=r"a viewer shows one volume .* take one item of a batch, batch\[0\]"):
            view_3d(np.zeros((1, 1, 2, 3, 4)))
        with pytest.raises(TypeError, match="did you mean 'window'"):
            view_3d(image(), windows="lung")
        with pytest.raises(TypeError, match="real numbers"):
            view_3d("scan.nii")
        with pytest.raises(ValueError, match=r"saved as \.html, got 'x\.htlm'"):
            view_3d(image()).save("x.htlm")
        with pytest.raises(ValueError, match="max_voxels must be at least 1"):
            view_3d(image()).save("x.html", max_voxels=0)

    def test_the_widget_follows_python_and_python_the_widget(self):
        v = view_3d(image(), mask())
        widget = v.widget
        v.window = (5, 4)
        assert widget.window == [5, 4]
        widget.position = GRID.index_to_world((0, 1, 1)).tolist()
        assert v.value == 5
        sent = []
        widget.send = lambda content, buffers: sent.append((content, buffers))
        for what in ("engine", "case", "surfaces 0"):
            widget._handle_custom_msg({"what": what, "number": 7}, [])
        assert [content["number"] for content, _ in sent] == [7, 7, 7]
        assert b"Niivue" in gzip.decompress(sent[0][1][0])
        assert len(sent[1][1]) == 2
        assert len(sent[2][1]) == 1
        assert "application/vnd.jupyter.widget-view+json" in v._repr_mimebundle_()[0]

    def test_a_browser_without_graphics_card_gets_fewer_voxels(self, monkeypatch):
        monkeypatch.setattr("faimed3d.browser.view._IN_PAGES", 20)
        note = "shown with 6x2x1 voxels of 6x4x2"
        for slow, max_voxels, notes in ((False, None, []), (True, None, [note]), (True, 1000, []), (False, 20, [note])):
            given, _ = view_3d(np.zeros((2, 4, 6)), max_voxels=max_voxels).answer("case", slow)
            assert [one.split(":")[0] for one in given["described"]["notes"]] == notes

    def test_without_the_extra_it_is_named(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "ipyniivue", None)
        with pytest.raises(
            ImportError, match=r"view_3d needs ipyniivue: .*extra 'viewer'\)\. Without it, \.show\(\) draws"
        ):
            view_3d(image())

    def test_another_bundle_is_refused(self, monkeypatch, tmp_path):
        (tmp_path / "static").mkdir()
        (tmp_path / "static" / "widget.js").write_text("export default {}")
        package = type("package", (), {"__file__": str(tmp_path / "__init__.py"), "__version__": "9.9"})
        monkeypatch.setattr(engine, "import_extra", lambda *_: package)
        engine.engine_source.cache_clear()
        with pytest.raises(
            ImportError, match=r"ipyniivue 9\.9 does not hold NiiVue .* pip install 'ipyniivue>=2\.4\.4,<2\.5'"
        ):
            engine.engine_source()


def contents(path):
    """The text of a saved page with all that is packed in it."""
    text = path.read_text(encoding="utf-8")
    packed = re.findall(r'<script type="application/octet-stream" id="f3d-(\d+)">([^<]*)</script>', text)
    plain = re.sub(r'<script type="application/octet-stream".*?</script>', "", text)
    return plain, [gzip.decompress(base64.b64decode(data)) for _, data in packed]


def test_nothing_of_the_header_is_in_a_saved_page(tmp_path):
    volume, secret = telling_scan(tmp_path)
    view_3d(volume, volume > 0).save(tmp_path / "page.html")
    plain, files = contents(tmp_path / "page.html")
    source = engine.viewer_source() + engine.style_source()
    assert [value for value in secret if value in plain and value not in source] == []
    assert [value for data in files for value in found_in(data, secret)] == []
    for data in files[2:] + files[:1]:
        header = data[:352]
        if header[:4] == (348).to_bytes(4, "little"):
            assert header[14:32].strip(b"\0r") == b""  # db_name
            assert header[148:252].strip(b"\0") == b""  # descrip, aux_file
    described = json.loads(re.search(r'id="f3d-cases">(.*?)</script>', plain).group(1))
    assert set(described[0]) == {"described", "files", "state"}


def test_nothing_of_the_header_is_in_a_notebook_or_a_list(tmp_path):
    volume, secret = telling_scan(tmp_path)
    view = view_3d(volume, volume > 0)
    cases = CaseList([ListedView("one", view), ListedView("two", view_3d(volume))])
    kept = [shown.widget.get_state() for shown in (view, cases)]  # what a notebook may keep of a widget
    kept += [shown._repr_mimebundle_() for shown in (view, cases)]
    kept += [repr(view), repr(cases), [one.head for one in cases.listed], view.answer("case")[0]]
    source = engine.viewer_source() + engine.style_source()
    found = [value for value in found_in(repr(kept).encode(), secret) if value not in source]
    assert found == []
    assert not any(isinstance(value, bytes | memoryview) for state in kept[:2] for value in state.values())
    for one in cases.listed:
        (data,) = re.findall(r"data:image/png;base64,([^\"]*)", one.head)
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert set(picture.text) <= {"Software"}
