"""Grids of United Imaging: the slices of a volume side by side in one image, each with its own position."""

import numpy as np
import pytest
from dicom_faults import expected_affine
from dicom_series import AXIAL, OBLIQUE, ORIGIN, SPACING, decimal, direction_of, make_slice, stored_values, write
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from faimed3d import errors
from faimed3d.dicom import dicom_inventory, read_dicom

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def grid(stored, orientation=OBLIQUE, origin=ORIGIN, spacing=SPACING, backwards=False, items=True, **elements):
    """A grid of ``stored`` (D, H, W); slice k lies k gaps along the normal, or the tiles run ``backwards``."""
    depth, height, width = stored.shape
    across = next(n for n in range(1, 99) if n * n >= depth)
    down = -(-depth // across)
    image = np.zeros((down * height, across * width), stored.dtype)
    positions = []
    for tile, k in enumerate(reversed(range(depth)) if backwards else range(depth)):
        row, column = tile // across * height, tile % across * width
        image[row : row + height, column : column + width] = stored[k]
        item = Dataset()
        place = np.array(origin) + k * spacing[2] * direction_of(orientation)[:, 2]
        item.ImagePositionPatient = [decimal(v) for v in place]
        positions.append(item)
    elements = {
        "SOPClassUID": MRImageStorage, "Modality": "MR", "ImageType": ["ORIGINAL", "PRIMARY", "M", "VFRAME"],
        "ImagePositionPatient": None, "SpacingBetweenSlices": spacing[2], **elements,
    }  # fmt: skip
    dataset = make_slice(image, origin, orientation, spacing, **elements)
    block = dataset.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x50, "DS", str(depth))
    if items:
        block.add_new(0x51, "SQ", Sequence(positions))
    return dataset


@settings(max_examples=100, deadline=None)
@given(
    depth=st.integers(1, 17),
    orientation=st.sampled_from([AXIAL, OBLIQUE, CORONAL]),
    spacing=st.sampled_from([SPACING, (1.0, 2.0, 3.0), (0.5, 0.5, 0.4)]),
    dtype=st.sampled_from([np.int16, np.uint16, np.uint8]),
    backwards=st.booleans(),
    syntax=st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]),
    times=st.integers(1, 3),
)
def test_tiles_become_slices_at_their_positions(
    tmp_path_factory, depth, orientation, spacing, dtype, backwards, syntax, times
):
    folder = tmp_path_factory.mktemp("grid")
    volumes = stored_values((times, depth, 3, 2), low=0, high=250, dtype=dtype, seed=depth)
    for t, volume in enumerate(volumes):
        dataset = grid(
            volume, orientation, spacing=spacing, backwards=backwards, syntax=syntax, InstanceNumber=t + 1,
            AcquisitionDate="20200101", AcquisitionTime=f"10000{t}",
        )  # fmt: skip
        write([dataset], folder, [f"{t}.dcm"])
    table = dicom_inventory(folder)
    assert list(table["problems"]) == [""] * times
    for t, volume in enumerate(volumes):
        array, geometry, files = read_dicom(folder, t if times > 1 else None)
        np.testing.assert_array_equal(array, volume)
        np.testing.assert_allclose(geometry.affine, expected_affine(orientation, spacing), atol=1e-5)
        assert len(files) == 1


def test_volumes_of_gradients_are_told_apart(tmp_path):
    volumes = stored_values((2, 5, 4, 3))
    datasets = [grid(volume, InstanceNumber=t + 1) for t, volume in enumerate(volumes)]
    for dataset, b in zip(datasets, (0.0, 800.0), strict=True):
        dataset.private_block(0x0065, "Image Private Header").add_new(0x09, "FD", b)
    write(datasets, tmp_path)
    assert list(dicom_inventory(tmp_path)["distinct"]) == ["b-value 0 s/mm2", "b-value 800 s/mm2"]
    for t, volume in enumerate(volumes):
        np.testing.assert_array_equal(read_dicom(tmp_path, t)[0], volume)


def test_a_grid_without_positions_is_refused(tmp_path):
    path = write([grid(stored_values(), items=False)], tmp_path)[0]
    with pytest.raises(errors.UnsupportedImage, match=r"grid, 5 slices in one image, without \(0065,1051\)"):
        read_dicom(path)


def test_positions_that_cannot_be_read(tmp_path):
    dataset = grid(stored_values(), syntax=ImplicitVRLittleEndian)
    dataset[0x00651051] = DataElement(0x00651051, "UN", b"\xfe\xff\0\xe0\x08\0\0\0\x20\0\x32\0\xff\0\0\0")
    path = write([dataset], tmp_path)[0]
    with pytest.raises(errors.ReadError, match=r"\(0065,1051\) MR VFrame Sequence"):
        read_dicom(path)


def test_a_grid_without_a_number_of_slices_is_refused(tmp_path):
    dataset = grid(stored_values())
    del dataset[0x00651050]
    path = write([dataset], tmp_path)[0]
    with pytest.raises(errors.UnsupportedImage, match=r"United Imaging grid, without \(0065,1050\)"):
        read_dicom(path)


def test_positions_of_other_tiles_than_there_are(tmp_path):
    dataset = grid(stored_values())
    dataset[0x00651051].value.pop()
    path = write([dataset], tmp_path)[0]
    with pytest.raises(errors.DamagedFile, match=r"Volume is 5, \(0065,1051\) MR VFrame Sequence has 4 items"):
        read_dicom(path)


def test_tiles_that_do_not_fill_the_image(tmp_path):
    dataset = grid(stored_values())
    dataset.Columns, dataset.Rows = dataset.Rows, dataset.Columns
    path = write([dataset], tmp_path)[0]
    with pytest.raises(errors.DamagedFile, match="5 tiles cannot fill 21 x 12 pixels evenly"):
        read_dicom(path)


def test_a_tile_without_a_position(tmp_path):
    dataset = grid(stored_values())
    del dataset[0x00651051].value[2].ImagePositionPatient
    path = write([dataset], tmp_path)[0]
    with pytest.raises(errors.MissingGeometry, match=r"\(0020,0032\) ImagePositionPatient is absent"):
        read_dicom(path)
