"""What of a density a mask keeps, lets fade and cuts away; numpy or CuPy arrays (z, y, x)."""

from typing import NamedTuple

from gpumask import backend, units
from gpumask.errors import InputRefused
from gpumask.mask import RANGE_SLACK


class Shares(NamedTuple):
    """Shares of the density ρ under a mask m; the first three add up to 1.

    Attributes
    ----------
    kept : float
        ``Σρ[m >= 1 - 1e-6] / Σρ``.
    edge : float
        Where m lies between.
    cut : float
        ``Σρ[m <= 1e-6] / Σρ``.
    weighted : float
        ``Σ ρ·m / Σρ``: what is left of the density under the mask.
    """

    kept: float
    edge: float
    cut: float
    weighted: float


def shares(mask, density):
    """How much of a density a mask keeps, has in its edge, and cuts.

    Parameters
    ----------
    mask : array of float32 or bool, shape (z, y, x)
        Values in [0, 1].
    density : array of float or bool, shape (z, y, x)
        ρ; negative values count as 0. Of a base it is the share of its voxels.

    Returns
    -------
    Shares
        Sums in float64.

    Raises
    ------
    InputRefused
        Arrays of different boxes, or no density above 0.
    """
    xp = backend.xp(mask)
    if mask.shape != density.shape:
        boxes = f"{units.by(mask.shape)} and {units.by(density.shape)}"
        raise InputRefused(f"a mask and a density must have one box, got {boxes} voxels; put them on one grid")
    positive = xp.where(density > 0, density, 0)

    def total(weight):
        return float((positive * weight).sum(dtype=xp.float64))

    kept, cut = mask >= 1 - RANGE_SLACK, mask <= RANGE_SLACK
    parts = [total(where) for where in (kept, ~(kept | cut), cut)]
    whole = sum(parts)
    if not whole > 0:
        raise InputRefused("the density is nowhere above 0, so that no share of it can be told; is it the right map?")
    return Shares(*(part / whole for part in parts), total(mask) / whole)
