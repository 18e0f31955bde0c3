"""The file of a model: a safetensors file whose metadata hold one JSON text. It holds no code and nothing pickled.

Metadata: ``format`` "pt", ``faimed3d_model`` the JSON text, ``sha256`` of that text. The text has the digest of all
arrays, so that any byte that differs is found.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any  # of what JSON holds

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from faimed3d._atomic import replace_file, unfinished_folder
from faimed3d.errors import DamagedFile, UnsupportedModel

FORMAT = 1  # of the JSON text: another number is refused
_KEY = "faimed3d_model"
_AGAIN = "get it again from where it came from"


def write_model(file: str | os.PathLike[str], content: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write a model file, whole or not at all.

    Args:
        file: its path.
        content: what the JSON text says.
        weights: by name; on the CPU, contiguous, none of them sharing memory.
    """
    text = json.dumps({"format": FORMAT, **content, "weights": digest_of(weights)}, allow_nan=False)
    metadata = {"format": "pt", _KEY: text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    with unfinished_folder(file) as folder:
        inner = os.path.join(folder, "model")
        save_file(dict(weights), inner, metadata=metadata)
        replace_file(inner, os.path.abspath(file))


def read_model(file: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What :func:`write_model` wrote: the content, and the weights on the CPU.

    Args:
        file: its path.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFile: it differs from what was written.
        UnsupportedModel: it is no model file, or one of another format.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file}: there is no such file")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            content = _content(file, metadata)
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise DamagedFile(
            f"{file}: is no safetensors file ({error}): it is damaged, or of another kind. A model file is written by "
            "learn.export_model"
        ) from None
    if content.pop("weights", None) != digest_of(weights):
        raise DamagedFile(f"{file}: the weights differ from their checksum: the file is damaged, {_AGAIN}")
    return content, weights


def _content(file: Any, metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata.get(_KEY)
    if text is None:
        raise UnsupportedModel(
            f"{file}: is a safetensors file, but no model file: it does not say how scans come to the network. A model "
            "file is written by learn.export_model"
        )
    if hashlib.sha256(text.encode()).hexdigest() != metadata.get("sha256"):
        raise DamagedFile(f"{file}: what it says of the model differs from its checksum: it is damaged, {_AGAIN}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise DamagedFile(f"{file}: what it says of the model is no JSON object: {_AGAIN}")
    version = content.pop("format", None)
    if version != FORMAT:
        raise UnsupportedModel(
            f"{file}: is of format {version}, and this version of faimed3d reads format {FORMAT}: it was written by "
            f"faimed3d {content.get('faimed3d', 'unknown')}, use that or a newer one"
        )
    return content


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes of some tensors."""
    total = hashlib.sha256()
    for name in sorted(weights):
        one = weights[name]
        total.update(f"{name} {one.dtype} {tuple(one.shape)};".encode())
        total.update(one.contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
