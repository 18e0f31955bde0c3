"""RT Structure Sets: contours of regions of interest (ROIs) to voxels on the grid of an image, and back.

Reading: imports run from ``rois``, which reads the file, over ``placing`` (contours to planes of a grid) and
``filling`` (polygons to pixels) and ``between`` to ``reading``, what users call. Writing: from ``outlining`` (pixels to
polygons) over ``drawing`` (classes of a mask to contours on planes of images) to ``rtstruct_writing``, which reads back
what it wrote.
"""
