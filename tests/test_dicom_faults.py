"""Every fault of a folder, alone and in pairs: refused by its named exception, mended or refused with strict=False."""

import shutil

import numpy as np
import pydicom
import pytest
from dicom_faults import (
    FAULTS,
    change,
    drop,
    every_nth,
    expected_affine,
    move,
    read_lenient,
    shear,
    time_series,
    two_combs,
    two_gaps,
)
from dicom_series import (
    AXIAL,
    OBLIQUE,
    ORIGIN,
    SECRETS,
    SPACING,
    direction_of,
    make_series,
    stored_values,
    write,
    write_series,
)

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom
from faimed3d.dicom.grouping.gaps import DRIFT_TOLERANCE_PIXELS, GRID_TOLERANCE_MM
from faimed3d.dicom.grouping.plane_kinds import ORIENTATION_TOLERANCE, PIXEL_SPACING_TOLERANCE
from faimed3d.dicom.header import Tag


class TestFaults:
    @pytest.mark.parametrize("name", FAULTS)
    def test_strict_reading_names_the_fault(self, tmp_path, name):
        build, error, text, _ = FAULTS[name]
        build(tmp_path)
        with pytest.raises(errors.ReadError, match=text) as caught:
            read_dicom(tmp_path)
        assert type(caught.value) is error
        assert not any(secret in str(caught.value) for secret in SECRETS)

    @pytest.mark.parametrize("name", FAULTS)
    def test_lenient_reading_repairs_and_warns_or_refuses(self, tmp_path, name):
        build, _, _, outcome = FAULTS[name]
        build(tmp_path)
        if isinstance(outcome, tuple):
            (array, geometry, _), texts = read_lenient(tmp_path)
            assert array.shape == geometry.shape == outcome
            assert texts
            assert all("strict=False" in text for text in texts)
        else:
            with pytest.raises(errors.ReadError) as caught:
                read_dicom(tmp_path, strict=False)
            assert type(caught.value) is outcome

    @pytest.mark.parametrize("name", FAULTS)
    def test_the_inventory_tells_the_same(self, tmp_path, name):
        build, _, text, _ = FAULTS[name]
        build(tmp_path)
        table = dicom_inventory(tmp_path)
        if name != "empty folder":
            assert table["problems"].str.contains(text).any()
        assert not any(secret in table.to_string() for secret in SECRETS)

    @pytest.mark.parametrize("value", ["nan", "inf", "1,5", "x", "1_0", "\u0661"])
    @pytest.mark.parametrize(
        ("tag", "count"),
        [
            (Tag.ImagePositionPatient, 3),
            (Tag.PixelSpacing, 2),
            (Tag.ImageOrientationPatient, 6),
            (Tag.RescaleSlope, 1),
        ],
    )
    def test_values_that_are_no_numbers(self, tmp_path, tag, count, value):
        paths = write_series(tmp_path, RescaleSlope="1", RescaleIntercept="0")
        dataset = pydicom.dcmread(paths[1])
        text = "\\".join([value] * count).encode("utf-8")
        dataset[tag] = pydicom.DataElement(tag, "LO", text + b" " * (len(text) % 2))
        dataset.save_as(paths[1])
        with pytest.raises(errors.ReadError, match=r"IM9998\.dcm: \(00"):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("keyword", ["Rows", "Columns"])
    def test_no_matrix(self, tmp_path, keyword):
        write_series(tmp_path, edit=lambda k, d: delattr(d, keyword))
        with pytest.raises(errors.DamagedFile, match=rf"{keyword} is absent"):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
    def test_two_values_where_one_belongs(self, tmp_path, keyword):
        write_series(tmp_path, **{"RescaleSlope": 1, "RescaleIntercept": 0, keyword: [2, 3]})
        with pytest.raises(errors.DamagedFile, match="must be one finite number, got '2"):
            read_dicom(tmp_path)

    @pytest.mark.parametrize("keyword", ["Modality", "SeriesDescription", "RescaleSlope", "ImageType", "PixelSpacing"])
    @pytest.mark.parametrize("number", [1, 5])
    def test_an_element_that_swallowed_the_name_is_not_quoted(self, tmp_path, keyword, number):
        swallowed = f"MR\x10\0\x10\0PN\x08\0{SECRETS[0]}".encode()

        def swallow(k, dataset):
            if k < number:
                dataset[keyword] = pydicom.DataElement(keyword, "OB", swallowed)

        other = make_series(SeriesInstanceUID="1.9")
        write(make_series(edit=swallow), tmp_path / "a")
        write([*make_series(edit=swallow), *other], tmp_path / "b")
        for folder in (tmp_path / "a", tmp_path / "b"):
            try:
                text = repr(read_dicom(folder)[1])
            except errors.ReadError as error:
                text = str(error)
            assert SECRETS[0] not in text
            assert SECRETS[0] not in dicom_inventory(folder).drop(columns="key").to_csv()


