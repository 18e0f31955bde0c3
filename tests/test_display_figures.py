"""Figures for papers and films through the slices: what they show, at which scale, and what is written beside it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from header_values import found_in, telling_scan
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import rc_context
from matplotlib.patches import Patch
from PIL import Image
from scipy.spatial.transform import Rotation

from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.display import figure_3d, sweep_3d
from faimed3d.display.figures import _FOOT, _HEAD, Panels, _fit, _numbers_at
from faimed3d.display.layout import Mosaic, lay_out
from faimed3d.display.telling_slice import telling_slice
from faimed3d.geometry import Geometry
from faimed3d.intensity import window_limits

PLANES = ("axial", "coronal", "sagittal")
TURNED = Rotation.from_rotvec([0.2, -0.3, 0.5]).as_matrix().ravel()
GRID = Geometry((2, 3, 4), (1, 2, 3), (10, -20, 30), TURNED)


def image(geometry=GRID):
    return TensorDicom3D(torch.arange(np.prod(geometry.shape)).reshape(geometry.shape).float(), geometry)


def mask(geometry=GRID, **kwargs):
    labels = torch.zeros(geometry.shape, dtype=torch.int64)
    labels[1, 2, 1:] = 2
    labels[0, 0, 0] = 1
    return TensorMask3D(labels, geometry, **kwargs)


def titles(figure):
    return [text for ax in figure.axes if (text := ax.get_title())]


def boxes(figure, count):
    """(left, bottom, width, height) in inches of the panels."""
    size = np.tile(figure.get_size_inches(), 2)
    return [np.array(ax.get_position(original=True).bounds) * size for ax in figure.axes[:count]]


@settings(max_examples=40)
@given(
    st.tuples(*[st.integers(1, 300)] * 3),
    st.tuples(*[st.floats(0.3, 8)] * 3),
    st.lists(st.sampled_from(PLANES), min_size=1, max_size=3),
    st.floats(3.5, 9),
    st.integers(0, 40),
)
def test_all_panels_are_at_one_scale_and_stand_side_by_side(shape, spacing, planes, width, classes):
    layouts = [lay_out(shape, Geometry(shape, spacing), plane, 1) for plane in planes]
    sizes = [Mosaic((layout,), 1).size for layout in layouts]
    places, (total, height), foot, scale = _fit(sizes, (width, 8), [Patch()] * classes)
    assert total <= width + 1e-6
    assert height <= 8 + foot + 1e-6  # a narrow figure has more lines of classes
    for (left, bottom, wide, high), (wide_mm, high_mm) in zip(places, sizes, strict=True):
        assert (wide, high) == pytest.approx((wide_mm * scale, high_mm * scale))
        assert left >= -1e-6
        assert left + wide <= total + 1e-6
        assert bottom >= foot + _FOOT - 1e-6
        assert bottom + high == pytest.approx(height - _HEAD)
    for (left, _, wide, _), (right, *_) in pairwise(places):
        assert left + wide < right


@settings(max_examples=30)
@given(st.sampled_from(["LPS", "RAS", "SPL", "AIR"]), st.tuples(*[st.integers(0, n - 1) for n in (4, 5, 6)]))
def test_the_slices_cut_the_point_that_is_asked_for(code, index):
    volume = image(Geometry((4, 5, 6), (1, 2, 3), (10, -20, 30), TURNED))
    point = volume.geometry.index_to_world(index)
    volume = volume.reorient(code)
    nudged = point + np.array([0.1, -0.2, 0.1])  # less than half a voxel in any direction
    layouts = [lay_out(tuple(volume.shape), volume.geometry, plane, 1) for plane in PLANES]
    numbers = _numbers_at(tuple(nudged), layouts, volume.numpy(), None)
    value = float(np.ravel_multi_index(index, (4, 5, 6)))
    for number, layout in zip(numbers, layouts, strict=True):
        assert value in volume.numpy().take(number, layout.order[0])


class TestFigure:
    def test_titles_say_the_plane_and_its_coordinate(self):
        geometry = Geometry((4, 5, 6), (1, 2, 3), (10, -20, 30))
        figure = figure_3d(image(geometry), at=(12, -16, 33))
        assert titles(figure) == ["axial\nz = 33.0 mm", "coronal\ny = −16.0 mm", "sagittal\nx = 12.0 mm"]
        assert titles(figure_3d(image(geometry), planes="axial", at=36.4)) == ["axial\nz = 36.0 mm"]
        assert titles(figure_3d(image(geometry).reorient("SPL"), planes=1, at=-13.4)) == ["coronal\ny = −14.0 mm"]

    def test_the_slice_of_the_lesion_is_chosen(self):
        labels = mask()
        labels[0, 0, 0] = 0
        figure = image().figure(labels, planes=(0, 1), mask_alpha=1)
        for ax in figure.axes[:2]:
            assert 2 in ax.images[1].get_array().compressed()

    def test_a_mask_stored_otherwise_lies_on_its_image(self):
        one, other = (image().figure(labels) for labels in (mask(), mask().reorient("SAR")))
        for ax, same in zip(one.axes[:3], other.axes[:3], strict=True):
            assert (ax.images[1].get_array() == same.images[1].get_array()).all()

    def test_the_legend_names_the_classes_that_are_seen(self):
        labels = mask(codes={1: "node", 2: "liver"})
        names = [text.get_text() for text in image().figure(labels, planes=0, at="middle").legends[0].get_texts()]
        assert names == ["liver"]
        assert image().figure(mask()).legends == []

    def test_the_scale_bar_is_as_long_as_it_says(self):
        geometry = Geometry((4, 50, 60), (0.8, 0.8, 3))
        figure = figure_3d(image(geometry), planes="axial")
        (bar,) = [line for line in figure.get_children() if hasattr(line, "get_xdata")]
        (text,) = [text.get_text() for text in figure.texts]
        inches = np.ptp(bar.get_xdata()) * figure.get_figwidth()
        assert float(text.removesuffix(" mm")) == pytest.approx(inches / boxes(figure, 1)[0][2] * 60 * 0.8)
        assert text == "10 mm"

    def test_values_of_a_ct_are_hounsfield_units(self):
        geometry = Geometry((4, 50, 60), (0.8, 0.8, 3))
        ct = image(geometry) / 6 - 1000
        for window, ends in ((None, window_limits("soft_tissue")), ("lung", (-1350, 150)), ((0, 10), (-5, 5))):
            bar = figure_3d(ct, planes=0, window=window).axes[-1]
            assert [text.get_text() for text in bar.texts] == ["HU"]
            assert bar.get_xlim() == pytest.approx(ends)
        bar = figure_3d(ct / 2, planes=0, unit="SUV").axes[-1]
        assert [text.get_text() for text in bar.texts] == ["SUV"]
        assert bar.get_xlim() == pytest.approx((ct.min().item() / 2, ct.max().item() / 2))
        assert [text.get_text() for text in figure_3d(ct / 2, planes=0).axes[-1].texts] == [""]

    def test_nothing_is_written_of_a_place_that_nobody_has_stated(self):
        for volume in (np.random.default_rng(0).random((3, 4, 5)), TensorDicom3D(torch.rand(3, 4, 5))):
            figure = figure_3d(volume, at="middle")
            assert titles(figure) == ["slice 1", "slice 2", "slice 2"]
            assert figure.texts == []
            assert not any(ax.texts for ax in figure.axes[:3])

    def test_a_mask_alone_has_no_bar_of_values(self):
        figure = mask(codes={1: "node", 2: "liver"}).figure(planes="axial", at="middle")
        assert len(figure.axes) == 1
        assert 2 in figure.axes[0].images[1].get_array().compressed()

    @pytest.mark.parametrize(
        "volume", [torch.zeros(1, 4, 5, 6), torch.full((4, 5, 6), float("nan")), torch.ones(1, 1, 1)]
    )
    def test_what_has_one_value_or_none_is_drawn(self, volume, tmp_path):
        figure_3d(TensorDicom3D(volume, Geometry(volume.shape[-3:], (1, 1, 1)))).savefig(tmp_path / "a.png")

    @pytest.mark.parametrize(
        ("more", "fault"),
        [
            ({"at": "best"}, r"at must be 'most', 'middle', or a place in mm, got 'best'"),
            ({"at": (500, 0, 0)}, r"at=\(500\.0, 0\.0, 0\.0\) mm lies outside of the volume, which holds x "),
            ({"at": 500, "planes": 0}, r"at=500 mm lies outside of the volume, whose slices lie at .* to .* mm"),
            ({"at": 3}, r"at must be a point \(x, y, z\) in mm, or one coordinate .* got 3 for 3 planes"),
            ({"planes": ()}, "planes must name at least one plane"),
            ({"planes": "transversal"}, "axis must be 0, 1, 2, 'axial'"),
            ({"figsize": (1, 1)}, r"figsize \(1, 1\) in inches is too small for 3 panels"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_drawn_is_refused(self, more, fault):
        with pytest.raises(ValueError, match=fault):
            figure_3d(image(), **more)

    def test_what_is_no_volume_is_refused(self):
        with pytest.raises(ValueError, match=r"the image must be one volume \(D, H, W\), got shape \(2, 2, 3, 4\)"):
            figure_3d(torch.zeros(2, 2, 3, 4))
        with pytest.raises(ValueError, match="at in mm needs a volume with a geometry"):
            figure_3d(torch.zeros(2, 3, 4), at=(0, 0, 0))
        with pytest.raises(ValueError, match="the image is a mask itself"):
            mask().figure(mask())
        with pytest.raises(TypeError, match=r"figure_3d\(\) takes no argument 'plane': did you mean 'planes'\?"):
            image().figure(plane="axial")


class TestSweep:
    def test_a_gif_goes_from_feet_to_head(self, tmp_path):
        volume = image(Geometry((4, 5, 6), (1, 2, 3), (10, -20, 30))).reorient("LPI")
        volume.sweep(tmp_path / "a.gif", mask=None, fps=4, dpi=50, progress=False)
        means = []
        with Image.open(tmp_path / "a.gif") as film:
            assert (film.n_frames, film.info["duration"], film.info["loop"]) == (4, 250, 0)
            for k in range(film.n_frames):
                film.seek(k)
                means.append(np.asarray(film.convert("L")).astype(float)[20:-30].mean())
        assert means == sorted(means)
        assert list(tmp_path.iterdir()) == [tmp_path / "a.gif"]

    def test_an_mp4_holds_a_frame_for_each_slice(self, tmp_path, monkeypatch):
        ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
        image().sweep(tmp_path / "a.mp4", mask(), plane="sagittal", fps=5, dpi=51, progress=False)
        frames, seconds = ffmpeg.count_frames_and_secs(str(tmp_path / "a.mp4"))
        assert (frames, seconds) == (4, pytest.approx(0.8))
        assert b"avc1" in (tmp_path / "a.mp4").read_bytes()
        monkeypatch.setattr("imageio_ffmpeg.count_frames_and_secs", lambda path: (3, 0.6))
        with pytest.raises(OSError, match="ffmpeg has written 3 of 4 frames"):
            image().sweep(tmp_path / "b.mp4", plane="sagittal", dpi=51, progress=False)
        assert not (tmp_path / "b.mp4").exists()

    def test_half_a_film_is_none(self, tmp_path, monkeypatch):
        (tmp_path / "a.gif").write_bytes(b"old")
        show = Panels.show

        def interrupted(panels, numbers):
            if numbers == [1]:
                raise KeyboardInterrupt
            show(panels, numbers)

        monkeypatch.setattr(Panels, "show", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sweep_3d(image(), tmp_path / "a.gif", plane="sagittal", progress=False)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.gif", b"old")]

    def test_what_cannot_be_written_is_refused(self, tmp_path, monkeypatch):
        with pytest.raises(ValueError, match=r"a sweep is written as \.gif or \.mp4, got 'a\.avi'"):
            sweep_3d(image(), "a.avi")
        with pytest.raises(ValueError, match="fps must be above 0, got 0"):
            sweep_3d(image(), "a.gif", fps=0)
        monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
        with pytest.raises(ImportError, match=r"a sweep as \.mp4 needs imageio_ffmpeg: .* extra 'video'"):
            sweep_3d(image(), tmp_path / "a.mp4")


class TestTellingSlice:
    def test_shows_most_of_every_class(self):
        labels = np.zeros((5, 4, 4), int)
        labels[1] = 1
        labels[2, :3] = 1
        labels[2, 3, :2] = 2  # less of class 1, but all of class 2
        assert telling_slice(np.zeros((5, 4, 4)), labels) == 2

    @settings(max_examples=40)
    @given(
        st.integers(0, 10**6),
        st.integers(0, 2),
        st.sampled_from([1, 70_000]),
        st.sampled_from(["uint8", "int64", "float32"]),
    )
    def test_counts_as_each_class_by_itself(self, seed, axis, step, dtype):
        labels = np.random.default_rng(seed).choice([0, 0, 0, 1, 2, 5], (2, 3, 4)).astype(dtype)
        labels = labels * step if dtype != "uint8" else labels
        rest = tuple({0, 1, 2} - {axis})
        share = sum((labels == label).sum(rest) / (labels == label).sum() for label in set(labels.flat) - {0})
        found = telling_slice(np.arange(24.0).reshape(2, 3, 4), labels, axis)
        assert not labels.any() or share[found] == pytest.approx(share.max())

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_without_labels_the_one_that_varies_most(self, axis):
        volume = np.zeros((4, 5, 6))
        volume.swapaxes(0, axis)[1] = 5000  # bright but flat
        volume.swapaxes(0, axis)[3, ::2, ::2] = -9000
        volume[0, 0, 0] = np.nan
        assert telling_slice(volume, np.zeros((4, 5, 6)), axis) == 3


def test_nothing_of_the_header_is_in_figures_and_films(tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
    volume, secret = telling_scan(tmp_path)
    with rc_context({"pdf.compression": 0, "svg.fonttype": "none"}):
        figure = volume.figure(volume > 0)
        for kind in ("png", "pdf", "svg"):
            figure.savefig(tmp_path / f"figure.{kind}")
    for kind in ("gif", "mp4"):
        volume.sweep(tmp_path / f"sweep.{kind}", volume > 0, dpi=40, progress=False)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(files) == 5
    assert {path.name: found_in(path.read_bytes(), secret) for path in files} == {path.name: [] for path in files}
    with Image.open(tmp_path / "figure.png") as picture, Image.open(tmp_path / "sweep.gif") as film:
        assert set(picture.text) == {"Software"}
        assert "comment" not in film.info
