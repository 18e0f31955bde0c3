"""DICOM Segmentation objects: their planes, their bits, and how one is written.

The modules stand at three heights of the package, so this door exports none of them; imports run one way:

- ``planes`` is one of the kinds of file that ``faimed3d.dicom.image_planes`` knows, below the grouping of planes;
- ``segment_names`` needs headers alone;
- ``decoding`` lies beside the decoding of other pixels;
- ``writing`` lies above the reading of volumes, for what it writes is read back.
"""
