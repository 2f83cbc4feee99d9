"""The spectrum of every mask that is a function of distance, from one set of transforms."""

import math
from dataclasses import dataclass, field
from numbers import Real

import numpy

from gpumask import backend, fourier, grids, mask, spectrum, units
from gpumask.errors import InputRefused, OutOfMemory, UsageError

BESIDE = 4  # arrays of float64 that a box takes beside a transform for each node
WORTH = 3.0  # dB less leakage, a half, that is worth a profile of one's own


@dataclass(frozen=True, eq=False)
class EdgeSpectra:
    """The shell power of every mask that is a function of distance from one base, linear between nodes; see
    :func:`edge_spectra`.

    Attributes
    ----------
    nodes : numpy array
        px.
    form : numpy array, shape (shells, nodes, nodes)
        G(k): ``Σ Re(Φi·Φj*)`` over each shell, Φ the transforms of the hat functions of distance at the nodes.
    shells : Shells
    """

    nodes: numpy.ndarray
    form: numpy.ndarray = field(repr=False)
    shells: fourier.Shells = field(repr=False)
    _distance: object = field(repr=False)

    def power(self, values):
        """``wᵀ·G(k)·w``: Σ|M|² over each shell, of the mask with the values w at the nodes.

        In every shell, as far as 120 dB below the strongest, what a transform in float64 gives of the mask to a
        relative 1e-6. :meth:`mask` is float32, which rounds values up to 1 by up to 2^-25: shells with little more
        power than this rounding differ, and so do float32 transforms (:func:`gpumask.fourier.shell_power`).

        Parameters
        ----------
        values : array of float, one a node

        Returns
        -------
        numpy array of float64, one a shell
        """
        values = self._checked(values)
        return numpy.einsum("i,kij,j->k", values, self.form, values)

    def leakage(self, values, resolution):
        """Share of the power of the mask with those values that is beyond a resolution in Å; None where the mask is 0
        everywhere."""
        power, beyond = self.power(values), self._beyond(resolution)
        return float(power @ beyond / power.sum()) if power.sum() > 0 else None

    def mask(self, values):
        """The mask with those values at the nodes, linear in the distance between them: the first value up to the first
        node, and 0 beyond the last node; float32, shape (z, y, x)."""
        xp, values = backend.xp(self._distance), self._checked(values)
        made = xp.interp(self._distance.reshape(-1), xp.asarray(self.nodes), xp.asarray(values), right=0.0)
        return made.reshape(self._distance.shape).astype(xp.float32)

    def least_leak(self, core_px, outer_px, resolution):
        """The profile that never rises, 1 up to `core_px` and 0 from `outer_px` on, with the least power beyond a
        resolution.

        With the drops s >= 0 between free nodes, Σs = 1, the power is a convex quadratic form of s. Its least value
        under Σs = 1 is where ``|A·s|² + λ·(Σs - 1)²`` over s >= 0 has its own, but for a factor: scaled to Σs = t any
        s gives ``t²·q + λ·(t - 1)²``, whose least value over t, ``λ·q / (λ + q)``, grows with q. So non-negative least
        squares (Lawson and Hanson) solve it exactly, in finitely many steps.

        Parameters
        ----------
        core_px, outer_px : float
            Nodes, px.
        resolution : float or str
            Å.

        Returns
        -------
        numpy array of float64, one a node
            For :meth:`power` and :meth:`mask`.

        Raises
        ------
        UsageError
            Bounds that are no nodes or have no order; a resolution beyond Nyquist.
        """
        from scipy.optimize import nnls

        first, last = (self._node(px, what) for px, what in ((core_px, "core"), (outer_px, "outer end")))
        if not first < last:
            raise UsageError(f"the core must end before the mask does, got {core_px:g} and {outer_px:g} px")
        form = numpy.einsum("k,kij->ij", self._beyond(resolution), self.form)
        # w = 1 up to `first`, then 1 less the drops before each node: w = profile of one drop after node j, averaged
        steps = (numpy.arange(len(self.nodes))[:, None] <= numpy.arange(first, last)).astype(float)
        form = steps.T @ form @ steps
        root = _root(form)
        weight = math.sqrt(numpy.trace(form) / len(form))
        drops, _ = nnls(numpy.vstack([root, numpy.full(len(form), weight)]), [*numpy.zeros(len(form)), weight])
        profile = steps @ (drops / drops.sum())
        profile[: first + 1] = 1.0  # which the drops add up to but for rounding
        return profile

    def power_db(self, values):
        """Mean power over that of zero frequency in each shell from 0 to Nyquist, dB; a list, None where there is no
        power."""
        mean = (self.power(values) / self.shells.coefficients)[: self.shells.nyquist + 1]
        return [spectrum.decibel(max(p, 0.0) / mean[0]) for p in mean]

    def roots(self):
        """R(k), upper triangular, with ``R(k)ᵀ·R(k) = G(k)``: ``|R(k)·w|²`` is :meth:`power`, never below 0, and takes
        half the digits.

        Returns
        -------
        numpy array of float64, shape (shells, nodes, nodes)
        """
        return _root(self.form)

    def leak_roots(self, resolution):
        """As of :meth:`roots`, of the power beyond a resolution in Å, and of all of it: the square of the ratio of
        ``|R·w|`` is :meth:`leakage`."""
        beyond = self._beyond(resolution)
        return _root(numpy.einsum("k,kij->ij", beyond, self.form)), _root(self.form.sum(axis=0))

    def _beyond(self, angstrom):
        angstrom = units.angstrom(angstrom)
        beyond = spectrum.shares_beyond(angstrom, self.shells)
        if beyond is None:
            nyquist = 1 / (self.shells.step * self.shells.nyquist)
            raise UsageError(f"resolution {angstrom:g} Å is beyond Nyquist, {nyquist:.4g} Å; give a coarser one")
        return beyond

    def _node(self, px, what):
        found = numpy.flatnonzero(numpy.abs(self.nodes - px) <= units.SNAP) if isinstance(px, Real) else ()
        if not len(found):
            raise UsageError(f"the {what} must be at a node in px, got {px!r} and nodes {self.nodes.tolist()}")
        return int(found[0])

    def _checked(self, values):
        found = _numbers(values)
        if found is None or found.shape != self.nodes.shape:
            got = "others" if found is None else f"{found.size}"
            raise UsageError(f"a profile is a finite number for each of the {len(self.nodes)} nodes, got {got}")
        return found


