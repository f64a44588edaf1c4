"""Models in one safetensors file, never pickle: tensors of ``state_dict``, and metadata in JSON.

These are the class of a module and the arguments of its constructor, see
:class:`~topogen.storable.Storable`, and the rest of its state.
"""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ._version import __version__ as VERSION
from .distributions.uniform import Uniform
from .errors import SaveError
from .homology import Homology
from .models.base import LearnedDistribution
from .point_cloud.files import user_path
from .results import LearnResult
from .storable import Options, Storable

FORMAT = 5  # raised by one whenever files of the old format can no longer be read
_KEY = "topogen"


def save(thing: Any, path: str | Path) -> None:
    """Write a result of :func:`learn`, a manifold, an atlas or a distribution to one file.

    The points are not written. Distributions are learned ones, and :class:`Uniform`.

    Raises:
        SaveError: it contains a function of the user's own, or the place cannot be written.
    """
    if isinstance(thing, LearnResult):
        write(path, thing.model, {"learned": plain(thing.to_dict())})
    elif isinstance(thing, Uniform):
        options = thing.arguments()
        write(path, options.pop("manifold"), {"uniform": options})
    elif isinstance(thing, nn.Module):
        write(path, thing)
    else:
        raise SaveError(
            "expected a LearnResult, a manifold, an atlas, a learned distribution or Uniform, got "
            f"{type(thing).__name__}; save the parameters that it is made from"
        )


def load(path: str | Path) -> Any:
    """Read what :func:`save` wrote: a result, a manifold, an atlas or a distribution.

    Raises:
        SaveError: the file is missing, truncated, of another kind or of another format.
    """
    module, record = read(path)
    if "uniform" in record:
        return Uniform(**{"manifold": module, **record["uniform"]})
    if "learned" not in record:
        return module
    if isinstance(module, LearnedDistribution):
        return LearnResult.from_dict(module, record["learned"])
    raise SaveError(f"{path}: expected a learned distribution, got a {type(module).__name__}")


def _registry(root: type[Any]) -> dict[str, type[Any]]:
    """The classes below one that a file may name: the concrete ones of this package."""
    found: dict[str, type[Any]] = {}
    for cls in root.__subclasses__():
        found |= _registry(cls)
        if cls.__module__.startswith("topogen.") and not inspect.isabstract(cls):
            found[cls.__name__] = cls
    return found


def _encode(value: Any, path: str) -> Any:
    """A constructor argument as JSON; modules by their class and arguments."""
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, Tensor):
        kind = str(value.dtype).split(".")[1]
        data = value.detach().cpu().tolist()
        return {"tensor": data, "dtype": kind} if value.ndim else data
    if isinstance(value, Homology):
        return {"homology": [[p, list(numbers)] for p, numbers in value.betti.items()]}
    if isinstance(value, Options) and type(value) in _registry(Options).values():
        return {"options": type(value).__name__, "fields": vars(value)}
    if isinstance(value, list | tuple | nn.ModuleList):
        names = [f" ({type(v).__name__})" if isinstance(v, nn.Module) else "" for v in value]
        places = [f"{path}[{i}]{name}" for i, name in enumerate(names)]
        return {"list": [_encode(v, place) for v, place in zip(value, places, strict=True)]}
    if isinstance(value, nn.Module):
        return describe(value, path)
    if isinstance(value, Mapping):
        return {"map": {str(k): _encode(v, f"{path}.{k}") for k, v in value.items()}}
    if callable(value):
        name = getattr(value, "__name__", value)
        raise SaveError(
            f"{path}: a function cannot be written to a file ({name!r}); save the points or the "
            "parameters it is made from, and build the object again"
        )
    raise SaveError(
        f"{path}: {type(value).__name__} cannot be written to a file; pass plain numbers"
    )


