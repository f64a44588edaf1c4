"""Modules in one safetensors file: tensors, and JSON in its metadata; never pickle.

A module is told by the name of its class, from a closed list, and the arguments of its
constructor; its tensors and extra state are those of ``state_dict``.
"""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ._version import __version__ as VERSION
from .distributions.uniform import Uniform
from .errors import SaveError
from .homology import Homology
from .manifolds.atlas import Atlas, BaseAtlas
from .manifolds.base import Manifold
from .manifolds.charts import Chart, Domain
from .models.base import Fittable, Options
from .models.injective import Decoder
from .models.injective.bases import Base, from_parts

FORMAT = 2
_KEY = "topogen"
_PLAIN = (bool, int, float, str, type(None))


def _registry() -> dict[str, type[nn.Module]]:
    """The classes a file may name: the concrete ones of this package, and no other."""
    found: dict[str, type[nn.Module]] = {}
    waiting: list[type[nn.Module]] = [Manifold, Atlas, Chart, Domain, Fittable, Decoder]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__module__.startswith("topogen.") and not inspect.isabstract(cls):
            found[cls.__name__] = cls
    return found


def _options() -> dict[str, type[Options]]:
    """The options of this package, by name."""
    found = Options.__subclasses__()
    return {cls.__name__: cls for cls in found if cls.__module__.startswith("topogen.")}


# constructor arguments that are not kept under their own name
_ARGUMENTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "ProjectedAtlas": lambda a: {"manifold": a.manifold, "charts": a.wanted},
    "FunctionChart": lambda c: {"decode": c.psi, "encode": c.phi, "domain": c.domain},
    "ConformalAutoencoder": lambda g: {
        "base": g.base,
        "ambient_dim": g.ambient_dim,
        "layers": len(g.layers),
    },
    "Ball": lambda b: {"dim": b.dim, "radius": float(b.radius)},
    "Union": lambda M: {
        "points": M.points,
        "atol": M.atol_shared,
        "homology": M._homology,
        "seed": M.seed,
    },
    # what the search found: it needs parts that are fitted, and these get their state later
    "Intersection": lambda M: {
        "homology": M._homology,
        "found": M.found,
        "transversality": M.transversality,
    },
}
# classes made from any number of sets, all in `parts`
_OF_PARTS = ("Union", "Intersection")
_REFUSED = {
    "Restriction": "it holds an inequality, which is a function of the user's; save its "
    "`manifold`, and restrict that again once it is loaded",
}


