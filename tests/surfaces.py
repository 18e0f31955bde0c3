"""What a drawn surface consists of."""

import numpy as np


def triangles(collection):
    """Corners (M, 3, 3) of the faces of a ``Poly3DCollection``; matplotlib has no public name for them."""
    if hasattr(collection, "_faces"):
        return np.asarray(collection._faces)
    return collection._vec[:3].T.reshape(-1, 3, 3)  # before 3.11
