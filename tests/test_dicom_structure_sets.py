"""Contours of RT Structure Sets become the voxels that they enclose, on any grid, or are refused."""

import warnings

import numpy as np
import pytest
from dicom_series import AXIAL, NATIVE, OBLIQUE, SHAPE, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from structure_sets import circle, contour, grids, on_plane, rectangle, structure_set

from faimed3d import errors
from faimed3d.basics import TensorDicom3D, TensorMask3D
from faimed3d.dicom import read_rtstruct
from faimed3d.dicom.structure_sets.filling import area, fill, signed_area
from faimed3d.geometry import Geometry

GRID = (11, 24, 27)
CENTRE = np.array([5.0, 11.27, 13.41])  # of the shapes, in voxels


GRIDS = grids(GRID)


def radial(h, w):
    return np.hypot(h - CENTRE[1], w - CENTRE[2])


def ball_radius(d):
    return np.sqrt(max(8.2**2 - (2 * (d - CENTRE[0])) ** 2, 0))


# name -> (contours of a plane as polygons (h, w), whether (d, h, w) is inside)
SHAPES = {
    "box": (
        lambda d: [rectangle((3.5, 4.2), (15.3, 20.6))] if 2 <= d <= 7 else [],
        lambda d, h, w: (d >= 2) & (d <= 7) & (h > 3.5) & (h < 15.3) & (w > 4.2) & (w < 20.6),
    ),
    "sphere": (
        lambda d: [circle(ball_radius(d), CENTRE[1:])] if ball_radius(d) else [],
        lambda d, h, w: 4 * (d - CENTRE[0]) ** 2 + radial(h, w) ** 2 < 8.2**2,
    ),
    "ring": (
        lambda d: [circle(9.2, CENTRE[1:]), circle(4.7, CENTRE[1:])],
        lambda d, h, w: (radial(h, w) < 9.2) & (radial(h, w) > 4.7) & (d > -1),
    ),
    "nested rings": (
        lambda d: [circle(radius, CENTRE[1:]) for radius in (3.1, 10.2, 7.4, 5.2)],
        lambda d, h, w: (
            ((radial(h, w) < 10.2) & (radial(h, w) > 7.4)) | ((radial(h, w) < 5.2) & (radial(h, w) > 3.1) & (d > -1))
        ),
    ),
    "two parts": (
        lambda d: [circle(3.3, (6, 6)), circle(4.1, (16, 18))],
        lambda d, h, w: (np.hypot(h - 6, w - 6) < 3.3) | ((np.hypot(h - 16, w - 18) < 4.1) & (d > -1)),
    ),
    "two voxels": (
        lambda d: [rectangle((7.5, 9.5), (8.5, 11.5))] if d == 4 else [],
        lambda d, h, w: (d == 4) & (h == 8) & (w >= 10) & (w <= 11),
    ),
    "single slice": (
        lambda d: [circle(6.2, CENTRE[1:])] if d == 9 else [],
        lambda d, h, w: (d == 9) & (radial(h, w) < 6.2),
    ),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_on_every_grid(tmp_path, shape, name):
    contours, inside = SHAPES[shape]
    grid = GRIDS[name]
    drawn = [on_plane(grid, polygon, d) for d in range(GRID[0]) for polygon in contours(d)]
    path = structure_set(tmp_path / "rs.dcm", {"Größe": drawn})
    with warnings.catch_warnings():
        warnings.simplefilter("error" if "voxels" not in shape and shape != "sphere" else "ignore")
        found = read_rtstruct(path, like=grid)
    d, h, w = np.indices(GRID).astype(float)
    expected = inside(d, h, w)
    moves = [(0.03, 0), (-0.03, 0), (0, 0.03), (0, -0.03)]
    clear = np.all([inside(d, h + one, w + other) == expected for one, other in moves], axis=0)  # not on a border
    np.testing.assert_array_equal(found.array[clear], expected[clear])
    assert clear.mean() > 0.98
    assert found.array.dtype == np.uint8
    assert found.geometry == grid
    assert found.codes == {0: "background", 1: "Größe"}


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["LPS", "ASL", "oblique", "tilted"])
def test_planes_along_any_axis_of_the_grid(tmp_path, name, axis):
    grid = GRIDS[name]
    others = [GRID[k] for k in range(3) if k != axis]
    middle = np.array(others) / 2 + 0.13
    planes = range(2, 8)
    drawn = [on_plane(grid, circle(4.2, middle), k, axis) for k in planes]
    found = read_rtstruct(structure_set(tmp_path / "rs.dcm", {"a": drawn}), like=grid)
    one, other = np.indices(others)
    disk = np.hypot(one - middle[0], other - middle[1]) < 4.2
    expected = np.zeros((GRID[axis], *others), bool)
    expected[list(planes)] = disk
    np.testing.assert_array_equal(found.array, np.moveaxis(expected, 0, axis))


