r"""Conformers of alanine dipeptide: a torus X(phi, psi) in R^30 with an exact distribution on it.

The torsions have density :math:`e^{-E / kT} / Z` w.r.t. d phi d psi, and so the torus has
:math:`e^{-E/kT} / (Z \sqrt{\det DX^\top DX})` w.r.t. its area, in square Angstrom.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import as_file, files

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .. import calculus

ENTROPY = 4.66381  # nats w.r.t. area, by quadrature
AREA = 158.478080  # square Angstrom
BONDS = ((0, 1), (1, 2), (1, 3), (3, 4), (4, 5), (4, 6), (6, 7), (6, 8), (8, 9))


@cache
def _file() -> dict[str, np.ndarray]:
    resource = files("topogen.datasets") / "alanine_conformers.npz"
    with as_file(resource) as path, np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def conformers() -> np.ndarray:
    """The 8000 shipped conformers, shape (8000, 30), in Angstrom.

    Example:
        >>> conformers().shape
        (8000, 30)
    """
    return _file()["points"].astype(np.float64)


def torsions() -> np.ndarray:
    """Their torsions (phi, psi), shape (8000, 2), in rad."""
    return _file()["phi_psi"].astype(np.float64)


def embed(angles: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 30"]:
    """X(phi, psi): atoms 0-2 turn about N-CA, 7-9 about CA-C, then superposition (Kabsch)."""
    data = _file()
    template = torch.as_tensor(data["template"], dtype=angles.dtype)
    reference = torch.as_tensor(data["reference"], dtype=angles.dtype)
    signs = [int(s) for s in data["rotation_signs"]]
    head = _turn(template[:3], template[3], template[4], signs[0] * angles[..., 0])
    tail = _turn(template[7:], template[4], template[6], signs[1] * angles[..., 1])
    middle = template[3:7].expand(*angles.shape[:-1], 4, 3)
    x = torch.cat([head, middle, tail], dim=-2)
    x = x - x.mean(dim=-2, keepdim=True)
    U, _, Vh = torch.linalg.svd(x.mT @ reference)
    flip = torch.nn.functional.pad(torch.linalg.det(U @ Vh).unsqueeze(-1), (2, 0), value=1.0)
    return (x @ (U * flip.unsqueeze(-2)) @ Vh).flatten(-2)


def _turn(atoms: Tensor, start: Tensor, end: Tensor, angle: Tensor) -> Tensor:
    """Rodrigues' rotation of atoms by `angle` about the axis start -> end."""
    axis, v = (end - start) / (end - start).norm(), atoms - end
    cosine, sine = angle.cos()[..., None, None], angle.sin()[..., None, None]
    across = torch.linalg.cross(axis.expand_as(v), v)
    along = (v @ axis).unsqueeze(-1) * axis
    return end + v * cosine + across * sine + along * (1 - cosine)


def log_density(angles: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """-E / kT - log Z, in nats w.r.t. d phi d psi."""
    return -_energy(angles) / _kT() - _log_z()


def log_prob(angles: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """The log density at X(phi, psi), in nats w.r.t. the area of the torus in square Angstrom."""
    return log_density(angles) - calculus.log_volume(embed, angles)


def sample_torsions(n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n 2"]:
    """Independent torsions, shape (n, 2), by rejection from the uniform distribution."""
    accepted = torch.empty(0, 2, dtype=torch.float64)
    floor = float(_table().min())
    while accepted.shape[0] < n:
        u = torch.rand(4 * n + 64, 3, generator=generator, dtype=torch.float64)
        angles = (2 * u[:, :2] - 1) * math.pi
        good = u[:, 2].log() < (floor - _energy(angles)) / _kT()
        accepted = torch.cat([accepted, angles[good]])
    return accepted[:n]


def nearest(
    x: Float[Tensor, "n 30"], *, steps: int = 20
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """Torsions of the nearest conformer of the exact torus, and the distance to it in Angstrom.

    Gauss-Newton in (phi, psi) from the nearest node of a grid of 5 degrees.
    """
    axis = torch.arange(-36, 36, dtype=torch.float64) * (math.pi / 36)
    grid = torch.cartesian_prod(axis, axis)
    x = x.to(torch.float64)
    angles = grid[torch.cdist(x, embed(grid)).argmin(-1)]
    for _ in range(steps):
        y, J = calculus.value_and_jacobian(embed, angles)
        step = torch.linalg.lstsq(J, (x - y).unsqueeze(-1)).solution.squeeze(-1)
        angles = angles + step
        if float(step.abs().max()) < 1e-12:
            break
    return angles, (x - embed(angles)).norm(dim=-1)


def bond_lengths(x: Float[Tensor, "*batch 30"]) -> Float[Tensor, "*batch 9"]:
    """Lengths of the nine heavy-atom bonds, in Angstrom."""
    atoms = x.unflatten(-1, (10, 3))
    i, j = (torch.tensor(column) for column in zip(*BONDS, strict=True))
    return (atoms[..., i, :] - atoms[..., j, :]).norm(dim=-1)


def bond_error(x: Float[Tensor, "*batch 30"]) -> float:
    """The largest error of a bond length over conformers x, in Angstrom."""
    true = bond_lengths(torch.as_tensor(_file()["template"]).flatten())
    return float((bond_lengths(x.to(torch.float64)) - true).abs().max())


def _kT() -> float:
    return 8.31446261815324e-3 * float(_file()["temperature_kelvin"])  # kJ / mol


@cache
def _table() -> Tensor:
    """Energies above the minimum, capped, on the periodic grid from -pi."""
    energy = torch.as_tensor(_file()["energy_kj_mol"], dtype=torch.float64)
    return (energy - energy.min()).clamp_max(float(_file()["energy_cap_kj_mol"]))


def _energy(angles: Tensor) -> Tensor:
    """Bilinear periodic interpolation of the table."""
    E = _table().to(angles.dtype)
    m = E.shape[0]
    u = torch.remainder((angles + math.pi) * (m / (2 * math.pi)), m)
    i = u.floor().to(torch.int64) % m
    (i0, j0), (i1, j1) = i.unbind(-1), ((i + 1) % m).unbind(-1)
    s, t = (u - u.floor()).unbind(-1)
    return (
        E[i0, j0] * (1 - s) * (1 - t)
        + E[i1, j0] * s * (1 - t)
        + E[i0, j1] * (1 - s) * t
        + E[i1, j1] * s * t
    )


@cache
def _log_z() -> float:
    """Log of the integral of exp(-E/kT): Gauss-Legendre in every cell, where E is bilinear."""
    m = len(_table())
    nodes, weights = np.polynomial.legendre.leggauss(8)
    h = 2 * math.pi / m
    edges = np.linspace(-math.pi, math.pi, m + 1)[:-1]
    axis = torch.from_numpy(np.add.outer(edges, h * (nodes + 1) / 2).ravel())
    w = torch.from_numpy(np.tile(weights * h / 2, m))
    values = (-_energy(torch.cartesian_prod(axis, axis)) / _kT()).exp()
    return math.log(float((values * torch.cartesian_prod(w, w).prod(-1)).sum()))
