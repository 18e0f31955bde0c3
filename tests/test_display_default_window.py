"""A CT is shown with the window of its header, or of soft tissue; what is none, from its minimum to its maximum."""

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from dicom_series import make_series, write

from faimed3d.basics import TensorDicom3D, TensorMask3D, normalize, show_images_3d

HU = torch.linspace(-1100, 1500, 2 * 6 * 10).reshape(2, 6, 10)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def limits(t, **kwargs):
    return t.show(**kwargs).images[0].get_clim()


def ct_in_a_file(folder, **tags):
    """A series of HU; the tags go into every header."""
    stored = np.resize(np.array([24, 1024, 1100, 2000], np.uint16), (2, 3, 4))  # -1000, 0, 76, 976 HU
    write(make_series(stored, RescaleIntercept=-1024, RescaleSlope=1, **tags), folder)
    return TensorDicom3D.create(folder)


def test_hounsfield_units_are_shown_with_the_window_of_soft_tissue():
    assert limits(TensorDicom3D(HU)) == (40 - 375 / 2, 40 + 375 / 2)


@pytest.mark.parametrize(
    ("centre", "width", "shown"),
    [
        (300, 2000, (-700, 1300)),
        ([60, 300], [120, 2000], (0, 120)),
        (None, None, (-147.5, 227.5)),
        (40, 0, (-147.5, 227.5)),
    ],
)
def test_the_first_window_of_the_header_is_taken_where_there_is_one(tmp_path, centre, width, shown):
    tags = {} if centre is None else {"WindowCenter": centre, "WindowWidth": width}
    assert limits(ct_in_a_file(tmp_path / "ct", Modality="CT", **tags)) == shown


def test_an_image_of_another_modality_with_such_values_is_shown_in_full(tmp_path):
    assert limits(ct_in_a_file(tmp_path / "mr", Modality="MR", WindowCenter=40, WindowWidth=400)) == (-1000, 976)


@pytest.mark.parametrize(
    "image",
    [
        normalize(TensorDicom3D(HU)),
        TensorDicom3D(HU - HU.min()),  # no air
        TensorDicom3D(torch.linspace(-4096, 4095, 1000).reshape(10, 10, 10)),  # a phase image
        TensorDicom3D(HU.clamp(max=50)),
    ],
)
def test_what_is_no_ct_is_shown_from_minimum_to_maximum(image):
    assert limits(image) == (float(image.min()), float(image.max()))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"window": "full"}, (-1100, 1500)),
        ({"window": "lung"}, (-1350, 150)),
        ({"vmin": -5}, (-5, 1500)),
        ({"window": (10, 20)}, (0, 20)),
    ],
)
def test_what_is_asked_for_is_shown(given, shown):
    assert limits(TensorDicom3D(HU), **given) == shown


def test_all_of_a_batch_of_ct_have_one_window():
    ax = show_images_3d(torch.stack([HU, HU + 20]))
    assert ax.images[0].get_clim() == (-147.5, 227.5)


@pytest.mark.parametrize("kind", [TensorDicom3D, TensorMask3D])
def test_a_slice_is_shown_as_it_is_stored(kind):
    volume = kind(torch.arange(24).reshape(2, 3, 4))
    picture = volume[1].show().images[0]
    assert picture.get_array().shape == (3, 4)
    assert picture.axes.get_aspect() == 1
    if kind is TensorDicom3D:
        assert picture.get_array().tolist() == volume[1].tolist()


def test_show_lists_its_arguments():
    names = set(inspect.signature(TensorDicom3D.show).parameters)
    assert {"axis", "mask", "window", "letters", "max_slices"} <= names
    assert "kwargs" not in names


@pytest.mark.parametrize(
    ("given", "slices", "columns"), [({}, 30, 3), ({"nrow": 5}, 64, 5), ({"max_slices": 4}, 4, 4), ({"axis": 0}, 2, 2)]
)
def test_strips_are_few_and_large(given, slices, columns):
    slab = TensorDicom3D(torch.rand(2, 64, 64))
    picture = slab.show(**{"axis": 1, **given}).images[0].get_array()
    rows, height, width = -(-slices // columns), (64 if given.get("axis") == 0 else 2), 64
    assert picture.shape == (rows * (height + 2) + 2, columns * (width + 2) + 2)