class TestDoors:
    def image(self, tmp_path, **how):
        write_series(tmp_path / "ct", **{"orientation": AXIAL, **how})
        return TensorDicom3D.create(tmp_path / "ct")

    def drawn(self, image):
        return {"a": [on_plane(image.geometry, rectangle((0.5, 1.5), (3.5, 4.5)), k) for k in (1, 2)]}

    def expected(self):
        expected = np.zeros(SHAPE)
        expected[1:3, 1:4, 2:5] = 1
        return expected

    @pytest.mark.parametrize("door", ["image", "geometry", "path", "text", "simpleitk"])
    def test_create_takes_every_like(self, tmp_path, door):
        image = self.image(tmp_path, orientation=OBLIQUE)
        path = structure_set(tmp_path / "rs.dcm", self.drawn(image))
        like = {
            "image": image, "geometry": image.geometry, "path": tmp_path / "ct", "text": str(tmp_path / "ct"),
            "simpleitk": image.as_sitk(),
        }[door]  # fmt: skip
        mask = TensorMask3D.create(path, like=like)
        np.testing.assert_array_equal(mask.numpy(), self.expected())
        assert mask.geometry.agrees(image.geometry, 1e-6)
        assert mask.codes == {0: "background", 1: "a"}
        assert mask.calc_volume()["a"] == pytest.approx(18 * image.geometry.voxel_volume)

    def test_create_takes_types_of_numbers(self, tmp_path):
        image = self.image(tmp_path)
        path = structure_set(tmp_path / "rs.dcm", self.drawn(image))
        assert [str(TensorMask3D.create(path, like=image, dtype=dtype).dtype) for dtype in (None, image.dtype)] == [
            "torch.uint8",
            "torch.float32",
        ]

    def test_a_folder_with_images_beside(self, tmp_path):
        image = self.image(tmp_path)
        structure_set(tmp_path / "ct" / "rs.dcm", self.drawn(image))
        np.testing.assert_array_equal(TensorMask3D.create(tmp_path / "ct", like=image).numpy(), self.expected())

    def test_a_folder_of_it_alone(self, tmp_path):
        image = self.image(tmp_path)
        (tmp_path / "rs").mkdir()
        structure_set(tmp_path / "rs" / "rs.dcm", self.drawn(image))
        np.testing.assert_array_equal(TensorMask3D.create(tmp_path / "rs", like=image).numpy(), self.expected())
        structure_set(tmp_path / "rs" / "other.dcm", self.drawn(image))
        with pytest.raises(errors.SeveralVolumes, match=r"2 RT structure sets: .* other.dcm, rs.dcm"):
            TensorMask3D.create(tmp_path / "rs", like=image)

    def test_without_like_is_refused(self, tmp_path):
        path = structure_set(tmp_path / "rs.dcm", self.drawn(self.image(tmp_path)))
        with pytest.raises(errors.UnsupportedImage, match=r"RT structure set: contours.*create\(file, like=image\)"):
            TensorMask3D.create(path)

    def test_read_rtstruct_takes_folder_and_image(self, tmp_path):
        image = self.image(tmp_path)
        path = structure_set(tmp_path / "rs.dcm", self.drawn(image))
        for like in (image, tmp_path / "ct", str(tmp_path / "ct")):
            np.testing.assert_array_equal(read_rtstruct(path, like).array, self.expected())
        with pytest.raises(TypeError, match="like must be the image that the contours were drawn on"):
            read_rtstruct(path, np.zeros((2, 3, 4)))

    def test_another_frame_of_reference_is_refused(self, tmp_path):
        image = self.image(tmp_path)
        path = structure_set(tmp_path / "rs.dcm", self.drawn(image), frame="1.2.99")
        for like in (image, tmp_path / "ct"):
            with pytest.raises(errors.UnsupportedImage, match="'a' lies in another frame of reference than the image"):
                TensorMask3D.create(path, like=like)
        np.testing.assert_array_equal(TensorMask3D.create(path, like=image.geometry).numpy(), self.expected())
        structure_set(path, self.drawn(image), frame=None)
        np.testing.assert_array_equal(TensorMask3D.create(path, like=image).numpy(), self.expected())

    @pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
    def test_every_transfer_syntax(self, tmp_path, syntax):
        image = self.image(tmp_path)
        path = structure_set(tmp_path / "rs.dcm", self.drawn(image), syntax=syntax)
        np.testing.assert_array_equal(read_rtstruct(path, image).array, self.expected())

    def test_another_file_is_none(self, tmp_path):
        self.image(tmp_path)
        slice_file = next((tmp_path / "ct").iterdir())
        with pytest.raises(errors.UnsupportedImage, match="no RT structure set by"):
            read_rtstruct(slice_file, Geometry(SHAPE))
        with pytest.raises(FileNotFoundError):
            read_rtstruct(tmp_path / "none.dcm", Geometry(SHAPE))