def edge_spectra(base, nodes, *, voxel_size=None, progress=None):
    """Measure the spectra of all masks that are functions of the distance from a base, linear between nodes.

    With the hat functions of distance at the nodes as basis, a mask is ``m = Σ wj·φj``, its values w at the nodes, and
    its power in each shell is ``wᵀ·G(k)·w``. G takes one transform (float64) a node and no more from then on. Edges
    that are curves in between, such as the raised cosine, are met the better the closer the nodes are.

    The distance is that to the nearest voxel of the base, 0 in it, as everywhere; inside it goes on as 1 px less the
    distance to the nearest voxel outside, so 0 at the voxels of the surface and negative within.

    Parameters
    ----------
    base : Volume or array, shape (z, y, x)
        bool, or numbers that count as foreground where >= 0.5; numpy or CuPy.
    nodes : list of float
        px, rising. Memory: 8 bytes a voxel of the box for each, and 32 beside; see :func:`bytes_needed`.
    voxel_size : float or tuple of float, optional
        Å (z, y, x); only with a plain array. Voxels must be cubes.
    progress : callable, optional
        Called with the name of each step, and the share that is done.

    Returns
    -------
    EdgeSpectra

    Raises
    ------
    UsageError
        Nodes that are no finite numbers or do not rise, fewer than two; anisotropic voxels.
    InputRefused
        A base of nothing.
    OutOfMemory
        Less memory than :func:`bytes_needed` is free.
    TypeError
        A plain array without `voxel_size`.
    """
    (volume,), _ = grids.on_one_grid({"the base": base}, voxel_size)
    nodes = _numbers(nodes)
    if nodes is None or nodes.ndim != 1 or len(nodes) < 2 or not (numpy.diff(nodes) > 0).all():
        got = "what are no finite numbers" if nodes is None else nodes.tolist()
        raise UsageError(f"nodes must be two or more rising distances in px, got {got}")
    if not units.is_isotropic(volume.voxel_size):
        raise UsageError("the nodes of edge spectra are in pixels, and these voxels are no cubes; resample the base")
    progress = progress or (lambda name, share=None: None)
    shape, size = volume.shape, volume.voxel_size
    if not backend.is_cupy(volume.data):
        check_room(shape, len(nodes))
    found = fourier.shells(shape, size)
    distance = _signed_distance(volume.data, nodes)
    xp, count = backend.xp(distance), len(nodes)
    transforms = []
    for i in range(count):
        progress("hat functions", i / count)
        hat = xp.interp(distance.reshape(-1), xp.asarray(nodes), xp.asarray(numpy.eye(count)[i]), right=0.0)
        transforms.append(fourier.rfftn(hat.reshape(shape)))
    form = numpy.empty((found.count, count, count))
    for i in range(count):
        progress("products", i / count)
        for j in range(i, count):
            form[:, i, j] = form[:, j, i] = fourier.shell_sums(transforms[i], transforms[j], shape, size)
    return EdgeSpectra(nodes, form, found, distance)


