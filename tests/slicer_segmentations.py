"""Segmentations as 3D Slicer writes them (.seg.nrrd), byte by byte."""

import numpy as np


def write_segmentation(path, layers, segments):
    """Write layers (L, D, H, W), or (D, H, W), of uint8 and their segments (name, label, layer); 1 x 2 x 3 mm."""
    layers = np.asarray(layers, np.uint8)
    several = layers.ndim == 4
    sizes = layers.shape[::-1] if not several else (len(layers), *layers.shape[:0:-1])
    head = [
        *("NRRD0004", "type: unsigned char", f"dimension: {layers.ndim}", "space: left-posterior-superior"),
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {'none ' if several else ''}(1,0,0) (0,2,0) (0,0,3)",
        *(f"kinds: {'list ' if several else ''}domain domain domain", "encoding: raw", "space origin: (5,6,7)"),
    ]
    for number, (name, label, layer) in enumerate(segments):
        head += [f"Segment{number}_Name:={name}", f"Segment{number}_Color:=1 0 0"]
        if label is not None:  # as Slicer does since 4.11
            head += [f"Segment{number}_LabelValue:={label}", f"Segment{number}_Layer:={layer}"]
    voxels = np.moveaxis(layers, 0, -1) if several else layers
    path.write_bytes(("\n".join(head) + "\n\n").encode() + voxels.tobytes())
    return path