@given(st.randoms(use_true_random=False), st.sampled_from(NATIVE))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_read_or_refused_by_name(tmp_path, random, syntax):
    drawn = [on_plane(FLAT, circle(3, (4, 4), 12), plane) for plane in (1, 2)]
    path = structure_set(tmp_path / "rs.dcm", {"a": drawn, "b": drawn[:0]}, syntax=syntax)
    data = bytearray(path.read_bytes())
    first, second = random.randrange(132, len(data)), random.randrange(132, len(data))
    change = random.randrange(4)
    if change == 0:
        data = data[:first]
    elif change == 1:
        data[first] = random.randrange(256)
    elif change == 2:
        del data[first : first + random.randrange(1, 60)]
    else:
        data[first : first + 8] = data[second : second + 8]
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.filterwarnings("ignore", category=UserWarning)
        try:
            TensorMask3D.create(path, like=FLAT)
        except errors.ReadError as error:
            assert str(error).startswith(str(path))  # noqa: PT017 - most are refused, some still read


FLAT = Geometry((4, 9, 9), spacing=(1, 2, 3), origin=(5, 6, 7))


def read(tmp_path, drawn, like=FLAT, **how):
    points = {name: [one if hasattr(one, "ContourData") else on_plane(FLAT, *one) for one in contours]
              for name, contours in drawn.items()}  # fmt: skip
    return read_rtstruct(structure_set(tmp_path / "rs.dcm", points), like, **how)


SQUARE, SMALL = rectangle((0.5, 0.5), (7.5, 7.5)), rectangle((2.5, 2.5), (5.5, 5.5))


