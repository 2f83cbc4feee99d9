"""A mask in Fourier space: shell sums of its power and the whole analysis, against scipy's transform and a bincount."""

import math
import threading
import time
from contextlib import contextmanager

import numpy as np
import scipy.fft

import gpumask
from gpumask import fourier
from gpumask._cpu import threads

from . import Case, Table, peak_memory
from .create import LEVEL, THREADS, _has, particle, without_numba

BOXES = (256, 512)
SUPPORTS = (1.0, 0.5)  # of each axis, that the mask's bounding box takes
RESOLUTION = 4.0  # Å, at 1 Å/px
PARTICLE_BOX = 64  # of the particle whose voxels are repeated: to smooth noise takes 36 s at 512³


def tables(box):
    for edge in (box,) if box else BOXES:
        bandwidth = copy_bandwidth(edge)
        for support in SUPPORTS:
            mask = soft_mask(edge, support)
            yield shell_power(mask, support, bandwidth)
            yield whole(mask, support)
        yield memory(edge)


def soft_mask(box, support):
    """An irregular soft mask whose bounding box takes `support` of each axis, in the middle of the box."""
    width = box // 16
    base = particle(PARTICLE_BOX) >= LEVEL
    base = base[gpumask.regions.bounding_box(base)]
    length = round(support * box) - 2 * (width - 1)
    for axis in range(3):
        base = base.take(np.arange(length) * base.shape[axis] // length, axis)
    padding = box - length
    return gpumask.mask.soft_mask(np.pad(base, (padding // 2, padding - padding // 2)), 0, width)


def shell_index(shape):
    """The shell of each coefficient of a half transform of a cubic box."""
    z, y = (np.fft.fftfreq(n, 1 / n) for n in shape[:2])
    x = np.fft.rfftfreq(shape[2], 1 / shape[2])
    return np.rint(np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)).astype(np.int64)


def transform_and_bincount(mask, index=None):
    """What is usually written; with the volume of indices made each time, or once for all."""
    transform = scipy.fft.rfftn(mask, workers=THREADS)
    power = np.abs(transform) ** 2
    power[:, :, 1 : (mask.shape[2] + 1) // 2] *= 2  # Hermitian mates
    index = shell_index(mask.shape) if index is None else index
    return np.bincount(index.reshape(-1), power.reshape(-1))


def shell_power(mask, support, bandwidth):
    """Bytes counted at the least: a transform that exists in memory is written once and read and written for each
    further axis; ours is written once and read once, as far as the mask reaches."""
    box = len(mask)
    index = shell_index(mask.shape)
    wanted = np.bincount(index.reshape(-1), (np.abs(fourier.rfftn(mask)) ** 2 * fourier.half_weights(box)).reshape(-1))

    def without(mask):
        with without_numba():
            return fourier.shell_power(mask, 1.0)

    ours = 4 + 4 * support**3 + 8 * support
    runs = {
        "scipy.fft.rfftn alone": (lambda: scipy.fft.rfftn(mask, workers=THREADS), 9, 24),
        "gpumask, numpy": (lambda: without(mask), 3, ours),
        "rfftn + bincount, indices kept": (lambda: transform_and_bincount(mask, index), 3, 36),
        "rfftn + bincount": (lambda: transform_and_bincount(mask), 3, 44),
    }
    if _has("numba"):
        runs["gpumask, numba"] = (lambda: fourier.shell_power(mask, 1.0), 9, ours)
    cases = []
    for name, (function, rounds, least) in runs.items():
        found = function()  # also the warm-up
        error = None if found.ndim > 1 else float(np.abs(found - wanted).max() / wanted.max())
        cases.append(Case(name, function, error, rounds, bytes=least))
    return Table(
        f"Shell power of a mask: {box}³, {said(mask, support)}, {THREADS} threads",
        cases,
        "scipy.fft.rfftn alone",
        box**3,
        bandwidth,
        "max |Δ| is of the greatest sum, against a float64 transform.",
    )


def said(mask, support):
    return f"the mask reaches over {support:g} of each axis and fills {100 * float((mask > 0).mean()):.0f} % of the box"


def whole(mask, support):
    """The analysis without half maps, with the transforms that one call makes."""
    runs = {
        "scipy.fft.rfftn alone": lambda: scipy.fft.rfftn(mask, workers=THREADS),
        f"mask_spectrum, {RESOLUTION:g} Å": lambda: gpumask.mask_spectrum(mask, RESOLUTION, voxel_size=1.0),
        "mask_spectrum": lambda: gpumask.mask_spectrum(mask, voxel_size=1.0),
    }
    with counted() as seen:
        gpumask.mask_spectrum(mask, RESOLUTION, voxel_size=1.0)
    volume = float(mask.sum(dtype=np.float64))
    cases = []
    for name, function in runs.items():
        found = function()
        error = None if isinstance(found, np.ndarray) else abs(found.volume_angstrom3 / volume - 1)
        cases.append(Case(name, function, error, 5))
    half = mask.size // len(mask) * (len(mask) // 2 + 1)
    note = (
        f"One call makes {seen['last'] / half:.2f} 3-D transforms, which do the work of "
        f"{seen['all'] / (3 * half):.2f} whole ones. max |Δ| is the volume's."
    )
    return Table(f"mask_spectrum: {len(mask)}³, {said(mask, support)}", cases, "scipy.fft.rfftn alone", note=note)


@contextmanager
def counted():
    """Coefficients that scipy.fft makes meanwhile, along ``all`` axes, and along the ``last`` of a 3-D transform, y,
    which is never pruned."""
    seen = {"all": 0, "last": 0}
    lock = threading.Lock()

    def watched(function, axes):
        def call(array, *arguments, **options):
            made = function(array, *arguments, **options)
            with lock:
                seen["all"] += axes * made.size
                seen["last"] += made.size * (axes == 3 or options.get("axis") == 1)
            return made

        return call

    names = {"fft": 1, "ifft": 1, "rfft": 1, "irfft": 1, "fftn": 3, "ifftn": 3, "rfftn": 3, "irfftn": 3}
    saved = {name: getattr(scipy.fft, name) for name in names}
    try:
        for name, axes in names.items():
            setattr(scipy.fft, name, watched(saved[name], axes))
        yield seen
    finally:
        for name, function in saved.items():
            setattr(scipy.fft, name, function)


def memory(box):
    """Peaks of one call each, with the mask that it is given."""
    mask = soft_mask(box, 1.0)
    begin = "import scipy.fft, gpumask; from gpumask import fourier; from benchmarks import spectrum; "
    begin += f"gpumask.mask_spectrum(spectrum.soft_mask(32, 1.0), {RESOLUTION}, voxel_size=1.0)"
    runs = {
        "shell_power": "fourier.shell_power(array, 1.0)",
        "mask_spectrum": f"gpumask.mask_spectrum(array, {RESOLUTION}, voxel_size=1.0)",
        "scipy.fft.rfftn alone": f"kept = scipy.fft.rfftn(array, workers={THREADS})",
        "rfftn + bincount": "spectrum.transform_and_bincount(array)",
    }
    peaks = {name: peak_memory(begin, call, mask) for name, call in runs.items()}
    cases = [Case(f"{name}: {peak:.2f} maps, the mask included", lambda: None, None, 1) for name, peak in peaks.items()]
    return Table(f"Peak memory above the bare imports: {box}³, the mask reaches over the box", cases, cases[0].name)


def copy_bandwidth(box):
    """Bytes/s, read and written, of a copy of a map by all threads: the best of ten."""
    source, target = np.ones((box,) * 3, np.float32), np.ones((box,) * 3, np.float32)
    best = math.inf
    for _ in range(10):
        start = time.perf_counter()
        threads.over_planes(lambda first, last: np.copyto(target[first:last], source[first:last]), box)
        best = min(best, time.perf_counter() - start)
    return 2 * source.nbytes / best
