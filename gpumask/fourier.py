"""Fourier transforms of real maps, radial filters, and sums over resolution shells."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy

from gpumask import backend
from gpumask.units import shell_frequency_step, voxel_edges


def rfftn(array, dtype="float64"):
    """Transform of a real array over all axes, in float64 (complex128) or in float32 (complex64); half of it along the
    last axis."""
    return _fft(array).rfftn(array.astype(dtype, copy=False), **_workers(array))


def irfftn(spectrum, shape):
    """The real array of `shape` that :func:`rfftn` gave `spectrum` for, in its precision; `spectrum` is used up."""
    return _fft(spectrum).irfftn(spectrum, shape, **_workers(spectrum, overwrite_x=True))


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
    for z in range(array.shape[0]):
        spectrum[z] *= response(xp.sqrt(plane + fz[z] ** 2))
    return irfftn(spectrum, array.shape).astype(xp.float32)


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


def shell_power(array, voxel_size):
    """Sum of ``|F|²`` over each shell.

    Parameters
    ----------
    array : array of float, shape (z, y, x)
        A real map or mask; numpy or CuPy. Only the box of its non-zero voxels is transformed in full: rows and columns
        outside it are skipped, and the last axis is transformed a few planes at a time and added up, so that the whole
        transform never exists. Transforms are in float32, sums in float64.
    voxel_size : float or tuple of float
        Å (z, y, x).

    Returns
    -------
    numpy array of float64, one a shell
        Both halves of the transform counted: by Parseval the sum over shells is ``Σ array² · array.size``.
    """
    found = shells(array.shape, voxel_size)
    return backend.of(array).shell_power(array, found.squares, found.weights, found.count)


def shell_sums(a, b, shape, voxel_size):
    """Sum of ``Re(a·conj(b))`` over each shell for two half transforms (see :func:`rfftn`) of a box of `shape`.

    Returns
    -------
    numpy array of float64, one a shell
        Deterministic on any number of threads; Hermitian mates are counted.
    """
    found = shells(shape, voxel_size)
    return backend.of(a).shell_sums(a, b, found.squares, found.weights, found.count)


def on_shell(array, voxel_size, shells, shell):
    """The coefficients of a real array whose frequencies round to one shell.

    Returns
    -------
    directions : numpy array, shape (n, 3)
        Unit vectors (z, y, x) of one of each pair of Hermitian mates.
    power, weights : numpy arrays, shape (n,)
        ``|F|²`` and the multiplicity, 1 or 2.
    """
    spectrum = _fft(array).rfftn(array, **_workers(array))
    edges = voxel_edges(voxel_size)
    fz, fy, fx = (
        f / shells.step
        for f in (
            numpy.fft.fftfreq(array.shape[0], edges[0]),
            numpy.fft.fftfreq(array.shape[1], edges[1]),
            numpy.fft.rfftfreq(array.shape[2], edges[2]),
        )
    )
    directions, power, weights = [], [], []
    across = fy[:, None] ** 2 + fx[None, :] ** 2
    for z in numpy.flatnonzero(numpy.abs(fz) <= shell + 0.5):
        y, x = numpy.nonzero((numpy.sqrt(across + fz[z] ** 2) + 0.5).astype(int) == shell)
        plane = backend.to_numpy(spectrum[z])
        found = plane[y, x]
        vectors = numpy.stack([numpy.full(len(y), fz[z]), fy[y], fx[x]], axis=1)
        directions.append(vectors / numpy.sqrt((vectors * vectors).sum(axis=1))[:, None])
        power.append(found.real.astype(float) ** 2 + found.imag.astype(float) ** 2)
        weights.append(shells.weights[x])
    return numpy.concatenate(directions), numpy.concatenate(power), numpy.concatenate(weights)


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