class TestHoles:
    @pytest.mark.parametrize(
        ("holes", "turn", "count"),
        [("xor", 1, 40), ("xor", -1, 40), ("winding", 1, 49), ("winding", -1, 40), ("union", 1, 49), ("union", -1, 49)],
    )
    def test_rules(self, tmp_path, holes, turn, count):
        for contours in ([(SQUARE, 1), (SMALL[::turn], 1)], [(SMALL[::turn], 1), (SQUARE, 1)]):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert read(tmp_path, {"a": contours}, holes=holes).array.sum() == count

    @pytest.mark.parametrize("holes", ["xor", "winding", "union"])
    @pytest.mark.parametrize("turn", [1, -1])
    def test_a_keyhole(self, tmp_path, holes, turn):
        channel = np.array([(2.5, 0.5)])
        keyhole = np.concatenate([channel, SMALL[[0, 1, 2, 3, 0]], channel, SQUARE[[3, 2, 1, 0]]])
        assert abs(signed_area(keyhole)) == pytest.approx(40)  # the hole is run around the other way
        array = read(tmp_path, {"a": [(keyhole[::turn], 1)]}, holes=holes).array[1]
        assert array.sum() == 40
        assert not array[3:6, 3:6].any()

    def test_another_rule_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="holes must be one of 'xor', 'winding', 'union', got 'none'"):
            read(tmp_path, {"a": [(SQUARE, 1)]}, holes="none")

    def test_contours_that_cross_are_refused(self, tmp_path):
        other = SQUARE + np.array((0, 4))
        for pair in ([(SQUARE, 1), (other - np.array((0, 2)), 1)], [(SQUARE, 1), (SQUARE[::-1], 1)]):
            with pytest.raises(errors.UnsupportedImage, match=r"ROI 'a' has two contours in one plane that share \d+%"):
                read(tmp_path, {"a": pair})
        assert read(tmp_path, {"a": [(SQUARE, 1), (SQUARE[::-1], 1)]}, holes="union").array.sum() == 49
        with pytest.warns(UserWarning, match="differ by more than 5%"):
            crossing = read(tmp_path, {"a": [(SQUARE, 1), (SQUARE + np.array((0, 3)), 1)]}, holes="union").array
        assert crossing.sum() == 7 * 8

    def test_closedplanar_xor_is_taken_at_its_word(self, tmp_path):
        pair = [contour(on_plane(FLAT, p, 1), "CLOSEDPLANAR_XOR") for p in (SQUARE, SQUARE, SMALL)]
        assert read(tmp_path, {"a": pair}, holes="union").array.sum() == 9


class TestChoice:
    ROIS = {"body": [(SQUARE, 1)], "Isocenter": [contour([(5, 6, 7)], "POINT")], "liver": [(SMALL, 2)], "": []}  # noqa: RUF012

    def test_all_that_enclose_an_area(self, tmp_path):
        with pytest.warns(UserWarning, match=r"without an area are left out: 'Isocenter' \(POINT\), 'ROI 8' \(no con"):
            found = read(tmp_path, self.ROIS)
        assert found.codes == {0: "background", 1: "body", 2: "liver"}
        assert [int((found.array == label).sum()) for label in (1, 2)] == [49, 9]

    @pytest.mark.parametrize("rois", [["liver", "body"], ["Liver", 5], [7, "BODY"]])
    def test_by_name_or_number_in_order(self, tmp_path, rois):
        found = read(tmp_path, self.ROIS, rois=rois)
        assert found.codes == {0: "background", 1: "liver", 2: "body"}
        assert [int((found.array == label).sum()) for label in (1, 2)] == [9, 49]

    def test_what_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"has no ROI 'spleen'; it has 'body', 'Isocenter', 'liver', 'ROI 8'"):
            read(tmp_path, self.ROIS, rois=["spleen"])
        with pytest.raises(errors.UnsupportedImage, match=r"'Isocenter' \(POINT\) encloses no area"):
            read(tmp_path, self.ROIS, rois=["Isocenter"])
        with pytest.raises(TypeError, match=r"got the text 'liver': pass \['liver'\]"):
            read(tmp_path, self.ROIS, rois="liver")
        with pytest.raises(errors.UnsupportedImage, match="none of its 1 ROIs encloses an area"):
            read(tmp_path, {"Isocenter": self.ROIS["Isocenter"]})

    def test_overlaps_are_refused_and_the_way_out_works(self, tmp_path):
        rois = {"body": [(SQUARE, 1)], "liver": [(SMALL, 1)]}
        with pytest.raises(errors.UnsupportedImage, match=r"'body' and 'liver' overlap in 9 voxels.*separate=True"):
            read(tmp_path, rois)
        assert read(tmp_path, rois, rois=["liver"]).array.sum() == 9
        separate = read(tmp_path, rois, separate=True)
        assert separate.array.shape == (2, 4, 9, 9)
        assert [int(part.sum()) for part in separate.array] == [49, 9]
        regions = TensorMask3D(separate.array, separate.geometry, codes=separate.codes)
        assert regions.calc_volume()["liver"] == 9 * 6

    def test_more_than_255_rois(self, tmp_path):
        like = Geometry((300, 9, 9), spacing=(1, 2, 3), origin=(5, 6, 7))
        found = read(tmp_path, {f"roi {k}": [(SMALL, k)] for k in range(300)}, like)
        assert found.array.dtype == np.int32
        assert sorted(np.unique(found.array)) == list(range(301))


