"""Fourier transforms of real maps, and radial filters on them."""

from gpumask import backend


def rfftn(array):
    """Transform of a real array over all axes, in float64 (complex128); half of it along the last axis."""
    xp = backend.xp(array)
    return _fft(array).rfftn(array.astype(xp.float64), **_workers(array))


def irfftn(spectrum, shape):
    """The real float64 array of `shape` that :func:`rfftn` gave `spectrum` for; `spectrum` is used up."""
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
