"""The viewer in a notebook: an anywidget whose state is Python's and whose bytes are sent when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from faimed3d._extras import import_extra
from faimed3d.browser.engine import packed_engine, style_source, viewer_source

Answer = tuple[dict[str, Any], list[bytes]]


@cache
def _widget_class() -> type:
    anywidget, t = import_extra("anywidget", "viewer", "view_3d"), import_extra("traitlets", "viewer", "view_3d")

    class ViewerWidget(anywidget.AnyWidget):  # type: ignore[name-defined]  # it is imported where it is used
        _esm = viewer_source()
        _css = style_source()
        height = t.Int(560).tag(sync=True)
        number = t.Int(0).tag(sync=True)
        position = t.List(t.Float()).tag(sync=True)
        window = t.List(t.Float()).tag(sync=True)
        channel = t.Int(0).tag(sync=True)
        shown = t.Int(0).tag(sync=True)
        opacity = t.Float(0.5).tag(sync=True)
        outline = t.Bool(False).tag(sync=True)
        plane = t.Unicode("all").tag(sync=True)
        zoom = t.Float(1.0).tag(sync=True)
        blend = t.Float(0.5).tag(sync=True)
        beside = t.Bool(False).tag(sync=True)
        hidden = t.List(t.Int()).tag(sync=True)

    return ViewerWidget


def make_widget(
    state: Mapping[str, Any],
    height: int,
    answer: Callable[[str, int, bool], Answer],
    changed: Callable[[str, Any], None],
    heads: Sequence[str] = (),
) -> Any:  # an anywidget
    """A widget that starts in a state, tells its changes, and hands on what the browser asks for.

    Args:
        state: the values of its traits.
        height: in pixels.
        answer: from a question, ``'case'`` or ``'surfaces 0'``, the number of the case, and whether the browser draws
            without a graphics card, to JSON and files.
        changed: called with the name and value of a trait that the browser has changed.
        heads: HTML of the entries of a list of cases.
    """
    widget = _widget_class()(height=height, **state)

    def reply(_: Any, question: Any, buffers: Any) -> None:  # whatever the browser sends
        if not isinstance(question, dict) or "what" not in question:
            return
        what = question["what"]
        if what == "engine":
            described, files = {"heads": list(heads)}, [packed_engine()] if question.get("packed", True) else []
        else:
            described, files = answer(what, question.get("case", 0), question.get("slow", False))
        widget.send({"number": question.get("number"), **described}, files)

    widget.on_msg(reply)
    widget.observe(lambda change: changed(change["name"], change["new"]), list(state))
    return widget
