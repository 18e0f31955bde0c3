"""``sweep_3d``: a film through the slices of a volume, as GIF or MP4."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from fastprogress.fastprogress import progress_bar
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from faimed3d._atomic import replace_file, unfinished_folder
from faimed3d._extras import import_extra
from faimed3d._keywords import strict_keywords
from faimed3d.display.arrays import Voxels
from faimed3d.display.figures import Panels, draw_panels

_KINDS = (".gif", ".mp4")


@strict_keywords
def sweep_3d(
    image: Voxels,
    path: str | Path,
    mask: Voxels | None = None,
    *,
    plane: str | int | None = None,
    window: str | tuple[float, float] | None = None,
    unit: str | None = None,
    cmap: str = "gray",
    mask_alpha: float = 0.4,
    figsize: tuple[float, float] = (5, 6),
    dpi: float = 100,
    fps: float = 10,
    progress: bool = True,
) -> None:
    """Write a film through all slices of a plane, each drawn as by :func:`figure_3d`: scale, sides, values, classes.

    It starts at the feet, at the front or at the right. Nothing of a header goes into the file.

    Args:
        image: volume (D, H, W) or (1, D, H, W); or a mask, which is then shown alone.
        path: the file, ``.gif``, or ``.mp4`` (H.264; extra ``video``); written whole or not at all.
        mask: labels (D, H, W) on the same grid, which are laid over the image.
        plane: 'axial', 'coronal', 'sagittal', or a storage axis 0, 1, 2. Default: axial, without a geometry 0.
        window: grey values to show; as of :func:`figure_3d`, as are ``unit``, ``cmap`` and ``mask_alpha``.
        figsize: largest (width, height) in inches.
        dpi: pixels per inch.
        fps: slices per second; a GIF counts hundredths of a second, and browsers show at most 50.
        progress: show a progress bar.

    Raises:
        ImportError: MP4 without imageio-ffmpeg.
        TypeError, ValueError: as :func:`figure_3d`; another extension.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sweep_3d(np.zeros((2, 3, 4)), f"{folder}/sweep.gif", progress=False)
    """
    kind = Path(path).suffix.lower()
    if kind not in _KINDS:
        raise ValueError(f"a sweep is written as {' or '.join(_KINDS)}, got {os.fspath(path)!r}")
    if not fps > 0:
        raise ValueError(f"fps must be above 0, got {fps!r}")
    if kind == ".mp4":
        import_extra("imageio_ffmpeg", "video", "a sweep as .mp4")
    plane = plane if plane is not None else "axial" if getattr(image, "geometry", None) is not None else 0
    panels = draw_panels(image, mask, plane, "middle", window, unit, cmap, mask_alpha, figsize, whole_legend=True)
    panels.figure.set_dpi(dpi)
    count = panels.views[0].count
    frames: Iterable[np.ndarray] = _frames(panels)
    frames = progress_bar(frames, total=count, leave=False) if progress else frames
    with unfinished_folder(path) as folder:
        made = os.path.join(folder, f"sweep{kind}")
        (_write_gif if kind == ".gif" else _write_mp4)(made, iter(frames), fps)
        replace_file(made, os.path.abspath(path))


def _frames(panels: Panels) -> Iterator[np.ndarray]:
    """The picture (rows, columns, 3) of every slice, in the order in which a reader goes through a patient."""
    canvas = FigureCanvasAgg(panels.figure)
    for number in panels.views[0].in_order():
        panels.show([number])
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3]


def _write_gif(path: str, frames: Iterator[np.ndarray], fps: float) -> None:
    pictures = (Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE) for frame in frames)
    first = next(pictures)
    with open(path, "wb") as file:  # Pillow leaves one that it has opened itself open, where a picture fails
        first.save(file, "GIF", save_all=True, append_images=pictures, duration=round(1000 / fps), loop=0)


def _write_mp4(path: str, frames: Iterator[np.ndarray], fps: float) -> None:
    ffmpeg = import_extra("imageio_ffmpeg", "video", "a sweep as .mp4")
    first = next(frames)
    rows, columns = (size // 2 * 2 for size in first.shape[:2])  # H.264 halves the colours along both
    film = ffmpeg.write_frames(path, (columns, rows), fps=fps, macro_block_size=2, quality=8)
    film.send(None)
    count = 0
    try:
        for frame in chain([first], frames):
            film.send(np.ascontiguousarray(frame[:rows, :columns]))
            count += 1
    finally:
        film.close()
    found, _ = ffmpeg.count_frames_and_secs(path)  # its end may have failed unsaid, as on a full disk
    if found != count:
        raise OSError(f"ffmpeg has written {found} of {count} frames")
