"""How well a map and an atomic model agree: their Fourier shell correlation.

A model's density is a sum of equal Gaussians. Each shell of the FSC is normalised by itself, so that their width, a
B factor common to all atoms and the sharpening of the map make no difference to the unmasked curve; a difference of
B factors between atoms is not modelled.
"""

from dataclasses import dataclass, field, replace

import numpy

from gpumask import backend, correlation, fourier, grids, mask, models, recipe, resolution, units
from gpumask.errors import InputRefused, UsageError
from gpumask.volume import Header, Volume

CRITERIA = ("0", "0.143", "0.5")
CURVES = ("map_model", "map_model_unmasked")
FINENESS = 1.5  # of the Nyquist resolution: the density is of 3 voxels, 0.11 of its amplitude is left at Nyquist


@dataclass(frozen=True, eq=False)
class MapModel:
    """What :func:`map_model` finds; undefined is None.

    Attributes
    ----------
    shells : list of dict
        ``index``, ``frequency`` (1/Å), ``resolution`` (Å), ``map_model`` (under the mask; None without one) and
        ``map_model_unmasked``.
    resolution : dict
        Criterion (``0``, ``0.143``, ``0.5``) → curve → Å by the rule of the style.
    crossings : dict
        Criterion → curve → ``first``, ``interpolated``, ``last``, Å; see :func:`gpumask.resolution.crossing`.
    nyquist_limited : dict
        Criterion → the curves that fall below it nowhere, whose resolution is that of Nyquist.
    notes : list of str
        Small differences of the voxel size. Not in the document.
    """

    shells: list = field(repr=False)
    resolution: dict
    crossings: dict = field(repr=False)
    nyquist_limited: dict
    notes: list = field(repr=False)

    def curve(self, name):
        """One column of `shells` as an array, NaN where undefined."""
        return numpy.array([numpy.nan if row[name] is None else row[name] for row in self.shells])


def map_model(volume, density, around=None, *, style="gpumask", voxel_size=None):
    """Correlate a map with the density of a model, shell by shell.

    ``FSC(i) = Σ Re(F·G*) / sqrt(Σ|F|²·Σ|G|²)``, F of the map and G of the density, both under the mask. For a map of
    two half maps with FSC C and a model that is the truth it is ``sqrt(2C/(1 + C))`` (Rosenthal & Henderson 2003): 0.5
    of it is where C is 0.143.

    Parameters
    ----------
    volume : Volume or array of float32, shape (z, y, x)
        The mean of the half maps; numpy or CuPy data.
    density : Volume or array of float32, shape (z, y, x)
        Of the model on the same grid, see :func:`density`.
    around : Volume or array of float32, optional
        The mask, values in [0, 1].
    style : str
        Whose rule reads the resolutions, see :func:`gpumask.fsc`.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); only with plain arrays.

    Returns
    -------
    MapModel

    Raises
    ------
    InputRefused
        Different grids, values that are not finite, a map that is one value everywhere, a density of nothing.
    UsageError
        An unknown style.
    TypeError
        Plain arrays without `voxel_size`.
    """
    if style not in resolution.STYLES:
        raise UsageError(f"style must be one of {', '.join(resolution.STYLES)}, got {style!r}")
    style = resolution.STYLES[style]
    (volume, density, around), notes = grids.on_one_grid(
        {"the map": volume, "the model's density": density, "the mask": around}, voxel_size
    )
    arrays, size, shape = (volume.data, density.data), volume.voxel_size, volume.shape
    for name, array in zip(("the map", "the model's density"), arrays, strict=True):
        if not bool(backend.xp(array).isfinite(array).all()):
            raise InputRefused(f"{name} has NaN or Inf; mend it")
    if bool(volume.data.min() == volume.data.max()):
        raise InputRefused(f"the map is {float(volume.data.min()):g} everywhere: there is nothing to correlate")
    if not bool((density.data > 0).any()):
        raise InputRefused("the model has no density in the box of the map: is it the model of this map?")
    shells = fourier.shells(shape, size)
    count = shells.nyquist + 1

    def correlated(pair):
        transforms = [fourier.rfftn(array, "float32") for array in pair]
        return correlation.curve(*fourier.shell_products(*transforms, shape, size, style.convention))[:count]

    curves = {"map_model": None, "map_model_unmasked": correlated(arrays)}
    if around is not None:
        mask.check_range(around.data)
        curves["map_model"] = correlated([array * around.data for array in arrays])
    limited = {
        criterion: [name for name, values in curves.items() if _never_falls(values, float(criterion))]
        for criterion in CRITERIA
    }
    crossings = {
        criterion: {name: _crossing(values, float(criterion), shells) for name, values in curves.items()}
        for criterion in CRITERIA
    }
    return MapModel(
        shells=[
            {"index": i, "frequency": i * shells.step, "resolution": 1 / (i * shells.step) if i else None}
            | {name: _number(values, i) for name, values in curves.items()}
            for i in range(count)
        ],
        resolution={
            criterion: {name: found[style.rule] for name, found in of_curves.items()}
            for criterion, of_curves in crossings.items()
        },
        crossings=crossings,
        nyquist_limited=limited,
        notes=notes,
    )