def bytes_needed(shape, count):
    """Bytes that :func:`edge_spectra` takes at its peak for so many nodes, without the base."""
    return 8 * (count + BESIDE) * math.prod(shape)


def check_room(shape, count, advice="give fewer nodes or a smaller box"):
    """Refuse what does not fit into the memory that is free (:class:`OutOfMemory`)."""
    needed, available = bytes_needed(shape, count), backend.available_memory()
    if available is not None and needed > available:
        raise OutOfMemory(
            f"edge spectra of {count} nodes in a box of {units.by(shape)} voxels need {needed / 2**30:.1f} GiB, "
            f"{available / 2**30:.1f} GiB are free; {advice}"
        )


@dataclass(frozen=True, eq=False)
class LeastLeak:
    """The profile of least leak between the two ends of a mask's edge, beside that edge; see :func:`least_leak`.

    Attributes
    ----------
    spectra : EdgeSpectra
    values : numpy array
        At its nodes.
    mask : Volume
    resolution : float
        Å.
    own, least : dict
        Of the mask's own edge and of this profile: ``leakage``, the share of power beyond the resolution, and
        ``db_at_resolution``.
    gain_db : float
        The ratio of the two leakages; below 0 where the own edge has the lower share.
    worth_it : bool
        Whether that is :data:`WORTH` or more.
    """

    spectra: EdgeSpectra = field(repr=False)
    values: numpy.ndarray
    mask: object = field(repr=False)
    resolution: float
    own: dict
    least: dict
    gain_db: float
    worth_it: bool

    def line(self):
        """What is told of it, in one line with its numbers, for people."""

        def told(one):
            level = one["db_at_resolution"]
            return f"leakage {one['leakage']:.3g}, {'no power' if level is None else f'{level:.1f} dB'}"

        worth = "worth it" if self.worth_it else "not worth it"
        change = f"{abs(self.gain_db):.1f} dB {'less' if self.gain_db >= 0 else 'more'} beyond {self.resolution:.3g} Å"
        return f"{told(self.least)}; the edge of the pick {told(self.own)}: {change}, {worth}"

    def to_dict(self):
        """Plain values, without spectra and mask."""
        told = {name: getattr(self, name) for name in ("own", "least", "gain_db", "worth_it")}
        return {"nodes_px": self.spectra.nodes.tolist(), "values": self.values.tolist(), **told}


