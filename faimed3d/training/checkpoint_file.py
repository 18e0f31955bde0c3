"""Files of checkpoints: nested Python values and tensors as safetensors with JSON, without pickle."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any  # what is kept has any plain type

import numpy as np
import torch
from fastcore.foundation import L
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from faimed3d._atomic import replace_file, unfinished_folder

_KEY = "faimed3d.checkpoint"
_SEVERAL = 32  # numbers that are kept as one tensor; fewer are readable in JSON
_KINDS: dict[str, Any] = {"list": list, "tuple": tuple, "L": L}


def write_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write nested values, whole or not at all.

    Args:
        path: of the file; its folder must exist.
        state: dicts, lists, tuples, ``L``, numbers, strings, None, and tensors. Tensors keep their dotted place as
            their name, such as ``model.final.0.weight``, so that other programs find them.

    Raises:
        TypeError: a value is of another kind; the message says where it is.
        OSError: the file cannot be written; what lies there stays.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_packed(state, "", tensors), allow_nan=False)
    storages: set[int] = set()
    for name, tensor in tensors.items():  # safetensors refuses tensors that share their memory
        storage = tensor.untyped_storage().data_ptr()
        if storage in storages:
            tensors[name] = tensor.clone()
        storages.add(storage)
    with unfinished_folder(path) as folder:
        inner = os.path.join(folder, "checkpoint")
        save_file(tensors, inner, metadata={"format": "pt", _KEY: text})
        replace_file(inner, os.fspath(path))


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The values that :func:`write_checkpoint` has written; the tensors are on the CPU.

    Args:
        path: of the file.

    Raises:
        ValueError: the file is none that :func:`write_checkpoint` has written, or is damaged.
        FileNotFoundError: there is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()} if text else {}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path}: is no checkpoint, or is damaged ({error}): remove it to train anew") from None
    if not text:
        raise ValueError(f"{path}: is a safetensors file, but no checkpoint of a training: choose another fname")
    return _unpacked(json.loads(text), tensors)


def packed(value: Any) -> tuple[str, dict[str, Tensor]] | None:
    """A value as text and tensors, to compare it with another; None where a checkpoint cannot hold it."""
    tensors: dict[str, Tensor] = {}
    try:
        return json.dumps(_packed(value, "", tensors)), tensors
    except TypeError:
        return None


def _packed(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON can hold it; its tensors go to ``tensors``."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"array": _keep(torch.from_numpy(np.ascontiguousarray(value)), where, tensors)}
    if isinstance(value, Tensor):
        return {"tensor": _keep(value, where, tensors)}
    if isinstance(value, Mapping):
        return {"dict": [[_key(key, where), _packed(one, f"{where}.{key}", tensors)] for key, one in value.items()]}
    kind = next((name for name, one in _KINDS.items() if type(value) is one), None)
    if kind is None:
        raise TypeError(
            f"a checkpoint holds numbers, strings, lists, dicts and tensors, but {where.lstrip('.') or 'the state'} is "
            f"a {type(value).__name__}"
        )
    if len(value) >= _SEVERAL and all(isinstance(one, float) for one in value):
        return {"floats": _keep(torch.tensor(list(value), dtype=torch.float64), where, tensors), "kind": kind}
    if len(value) >= _SEVERAL and all(type(one) is Tensor and one.ndim == 0 for one in value):
        alike = len({(one.dtype, one.device) for one in value}) == 1
        if alike:
            return {"scalars": _keep(torch.stack(list(value)), where, tensors), "kind": kind}
    return {kind: [_packed(one, f"{where}.{number}", tensors) for number, one in enumerate(value)]}


def _key(key: Any, where: str) -> Any:
    if not isinstance(key, str | int):
        raise TypeError(f"a checkpoint holds dicts by strings or whole numbers, but {where} has the key {key!r}")
    return key


def _keep(tensor: Tensor, where: str, tensors: dict[str, Tensor]) -> str:
    name = where.lstrip(".") or "value"
    while name in tensors:  # a key of a dict may hold a dot, too
        name += "'"
    tensors[name] = tensor.detach().as_subclass(Tensor).cpu().contiguous()
    return name


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "float" in value:
        return float(value["float"])
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "array" in value:
        return tensors[value["array"]].numpy()
    if "dict" in value:
        return {key: _unpacked(one, tensors) for key, one in value["dict"]}
    for name in ("floats", "scalars"):
        if name in value:
            found: Iterable[Any] = tensors[value[name]]
            return _KINDS[value["kind"]](found.tolist() if name == "floats" else list(found))  # type: ignore[attr-defined]
    kind, entries = next(iter(value.items()))
    return _KINDS[kind](_unpacked(one, tensors) for one in entries)