def density(model, grid, resolution=None):
    """The density of a model that its correlation with a map is taken of.

    Gaussians as :func:`gpumask.models.density`. They are narrow, since under a mask what a wide Gaussian leaves of the
    high shells drowns in what leaks from the low ones; and too narrow for the voxels, which fold what lies beyond
    Nyquist back on what lies before it. So the density is sampled twice, the second time half a voxel on along each
    axis; in the mean of both transforms, the second one turned back, the images that are shifted by an odd number of
    boxes cancel (interlacing, Hockney & Eastwood 1981). The FSC with the exact transform is then 1 to 1e-5 before
    the last shell and above 0.99 there; of one sampling it is 0.98 at 0.92 of Nyquist and 0.93 at Nyquist.

    Parameters
    ----------
    model : Model
        Every atom counts as in :func:`gpumask.models.density`.
    grid : Volume
        Whose grid the density gets.
    resolution : float or str, optional
        Å; the Gaussians' standard deviation is 0.225 of it. Default: three voxels.

    Returns
    -------
    array of float32, shape (z, y, x)
        Of the kind of the grid's data.
    """
    size, like = grid.voxel_size, grid.data
    width = density_resolution(size, resolution)
    between = units.corner_px_to_angstrom((0.5, 0.5, 0.5), size, grid.origin)
    places = (grid, Volume(like, size, Header(origin=between)))
    first, second = (
        fourier.rfftn(backend.xp(like).asarray(models.density(model, width, place)), "float32") for place in places
    )
    return fourier.irfftn(_interlaced(first, second, like.shape), like.shape)


def density_resolution(voxel_size, resolution=None):
    """The resolution of :func:`density` in Å: what is given, else three voxels (of the largest edge)."""
    if resolution is None:
        return FINENESS * units.nyquist_resolution(voxel_size)
    return units.angstrom(resolution, "resolution of the model's density")


def own_mask(model, grid):
    """The soft mask of a model: 1 within 3 Å of its atoms, a raised cosine of 12 px outside; float32."""
    base = backend.xp(grid.data).asarray(models.base(model, units.angstrom(models.RADIUS), grid))
    width = units.length(recipe.DEFAULT_SOFT_EDGE).value
    return mask.soft_mask(base, 0, width, sampling=units.sampling(grid.voxel_size))


def joined(fsc, found, **facts):
    """An :class:`gpumask.FSC` with the curves of a :class:`MapModel` among its shells, and `facts` and resolutions
    under its name ``map_model``."""
    return replace(
        fsc,
        shells=[row | {name: own[name] for name in CURVES} for row, own in zip(fsc.shells, found.shells, strict=True)],
        map_model={
            **facts,
            "resolution": found.resolution,
            "crossings": found.crossings,
            "nyquist_limited": found.nyquist_limited,
        },
    )


def _interlaced(first, second, shape):
    """Mean of the transforms of two samplings, the second half a voxel further along each axis; `first` is used up."""
    xp = backend.xp(first)
    turns = [xp.exp(-1j * numpy.pi * xp.fft.fftfreq(n)) for n in shape[:2]]
    turns.append(xp.exp(-1j * numpy.pi * xp.fft.rfftfreq(shape[2])))
    z, across = turns[0], (turns[1][:, None] * turns[2]).astype(first.dtype)

    def fold(start, stop):
        for plane in range(start, stop):
            first[plane] = (first[plane] + second[plane] * (z[plane].astype(first.dtype) * across)) / 2

    fourier.over_planes(fold, first)
    return first


def _never_falls(values, level):
    return values is not None and bool(numpy.isfinite(values[1:]).any()) and not (values[1:] < level).any()


def _crossing(values, level, shells):
    if values is None:
        return dict.fromkeys(("first", "interpolated", "last"))
    return resolution.crossing(values, level, shells)


def _number(values, i):
    return None if values is None or not numpy.isfinite(values[i]) else float(values[i])
