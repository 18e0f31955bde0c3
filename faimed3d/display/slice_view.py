"""One slice of a volume on matplotlib axes, made for scrolling; the viewers with sliders stand on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from faimed3d.display.arrays import Limits, Voxels, as_array, geometry_of, value_range
from faimed3d.display.colors import color_index
from faimed3d.display.layout import PLANES, Mosaic, lay_out, lay_over
from faimed3d.display.mosaics import show_image_3d


class SliceView:
    """One slice of a volume on matplotlib axes, with labels over it, made for scrolling: no widgets.

    The axes get one image for the volume and one for the labels; for another slice or window their data are changed and
    nothing is drawn anew.

    Args:
        ax: axes.
        image: volume (D, H, W), tensor or array.
        labels: classes on the same grid, however stored, or None.
        axis: storage axis 0, 1, 2, or 'axial', 'coronal', 'sagittal'.
        limits: (low, high), the values that become black and white. Default: smallest and largest finite value.
        mask_alpha: opacity of the labels, 0 to 1.
        cmap: colour map of the image.

    Raises:
        ValueError: the labels do not lie on the image's grid.
    """

    def __init__(
        self,
        ax: Axes,
        image: Voxels,
        labels: Voxels | None = None,
        axis: int | str = 0,
        limits: Limits | None = None,
        mask_alpha: float = 0.4,
        cmap: str = "bone",
    ) -> None:
        self.ax, self.image, self.mask_alpha, self.cmap = ax, image, mask_alpha, cmap
        self.labels = None if labels is None else stored_alike(labels, image)
        self.limits = limits or value_range(as_array(image))
        self.set_axis(axis)

    def set_axis(self, axis: int | str) -> None:
        """Cut along another axis, and show the middle slice."""
        geometry = geometry_of(self.image)
        self._layout = lay_out(tuple(self.image.shape), geometry, axis)
        self.storage_axis, self.count = self._layout.order[0], self._layout.extent[0]
        self.number = self.count // 2
        self.ax.clear()
        cut = (*(slice(None),) * self.storage_axis, slice(self.number, self.number + 1))
        show_image_3d(
            self.image[cut],
            ax=self.ax,
            axis=axis,
            cmap=self.cmap,
            mask=None if self.labels is None else self.labels[cut],
            mask_alpha=self.mask_alpha,
            letters=geometry is not None and geometry.stated,
            **dict(zip(("vmin", "vmax"), self.limits, strict=True)),
        )

    def set_slice(self, number: int) -> None:
        """Show the slice with this index along the axis, as the tensor counts."""
        self.number = number
        shown, *over = self.ax.images
        shown.set_data(self._slice(self.image))
        if self.labels is not None:
            over[0].set_data(np.ma.masked_equal(color_index(self._slice(self.labels)), 0))

    def set_limits(self, low: float, high: float) -> None:
        """Make ``low`` and all below it black, ``high`` and all above it white."""
        self.limits = low, high
        self.ax.images[0].set_clim(low, high)

    def set_alpha(self, alpha: float) -> None:
        """Set the opacity of the labels; 0 hides them."""
        self.mask_alpha = alpha
        for image in self.ax.images[1:]:
            image.set(alpha=alpha, visible=alpha > 0)

    @property
    def plane(self) -> int | str:
        """The name of the plane that is cut, or the storage axis where the volume has no geometry."""
        return self.storage_axis if geometry_of(self.image) is None else PLANES[self._layout.plane]

    def in_order(self) -> list[int]:
        """All slices, as the tensor counts, from feet to head, front to back or right to left."""
        return list(range(self.count))[:: -1 if 0 in self._layout.flips else 1]

    def _slice(self, volume: Voxels) -> np.ndarray:
        """The slice as it is drawn: (rows, columns)."""
        k = self.count - 1 - self.number if 0 in self._layout.flips else self.number
        return next(replace(self._layout, slices=(k,)).cut(as_array(volume)))


def stored_alike(labels: Any, image: Voxels) -> Any:  # what has a geometry has reorient
    """The labels in the storage order of the image, once it is sure that they lie on its grid."""
    here, there = geometry_of(labels), geometry_of(image)
    layout = lay_out(tuple(image.shape), there, 0)
    lay_over(Mosaic((layout,), 1), [tuple(labels.shape)], [here])
    return labels if here is None or there is None else labels.reorient(there.orientation)
