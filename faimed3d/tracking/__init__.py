"""The table: what each torch operation does to the geometry of a volume.

A *grid* (``faimed3d.tracking.grid``) says where a tensor's last three axes (D, H, W) lie: nowhere known, in one
``Geometry``, or in one per item of a batch.

``track`` looks the operation up in the ``table`` and returns the grid of the result. A rule has the signature of its
operation, after the input (``Placed``) and the result. **An operation without a rule has no grid**, so forgetting one
loses geometry and never falsifies it. Operations that compute each voxel from the voxel at the same place (torch tags
them ``pointwise``) keep the grid; where two operands with different grids meet, the result has none.

Conventions of axes and of the world frame: ``faimed3d.geometry``.
"""

from faimed3d.tracking import axes, elementwise, joins, regridding, rules  # each fills the table
from faimed3d.tracking.grid import fits, grid_of
from faimed3d.tracking.tensor import TrackedTensor

__all__ = ["TrackedTensor", "axes", "elementwise", "fits", "grid_of", "joins", "regridding", "rules"]
