"""``view_3d``: a volume in three linked planes, in a notebook, or saved as one file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from faimed3d._atomic import replace_file, unfinished_folder
from faimed3d._keywords import strict_keywords
from faimed3d.browser.case import Case, make_case, value_at
from faimed3d.browser.engine import require_engine
from faimed3d.browser.files import pack, surface_bytes
from faimed3d.browser.page import Entry, page
from faimed3d.browser.reduction import reduced
from faimed3d.browser.widget import Answer, make_widget
from faimed3d.display.arrays import Voxels
from faimed3d.intensity import window_limits

PLANES = ("all", "axial", "coronal", "sagittal", "3d")
_IN_NOTEBOOKS = 512 * 512 * 320  # voxels
_IN_PAGES = 256**3  # voxels


class View3D:
    """A volume as the browser shows it: made by :func:`view_3d`, shown as the last line of a cell.

    What one does with the mouse is seen in Python, and what is set here is seen in the browser.

    Args:
        case: what is shown.
        height: of the viewer in a notebook, in pixels.
        max_voxels: of the largest volume that is sent to the browser; as of :func:`view_3d`.
        opacity: of masks, 0 to 1.

    >>> v = view_3d(np.arange(24.0).reshape(2, 3, 4))
    >>> v.position = (3, 2, 1)  # (x, y, z) mm, LPS
    >>> v.value
    23.0
    """

    def __init__(self, case: Case, height: int = 560, max_voxels: int | None = None, opacity: float = 0.5) -> None:
        self._case, self.height, self._max_voxels = case, height, max_voxels
        self._made: Any = None  # the anywidget, once it is shown
        self._sent: Case | None = None
        classes = case.labels[0].classes if case.labels else ()
        middle = case.geometry.index_to_world(np.array(case.geometry.shape) // 2).tolist()
        position = max(classes, key=lambda one: one.mm3).position if classes else middle
        self.state: dict[str, Any] = {
            "position": [float(part) for part in position],
            "window": list(case.pictures[0].windows[0]),
            "channel": 0,
            "shown": 0,
            "opacity": _share("opacity", opacity),
            "outline": False,
            "plane": "all",
            "beside": False,
        }

    def __repr__(self) -> str:
        shape = "x".join(map(str, self._case.geometry.shape))
        masks = [f"{labels.name} of {len(labels.classes)} classes" for labels in self._case.labels]
        return f"View3D({', '.join([f'{shape} voxels (D, H, W)', *masks])})"

    @property
    def position(self) -> tuple[float, float, float]:
        """(x, y, z) mm, LPS, of the crosshair."""
        x, y, z = self.state["position"]
        return x, y, z

    @position.setter
    def position(self, position: Sequence[float]) -> None:
        try:
            x, y, z = (float(part) for part in position)
        except (TypeError, ValueError):
            raise ValueError(f"position must be three numbers (x, y, z) in mm, LPS, got {position!r}") from None
        if value_at(self._case, (x, y, z)) is None:
            ends = self._case.geometry.index_to_world(
                np.stack([np.zeros(3), np.array(self._case.geometry.shape) - 1])
            ).round(1)
            raise ValueError(
                f"position {(x, y, z)} mm lies outside of the volume, whose first and last voxel lie at "
                f"{tuple(ends[0].tolist())} and {tuple(ends[1].tolist())} mm"
            )
        self._set("position", [x, y, z])

    @property
    def value(self) -> float | None:
        """The value of the image in the voxel under the crosshair, in the volume as it was given."""
        return value_at(self._case, self.state["position"], self.state["channel"])

    @property
    def window(self) -> tuple[float, float]:
        """(centre, width) of the grey values; set also by a name of ``faimed3d.intensity.WINDOWS``."""
        centre, width = self.state["window"]
        return centre, width

    @window.setter
    def window(self, window: str | Sequence[float]) -> None:
        low, high = window_limits(window)
        self._set("window", [(low + high) / 2, high - low])

    @property
    def channel(self) -> int:
        """The channel or time point that is shown, from 0."""
        return self.state["channel"]

    @channel.setter
    def channel(self, channel: int) -> None:
        count = len(self._case.pictures[0].voxels)
        if channel not in range(count):
            raise ValueError(f"channel must be 0 to {count - 1}, got {channel!r}")
        self._set("channel", int(channel))
        self._set("window", list(self._case.pictures[0].windows[int(channel)]))

    @property
    def plane(self) -> str:
        """'all' three planes, or one: 'axial', 'coronal', 'sagittal', or '3d'."""
        return self.state["plane"]

    @plane.setter
    def plane(self, plane: str) -> None:
        if plane not in PLANES:
            raise ValueError(f"plane must be one of {', '.join(PLANES)}, got {plane!r}")
        self._set("plane", plane)

    @property
    def shown(self) -> str | None:
        """The mask that lies over the image: 'mask', 'other', 'errors' (or the ``names`` given), None for no mask."""
        number = self.state["shown"]
        return self._case.labels[number].name if 0 <= number < len(self._case.labels) else None

    @shown.setter
    def shown(self, name: str | None) -> None:
        names = [labels.name for labels in self._case.labels]
        if name is not None and name not in names:
            raise ValueError(f"shown must be one of {', '.join(names) or 'no masks'}, or None, got {name!r}")
        self._set("shown", -1 if name is None else names.index(name))

    @property
    def opacity(self) -> float:
        """Of masks, 0 to 1."""
        return self.state["opacity"]

    @opacity.setter
    def opacity(self, opacity: float) -> None:
        self._set("opacity", _share("opacity", opacity))

    @property
    def outline(self) -> bool:
        """Whether only the outlines of classes are drawn."""
        return self.state["outline"]

    @outline.setter
    def outline(self, outline: bool) -> None:
        self._set("outline", bool(outline))

    @property
    def beside(self) -> bool:
        """Whether the second image, or the second mask, is shown beside the first and not over it."""
        return self.state["beside"]

    @beside.setter
    def beside(self, beside: bool) -> None:
        self._set("beside", bool(beside))

    @property
    def widget(self) -> Any:  # an anywidget
        """The widget, for use within others of ipywidgets.

        Raises:
            ImportError: anywidget is not installed.
        """
        if self._made is None:
            self._made = make_widget(
                self.state, self.height, lambda question, _, slow: self.answer(question, slow), self.state.__setitem__
            )
        return self._made

    def save(self, path: str | Path, max_voxels: int = _IN_PAGES, title: str = "faimed3d") -> None:
        """Write one HTML file that any browser opens from the disk: no server, no network, the same controls.

        It holds the image, the masks, the names and volumes of classes, and nothing of any header. It holds the image
        itself, in which a face can be seen.

        Args:
            path: the file, ``.html``; written whole or not at all.
            max_voxels: a larger volume is reduced to at most this many voxels, and the page says so.
            title: of the page.

        Raises:
            ValueError: another extension.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     view_3d(np.zeros((2, 3, 4))).save(f"{folder}/case.html")
        """
        write_page(path, [self.entry(max_voxels)], title)

    def entry(self, max_voxels: int = _IN_PAGES, head: str = "", rank: float = 0) -> Entry:
        """The case as one of a page.

        Args:
            max_voxels: of the image in the page.
            head: HTML of its entry in the list of cases.
            rank: the smallest comes first in the list.
        """
        return Entry(reduced(self._case, max_voxels), dict(self.state), head, rank)

    @property
    def case(self) -> Case:
        """What is shown, as plain arrays."""
        return self._case

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # of IPython
        return self.widget._repr_mimebundle_(**kwargs)

    def _set(self, name: str, value: Any) -> None:
        self.state[name] = value
        if self._made is not None:
            setattr(self._made, name, value)

    def answer(self, question: str, slow: bool = False) -> Answer:
        """What the browser asks for, as JSON and files.

        Args:
            question: ``'case'``, or ``'surfaces 0'`` of a mask.
            slow: whether the browser draws without a graphics card.
        """
        if self._sent is None:
            most = (_IN_PAGES if slow else _IN_NOTEBOOKS) if self._max_voxels is None else self._max_voxels
            self._sent = reduced(self._case, most)
        what, _, number = question.partition(" ")
        if what == "surfaces":
            return {}, surface_bytes(self._sent.labels[int(number)], self._sent.geometry)
        described, files = pack(self._sent)
        return {"described": described}, files


def write_page(path: str | Path, entries: Iterable[Entry], title: str) -> None:
    """Write a page of cases, whole or not at all.

    Args:
        path: the file, ``.html``.
        entries: the cases.
        title: of the page.

    Raises:
        ValueError: another extension.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a viewer is saved as .html, got {os.fspath(path)!r}")
    with unfinished_folder(path) as folder:
        made = Path(folder) / "page.html"
        with open(made, "w", encoding="utf-8") as file:
            file.writelines(page(entries, title))
        replace_file(str(made), os.path.abspath(path))


