"""Filters of maps; numpy or CuPy in, the same kind out (float32).

``voxel_size`` is a number or (z, y, x) in Å; a resolution is in Å.
"""

import math
from numbers import Real

import numpy

from gpumask import backend, fourier
from gpumask.errors import UsageError
from gpumask.units import RESOLUTIONS, shell_frequency_step, voxel_edges

STEEPEST = 80.0  # exponent of the largest factor of a B-factor: exp(80) = 5e34, float32 ends at 3e38


def lowpass(array, resolution, voxel_size):
    """Raised-cosine low-pass over two resolution shells.

    The factor falls from 1 at shell ``s - 1`` to 0 at shell ``s + 1`` with ``s = round(box length / resolution)``:
    ``0.5 + 0.5·cos(π·(f - (s - 1))/2)``, f in shells. The filter of RELION's ``relion_mask_create --lowpass``;
    non-cubic boxes use shells of the longest edge.
    """
    return combined(array, voxel_size, lowpass=_positive(resolution, "low-pass resolution"))


def highpass(array, resolution, voxel_size):
    """Raised-cosine high-pass over two resolution shells: one minus the factor of :func:`lowpass`, as RELION's
    ``relion_image_handler --highpass``. The mean of the map goes to 0."""
    return combined(array, voxel_size, highpass=_positive(resolution, "high-pass resolution"))


def bandpass(array, low, high, voxel_size):
    """:func:`highpass` at `low` times :func:`lowpass` at `high`: what is left lies between `low` and `high` Å, `low`
    being the coarser."""
    return combined(array, voxel_size, bandpass=(low, high))


def butterworth(array, resolution, voxel_size, order=8):
    """Butterworth low-pass: the factor is ``1/sqrt(1 + (f·resolution)^(2·order))``, 1/√2 at the cut-off.

    CryoSPARC's convention at the cut-off (1/√2 or 1/2) is not published; the textbook's is used here.
    """
    return combined(array, voxel_size, butterworth=(_positive(resolution, "Butterworth resolution"), order))


def rect(array, resolution, voxel_size):
    """Rectangular low-pass: frequencies up to ``1/resolution`` are kept, those beyond are dropped. It rings."""
    return combined(array, voxel_size, rect=_positive(resolution, "rectangular low-pass resolution"))


def bfactor(array, b_factor, voxel_size):
    """Multiply the transform by ``exp(-B·f²/4)`` up to the Nyquist frequency, and by 0 beyond it, in the corners of the
    transform: a negative B sharpens, a positive one blurs.

    The filter of RELION's ``relion_image_handler --bfactor``. `b_factor` is in Å². Up to Nyquist a B of ``8·π²·σ²`` is
    a Gaussian of standard deviation σ.

    Raises
    ------
    UsageError
        Not a number, or so large that float32 could not hold the factor at the Nyquist frequency.
    """
    return combined(array, voxel_size, bfactor=_number(b_factor))


def combined(
    array,
    voxel_size,
    *,
    lowpass=None,
    highpass=None,
    bandpass=None,
    butterworth=None,
    rect=None,
    bfactor=None,
    gaussian=None,
):
    """Several filters in one pass.

    Filters of the transform commute: their factors are multiplied, in one transform there and back. The Gaussian, which
    takes the outside of the box for zero, comes last, so that its darker rim is not spread by the others.

    Parameters
    ----------
    array : array of float, shape (z, y, x)
        numpy or CuPy.
    voxel_size : float or tuple of float
        Å (z, y, x).
    lowpass, highpass, rect : float, optional
        Å, see the functions of these names.
    bandpass : tuple of float, optional
        (low, high) in Å.
    butterworth : tuple, optional
        (resolution in Å, order).
    bfactor : float, optional
        Å².
    gaussian : float, optional
        Standard deviation, Å.

    Returns
    -------
    array of float32

    Raises
    ------
    UsageError
        No filter, or a number that cannot be used.
    """
    size = voxel_edges(voxel_size)
    xp, grid = backend.xp(array), (array.shape, size)
    responses = []
    if lowpass is not None:
        responses.append(_cosine(lowpass, "low-pass resolution", *grid, xp))
    if highpass is not None:
        responses.append(_complement(_cosine(highpass, "high-pass resolution", *grid, xp)))
    if bandpass is not None:
        low, high = (_positive(value, "band-pass resolution") for value in bandpass)
        if low <= high:
            raise UsageError(
                f"a band-pass goes from a coarse to a fine resolution, such as 80A:15A, got {low:g}:{high:g}"
            )
        responses.append(_complement(_cosine(low, "band-pass resolution", *grid, xp)))
        responses.append(_cosine(high, "band-pass resolution", *grid, xp))
    if butterworth is not None:
        responses.append(_butterworth(*butterworth, xp))
    if rect is not None:
        edge = (1 + _ROUNDING) / _positive(rect, "rectangular low-pass resolution")
        responses.append(lambda frequency: frequency <= edge)
    if bfactor is not None:
        responses.append(_bfactor(bfactor, size, xp))
    if not responses and gaussian is None:
        raise UsageError(
            "name a filter: low-pass, high-pass, band-pass, Butterworth, rectangular, B-factor or Gaussian"
        )
    kernels = None if gaussian is None else gaussian_kernels(array.shape, gaussian, size)
    if responses:

        def response(frequency):
            factor = responses[0](frequency)
            for other in responses[1:]:
                factor = factor * other(frequency)
            return factor

        array = fourier.apply_radial(array, size, response)
    return array if kernels is None else convolve(array, kernels)


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


_ROUNDING = 1e-9  # of a frequency: one that was given in decimals is itself


def _cosine(resolution, what, shape, size, xp):
    """Response of the raised cosine over two shells."""
    step = shell_frequency_step(shape, size)
    middle = math.floor(1 / (_positive(resolution, what) * step) + 0.5)
    low, high = max(0, middle - 1), middle + 1

    def response(frequency):
        edge = xp.clip((frequency / step - low) / (high - low), 0, 1)
        return 0.5 + 0.5 * xp.cos(math.pi * edge)

    return response


def _complement(response):
    return lambda frequency: 1 - response(frequency)


def _butterworth(resolution, order, xp):
    cutoff = _positive(resolution, "Butterworth resolution")
    if not (isinstance(order, Real) and order > 0):
        raise UsageError(f"Butterworth order must be > 0, got {order!r}")

    def response(frequency):
        with numpy.errstate(over="ignore"):  # far beyond the cut-off: 1/inf is right
            return 1 / xp.sqrt(1 + (frequency * cutoff) ** (2 * order))

    return response


def _bfactor(value, size, xp):
    nyquist = 0.5 / max(size) * (1 + _ROUNDING)
    if -_number(value) / 4 * nyquist**2 > STEEPEST:
        raise UsageError(
            f"a B-factor of {value:g} Å² multiplies the Nyquist frequency by more than exp({STEEPEST:g}); "
            f"give one above {-4 * STEEPEST / nyquist**2:.3g} Å²"
        )
    return lambda frequency: xp.exp(-value / 4 * xp.minimum(frequency, nyquist) ** 2) * (frequency <= nyquist)


def _number(value):
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise UsageError(f"a B-factor must be a number of Å², such as -80, got {value!r}")
    return value


def _positive(value, what):
    if not (isinstance(value, Real) and RESOLUTIONS[0] <= value <= RESOLUTIONS[1]):
        raise UsageError(f"{what} must be a number > 0 Å ({RESOLUTIONS[0]:g} to {RESOLUTIONS[1]:g}), got {value!r}")
    return value
