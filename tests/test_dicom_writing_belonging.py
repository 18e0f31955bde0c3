"""A mask that lies apart from the images is not written as one of them."""

import numpy as np
import pytest
from dicom_series import OBLIQUE, direction_of
from hypothesis import given, strategies

from faimed3d import TensorDicom3D, TensorMask3D
from faimed3d.dicom.writing import write_series
from faimed3d.dicom.writing.belonging import refuse_apart
from faimed3d.geometry import Geometry

SHAPE = (3, 4, 5)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """(geometry, files) of a straight scan and of an oblique one."""
    found = []
    for number, direction in enumerate([np.eye(3), direction_of(OBLIQUE)]):
        geometry = Geometry(SHAPE, (1, 2, 3), (7, 8, 9), direction)
        folder = tmp_path_factory.mktemp("scan") / str(number)
        write_series(folder, np.arange(60.0).reshape(SHAPE), geometry)
        found.append((geometry, sorted(str(file) for file in folder.iterdir())))
    return found


@given(strategies.integers(0, 1), strategies.tuples(*[strategies.integers(-7, 7)] * 3), strategies.integers(0, 59))
def test_a_mask_is_refused_where_its_labels_lie_outside_of_the_images(scans, number, offset, label):
    geometry, files = scans[number]
    mask = np.zeros(SHAPE, np.uint8)
    mask.flat[label] = 1
    index = np.array(np.unravel_index(label, SHAPE)) + offset
    moved = geometry.regrid(SHAPE, offset=offset)
    if ((index >= -1) & (index <= SHAPE)).all():  # it touches, at least
        refuse_apart(mask, moved, files)
    else:
        with pytest.raises(ValueError, match=r"nothing of this mask lies within the images of .*3 files"):
            refuse_apart(mask, moved, files)


def test_finer_and_turned_grids_an_empty_mask_and_one_image_of_a_series_are_no_fault(scans):
    geometry, files = scans[0]
    mask = np.ones(SHAPE, np.uint8)
    refuse_apart(mask, geometry.regrid(SHAPE, (0.5, 0.5, 0.5), (0.2, 0.3, 0.4)), files)
    refuse_apart(mask, geometry.regrid(SHAPE, (-1, -1, -1), (2, 3, 4)), files)
    away = geometry.regrid(SHAPE, offset=(50, 0, 0))
    refuse_apart(mask * 0, away, files)
    refuse_apart(mask, away, files[:1])


@pytest.mark.parametrize("save", ["seg", "report"])
def test_neither_segmentation_nor_report_is_made_of_a_mask_of_another_place(scans, tmp_path, save):
    geometry, files = scans[1]
    image = TensorDicom3D.create(files)
    mask = TensorMask3D(np.ones(SHAPE, np.uint8), geometry.regrid(SHAPE, offset=(0, 60, 0)))
    with pytest.raises(ValueError, match="nothing of this mask lies within the images"):
        mask.save(tmp_path / "a.dcm", like=image) if save == "seg" else mask.report(like=image)
    assert not list(tmp_path.iterdir())
