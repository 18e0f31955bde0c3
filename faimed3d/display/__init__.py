"""Pictures of volumes: mosaics of slices in true proportions, right way up, with masks laid over them."""

from faimed3d.display.grids import class_color, show_image_3d, show_images_3d, show_volume

__all__ = ["class_color", "show_image_3d", "show_images_3d", "show_volume"]
