"""Image planes in the patient: what one file, frame or tile of each kind of DICOM object says of its position.

``plane`` holds the type; the other modules make planes of one kind of object each. ``faimed3d.dicom.image_planes``
decides which of them a file needs.
"""

from faimed3d.dicom.planes.plane import PIXEL_MM, Plane, Rescale, orientation_name, plane_axes

__all__ = ["PIXEL_MM", "Plane", "Rescale", "orientation_name", "plane_axes"]
