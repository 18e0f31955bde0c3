"""Pictures of volumes: mosaics of slices, figures, sweeps, surfaces of masks, histograms; sliders.

Slices are drawn in true proportions and right way up, with masks laid over them; :mod:`faimed3d.display.layout` says
how a volume is oriented in a picture.
"""

from faimed3d.display.colors import class_color
from faimed3d.display.distribution import show_histogram, summarize
from faimed3d.display.figures import figure_3d
from faimed3d.display.mosaics import show_image_3d, show_images_3d, show_volume
from faimed3d.display.rendering import mesh, render_3d
from faimed3d.display.surfaces import surface
from faimed3d.display.sweeps import sweep_3d

__all__ = [
    "class_color",
    "figure_3d",
    "mesh",
    "render_3d",
    "show_histogram",
    "show_image_3d",
    "show_images_3d",
    "show_volume",
    "summarize",
    "surface",
    "sweep_3d",
]
