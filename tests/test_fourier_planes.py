"""The central planes of a transform are those of the whole transform."""

import math

import numpy as np
import pytest

from gpumask import backend, fourier

SHAPE = (6, 7, 10)
EPS = 2.0**-52


def rounding(array):
    """What two ways of adding n numbers may differ by: each has about log2(n) steps, a complex multiplication and an
    addition of at most 5 ulp together each, relative to the sum of |a|."""
    return 2 * 5 * math.log2(array.size) * EPS * float(abs(array).sum())


def test_they_are_planes_of_the_whole_transform(xp):
    array = np.random.default_rng(1).normal(size=SHAPE)
    whole = np.fft.fftshift(abs(np.fft.fftn(array)))
    planes = fourier.central_planes(xp.asarray(array))
    assert all(isinstance(plane, xp.ndarray) for plane in planes)
    for axis, plane in enumerate(planes):
        wanted = whole.take(SHAPE[axis] // 2, axis=axis)
        assert plane.shape == wanted.shape
        assert abs(backend.to_numpy(plane) - wanted).max() <= rounding(array)


@pytest.mark.parametrize("kind", [bool, np.int8, np.float16, np.float32])
def test_any_kind_of_number_is_added_up_in_float64(xp, kind):
    array = np.random.default_rng(2).integers(0, 2, SHAPE).astype(kind)
    for plane, wanted in zip(
        fourier.central_planes(xp.asarray(array)), fourier.central_planes(array.astype(float)), strict=True
    ):
        assert plane.dtype == np.float64
        assert abs(backend.to_numpy(plane) - wanted).max() <= rounding(array.astype(float))
        assert wanted[tuple(n // 2 for n in wanted.shape)] == array.sum(dtype=float)


def test_a_wave_has_its_two_points(xp):
    """cos(2π·3x/10) stands at ±3 along x, in the two planes that hold the axis, with half of the voxels each."""
    x = np.broadcast_to(np.cos(2 * np.pi * 3 * np.arange(10) / 10), SHAPE)
    across_z, across_y, across_x = (backend.to_numpy(p) for p in fourier.central_planes(xp.asarray(x)))
    for plane, middle in ((across_z, 7 // 2), (across_y, 6 // 2)):
        points = np.argwhere(plane > rounding(x))
        assert points.tolist() == [[middle, 2], [middle, 8]]
        assert abs(plane[middle, [2, 8]] - x.size / 2).max() <= rounding(x)
    assert across_x.max() <= rounding(x)