class TestPlaces:
    @pytest.mark.parametrize("off", [0.0, 0.09, -0.09])
    def test_near_a_plane_is_on_it(self, tmp_path, off):
        assert read(tmp_path, {"a": [(SMALL, 2 + off)]}).array[2].sum() == 9

    @pytest.mark.parametrize("off", [0.11, 0.5, -0.3])
    def test_between_planes_is_refused(self, tmp_path, off):
        with pytest.raises(errors.UnsupportedImage, match=r"ROI 'a', contour 2 lies between the slices of the grid"):
            read(tmp_path, {"a": [(SMALL, 1), (SMALL, 2 + off)]})

    def test_across_planes_is_refused(self, tmp_path):
        points = on_plane(FLAT, SMALL, 1)
        points[:2, 2] += 2
        with pytest.raises(errors.UnsupportedImage, match=r"contour 1 lies across the grid: its points span 0.67"):
            read(tmp_path, {"a": [contour(points)]})

    def test_planes_along_two_axes_are_refused(self, tmp_path):
        pair = [contour(on_plane(FLAT, SMALL, 1)), contour(on_plane(FLAT, rectangle((0.5, 0.5), (2.5, 7.5)), 4, 1))]
        with pytest.raises(errors.UnsupportedImage, match="lies in planes along another axis than the ROI's other"):
            read(tmp_path, {"a": pair})

    @pytest.mark.parametrize("kind", ["POINT", "OPEN_PLANAR", "OPEN_NONPLANAR", "SPIRAL"])
    def test_open_contours_beside_closed_ones_are_refused(self, tmp_path, kind):
        with pytest.raises(errors.UnsupportedImage, match=f"ROI 'a' has contours of the kind {kind}, which enclose no"):
            read(tmp_path, {"a": [(SMALL, 1), contour(on_plane(FLAT, SMALL, 2), kind)]})

    def test_gaps_stay_empty_and_are_named(self, tmp_path):
        with pytest.warns(UserWarning, match="planes between contours have none and stay empty: 2 in 'a'"):
            array = read(tmp_path, {"a": [(SMALL, 0), (SMALL, 3)]}).array
        assert array.sum((1, 2)).tolist() == [9, 0, 0, 9]

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_gaps_are_filled_on_request(self, tmp_path, axis):
        """A cone with contours in every third plane, against the cone: the radius falls by 1 voxel a plane."""
        grid = Geometry((41, 41, 41), (1, 1, 1), origin=(5, 6, 7))
        drawn = [on_plane(grid, circle(18.2 - k, (20.1, 20.2)), k, axis) for k in (0, 3, 6, 9, 12)]
        path = structure_set(tmp_path / "rs.dcm", {"a": drawn})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = read_rtstruct(path, grid, interpolate=True).array
        one, other = np.indices((41, 41))
        away = np.hypot(one - 20.1, other - 20.2)
        cone = np.moveaxis([away < (18.2 - k if k <= 12 else 0) for k in range(41)], 0, axis)
        assert 2 * (found * cone).sum() / (found.sum() + cone.sum()) > 0.98
        with pytest.warns(UserWarning, match="stay empty: 8 in 'a'"):
            sparse = read_rtstruct(path, grid).array
        np.testing.assert_array_equal(found[sparse > 0], 1)

    def test_what_is_made_up_may_overlap_no_other(self, tmp_path):
        drawn = {"a": [(SMALL, 0), (SMALL, 2)], "b": [(SMALL, 1)]}
        with pytest.raises(errors.UnsupportedImage, match="the ROIs 'a' and 'b' overlap in 9 voxels"):
            read(tmp_path, drawn, interpolate=True)

    def test_what_encloses_nothing_is_named(self, tmp_path):
        with pytest.warns(UserWarning, match="without an area, enclose nothing: 1 of 'a'"):
            assert read(tmp_path, {"a": [(SMALL, 1), (SMALL[:2], 1)]}).array.sum() == 9

    def test_what_leaves_the_grid_is_named(self, tmp_path):
        with pytest.warns(UserWarning, match=r"differ by more than 5% .*: 'a' 54 mm3 of 108"):
            array = read(tmp_path, {"a": [(SMALL, 3), (SMALL, 4)]}).array
        assert array.sum((1, 2)).tolist() == [0, 0, 0, 9]
        with pytest.warns(UserWarning, match=r"'a' 150 mm3 of 294"):
            array = read(tmp_path, {"a": [(SQUARE + np.array((-3, 3)), 1)]}).array
        assert array[1].sum() == array[1, :5, 4:].sum() == 25

    def test_nothing_on_the_grid_is_refused(self, tmp_path):
        for contours in ([(SMALL, -5)], [(SMALL + 50, 1)]):
            with pytest.raises(errors.UnsupportedImage, match="none of its contours lies on the grid of like="):
                read(tmp_path, {"a": contours})

    def test_too_small_for_a_voxel_is_named(self, tmp_path):
        with pytest.warns(UserWarning, match=r"'a' 0 mm3 of 0.24"):
            read(tmp_path, {"a": [(rectangle((2.6, 2.6), (2.8, 2.8)), 1)], "b": [(SMALL, 1)]}, separate=True)

    @pytest.mark.filterwarnings("ignore:.*differ by more than 5")
    def test_a_contour_through_centres_of_voxels_holds_them(self, tmp_path):
        for decimals in (None, 2):
            square = contour(on_plane(GRIDS["oblique"], rectangle((3, 4), (8, 10)), 2), decimals=decimals)
            found = read_rtstruct(structure_set(tmp_path / "rs.dcm", {"a": [square]}), GRIDS["oblique"])
            assert found.array.sum() == found.array[2, 3:9, 4:11].sum() == 42


