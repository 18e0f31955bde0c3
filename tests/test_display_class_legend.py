"""Pictures name the classes of masks that know their names."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from faimed3d.display import class_color
from faimed3d.volume import TensorDicom3D, TensorMask3D

CODES = {1: "liver", 2: "spleen", 300: "cyst", 4: "absent"}


@pytest.fixture
def image():
    yield TensorDicom3D(torch.rand(3, 4, 5), {"spacing": (1, 2, 3)})
    plt.close("all")


def mask_of(dtype=np.int32, codes=CODES, labels=(1, 300)):
    voxels = np.zeros((3, 4, 5), dtype)
    for number, label in enumerate(labels):
        voxels[1, number, :3] = label
    return TensorMask3D(voxels, {"spacing": (1, 2, 3)}, codes=codes)


def legend_of(place):
    legend = place.get_legend() if hasattr(place, "get_legend") else next(iter(place.legends), None)
    if legend is None:
        return None
    colors = [to_rgb(patch.get_facecolor()) for patch in legend.get_patches()]
    return dict(zip([text.get_text() for text in legend.get_texts()], colors, strict=True))


def test_of_an_overlay_names_what_is_there(image):
    ax = image.show(mask=mask_of())
    assert legend_of(ax.figure) == {"liver": class_color(1), "cyst": class_color(300)}
    assert ax.get_position().y0 > 0  # the legend lies below, not over the slices


def test_of_a_mask_alone_and_of_batches(image):
    assert legend_of(mask_of().show().figure) == {"liver": class_color(1), "cyst": class_color(300)}
    batch = torch.stack([image[None]] * 2)
    assert list(legend_of(batch.show(mask=mask_of()).figure)) == ["liver", "cyst"]


@pytest.mark.parametrize("options", [{"legend": False}, {"mask": None}, {"ctx": True}])
def test_none_where_it_is_not_wanted(image, options):
    if options.pop("ctx", False):
        options["ctx"] = Figure().subplots()
    ax = image.show(**{"mask": mask_of(), **options})
    assert legend_of(ax.figure) is None
    assert legend_of(ax) is None


def test_none_without_names(image):
    assert legend_of(image.show(mask=mask_of(codes=None)).figure) is None
    assert legend_of(image.show(mask=mask_of(labels=())).figure) is None


def test_on_given_axes_when_it_is_asked_for(image):
    ax = image.show(mask=mask_of(np.uint8, labels=(2, 3)), ctx=Figure().subplots(), legend=True)
    assert legend_of(ax) == {"spleen": class_color(2), "class 3": class_color(3)}


def test_has_the_colours_of_another_map(image):
    found = legend_of(mask_of(np.uint8, labels=(1, 2)).show(cmap="tab10").figure)
    assert found == {"liver": to_rgb(plt.get_cmap("tab10")(0)), "spleen": to_rgb(plt.get_cmap("tab10")(1))}