class TestWhatLooksLikeAFault:
    @pytest.mark.parametrize(
        "build",
        [
            every_nth(2, InstanceNumber=None),
            every_nth(2, 5.0),
            every_nth(2, None, SliceThickness=3),
            every_nth(2, None, SliceThickness=None),
            every_nth(2, 2.5, edit=lambda k, dataset: setattr(dataset, "InstanceNumber", k // 2), SliceThickness=1),
        ],
    )
    def test_thin_slices_far_apart_are_no_missing_slices(self, tmp_path, build):
        build(tmp_path)
        array, geometry, _ = read_dicom(tmp_path)
        np.testing.assert_array_equal(array, stored_values((13, 6, 7))[::2])
        assert geometry.spacing[2] == pytest.approx(5)

    def test_copies_in_a_sub_folder_add_no_slice(self, tmp_path):
        write_series(tmp_path)
        shutil.copytree(tmp_path, tmp_path / "copy")
        (tmp_path / "here").symlink_to(tmp_path)
        write_series(tmp_path / "other", origin=(0, 0, 0), SeriesInstanceUID="1.9")
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored_values())

    def test_other_time_points_in_a_sub_folder_add_no_slice(self, tmp_path):
        volumes = time_series(tmp_path)
        (tmp_path / "later").mkdir()
        for path in sorted(tmp_path.glob("*.dcm"))[:8]:
            path.rename(tmp_path / "later" / path.name)
        np.testing.assert_array_equal(read_dicom(tmp_path)[0], volumes[0])
        assert list(dicom_inventory(tmp_path)["problems"]) == ["", "", ""]

    def test_gaps_that_differ_a_little_in_turn_are_mended(self, tmp_path):
        two_combs(1.1)(tmp_path)
        (array, _, _), texts = read_lenient(tmp_path)
        assert len(array) in (10, 11)
        assert "the gaps are uneven" in texts[0]


class TestRepairs:
    def test_a_missing_slice_is_interpolated_and_the_others_are_kept(self, tmp_path):
        drop({4})(tmp_path)
        (array, geometry, files), _ = read_lenient(tmp_path)
        stored = stored_values((9, 6, 7)).astype(np.float32)
        keep = [0, 1, 2, 3, 5, 6, 7, 8]
        np.testing.assert_array_equal(array[keep], stored[keep])
        np.testing.assert_allclose(array[4], (stored[3] + stored[5]) / 2, atol=0.2)
        np.testing.assert_allclose(geometry.affine, expected_affine(), atol=1e-5)
        assert len(files) == 8

    @pytest.mark.parametrize("lost", [(), (4,), (2, 5, 6)])
    @pytest.mark.parametrize(("angle", "axis"), [(12.5, 1), (-20, 0), (3, 1)])
    def test_an_undone_tilt_puts_every_voxel_where_it_was(self, tmp_path, angle, axis, lost):
        # values that are linear in the world survive linear interpolation exactly
        weights = np.array([3.0, -2.0, 5.0])
        shear(angle, axis)(tmp_path)
        axes = direction_of(OBLIQUE)
        grid = np.stack(np.meshgrid(np.arange(7), np.arange(6), indexing="xy"), -1) * SPACING[:2]
        for path in tmp_path.iterdir():
            dataset = pydicom.dcmread(path)
            place = np.array(dataset.ImagePositionPatient, float) + grid @ axes[:, :2].T
            dataset.PixelData = np.round((place @ weights) * 50).astype(np.int16).tobytes()
            dataset.RescaleSlope, dataset.RescaleIntercept = 0.02, 0
            dataset.save_as(path)
        for k in lost:
            (tmp_path / f"IM{9999 - k}.dcm").unlink()
        (array, geometry, _), _ = read_lenient(tmp_path)
        assert not geometry.is_sheared
        # where each voxel of the result lies in the tilted stack: mm along x, y and the normal, the drift taken off
        index = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), -1)
        place = (geometry.index_to_world(index) - ORIGIN) @ axes
        assert place[..., 2].max() == pytest.approx(8 * SPACING[2])
        drift = np.zeros(3)
        drift[axis] = np.tan(np.radians(angle))
        place = place - place[..., 2:] * drift
        nearest = np.clip(place, 0, (6 * SPACING[0], 5 * SPACING[1], np.inf))
        outside = (np.abs(place - nearest) > np.array(SPACING) / 2).any(-1)
        values = (ORIGIN + (nearest + nearest[..., 2:] * drift) @ axes.T) @ weights
        np.testing.assert_allclose(array[~outside], values[~outside], atol=0.03)
        assert (array[outside] == array.min()).all()
        assert (~outside).sum() == 9 * 6 * 7  # as many pixels as there were: each lies half a pixel around one of them

    def test_uneven_gaps_are_interpolated_at_their_true_places(self, tmp_path):
        two_gaps(tmp_path)
        levels = [0, 2.5, 5, 7.5, 10, 14, 18, 22, 26]
        for level, path in zip(levels, sorted(tmp_path.iterdir(), reverse=True), strict=True):
            dataset = pydicom.dcmread(path)
            dataset.PixelData = np.full((6, 7), level * 10, np.int16).tobytes()
            dataset.save_as(path)
        (array, geometry, _), _ = read_lenient(tmp_path)
        assert len(array) == 11
        np.testing.assert_allclose(array[:, 0, 0], np.arange(11) * geometry.spacing[2] * 10, atol=1e-3)

    def test_a_hole_that_dwarfs_the_stack_is_not_filled(self, tmp_path):
        move(8, 400)(tmp_path)
        with pytest.raises(errors.UnevenSlices, match="too few to interpolate from"):
            read_dicom(tmp_path, strict=False)

    @pytest.mark.parametrize("step", [200, 9e5])
    def test_a_slice_far_off_the_others_is_not_bridged(self, tmp_path, step):
        move(4, step, 0)(tmp_path)
        with pytest.raises(errors.UnevenSlices, match="too far to be one stack"):
            read_dicom(tmp_path, strict=False)