POINTS = st.lists(st.tuples(st.integers(-40, 160), st.integers(-40, 160)), min_size=3, max_size=9)


class TestFilling:
    @given(st.lists(POINTS, min_size=1, max_size=3))
    @settings(max_examples=40)
    def test_agrees_with_the_parity_of_each_point(self, polygons):
        polygons = [np.array(points) / 10 + (0.0371234, 0.0613777) for points in polygons]
        rows, columns = np.indices((12, 13))
        centres = np.stack([rows.ravel(), columns.ravel()], axis=1)
        expected = np.zeros(12 * 13, int)
        for polygon in polygons:
            expected += parity(polygon, centres)
        np.testing.assert_array_equal(fill(polygons, (12, 13), path=False).ravel(), expected % 2 == 1)

    @given(st.floats(1.5, 40), st.floats(0, 1), st.integers(8, 300))
    def test_areas_of_discs(self, radius, shift, count):
        polygon = circle(radius, (50 + shift, 50), count)
        exact = count / 2 * np.sin(2 * np.pi / count) * radius**2
        assert area([polygon]) == pytest.approx(exact, rel=5e-3)
        assert area([polygon, polygon]) == pytest.approx(0)
        assert area([polygon, polygon], "union") == pytest.approx(exact, rel=5e-3)
        voxels = fill([polygon], (100, 100)).sum()
        assert abs(voxels - exact) <= 1.5 * 2 * np.pi * radius**0.67  # the circle problem of Gauss


def parity(polygon, points):
    """Whether a ray from each point crosses the polygon an odd number of times, edge by edge."""
    inside = np.zeros(len(points), bool)
    for (r0, c0), (r1, c1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        for k, (r, c) in enumerate(points):
            if (r0 > r) != (r1 > r) and c < (c1 - c0) * (r - r0) / (r1 - r0) + c0:
                inside[k] ^= True
    return inside
