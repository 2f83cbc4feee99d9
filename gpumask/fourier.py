"""Fourier transforms of real maps, radial filters, and sums over resolution shells."""

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache

import numpy

from gpumask import backend
from gpumask.errors import UsageError
from gpumask.units import shell_frequency_step, voxel_edges

CONVENTIONS = ("hermitian", "relion")

_count = ContextVar("transforms of boxes that are made within counting()", default=None)


class Count:
    """Transforms of boxes that were made: `made`, a real array's as 1, an even array's, which is half the work, as
    0.5."""

    made = 0.0


@contextmanager
def counting():
    """Count the transforms that are made within, in the :class:`Count` that the block is given."""
    token = _count.set(Count())
    try:
        yield _count.get()
    finally:
        _count.reset(token)


def _counted_as(work):
    count = _count.get()
    if count is not None:
        count.made += work


def rfftn(array, dtype="float64"):
    """Transform of a real array over all axes, in float64 (complex128) or in float32 (complex64); half of it along the
    last axis."""
    _counted_as(1)
    fft = _fft(array)
    if backend.is_cupy(array) or array.dtype == dtype:
        return fft.rfftn(array.astype(dtype, copy=False), **_workers(array))
    spectrum = numpy.empty((*array.shape[:-1], array.shape[-1] // 2 + 1), numpy.result_type(dtype, "complex64"))

    def along_x(start, stop):  # the array is never converted as a whole
        for z in range(start, stop):
            spectrum[z] = fft.rfft(array[z].astype(dtype))

    over_planes(along_x, spectrum)
    return fft.fftn(spectrum, axes=(0, 1), **_workers(spectrum, overwrite_x=True))


def irfftn(spectrum, shape, dtype=None):
    """The real array of `shape` that :func:`rfftn` gave `spectrum` for, in its precision or as `dtype`; `spectrum` is
    used up."""
    _counted_as(1)
    fft = _fft(spectrum)
    dtype = dtype or spectrum.real.dtype
    if backend.is_cupy(spectrum):
        return fft.irfftn(spectrum, shape).astype(dtype, copy=False)
    spectrum = fft.ifftn(spectrum, axes=(0, 1), **_workers(spectrum, overwrite_x=True))
    array = numpy.empty(shape, dtype)

    def along_x(start, stop):  # scipy's irfftn would make another spectrum
        for z in range(start, stop):
            array[z] = fft.irfft(spectrum[z], shape[2])

    over_planes(along_x, spectrum)
    return array


def even_transform(array, shape):
    """Transform of an even real array, ``a(-x) = a(x)``, such as an autocorrelation: half the work of :func:`rfftn`.

    Parameters
    ----------
    array : array of float, shape (nz // 2 + 1, y, x)
        Planes 0 to nz // 2; the others follow from them.
    shape : tuple of int
        The whole box (z, y, x).

    Returns
    -------
    array of float, shape (z, y, nx // 2 + 1)
        The half transform, real.
    """
    _counted_as(0.5)
    fft = _fft(array)
    lines = fft.fft(fft.rfft(array, axis=2, **_workers(array)), axis=1, **_workers(array, overwrite_x=True))
    return fft.hfft(lines, shape[0], axis=0, **_workers(array, overwrite_x=True))


def even_inverse(spectrum, shape):
    """The array that :func:`even_transform` gave the real half transform `spectrum` for."""
    _counted_as(0.5)
    fft = _fft(spectrum)
    lines = fft.ifft(fft.ihfft(spectrum, axis=0, **_workers(spectrum)), axis=1, **_workers(spectrum, overwrite_x=True))
    return fft.irfft(lines, shape[2], axis=2, **_workers(spectrum, overwrite_x=True))


def over_planes(function, array):
    """Run ``function(start, stop)`` over chunks of the planes of `array`: threads on the CPU, one chunk on a GPU."""
    if backend.is_cupy(array):
        function(0, len(array))
        return
    from gpumask._cpu import threads

    threads.over_planes(function, len(array))


def fast_length(length):
    """The smallest length >= `length` whose transform is fast."""
    import scipy.fft

    return scipy.fft.next_fast_len(length, real=True)


def apply_radial(array, voxel_size, response):
    """Multiply the transform of `array` by a function of frequency.

    Parameters
    ----------
    array : array of float, shape (z, y, x)
        A real map; numpy or CuPy.
    voxel_size : tuple of float
        Voxel edges (z, y, x), Å.
    response : callable
        ``response(frequency)`` takes frequencies in 1/Å and returns factors of the same shape.

    Returns
    -------
    array of float32
        The filtered map. Transforms are in float64: the same bytes on any number of threads.
    """
    xp = backend.xp(array)
    spectrum = rfftn(array)
    fz, fy, fx = (
        xp.asarray(f, xp.float64)
        for f in (
            xp.fft.fftfreq(array.shape[0], voxel_size[0]),
            xp.fft.fftfreq(array.shape[1], voxel_size[1]),
            xp.fft.rfftfreq(array.shape[2], voxel_size[2]),
        )
    )
    plane = fy[:, None] ** 2 + fx[None, :] ** 2

    def scale(start, stop):
        for z in range(start, stop):
            spectrum[z] *= response(xp.sqrt(plane + fz[z] ** 2))

    over_planes(scale, spectrum)
    return irfftn(spectrum, array.shape, xp.float32)


def _fft(array):
    if backend.is_cupy(array):
        import cupyx.scipy.fft

        return cupyx.scipy.fft
    import scipy.fft

    return scipy.fft


def _workers(array, **options):
    if backend.is_cupy(array):
        return options
    from gpumask._cpu import threads

    return {"workers": threads.count(), **options}


_ROUNDING = 1e-9  # of a squared frequency, generously


@dataclass(frozen=True, eq=False)
class Shells:
    """Resolution shells of a box: shell i holds the frequencies that round to ``i · step``.

    On cubic boxes that is ``round(|k|)`` in units of 1/box; in general the width is 1 / (longest box edge), so that
    shells are physical frequencies.

    Attributes
    ----------
    step : float
        Width of a shell, 1/Å.
    squares : tuple of three arrays
        Squared frequency in shell widths along z, y and (half transform) x.
    weights : array
        Hermitian multiplicity along x: 1 where a coefficient is its own mate, else 2.
    nyquist : int
        The last shell within the shortest Nyquist frequency of the three axes.
    coefficients : array of float64
        Coefficients of the whole transform in each shell, from 0 to the corner of the box.
    """

    step: float
    squares: tuple = field(repr=False)
    weights: numpy.ndarray = field(repr=False)
    nyquist: int
    coefficients: numpy.ndarray = field(repr=False)

    @property
    def count(self):
        """Number of shells, the corners of the box included."""
        return len(self.coefficients)

    @property
    def frequency(self):
        """Frequency of each shell, 1/Å."""
        return self.step * numpy.arange(self.count)


def shells(shape, voxel_size):
    """The :class:`Shells` of a box of `shape` (z, y, x) with voxel edges `voxel_size`, Å."""
    return _shells(tuple(shape), voxel_edges(voxel_size))


def half_weights(length):
    """How often each of the first ``length // 2 + 1`` entries of an axis stands in an array with Hermitian or mirror
    symmetry: 1 for those that are their own mates, else 2."""
    weights = numpy.full(length // 2 + 1, 2.0)
    weights[0] = 1.0
    if length % 2 == 0:
        weights[-1] = 1.0
    return weights


@lru_cache(maxsize=8)
def _shells(shape, edges):
    step = shell_frequency_step(shape, edges)
    frequencies = [numpy.fft.fftfreq(n, v) for n, v in zip(shape[:2], edges[:2], strict=True)]
    frequencies.append(numpy.fft.rfftfreq(shape[2], edges[2]))
    squares = tuple((f / step) ** 2 for f in frequencies)
    weights = half_weights(shape[2])
    across = squares[1][:, None] + squares[2][None, :]
    last = int(numpy.sqrt(squares[0].max() + across.max()) + 0.5)
    coefficients = numpy.zeros(last + 1)
    both = numpy.broadcast_to(weights, across.shape).reshape(-1)
    for z in squares[0]:
        coefficients += numpy.bincount((numpy.sqrt(across + z) + 0.5).astype(int).reshape(-1), both, last + 1)
    nyquist = int(min(n // 2 / (n * v) for n, v in zip(shape, edges, strict=True)) / step + 1e-9)
    return Shells(step, squares, weights, nyquist, coefficients)


def shell_power(array, voxel_size, shape=None, bins=1):
    """Sum of ``|F|²`` over each shell.

    Parameters
    ----------
    array : array of float or bool, shape (z, y, x)
        A real map or mask; numpy or CuPy. Only the box of its non-zero voxels is transformed in full: rows and columns
        outside it are skipped, and one axis is transformed a little at a time and added up, so that the whole
        transform never exists. Transforms are in float32, sums in float64.
    voxel_size : float or tuple of float
        Å (z, y, x).
    shape : tuple of int, optional
        The box, where `array` is the part of it that is not 0. Where that part is makes no difference to power.
    bins : int
        Parts of a shell that are told apart: sum i is over the frequencies that round to i / bins shells.

    Returns
    -------
    numpy array of float64, one a shell (or a bin)
        Both halves of the transform counted: by Parseval the sum over shells is ``Σ array²`` times the voxels of the
        box.
    """
    found = shells(shape or array.shape, voxel_size)
    squares = tuple(along * bins**2 for along in found.squares)
    return _shell_power(array, shape, squares, found.weights, bins * found.count)


def _shell_power(array, shape, squares, weights, count, each=None):
    _counted_as(1)
    if shape is None:
        shape, box = array.shape, backend.of(array).bounding_box(array != 0)
        array = array[box or (slice(1),) * 3]
    return backend.of(array).shell_power(array, shape, squares, weights, count, each)


def shell_sums(a, b, shape, voxel_size, convention="hermitian"):
    """Sum of ``Re(a·conj(b))`` over each shell for two half transforms (see :func:`rfftn`) of a box of `shape`.

    Parameters
    ----------
    a, b : array of complex
        numpy or CuPy.
    shape : tuple of int
        (z, y, x).
    voxel_size : float or tuple of float
        Å (z, y, x).
    convention : str
        ``hermitian``: the whole transform is counted, mates included. ``relion``: the stored half as it is.

    Returns
    -------
    numpy array of float64, one a shell
        Deterministic on any number of threads.
    """
    return backend.of(a).shell_sums(a, b, *_counted(shape, voxel_size, convention))


def shell_products(a, b, shape, voxel_size, convention="hermitian"):
    """Sums over shells of ``Re(a·b*)``, ``|a|²`` and ``|b|²`` in one pass; see :func:`shell_sums`."""
    return backend.of(a).shell_products(a, b, *_counted(shape, voxel_size, convention))


def _counted(shape, voxel_size, convention):
    if convention not in CONVENTIONS:
        raise UsageError(f"shells are counted by convention {' or '.join(CONVENTIONS)}, got {convention!r}")
    found = shells(shape, voxel_size)
    weights = found.weights if convention == "hermitian" else numpy.ones_like(found.weights)
    return found.squares, weights, found.count


def scale_shells(spectrum, factors, shape, voxel_size):
    """Multiply each shell of a half transform by a factor, in place; returns it."""
    xp = backend.xp(spectrum)
    squares = [xp.asarray(s) for s in shells(shape, voxel_size).squares]
    factors = xp.asarray(factors, spectrum.real.dtype)
    across = squares[1][:, None] + squares[2][None, :]

    def scale(start, stop):
        for z in range(start, stop):
            spectrum[z] *= factors[(xp.sqrt(across + squares[0][z]) + 0.5).astype(xp.int32)]

    over_planes(scale, spectrum)
    return spectrum


def on_shell(array, voxel_size, shell, shape=None):
    """:func:`shell_power`, and the coefficients whose frequencies round to one shell.

    Returns
    -------
    sums : numpy array of float64, one a shell
        What :func:`shell_power` returns.
    directions : numpy array, shape (n, 3)
        Unit vectors (z, y, x) of one of each pair of Hermitian mates.
    power, weights : numpy arrays, shape (n,)
        ``|F|²`` and the multiplicity, 1 or 2.
    """
    shape = shape or array.shape
    found = shells(shape, voxel_size)
    chosen = _OnShell(shape, voxel_size, shell)
    sums = _shell_power(array, shape, found.squares, found.weights, found.count, chosen.collect)
    return sums, *chosen.coefficients()


def coefficients_on_shell(spectrum, shape, voxel_size, shell):
    """The last three that :func:`on_shell` returns, of a half transform that is there."""
    chosen = _OnShell(shape, voxel_size, shell)
    rows = range(shape[1])
    over_planes(lambda start, stop: chosen.collect(range(start, stop), rows, spectrum[start:stop]), spectrum)
    return chosen.coefficients()


class _OnShell:
    """Coefficients of a half transform that comes in blocks, whose frequencies round to one shell."""

    def __init__(self, shape, voxel_size, shell):
        self.shape, self.edges, self.shell = shape, voxel_edges(voxel_size), shell
        self.shells, self.parts = shells(shape, voxel_size), []

    def collect(self, planes, rows, block):
        """Of each row of the half transform the few columns whose frequencies may do, then those that do."""
        low, high = max(self.shell - 0.5, 0.0) ** 2, (self.shell + 0.5) ** 2
        squares = self.shells.squares
        planes, rows = numpy.asarray(planes), numpy.asarray(rows)
        z, y, x = squares[0][planes], squares[1][rows], squares[2]
        rest = (z[:, None] + y).reshape(-1)
        near = numpy.flatnonzero(rest < high * (1 + _ROUNDING))
        first = numpy.searchsorted(x, low - rest[near] - _ROUNDING * high)
        counts = numpy.searchsorted(x, high - rest[near] + _ROUNDING * high) - first
        column = numpy.arange(counts.sum()) - numpy.repeat(numpy.cumsum(counts) - counts - first, counts)
        plane, row = numpy.divmod(numpy.repeat(near, counts), len(y))
        kept = (numpy.sqrt((y[row] + x[column]) + z[plane]) + 0.5).astype(int) == self.shell
        plane, row, column = plane[kept], row[kept], column[kept]
        xp = backend.xp(block)
        values = backend.to_numpy(block[xp.asarray(plane), xp.asarray(row), xp.asarray(column)])
        self.parts.append((planes[plane], rows[row], column, values))

    def coefficients(self):
        """Directions, power and multiplicity, in an order that no thread changes."""
        plane, row, column, values = (numpy.concatenate(values) for values in zip(*self.parts, strict=True))
        order = numpy.lexsort((column, row, plane))  # threads come as they like
        plane, row, column, values = (values[order] for values in (plane, row, column, values))
        (nz, ny, nx), edges = self.shape, self.edges
        vectors = numpy.stack(
            [
                numpy.fft.fftfreq(nz, edges[0])[plane],
                numpy.fft.fftfreq(ny, edges[1])[row],
                numpy.fft.rfftfreq(nx, edges[2])[column],
            ],
            axis=1,
        )
        length = numpy.sqrt((vectors * vectors).sum(axis=1))
        length[length == 0] = 1.0  # shell 0
        power = values.real.astype(float) ** 2 + values.imag.astype(float) ** 2
        return vectors / length[:, None], power, self.shells.weights[column]


def central_planes(array):
    """Amplitudes in the three planes through the origin of the transform of a real array.

    By the projection-slice theorem the plane perpendicular to an axis is the 2-D transform of the array summed along
    that axis: ``F(0, ky, kx) = Σ_yx (Σ_z a)·exp(-2πi(ky·y/ny + kx·x/nx))``, so that the 3-D transform is never made.

    Parameters
    ----------
    array : array, shape (z, y, x)
        numpy or CuPy; summed and transformed in float64.

    Returns
    -------
    list of three arrays of float64
        ``|F|`` in the planes perpendicular to z, y and x, of shape (y, x), (z, x) and (z, y); the zero frequency is at
        ``n // 2``.
    """
    xp, transforms = backend.xp(array), _fft(array)
    planes = []
    for axis in range(3):
        plane = transforms.fft2(array.sum(axis=axis, dtype=xp.float64), **_workers(array))
        planes.append(xp.fft.fftshift(xp.abs(plane)))
    return planes
