"""What Sphinx asks while it builds: where a name in a docstring leads, and which words of the prose are names."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from api_pages import homes, linked_names
from docutils import nodes
from sphinx.addnodes import pending_xref


def thing_called(name: str) -> Any:
    """The thing with a full name of a module, class or function of faimed3d, or None."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            thing = import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            thing = getattr(thing, part, None)
        return thing
    return None


def resolve(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Lead a reference in a docstring to the page of what it means; private things are named and not linked."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py":
        return None
    module, owner = node.get("py:module") or "", node.get("py:class") or ""
    source = getattr(thing_called(f"{module}.{owner}".strip(".")), "__module__", module)
    for name in (target, f"{source}.{target}", f"faimed3d.{target}", f"{module}.{owner}.{target}"):
        thing = thing_called(name) if name.startswith("faimed3d.") else None
        if thing is None:
            continue
        home = homes().get(id(thing))
        if home is None:
            return content
        domain = env.get_domain("py")
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, content) or content
    return None


def without_self(app: Any, what: str, name: str, thing: Any, options: Any, signature: str, returns: str) -> Any:
    """The arguments of a class as users write them: fastai's classes list ``self`` among them."""
    if what == "class" and signature and signature.startswith("(self"):
        return "(" + signature.removeprefix("(self").removeprefix(", "), returns
    return None


def link_names(app: Any, doctree: Any) -> None:
    """Link each public name that is written as code to its page, but not in titles, in links and on its own page."""
    here = app.env.docname.removeprefix("docs/api/")
    for literal in list(doctree.findall(nodes.literal)):
        home = linked_names().get(literal.astext().removesuffix("()"))
        parent: Any = literal.parent
        while parent is not None and not isinstance(parent, nodes.title | nodes.reference | pending_xref):
            parent = parent.parent
        if home is None or home == here or parent is not None:
            continue
        link = pending_xref("", refdomain="py", reftype="obj", reftarget=home, refexplicit=True, refdoc=app.env.docname)
        literal.replace_self(link)
        link += literal