def share_of(count: int, max_voxels: int = 2**26) -> int:
    """The voxels of each of ``count`` images in a page that holds ``max_voxels`` in all, at most 256^3."""
    return max(1, min(_IN_PAGES, max_voxels // max(1, count)))


@strict_keywords
def view_3d(
    volume: Voxels,
    mask: Voxels | None = None,
    other: Voxels | None = None,
    *,
    window: str | Sequence[float] | None = None,
    names: tuple[str, str] = ("mask", "other"),
    opacity: float = 0.5,
    height: int = 560,
    max_voxels: int | None = None,
) -> View3D:
    """Look through a volume with the mouse: three linked planes in the patient's orientation, masks, surfaces.

    A click or drag moves the crosshair, whose millimetres and values are below. The wheel scrolls slices and with Ctrl
    zooms; Shift and drag moves the picture. A drag with the right button changes the window: across its width, up its
    centre; a double click takes back. A click on a class goes there, one on its colour hides it. An oblique volume is
    drawn in its own planes, each named after the patient's plane nearest to it, as by ``show_image_3d``.

    Args:
        volume: image (D, H, W), or (C, D, H, W) with channels or time points; or a mask.
        mask: labels (D, H, W), or regions (R, D, H, W), on the same grid, however stored; their colours are
            those of all other pictures.
        other: a second image, which is blended over the first or shown beside it; or a second mask, such as a
            prediction: then the errors against ``mask`` can be shown, in three colours. What is no tensor of a mask or
            of bool counts as one if it holds whole numbers and ``mask`` is given.
        window: grey values at first, as a name in ``faimed3d.intensity.WINDOWS`` or (centre, width). Default: a CT with
            the window of its DICOM header, else with that of soft tissue; anything else without the outermost half
            percent of its values at both ends.
        names: how ``mask`` and ``other`` are called.
        opacity: of masks, 0 to 1.
        height: of the viewer in a notebook, in pixels.
        max_voxels: a larger volume is reduced for the browser to at most this many voxels, and the viewer says so.
            Default: 512 x 512 x 320, and 256 x 256 x 256 for a browser that draws without a graphics card.

    Returns:
        The view: shown as the last line of a cell, saved with ``.save("case.html")``, with ``position`` and ``window``.

    Raises:
        ImportError: ipyniivue is not installed.
        TypeError: no array of real numbers.
        ValueError: no volume, no labels, a mask on another grid, an unknown window.

    >>> ct = np.full((4, 5, 6), -1000.0)
    >>> view_3d(ct, mask=ct > 0, window="lung").window
    (-600.0, 1500.0)
    """
    require_engine("view_3d")
    return View3D(make_case(volume, mask, other, window, names), height, max_voxels, opacity)


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, got {value!r}")
    return float(value)
