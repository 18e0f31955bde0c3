"""The network of a model file: by which name and arguments it is built, and its weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from faimed3d.errors import DamagedFile, UnsupportedModel
from faimed3d.models.recipe import NAMES, Recipe, recipe_of

Networks = Mapping[str, Callable[..., nn.Module]]


def describe_network(model: nn.Module, name: str | None, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """How a network is built, as JSON holds it.

    Args:
        model: the network. What is built so must have its layers.
        name: ``'module:Class'`` of a network that is none of ours; None for one of ours.
        arguments: of that class.

    Raises:
        TypeError: the network has no name, or an argument is no plain value.
        ValueError: what is built so has other layers.
    """
    if name is None:
        recipe = recipe_of(model)
        if recipe is None or recipe.arguments is None:
            raise TypeError(_unnamed(model, recipe))
        described: dict[str, Any] = {"name": recipe.name, "arguments": dict(recipe.arguments)}
        networks: Networks = {}
    else:
        described = {"name": name, "arguments": _plain(arguments or {})}
        networks = {name: _imported(name)}
    with torch.random.fork_rng(devices=[]):
        built = build_network(described, networks, "export_model")
    if repr(built) != repr(model) or _shapes(built.state_dict()) != _shapes(model.state_dict()):
        raise ValueError(
            f"the network is not as {described['name']} builds it with its arguments: layers were exchanged since. A "
            "model file holds no code: build it as it is by a class of a module, and name that: "
            "export_model(file, network='module:Class', arguments={...})"
        )
    return described


def build_network(described: Mapping[str, Any], networks: Networks, file: Any) -> nn.Module:
    """The network, new.

    Args:
        described: of :func:`describe_network`.
        networks: classes or functions that the user trusts, by their names in the file.
        file: its path, for messages.

    Raises:
        UnsupportedModel: it is none of ours, and none of ``networks``.
        UnknownName: an argument names what is not known.
    """
    name, arguments = described["name"], described["arguments"]
    if name in networks:
        return networks[name](**arguments)
    if name not in NAMES or not name.startswith("faimed3d.models."):
        module, _, kind = name.partition(":")
        raise UnsupportedModel(
            f"{file}: needs the network {name}, which is none of faimed3d's. Nothing is imported because a file says "
            f"so. If you know and trust it: from {module} import {kind or '...'}; "
            f"load_model(file, networks={{{name!r}: {kind or '...'}}})"
        )
    return Recipe(name, arguments).build()


def give_weights(model: nn.Module, weights: dict[str, Tensor], file: Any) -> None:
    """Let a network have weights, in their own types.

    Args:
        model: of :func:`build_network`.
        weights: by their names in its state.
        file: its path, for messages.

    Raises:
        DamagedFile: they are those of another network.
    """
    wanted, found = _shapes(model.state_dict()), _shapes(weights)
    if wanted != found:
        name = next(name for name in (*wanted, *found) if wanted.get(name) != found.get(name))
        raise DamagedFile(
            f"{file}: its weights do not fit its network: {name} is {_text(found.get(name))} in the file, and the "
            f"network has {_text(wanted.get(name))}. The file was changed, or the network is of another version"
        )
    model.load_state_dict(weights, assign=True)
    model.requires_grad_(False).eval()


def _unnamed(model: nn.Module, recipe: Recipe | None) -> str:
    kind = type(model)
    why = "" if recipe is None else f" ({recipe.missing})"
    name = f"{kind.__module__}:{kind.__qualname__}"
    return (
        f"export_model cannot say how the network, a {kind.__name__}, is built{why}: a model file holds no code. Build "
        f"it by a name of faimed3d.models, such as UNet3D(widths=...); or name a class of a module and the arguments "
        f"that build it: export_model(file, network={name!r}, arguments={{...}}). Whoever loads that passes "
        f"networks={{{name!r}: {kind.__name__}}} to load_model"
    )


def _imported(name: str) -> Callable[..., nn.Module]:
    module, colon, kind = name.partition(":")
    if not colon or not kind:
        raise ValueError(f"network must be 'module:Class', such as 'monai.networks.nets:DynUNet', got {name!r}")
    return getattr(import_module(module), kind)


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(arguments), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"arguments of a network that is none of faimed3d's must be plain values, as JSON holds them: {error}. For "
            "others write a function of a module that takes plain ones, and name that"
        ) from None


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(one.shape) for name, one in state.items()}


def _text(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "one number"
