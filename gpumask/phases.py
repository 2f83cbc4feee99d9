"""Random phases: the same for a seed and a wave vector on every device, in every box, on any number of threads."""

import math

from gpumask import backend, fourier

ROUNDING = 1e-9  # relative: a squared frequency at the onset is within it
CHUNK = 2**17  # coefficients whose phases exist at a time

_GAMMA, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # SplitMix64


def randomized(spectrum, shape, voxel_size, onset, seed, half):
    """Replace the phases of a half transform by random ones from the frequency `onset` on; amplitudes stay.

    Mates on the planes that hold both stay conjugates of each other, and coefficients that are their own mates stay
    real (their sign is random), so that the inverse transform keeps all power.

    Parameters
    ----------
    spectrum : array of complex
        Half transform (see :func:`gpumask.fourier.rfftn`) of a box of `shape`.
    shape : tuple of int
        (z, y, x).
    voxel_size : float or tuple of float
        Å (z, y, x).
    onset : int
        In shell widths: ``|k| >= onset`` is changed, as in RELION; half of that shell lies before it.
    seed, half : int
        Choose the phases together with the wave vector, and nothing else does: SplitMix64 at the counter
        (kz, ky, kx). Any device and any number of threads gives the same.

    Returns
    -------
    array of complex
        A new array.
    """
    xp = backend.xp(spectrum)
    shells = fourier.shells(shape, voxel_size)
    squares = [xp.asarray(s) for s in shells.squares]
    nz, ny, nx = shape
    z, y = xp.arange(nz), xp.arange(ny)
    result = xp.empty_like(spectrum)
    across = squares[1][:, None] + squares[2][None, :]
    key = stream(seed, half + 1)
    inner = slice(1, (nx + 1) // 2)  # along x; the mates of these are not stored
    planes = [0] if nx % 2 else [0, nx // 2]
    step = max(1, CHUNK // across.size)

    def turn(start, stop):
        for first in range(start, stop, step):
            here = slice(first, min(first + step, stop))
            phase = xp.empty((len(z[here]), *across.shape), xp.float64)
            counter = _counter(z[here, None, None], y[None, :, None], xp.arange(nx // 2 + 1)[inner], shape)
            phase[:, :, inner] = uniform(counter, key, xp)
            for x in planes:
                mate_z, mate_y = (nz - z[here, None]) % nz, (ny - y[None, :]) % ny
                own, other = (_counter(a, b, x, shape) for a, b in ((z[here, None], y[None, :]), (mate_z, mate_y)))
                turns = uniform(xp.minimum(own, other), key, xp)
                turns = xp.where(own > other, -turns, turns)
                phase[:, :, x] = xp.where(own == other, xp.where(turns < 0.5, 0.0, 0.5), turns)
            values = spectrum[here]
            amplitude = xp.abs(values)
            phase = (2 * math.pi * phase).astype(amplitude.dtype)
            turned = xp.empty_like(values)
            turned.real = amplitude * xp.cos(phase)
            turned.imag = amplitude * xp.sin(phase)
            for x in planes:
                mate_z, mate_y = (nz - z[here, None]) % nz, (ny - y[None, :]) % ny
                turned.imag[:, :, x][(mate_z == z[here, None]) & (mate_y == y[None, :])] = 0  # not sin(π), 1e-16
            outer = across + squares[0][here, None, None] >= onset**2 * (1 - ROUNDING)
            result[here] = xp.where(outer, turned, values)

    fourier.over_planes(turn, result)
    return result


def _counter(z, y, x, shape):
    """One number for each wave vector, whatever the box: 21 bits an axis, negative ones wrapped."""
    signed = [index - n * (2 * index >= n + 1) for index, n in zip((z, y), shape[:2], strict=True)]
    return ((signed[0] % 2**21) << 42) | ((signed[1] % 2**21) << 21) | x


def stream(seed, number):
    """The key of one of a seed's streams of random numbers."""
    return _mix(_mix(seed % 2**64) ^ number)


def _mix(value):
    """SplitMix64's output function of one Python integer."""
    value = (value + 1) * _GAMMA % 2**64
    value = (value ^ (value >> 30)) * _MIX1 % 2**64
    value = (value ^ (value >> 27)) * _MIX2 % 2**64
    return value ^ (value >> 31)


def uniform(counter, key, xp):
    """Uniform numbers in [0, 1), float64: SplitMix64 of the stream `key` at each number of the integer array `counter`;
    the same on every device."""
    bits = counter.astype(xp.uint64)
    bits *= xp.uint64(_GAMMA)
    bits += xp.uint64(key)
    bits ^= bits >> xp.uint64(30)
    bits *= xp.uint64(_MIX1)
    bits ^= bits >> xp.uint64(27)
    bits *= xp.uint64(_MIX2)
    bits ^= bits >> xp.uint64(31)
    return (bits >> xp.uint64(11)) * 2.0**-53