def describe(module: nn.Module, path: str = "") -> dict[str, Any]:
    """Class and constructor arguments of a module, as JSON.

    Raises:
        SaveError: a class that is not of topogen, or an argument that is a function.
    """
    name = type(module).__name__
    path = path or name
    if not isinstance(module, Storable) or _registry(Storable).get(name) is not type(module):
        raise SaveError(
            f"{path}: expected an object of topogen's own classes, got "
            f"{type(module).__module__}.{name}; save its state_dict yourself, and build it again "
            "from its class"
        )
    try:
        arguments = module.arguments()
    except SaveError as error:
        raise SaveError(f"{path}: {error}") from None
    encoded = {k: _encode(v, f"{path}.{k}") for k, v in arguments.items()}
    return {"class": name, "arguments": encoded}


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))
    if "list" in value:
        return [_decode(v) for v in value["list"]]
    if "options" in value:
        return _registry(Options)[value["options"]](**value["fields"])
    if "homology" in value:
        return Homology(dict(value["homology"]))
    if "map" in value:
        return {k: _decode(v) for k, v in value["map"].items()}
    return build(value)


def build(description: Mapping[str, Any]) -> Storable:
    """The module that :func:`describe` described, without its state."""
    name = description["class"]
    cls = _registry(Storable).get(name)
    if cls is None:
        raise SaveError(
            f"expected a class of topogen {VERSION}, got {name!r}; update topogen, or save the "
            "model again"
        )
    return cls.from_arguments({k: _decode(v) for k, v in description["arguments"].items()})


def write(path: str | Path, module: nn.Module, record: Mapping[str, Any] | None = None) -> None:
    """Write a module and a record of plain data to one file, all or nothing, as :func:`save`."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path, description, state = user_path(path), describe(module), module.state_dict()
    # copies: safetensors refuses tensors that share memory
    tensors = {k: v.cpu().clone().contiguous() for k, v in state.items() if torch.is_tensor(v)}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "module": description,
        "extra": {k: v for k, v in state.items() if k not in tensors},
        "record": dict(record or {}),
    }
    # beside its place and then moved there: an interrupted save harms no older file
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.touch()
            mode = partial.stat().st_mode  # as of any new file: safetensors makes it private
            save_file(tensors, partial, metadata={_KEY: json.dumps(header)})
            partial.chmod(mode)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise SaveError(
            f"{path}: expected a place to write to, got {error}; choose another"
        ) from None


def read(path: str | Path) -> tuple[Storable, dict[str, Any]]:
    """The module and the record that :func:`write` wrote; SaveError as of :func:`load`."""
    path = user_path(path)
    header, tensors = _open(path)
    try:
        module = build(header["module"])
        module.load_state_dict({**tensors, **header["extra"]})
    except SaveError as error:
        raise SaveError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SaveError(
            f"{path}: expected a model of topogen {VERSION}, got one of {header.get('version')} "
            f"that does not fit it ({line}); save it again"
        ) from None
    return module, header["record"]


def read_into(path: str | Path, module: nn.Module) -> dict[str, Any]:
    """Restore the state of a module of the same class and arguments; returns the record.

    Raises:
        SaveError: as :func:`load`, or the file describes another module.
    """
    header, tensors = _open(user_path(path))
    if header["module"] != json.loads(json.dumps(describe(module))):
        raise SaveError(
            f"{path}: expected a checkpoint of this {type(module).__name__}, got one of a "
            f"{header['module']['class']} with other arguments; delete it, or give another path"
        )
    module.load_state_dict({**tensors, **header["extra"]})
    return header["record"]


def _open(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise SaveError(f"{path}: expected a model file, got a directory; name one file in it")
    if not path.exists():
        raise SaveError(f"{path}: expected a model file, but there is none; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except PermissionError:
        raise SaveError(
            f"{path}: expected a readable file, got one without read permission; change its mode"
        ) from None
    except (SafetensorError, OSError, ValueError):
        raise SaveError(
            f"{path}: expected a model written by topogen.save, got a file that is truncated "
            "or of another kind; save the model again"
        ) from None
    try:
        header = json.loads(metadata[_KEY])
        found = header["format"]
    except (KeyError, TypeError, json.JSONDecodeError):
        raise SaveError(
            f"{path}: expected a model written by topogen.save, got another safetensors file; "
            "load it with the library that wrote it"
        ) from None
    if found != FORMAT:
        older = isinstance(found, int) and found < FORMAT
        remedy = "fit the model again and save it" if older else "update topogen"
        raise SaveError(
            f"{path}: expected model format {FORMAT}, got {found} written by topogen "
            f"{header.get('version')}; {remedy}"
        )
    return header, tensors


def plain(value: Any) -> Any:
    """Nested plain data for JSON: lists, text keys, Python numbers; NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
