"""Low-pass filters of maps; numpy or CuPy in, the same kind out (float32).

``voxel_size`` is a number or (z, y, x) in Å; ``resolution`` is in Å.
"""

import math
from numbers import Real

import numpy

from gpumask import backend, fourier
from gpumask.errors import UsageError
from gpumask.units import RESOLUTIONS, shell_frequency_step, voxel_edges


def lowpass(array, resolution, voxel_size):
    """Raised-cosine low-pass over two resolution shells.

    The factor falls from 1 at shell ``s - 1`` to 0 at shell ``s + 1`` with ``s = round(box length / resolution)``:
    ``0.5 + 0.5·cos(π·(f - (s - 1))/2)``, f in shells. The filter of RELION's ``relion_mask_create --lowpass``;
    non-cubic boxes use shells of the longest edge.
    """
    size = voxel_edges(voxel_size)
    step = shell_frequency_step(array.shape, size)
    middle = math.floor(1 / (_positive(resolution, "low-pass resolution") * step) + 0.5)
    low, high = max(0, middle - 1), middle + 1
    xp = backend.xp(array)

    def response(frequency):
        edge = xp.clip((frequency / step - low) / (high - low), 0, 1)
        return 0.5 + 0.5 * xp.cos(math.pi * edge)

    return fourier.apply_radial(array, size, response)


def butterworth(array, resolution, voxel_size, order=8):
    """Butterworth low-pass: the factor is ``1/sqrt(1 + (f·resolution)^(2·order))``, 1/√2 at the cut-off.

    CryoSPARC's convention at the cut-off (1/√2 or 1/2) is not published; the textbook's is used here.
    """
    if not (isinstance(order, Real) and order > 0):
        raise UsageError(f"Butterworth order must be > 0, got {order!r}")
    xp = backend.xp(array)
    cutoff = _positive(resolution, "Butterworth resolution")

    def response(frequency):
        with numpy.errstate(over="ignore"):  # far beyond the cut-off: 1/inf is right
            return 1 / xp.sqrt(1 + (frequency * cutoff) ** (2 * order))

    return fourier.apply_radial(array, voxel_edges(voxel_size), response)


def rect(array, resolution, voxel_size):
    """Rectangular low-pass: frequencies up to ``1/resolution`` are kept, those beyond are dropped. It rings."""
    edge = (1 + 1e-9) / _positive(resolution, "rectangular low-pass resolution")
    return fourier.apply_radial(array, voxel_edges(voxel_size), lambda frequency: frequency <= edge)


def gaussian(array, sigma, voxel_size):
    """Gaussian filter of standard deviation `sigma` Å, with zero outside the box.

    As ChimeraX ``volume gaussian sDev``: each 1-D kernel is normalised to unit sum over the box, then cut at
    ``min(n // 2, int(5·sigma_px + 1))`` voxels. (ChimeraX's sum takes in the zeros that it pads the box with: the same
    to 1e-4 as long as sigma is under a tenth of the box.)
    """
    return convolve(array, gaussian_kernels(array.shape, sigma, voxel_size))


def gaussian_kernels(shape, sigma, voxel_size):
    """The three 1-D kernels (z, y, x) of :func:`gaussian` for a box of `shape`; numpy, float64, odd lengths."""
    _positive(sigma, "Gaussian standard deviation")
    kernels = []
    for length, edge in zip(shape, voxel_edges(voxel_size), strict=True):
        sigma_px, middle = sigma / edge, length // 2
        reach = min(middle, int(5 * sigma_px + 1))
        kernel = numpy.exp(-0.5 * (numpy.arange(-middle, middle + 1) / sigma_px) ** 2)
        kernels.append((kernel / kernel.sum())[middle - reach : middle + reach + 1])
    return kernels


def convolve(array, kernels):
    """Convolve with a symmetric 1-D kernel along each axis, z first; zero outside the box; float32."""
    xp, ndimage = backend.xp(array), backend.ndimage(array)
    array = array.astype(xp.float32, copy=False)
    for axis, kernel in enumerate(kernels):
        array = ndimage.correlate1d(array, xp.asarray(kernel), axis=axis, mode="constant", cval=0.0)
    return array


def _positive(value, what):
    if not (isinstance(value, Real) and RESOLUTIONS[0] <= value <= RESOLUTIONS[1]):
        raise UsageError(f"{what} must be a number > 0 Å ({RESOLUTIONS[0]:g} to {RESOLUTIONS[1]:g}), got {value!r}")
    return value
