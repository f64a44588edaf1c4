"""Fit a learned manifold, atlas or distribution: run its stages in order, and say how it ended."""

from __future__ import annotations

import math
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from . import serialization
from .errors import TrainingError
from .models.base import Fittable, Stage
from .point_cloud.files import user_path
from .point_cloud.tensors import as_tensor
from .topology.progress import on_terminal

Status = Literal["converged", "max_steps", "interrupted", "diverged"]
_SEVERITY: tuple[Status, ...] = ("converged", "max_steps", "interrupted", "diverged")
Callback = Callable[[str, Mapping[str, float]], bool | None]


@dataclass(frozen=True)
class FitResult:
    """How a fit ended.

    Attributes:
        status: "converged"; "max_steps" (some stage used its steps up, or was cut short by
            `steps`); "interrupted" (Ctrl-C, or a callback); "diverged" (a loss not finite).
        history: every progress record, with its "stage" and "step".
        seconds: wall time.
        stage: the last stage that ran; None when everything was fitted already.
        message: one sentence: what happened, and what to do about it.
    """

    status: Status
    history: list[dict[str, Any]] = field(repr=False)
    seconds: float
    stage: str | None
    message: str

    @property
    def converged(self) -> bool:
        """Whether every stage converged."""
        return self.status == "converged"


def fit(
    learnable: Fittable | nn.Module,
    points: Any,
    *,
    steps: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    device: torch.device | str | None = None,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Fit a learned manifold, atlas or distribution to points; fitted parts stay as they are.

    Args:
        learnable: anything :class:`~topogen.models.base.Fittable`; it is changed in place.
        points: array-like of shape (n, D).
        steps: most steps of each stage; None leaves it to the stage.
        seed: every stage draws from a generator of its own, made of this and of the stage's name,
            so a resumed fit gives what an uninterrupted one gives, up to rounding.
        progress: show a progress bar on stderr; None shows it on a terminal only.
        checkpoint: a safetensors file, written after every stage and on Ctrl-C.
        resume: start from `checkpoint` where it exists.
        device: where to fit; None leaves the module where it is.
        callbacks: called with the stage's name and each record; a true value stops the fit.

    Returns:
        How it ended. Ctrl-C does not raise: the status is then "interrupted".

    Raises:
        InvalidPoints: the points are not a finite (n, D) array, or too few for the task.
        TrainingError: the learnable or the options make no sense together.
        SaveError: the checkpoint belongs to another learnable, or cannot be read or written.

    Example:
        >>> t = torch.linspace(0, 6.28, 500)
        >>> result = fit(tg.LocalPolynomials(1, 2), torch.stack([t.cos(), t.sin()], -1))
        >>> result.status
        'converged'
    """
    model = _checked(learnable, steps, checkpoint, resume)
    x = as_tensor(points)
    if device is not None:
        model.to(device)
        x = x.to(device)
    history: list[dict[str, Any]] = []
    start = time.perf_counter()
    worst: Status = "converged"
    name, message = None, ""

    def save() -> None:
        if checkpoint is not None:
            serialization.write(checkpoint, model)

    shown = on_terminal() if progress is None else progress and sys.stderr is not None
    with one_thread(), _display(shown) as show:
        try:
            for stage in model.stages(x):
                name = stage.name
                status, said, complete = _run(stage, steps, seed, history, show, callbacks)
                worst = max(worst, status, key=lambda s: _SEVERITY.index(s))
                message = said or message
                if not complete:
                    break
                save()
        except KeyboardInterrupt:
            worst, message = "interrupted", f"stopped by Ctrl-C in stage {name!r}"
            save()
    if worst == "interrupted" and checkpoint is not None:
        message += f"; finished stages are in {checkpoint}, go on with resume=True"
    if worst == "converged":
        message = "every stage converged" if name else "everything was fitted already"
    message += _moved(history)
    return FitResult(worst, history, time.perf_counter() - start, name, message)


def _checked(
    learnable: object, steps: int | None, checkpoint: str | Path | None, resume: bool
) -> Fittable:
    """The learnable, restored from its checkpoint where that is wanted."""
    if not isinstance(learnable, Fittable):
        raise TrainingError(
            "expected a learned manifold, atlas or distribution (a module with stages(points)), "
            f"got {type(learnable).__name__}; pass for example LocalPolynomials(dim, ambient_dim)"
        )
    if steps is not None and steps < 1:
        raise TrainingError(f"expected steps >= 1, got {steps}")
    if checkpoint is not None:
        serialization.describe(learnable)  # raises now rather than after hours
        if resume and user_path(checkpoint).exists():
            serialization.read_into(checkpoint, learnable)
    elif resume:
        raise TrainingError(
            "expected a checkpoint to resume from, got none; pass checkpoint='fit.safetensors'"
        )
    return learnable


def _moved(history: Sequence[Mapping[str, Any]]) -> str:
    """What the stages did to the points, in words."""
    moved, lost = (max((r.get(k, 0.0) for r in history), default=0.0) for k in ("moved", "lost"))
    said = f"; points were moved onto the manifold, by up to {moved:.2g}" if moved else ""
    return said + (f"; {lost:.1%} of the points do not project onto it" if lost else "")


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, restored afterwards.

    Threads of many small operations wait for one another: on two busy cores, ten times as long.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(
    stage: Stage,
    steps: int | None,
    seed: int,
    history: list[dict[str, Any]],
    show: Callable[[Stage, Mapping[str, float]], None],
    callbacks: Sequence[Callback],
) -> tuple[Status, str, bool]:
    """Drive one stage to its end, to `steps`, or to a loss that is not finite.

    Returns its status, a sentence, and whether it came to its own end.
    """
    # the seed of a Generator counts modulo 2^32, so the two are hashed together
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {stage.name}".encode()))
    step = 0
    with closing(stage.run(generator)) as running:
        while True:
            try:
                record = next(running)
            except StopIteration as end:
                if end.value:
                    return "converged", "", True
                message = f"stage {stage.name!r} ended before it converged; give more points"
                return "max_steps", message, True
            step += 1
            history.append({"stage": stage.name, "step": step, **record})
            show(stage, record)
            loss = record.get("loss")
            if loss is not None and not math.isfinite(loss):
                message = (
                    f"the loss of stage {stage.name!r} became {loss} at step {step}; "
                    "check the points for outliers, or fit a new object with another seed"
                )
                return "diverged", message, False
            if any([bool(callback(stage.name, record)) for callback in callbacks]):
                message = f"a callback stopped stage {stage.name!r} at step {step}"
                return "interrupted", message, False
            if steps is not None and step >= steps:
                return "max_steps", f"stage {stage.name!r} was cut at {steps} steps", False


@contextmanager
def _display(shown: bool) -> Iterator[Callable[[Stage, Mapping[str, float]], None]]:
    """A progress bar per stage on stderr, or nothing."""
    if not shown:
        yield lambda stage, record: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}"),
        TextColumn("[dim]{task.fields[numbers]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True, force_terminal=on_terminal())
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: Stage, record: Mapping[str, float]) -> None:
            if stage.name not in tasks:
                for done in tasks.values():
                    bar.update(done, total=bar.tasks[done].completed)
                tasks[stage.name] = bar.add_task(stage.name, total=stage.steps, numbers="")
            numbers = "  ".join(f"{key} {value:.4g}" for key, value in record.items())
            bar.update(tasks[stage.name], advance=1, numbers=numbers)

        yield show
