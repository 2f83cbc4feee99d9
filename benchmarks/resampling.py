"""Resampling onto another grid: voxels of 1.1 instead of 1, moved by parts of a voxel; arrays in memory, warm."""

import os

import numpy as np
from scipy import ndimage

import gpumask
from gpumask import grids

from . import Case, Table
from .create import particle

STEP, START = 1.1, (0.33, 0.44, 0.56)
LATTICE = (5, -7, 9)  # voxels (z, y, x) from grid to grid where nothing is interpolated
EVERY = 16  # voxels of each axis at which the Fourier series is summed for a check
ROUNDS = 5
THREADS = len(os.sched_getaffinity(0))


def tables(box):
    yield arrays(box or 256)


def arrays(box):
    volume = gpumask.Volume(particle(box), 1.0)
    nothing = np.broadcast_to(np.float32(0), (box,) * 3)
    target = gpumask.Volume(nothing, STEP, gpumask.Header(origin=START))
    lattice = gpumask.Volume(nothing, 1.0, gpumask.Header(nstart=LATTICE))
    options = {"order": 1, "mode": "constant", "output_shape": volume.shape}
    trilinear = ndimage.affine_transform(volume.data.astype(np.float64), [STEP] * 3, START, **options)
    some, series = fourier_series(volume.data)
    moved = ndimage.shift(volume.data, [-n for n in LATTICE], order=0)
    runs = {
        "gpumask, trilinear": (lambda: ours(volume, target, "trilinear"), trilinear, ...),
        "scipy.ndimage.affine_transform, diagonal": (
            lambda: ndimage.affine_transform(volume.data, [STEP] * 3, START, **options),
            trilinear,
            ...,
        ),
        "scipy.ndimage.affine_transform, matrix": (
            lambda: ndimage.affine_transform(volume.data, np.diag([STEP] * 3), START, **options),
            trilinear,
            ...,
        ),
        "gpumask, fourier": (lambda: ours(volume, target, "fourier"), series, some),
        "gpumask, exact paste": (lambda: ours(volume, lattice, "auto"), moved, ...),
        "scipy.ndimage.shift, order 0": (
            lambda: ndimage.shift(volume.data, [-n for n in LATTICE], order=0),
            moved,
            ...,
        ),
    }
    cases = []
    for name, (function, reference, where) in runs.items():
        error = float(np.abs(function()[where] - reference).max())  # also the warm-up
        cases.append(Case(name, function, error, ROUNDS))
    copy = np.empty_like(volume.data)
    cases.append(Case("copy of the map (1 thread)", lambda: np.copyto(copy, volume.data), None, 9))
    return Table(
        f"Resampling {box}³ onto another grid of {box}³, voxels {STEP} times as large, {THREADS} threads",
        cases,
        "gpumask, trilinear",
        note=f"max |Δ| is against float64 scipy, of fourier against the series summed at every {EVERY}th voxel.",
    )


def ours(volume, target, method):
    return grids.resample("map", volume, "reference", target, method)[0].data


def fourier_series(array):
    """The series of `array`, up to the Nyquist frequency of the target, at every 16th voxel of it along each axis:
    where these are, and the values."""
    box = len(array)
    wave = np.fft.fftfreq(box, 1 / box)
    kept = np.abs(wave) <= box / (2 * STEP)
    made, some = np.fft.fftn(array.astype(np.float64)), []
    for start in reversed(START):
        places = start + STEP * np.arange(0, box, EVERY)
        matrix = np.exp(2j * np.pi / box * np.outer(places, wave)) * kept / box
        matrix[places > box - 1] = 0
        made = np.moveaxis(made @ matrix.T, -1, 0)
        some.append(slice(None, None, EVERY))
    return tuple(some), made.real