def _encode(value: Any, path: str) -> Any:
    """A constructor argument as JSON; modules by their class and arguments."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        return {"tensor": value.detach().cpu().tolist(), "dtype": str(value.dtype).split(".")[1]}
    if isinstance(value, Base) and value.parts:
        return {"base": [list(part) for part in value.parts]}
    if isinstance(value, nn.Module) and type(value) is not nn.ModuleList:
        return describe(value, path)
    if isinstance(value, Homology):
        return {"homology": [[p, list(numbers)] for p, numbers in value.betti.items()]}
    if isinstance(value, Options) and type(value) in _options().values():
        return {"options": type(value).__name__, "fields": vars(value)}
    if isinstance(value, list | tuple | nn.ModuleList):
        return {"list": [_encode(v, _place(path, i, v)) for i, v in enumerate(value)]}
    if isinstance(value, Mapping):
        return {"map": {str(k): _encode(v, f"{path}.{k}") for k, v in value.items()}}
    if callable(value):
        raise SaveError(
            f"{path}: a function cannot be written to a file "
            f"({getattr(value, '__name__', value)!r}); "
            "save the points or the parameters it is made from, and build the object again"
        )
    raise SaveError(
        f"{path}: {type(value).__name__} cannot be written to a file; pass plain numbers"
    )


def _place(path: str, i: int, value: Any) -> str:
    kind = f" ({type(value).__name__})" if isinstance(value, nn.Module) else ""
    return f"{path}[{i}]{kind}"


def describe(module: nn.Module, path: str = "") -> dict[str, Any]:
    """Class name and constructor arguments of a module, as JSON.

    Raises:
        SaveError: a class that is not of topogen, or an argument that is a function.
    """
    name = type(module).__name__
    path = path or name
    if _registry().get(name) is not type(module):
        raise SaveError(
            f"{path}: expected an object of topogen's own classes, got "
            f"{type(module).__module__}.{name}; "
            "save its state_dict yourself, and build it again from its class"
        )
    if name in _REFUSED:
        raise SaveError(f"{path}: {name} cannot be written to a file: {_REFUSED[name]}")
    if name in _ARGUMENTS:
        arguments = _ARGUMENTS[name](module)
    else:
        arguments = {}
        held = vars(module) | module._buffers | module._parameters | module._modules
        for parameter in inspect.signature(type(module)).parameters:
            if parameter not in held:
                raise SaveError(
                    f"{path}: {name} does not keep its argument {parameter!r}, so it "
                    "cannot be written to a file; save what it is made from"
                )
            arguments[parameter] = held[parameter]
    if name in _OF_PARTS:
        arguments = {"parts": module.parts, **arguments}
    return {
        "class": name,
        "arguments": {k: _encode(v, f"{path}.{k}") for k, v in arguments.items()},
    }


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))
    if "base" in value:
        return from_parts([(name, dim) for name, dim in value["base"]])
    if "list" in value:
        return [_decode(v) for v in value["list"]]
    if "options" in value:
        return _options()[value["options"]](**value["fields"])
    if "homology" in value:
        return Homology(dict(value["homology"]))
    if "map" in value:
        return {k: _decode(v) for k, v in value["map"].items()}
    return build(value)


def build(description: Mapping[str, Any]) -> nn.Module:
    """The module that :func:`describe` described, without its state."""
    classes = _registry()
    name = description["class"]
    if name not in classes:
        raise SaveError(
            f"expected a class of topogen {VERSION}, got {name!r}; update topogen, or save the "
            "model again"
        )
    arguments = {k: _decode(v) for k, v in description["arguments"].items()}
    parts = arguments.pop("parts") if name in _OF_PARTS else ()
    return classes[name](*parts, **arguments)


def write(path: str | Path, module: nn.Module, record: Mapping[str, Any] | None = None) -> None:
    """Write a module and a record of plain data to one safetensors file, all or nothing.

    Raises:
        SaveError: the module holds a function or a foreign class, or the place cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    description = describe(module)
    tensors: dict[str, Tensor] = {}
    extra: dict[str, Any] = {}
    for key, value in module.state_dict().items():
        if isinstance(value, Tensor):
            # a copy: safetensors refuses tensors that share memory
            tensors[key] = value.detach().cpu().clone().contiguous()
        else:
            extra[key] = value
    header = {
        "format": FORMAT,
        "version": VERSION,
        "module": description,
        "extra": extra,
        "record": dict(record or {}),
    }
    # written beside its place and then moved there, so that an interrupted save harms no older
    # file
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, partial, metadata={_KEY: json.dumps(header)})
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise SaveError(
            f"{path}: expected a place to write to, got {error}; choose another"
        ) from None


def read(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The module and the record that :func:`write` wrote.

    Raises:
        SaveError: the file is missing, truncated, of another kind, or of a newer format.
    """
    path = Path(path)
    header, tensors = _open(path)
    try:
        module = build(header["module"])
        _restore(module, header, tensors)
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
        SaveError: as :func:`read`, or the file describes another module.
    """
    header, tensors = _open(Path(path))
    if header["module"] != json.loads(json.dumps(describe(module))):
        raise SaveError(
            f"{path}: expected a checkpoint of this {type(module).__name__}, got one of a "
            f"{header['module']['class']} with other arguments; delete it, or give another path"
        )
    _restore(module, header, tensors)
    return header["record"]


def write_uniform(path: str | Path, distribution: Uniform) -> None:
    """Write a uniform distribution: its set, or the charts that it is normalised by, and how.

    Raises:
        SaveError: as :func:`write`.
    """
    held = distribution.manifold if distribution.given is None else distribution.given
    write(
        path,
        held,
        {"uniform": {"tol": distribution.tol, "validate_args": distribution._validate_args}},
    )


def uniform_of(module: nn.Module, record: Mapping[str, Any]) -> nn.Module | Uniform:
    """The distribution that :func:`write_uniform` wrote; any other module as it is."""
    if "uniform" in record and isinstance(module, Manifold | BaseAtlas):
        return Uniform(module, **record["uniform"])
    return module


def _restore(module: nn.Module, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    module.load_state_dict({**tensors, **header["extra"]})


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
            "or of another kind; "
            "save the model again"
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
        raise SaveError(
            f"{path}: expected model format {FORMAT}, got {found} (written by topogen "
            f"{header.get('version')}); "
            "use that version, or save the model again"
        )
    return header, tensors


def plain(value: Any) -> Any:
    """Nested plain data for JSON: lists, text keys, Python numbers; NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
