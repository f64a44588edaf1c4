"""What a model file can hold: modules that are made again from the arguments of their class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from .errors import SaveError


class Options:
    """Plain options of a model: to make some, write a frozen dataclass of numbers and names."""


class Storable(nn.Module):
    """A module that :func:`topogen.save` writes: its class, its arguments, and its ``state_dict``.

    A subclass that keeps every argument of its constructor as an attribute of the same name has
    nothing to write.

    Its state keeps its precision: solvers run in float64, so ``float()``, ``half()`` and
    ``to(dtype)`` leave parameters and buffers that are wider as they are. Points of any
    floating-point dtype are taken, and log densities given in it.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Storable:
        def kept(t: Tensor) -> Tensor:
            moved = fn(t)
            narrower = moved.is_floating_point() and moved.dtype.itemsize < t.dtype.itemsize
            return t.to(moved.device) if narrower else moved

        return super()._apply(kept, recurse)

    def arguments(self) -> dict[str, Any]:
        """The arguments of the constructor, by name; those of ``*args`` as one sequence.

        Raises:
            SaveError: one is not kept.
        """
        name = type(self).__name__
        found = {}
        for parameter in inspect.signature(type(self)).parameters:
            try:
                found[parameter] = getattr(self, parameter)
            except AttributeError:
                raise SaveError(
                    f"{name} does not keep its argument {parameter!r}, so it cannot be written to "
                    "a file; save what it is made from"
                ) from None
        return found

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> Storable:
        """A new module of what :meth:`arguments` gave."""
        parameters = inspect.signature(cls).parameters.values()
        several = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
        given = dict(arguments)
        return cls(*(given.pop(several[0]) if several else ()), **given)
