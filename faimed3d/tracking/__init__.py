"""What each torch operation does to the geometry of a volume.

A *grid* (``faimed3d.tracking.grid``) is what is known of the last three axes (D, H, W) of a tensor: nothing, one
``Geometry``, or one for each item of a batch.

``TrackedTensor`` asks ``track`` for the grid of every result, and ``track`` asks the rule of the operation. A rule has
the signature of its operation, after the input (an ``Operand``) and the result. **An operation without a rule has no
grid**, so forgetting one loses geometry and never falsifies it. Operations that compute each voxel from the one at the
same index (torch tags them ``pointwise``) keep the grid; where two operands with different grids meet, the result has
none.

- ``grid``: the value, and the one function that attaches it to a tensor.
- ``rules``: the table of rules, and ``track``.
- ``axes``, ``indexing``, ``elementwise``, ``combining``, ``regridding``: the rules.
- ``tensor``: the tensor type.

Conventions of axes and of the world frame: ``faimed3d.geometry``.
"""

from faimed3d.tracking import axes, combining, elementwise, regridding  # noqa: F401  each fills the table of rules
from faimed3d.tracking.grid import Grid, attach_grid, current_grid, fits_shape, is_tracked  # noqa: F401
from faimed3d.tracking.tensor import TrackedTensor

__all__ = ["TrackedTensor"]  # the rest is for the types of ``faimed3d.volume``
