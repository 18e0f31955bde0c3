"""Several views with a list of them: in a notebook, or saved as one page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faimed3d._keywords import strict_keywords
from faimed3d.browser.list_heads import head_of
from faimed3d.browser.view import View3D, share_of, write_page
from faimed3d.browser.widget import Answer, make_widget


@dataclass(frozen=True, slots=True)
class ListedView:
    """A view as it stands in a list.

    Args:
        name: of the case.
        view: what is shown where it is chosen.
        facts: lines below its small picture.
        flags: what a reader should look at, in another colour.
        rank: the smallest comes first; equal ones in the order in which they are given.
    """

    name: str
    view: View3D
    facts: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    rank: float = 0.0

    @property
    def head(self) -> str:
        """HTML of its entry in the list."""
        return head_of(self.name, self.view.case, self.view.position, self.facts, self.flags)


class CaseList:
    """Views of several cases, one of which is shown beside the list of all.

    Args:
        listed: the cases.
    """

    def __init__(self, listed: Sequence[ListedView]) -> None:
        self.listed = sorted(listed, key=lambda one: one.rank)
        self._made: Any = None  # the anywidget, once it is shown

    def __repr__(self) -> str:
        return f"CaseList({len(self.listed)} cases)"

    @property
    def widget(self) -> Any:  # an anywidget
        """The widget, for use within others of ipywidgets."""
        if self._made is None:
            first = self.listed[0].view
            heads = [one.head for one in self.listed]
            self._made = make_widget(first.state, first.height, self._answer, self._change, heads)
        return self._made

    def save(self, path: str | Path, title: str = "faimed3d", max_voxels: int = 2**26) -> None:
        """Write all as one HTML file that any browser opens from the disk; as ``save_views``."""
        most = share_of(len(self.listed), max_voxels)
        write_page(path, (one.view.entry(most, one.head, one.rank) for one in self.listed), title)

    def show(self, where: bool | str | os.PathLike[str], title: str = "faimed3d") -> None:
        """Show the list in the notebook, or write the page that is named instead."""
        if isinstance(where, str | os.PathLike):
            self.save(Path(where), title)
        else:
            from IPython.display import display

            display(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # of IPython
        return self.widget._repr_mimebundle_(**kwargs)

    def _change(self, name: str, value: Any) -> None:
        self.listed[self._made.number].view.state[name] = value

    def _answer(self, question: str, number: int, slow: bool) -> Answer:
        view = self.listed[number].view
        described, files = view.answer(question, slow)
        return ({**described, "state": dict(view.state)} if question == "case" else described), files


@strict_keywords
def save_views(path: str | Path, views: Mapping[str, View3D], title: str = "faimed3d", max_voxels: int = 2**26) -> None:
    """Write several views as one HTML file with a list, as ``View3D.save`` does for one.

    Args:
        path: the file, ``.html``; written whole or not at all.
        views: name -> view. The names stand in the list.
        title: of the page.
        max_voxels: of all images together; each is reduced to its share, at most 256^3.

    Raises:
        ValueError: another extension, or no view.

    >>> import tempfile
    >>> import numpy as np
    >>> from faimed3d.browser import view_3d
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_views(f"{folder}/all.html", {"one": view_3d(np.zeros((2, 3, 4))), "two": view_3d(np.ones((2, 3, 4)))})
    """
    if not views:
        raise ValueError("there is no view to save: the mapping is empty")
    CaseList([ListedView(name, view) for name, view in views.items()]).save(path, title, max_voxels)
