"""Pages of the API reference: one for each room, one for each public name, made from the ``__all__`` of the rooms."""

from __future__ import annotations

import inspect
import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import faimed3d

OLD = "legacy"  # names of 0.0.6 that `import faimed3d` gives and no room offers
NOT_DOCUMENTED = {"encodes", "decodes", "setups"}  # fasttransform calls them
KINDS = {"class": "autoclass", "exception": "autoexception", "function": "autofunction", "data": "autodata"}


@cache
def rooms() -> dict[str, dict[str, Any]]:
    """The public names of each room and what they are. `basics`, which offers names of other rooms, is the last."""
    found = {}
    for _, room, _ in pkgutil.iter_modules(faimed3d.__path__):
        names = getattr(import_module(f"faimed3d.{room}"), "__all__", ()) if not room.startswith("_") else ()
        if names and room != "all":
            found[room] = {name: getattr(import_module(f"faimed3d.{room}"), name) for name in names}
    found["basics"] = found.pop("basics")
    offered = {id(thing) for things in found.values() for thing in things.values()}
    every = {name: getattr(faimed3d, name) for name in faimed3d.__all__}
    found[OLD] = {name: thing for name, thing in every.items() if id(thing) not in offered}
    return found


@cache
def homes() -> dict[int, str]:
    """The full name under which each public thing, by its id, has its page."""
    found: dict[int, str] = {}
    for room, things in rooms().items():
        for name, thing in things.items():
            found.setdefault(id(thing), f"faimed3d.{name}" if room == OLD else f"faimed3d.{room}.{name}")
    return found


def kind_of(thing: Any) -> str:
    """What a thing is, in Sphinx's words."""
    if inspect.isclass(thing):
        return "exception" if issubclass(thing, BaseException) else "class"
    return "function" if callable(thing) else "data"


def members_of(thing: Any) -> list[str]:
    """The methods of a class that users call, its own and those that it has of classes of ours; not those of 0.0.6."""
    found: dict[str, None] = {}
    for owner in thing.__mro__:
        if not owner.__module__.startswith("faimed3d") or owner.__module__.startswith("faimed3d.legacy"):
            continue
        for name, member in vars(owner).items():
            function = getattr(member, "__func__", getattr(member, "fget", member))
            public = not name.startswith("_") and name not in NOT_DOCUMENTED
            if public and (inspect.isfunction(function) or isinstance(member, property)) and function.__doc__:
                found.setdefault(name)
    return list(found)


def first_sentence(thing: Any) -> str:
    """What a thing is, in a line."""
    if kind_of(thing) == "data":
        return ""
    text = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".:") + "."


def heading(text: str) -> str:
    """A title in reStructuredText."""
    return f"{text}\n{'=' * len(text)}\n"


def page_of(home: str, thing: Any) -> str:
    """The page of one name."""
    room, _, name = home.rpartition(".")
    lines = [":orphan:", "", heading(name)]
    there = OLD if room == "faimed3d" else room.partition(".")[2]
    lines += [f":doc:`{room} <faimed3d.{there}>`", "", ".. code-block:: python", ""]
    lines += [f"   from {room} import {name}", "", f".. {KINDS[kind_of(thing)]}:: {home}"]
    if inspect.isclass(thing) and (members := members_of(thing)):
        lines.append(f"   :members: {', '.join(members)}")
    return "\n".join([*lines, ""])


def page_of_room(room: str) -> str:
    """The page of a room: its docstring, and a table of its names."""
    lines = [heading(f"faimed3d.{room}"), f".. automodule:: faimed3d.{room}", ""]
    lines += [".. list-table::", "   :widths: 30 70", ""]
    for name, thing in sorted(rooms()[room].items(), key=lambda item: item[0].lower()):
        lines += [f"   * - :doc:`{name} <{homes()[id(thing)]}>`", f"     - {first_sentence(thing)}"]
    return "\n".join([*lines, ""])


def pages() -> dict[str, str]:
    """The text of every page, by its name."""
    found = {f"faimed3d.{room}": page_of_room(room) for room in rooms()}
    for things in rooms().values():
        found.update({homes()[id(thing)]: page_of(homes()[id(thing)], thing) for thing in things.values()})
    listed = "\n".join(f"   faimed3d.{room}" for room in sorted(rooms()))
    start = "Every public name, by the room it is in. ``import faimed3d`` gives most of them, as does ``faimed3d.all``."
    found["index"] = f"{heading('API reference')}\n{start}\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}\n"
    return found


def write(folder: Path) -> None:
    """Write the pages; those that are as they should be stay, so that Sphinx does not build them again."""
    folder.mkdir(exist_ok=True)
    texts = {f"{name}.rst": text for name, text in pages().items()}
    for file in folder.glob("*.rst"):
        if file.name not in texts:
            file.unlink()
    for name, text in texts.items():
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text:
            (folder / name).write_text(text, encoding="utf-8")


@cache
def linked_names() -> dict[str, str]:
    """Names that prose writes as code, and the page of each: full names, and those that no common word is."""
    found = {}
    for room, things in rooms().items():
        for name, thing in things.items():
            home = homes()[id(thing)]
            found[home] = found[f"faimed3d.{room}.{name}"] = home
            if name != name.lower() or "_" in name:
                found.setdefault(name, home)
    return found
