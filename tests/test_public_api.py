"""What users may use is documented, typed, and shown in an example."""

import inspect
import pkgutil
from importlib import import_module

import faimed3d
from faimed3d.errors import ReadError

ROOMS = [name for _, name, _ in pkgutil.iter_modules(faimed3d.__path__) if not name.startswith("_") and name != "all"]
# annotations of these are rules of dispatch: fasttransform chooses by them
DISPATCHED = {"encodes", "decodes", "setups", "create"}  # create becomes a Transform in a TransformBlock


def public_names():
    """(name, object) of all that users may use, each under the first of its names."""
    seen = {}
    for room in ROOMS:
        module = import_module(f"faimed3d.{room}")
        for name in getattr(module, "__all__", ()):
            seen.setdefault(id(getattr(module, name)), (f"{room}.{name}", getattr(module, name)))
    for name in faimed3d.__all__:
        seen.setdefault(id(getattr(faimed3d, name)), (name, getattr(faimed3d, name)))
    return list(seen.values())


def functions_of(name, thing):
    """(name, function, what it is) of a public function, or of what a public class defines itself."""
    if inspect.isfunction(thing):
        yield name, thing
    if inspect.isclass(thing):
        for key, value in vars(thing).items():
            value = getattr(value, "__func__", getattr(value, "fget", value))
            public = key == "__init__" or not (key.startswith("_") or key in DISPATCHED)
            if public and inspect.isfunction(value) and value.__module__.startswith("faimed3d"):
                yield f"{name}.{key}", value


def untyped(function):
    """Arguments without a type, and 'return'."""
    function = inspect.unwrap(function)
    code = function.__code__
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    names = [*code.co_varnames[:count], "return"]
    return [name for name in names if name not in function.__annotations__ and name not in ("self", "cls")]


def gaps():
    found = []
    for name, thing in public_names():
        documented = inspect.isclass(thing) or inspect.isfunction(thing)
        if documented and not (thing.__doc__ or "").strip():
            found.append(f"{name}: docstring")
        one_of_many = inspect.isclass(thing) and issubclass(thing, ReadError) and thing is not ReadError
        if documented and ">>>" not in (thing.__doc__ or "") and not one_of_many:  # ReadError shows how to catch them
            found.append(f"{name}: example")
        for owner, function in functions_of(name, thing):
            if not (function.__doc__ or "").strip() and not owner.endswith(("__init__", ".forward")):
                found.append(f"{owner}: docstring")
            if untyped(function):
                found.append(f"{owner}: types")
    return found


def test_every_public_name_has_a_docstring_types_and_an_example():
    assert gaps() == []


def test_there_are_about_as_many_names_as_one_can_know():
    assert len(public_names()) < 275
