"""RT Structure Sets: contours of regions of interest (ROIs) to voxels on the grid of an image.

Imports run from ``rois``, which reads the file, over ``placing`` (contours to planes of a grid) and ``filling``
(polygons to pixels) to ``reading``, what users call.
"""