class TestPairs:
    @pytest.mark.parametrize("lost", [{4}, {2, 5, 6}])
    @pytest.mark.parametrize("angle", [10, -17])
    def test_tilt_and_missing_slices(self, tmp_path, angle, lost):
        shear(angle)(tmp_path)
        for k in lost:
            (tmp_path / f"IM{9999 - k}.dcm").unlink()
        with pytest.raises((errors.GantryTilt, errors.MissingSlices)):
            read_dicom(tmp_path)
        (array, geometry, _), texts = read_lenient(tmp_path)
        assert len(texts) == 2
        assert array.shape[0] == 9
        assert geometry.spacing == pytest.approx(SPACING, rel=1e-5)

    @pytest.mark.parametrize("one", [name for name in FAULTS if name != "empty folder"])
    @pytest.mark.parametrize("other", ["cut in the pixels", "one slice missing", "a slice twice, byte for byte"])
    def test_two_faults_are_never_read_in_silence(self, tmp_path, one, other):
        FAULTS[one][0](tmp_path)
        FAULTS[other][0](tmp_path / "x")
        for path in (tmp_path / "x").iterdir():
            path.rename(tmp_path / path.name)
        with pytest.raises(errors.ReadError):
            read_dicom(tmp_path)
        try:
            (array, geometry, _), texts = read_lenient(tmp_path)
        except errors.ReadError:
            return
        assert texts
        assert array.shape == geometry.shape


class TestTolerances:
    @pytest.mark.parametrize(("step", "even"), [(0.9 * GRID_TOLERANCE_MM, True), (2.5 * GRID_TOLERANCE_MM, False)])
    def test_position_along_the_normal(self, tmp_path, step, even):
        move(4, step)(tmp_path)
        if even:
            assert read_dicom(tmp_path)[1].spacing == pytest.approx(SPACING)
        else:
            with pytest.raises(errors.UnevenSlices):
                read_dicom(tmp_path)

    @pytest.mark.parametrize(("share", "upright"), [(0.9, True), (1.2, False)])
    def test_drift_in_the_plane(self, tmp_path, share, upright):
        step = share * DRIFT_TOLERANCE_PIXELS * 0.8
        shear(np.degrees(np.arctan(step / (8 * 2.5))))(tmp_path)
        if upright:
            np.testing.assert_allclose(read_dicom(tmp_path)[1].affine, expected_affine(), atol=1e-5)
        else:
            with pytest.raises(errors.GantryTilt):
                read_dicom(tmp_path)

    @pytest.mark.parametrize(("share", "equal"), [(0.8, True), (1.5, False)])
    def test_pixel_spacing(self, tmp_path, share, equal):
        change(3, PixelSpacing=[0.8, f"{1.1 * (1 + share * PIXEL_SPACING_TOLERANCE):.8f}"])(tmp_path)
        if equal:
            read_dicom(tmp_path)
        else:
            with pytest.raises(errors.MixedSeries):
                read_dicom(tmp_path)

    @pytest.mark.parametrize(("share", "equal"), [(0.8, True), (1.5, False)])
    def test_orientation(self, tmp_path, share, equal):
        series = make_series(orientation=AXIAL)
        angle = share * ORIENTATION_TOLERANCE
        series[3].ImageOrientationPatient = [1, f"{angle:.6f}", 0, f"{-angle:.6f}", 1, 0]
        write(series, tmp_path)
        if equal:
            read_dicom(tmp_path)
        else:
            with pytest.raises(errors.MixedSeries):
                read_dicom(tmp_path)

    def test_positions_rounded_to_a_tenth_of_a_millimetre(self, tmp_path):
        series = make_series(orientation=AXIAL, spacing=(1, 1, 1.25), stored=stored_values((9, 6, 7)))
        for dataset in series:
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y, f"{float(z):.1f}"]
        write(series, tmp_path)
        assert read_dicom(tmp_path)[1].spacing == pytest.approx((1, 1, 1.25), abs=0.01)