def least_leak(base, first_px, last_px, own, resolution, *, voxel_size=None, progress=None):
    """Find the profile of least leak between the two ends of a mask's edge, with nodes every pixel.

    Parameters
    ----------
    base : Volume or array, shape (z, y, x)
        See :func:`edge_spectra`; what is left of it where the mask is of an eroded base.
    first_px, last_px : float
        Where the edge begins and ends, px from the base.
    own : Volume or array
        The mask with its own edge.
    resolution : float or str
        Å.
    voxel_size, progress
        See :func:`edge_spectra`.

    Returns
    -------
    LeastLeak

    Raises
    ------
    UsageError
        Ends that have no order; a resolution beyond Nyquist; anisotropic voxels.
    InputRefused, OutOfMemory, TypeError
        See :func:`edge_spectra`.
    """
    nodes = pixels_between(first_px, last_px)
    (base, own), _ = grids.on_one_grid({"the base": base, "its mask": own}, voxel_size)
    spectra = edge_spectra(base, nodes, progress=progress)
    values = spectra.least_leak(nodes[0], nodes[-1], resolution)
    transform = fourier.rfftn(own.data)
    power = fourier.shell_sums(transform, transform, own.shape, own.voxel_size)
    shells, beyond = spectra.shells, spectra._beyond(resolution)
    shell = spectrum.shell_of(units.angstrom(resolution), shells)
    mean = power / shells.coefficients
    told = {"leakage": float(power @ beyond / power.sum()), "db_at_resolution": spectrum.decibel(mean[shell] / mean[0])}
    least = {"leakage": spectra.leakage(values, resolution), "db_at_resolution": spectra.power_db(values)[shell]}
    gain = 10 * math.log10(told["leakage"] / max(least["leakage"], numpy.finfo(float).eps))  # below it is rounding
    made = base.with_data(spectra.mask(values), recipe=None)
    return LeastLeak(spectra, values, made, units.angstrom(resolution), told, least, gain, gain >= WORTH)


def pixels_between(first_px, last_px):
    """Nodes every pixel from one end to the other; the last step may be shorter."""
    if not first_px < last_px:
        raise UsageError(f"an edge must begin before it ends, got {first_px:g} and {last_px:g} px; give it a width")
    return [*(float(px) for px in numpy.arange(first_px, last_px, 1.0) if last_px - px > units.SNAP), float(last_px)]


def _root(form):
    """R, upper triangular, with ``RᵀR`` a symmetric form that has no negative value but for rounding."""
    values, vectors = numpy.linalg.eigh((form + numpy.swapaxes(form, -1, -2)) / 2)
    root = numpy.sqrt(numpy.clip(values, 0, None))[..., :, None] * numpy.swapaxes(vectors, -1, -2)
    return numpy.linalg.qr(root, mode="r")


def _numbers(values):
    """As an array of float64; None where they are not all finite numbers."""
    try:
        array = numpy.asarray(values)
    except ValueError:  # lists of different lengths
        return None
    if array.dtype.kind not in "iuf" or not numpy.isfinite(array).all():
        return None
    return array.astype(float)


def _signed_distance(base, nodes):
    """px, float64: to the nearest voxel of the base outside, 1 less that to the nearest one outside it within; beyond
    the nodes no more than that it is beyond."""
    xp = backend.xp(base)
    foreground = base if base.dtype == bool else base >= 0.5
    if not bool(foreground.any()):
        raise InputRefused("the base of edge spectra is empty: no voxel is >= 0.5; give another")
    distance = xp.sqrt(mask.squared_distance(foreground, max(nodes[-1], 0.0)).astype(xp.float64))
    if nodes[0] < 0:
        inside = mask.squared_distance(foreground, 1 - nodes[0], inverted=True)
        distance -= xp.where(foreground, xp.sqrt(inside.astype(xp.float64)) - 1, 0.0)
    return distance
