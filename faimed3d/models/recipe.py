"""How a network was built: by which function or class of ours, with which arguments, so that it can be built again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from faimed3d._by_name import ByName, UnknownName

Builder = TypeVar("Builder", bound=Callable[..., Any])

NAMES = ByName(
    {
        "faimed3d.models": """
            AlexNet3D UNet3D create_deeplab_model_3d create_unet_model_3d efficientnet_b0 efficientnet_b1
            efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7
            resnet18_3d resnet34_3d resnet50_3d resnet101_3d resnet152_3d
        """,
        "torchvision.models.video": "mc3_18 r2plus1d_18 r3d_18",
        "fastai.layers": "Mish NormType Swish",
        "torch.nn": "ELU GELU Hardswish LeakyReLU Mish PReLU ReLU ReLU6 SELU SiLU Sigmoid Softplus Tanh",
    }
)
"""All that a recipe can name: nothing else is built from one."""


@dataclass(frozen=True)
class Recipe:
    """How a network was built, as plain JSON.

    Args:
        name: of what built it, one of :data:`NAMES`.
        arguments: by name, as JSON; None where one of them has no name.
        missing: why there are none.
    """

    name: str
    arguments: Mapping[str, Any] | None
    missing: str = ""

    def build(self) -> nn.Module:
        """The network, new.

        Raises:
            UnknownName: something of it is not among :data:`NAMES`.
        """
        arguments = {key: NAMES.from_plain(value) for key, value in (self.arguments or {}).items()}
        if "pretrained" in arguments:  # it would be downloaded
            raise UnknownName("pretrained")
        return NAMES.named(self.name)(**arguments)


def recipe_of(model: nn.Module) -> Recipe | None:
    """How a network was built; None where that was not by a function or class of ours.

    Args:
        model: network.
    """
    found = vars(model).get("built_by")
    return found if isinstance(found, Recipe) else None


def keeps_recipe(build: Builder) -> Builder:
    """Decorate what builds a network, a function or the constructor of a class, so that the network knows how.

    Args:
        build: its arguments but ``pretrained``, which says where the weights came from, are kept.
    """
    signature = inspect.signature(build)
    of_class = build.__name__ == "__init__"

    @functools.wraps(build)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        result = build(*args, **kwargs)
        model = args[0] if of_class else result
        # a class that inherits has a constructor and layers of its own
        name = build.__qualname__.rpartition(".")[0] if of_class else build.__name__
        if not of_class or type(model).__name__ == name:
            model.built_by = _recipe(name, signature.bind(*args, **kwargs))
        return result

    return recorded  # type: ignore[return-value]


def _recipe(name: str, bound: inspect.BoundArguments) -> Recipe:
    given: dict[str, Any] = {}
    for key, value in bound.arguments.items():
        kind = bound.signature.parameters[key].kind
        given |= value if kind is inspect.Parameter.VAR_KEYWORD else {key: value}
    full = f"faimed3d.models.{name}"
    try:
        return Recipe(full, {k: NAMES.to_plain(v) for k, v in given.items() if k not in ("self", "pretrained")})
    except TypeError as error:
        return Recipe(full, None, str(error))
