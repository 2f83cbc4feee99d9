"""Sums over resolution shells against float64 bincounts and Parseval; no thread and no device changes their bytes."""

import sys

import numpy as np
import pytest

from gpumask import _cpu, backend, fourier
from gpumask._cpu import threads

FLOAT32 = 4 * np.finfo(np.float32).eps  # of the greatest shell: transforms are in float32 (1.7e-7 at the most was seen)
BOXES = [
    ((24, 24, 24), 1.0),
    ((25, 25, 25), 1.3),
    ((16, 31, 20), 1.0),
    ((31, 16, 45), (1.0, 1.1, 1.3)),
    ((1, 40, 41), 1.0),
    ((40, 1, 3), (2.5, 1.0, 1.7)),
    ((5, 6, 1), 1.0),
    ((54, 48, 48), (1.2, 1.0, 1.0)),  # another order of adding squares would put two coefficients in other shells
]


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def blob(shape):
    """An object in the middle of the box, empty around it."""
    array = np.zeros(shape, np.float32)
    middle = tuple(slice(n // 4, max(n // 4 + 1, 3 * n // 4)) for n in shape)
    array[middle] = np.random.default_rng(1).random(array[middle].shape, np.float32) + np.float32(0.1)
    return array


def binned(a, b, shells):
    """Oracle: the whole half transform, a volume of indices, one bincount; with the sums of absolute values."""
    z, y, x = shells.squares
    index = (np.sqrt((y[:, None] + x) + z[:, None, None]) + 0.5).astype(int).reshape(-1)
    products = (a.astype(complex) * b.astype(complex).conj()).real * shells.weights
    return [np.bincount(index, values.reshape(-1), shells.count) for values in (products, np.abs(products))]


@pytest.mark.parametrize(("shape", "voxel_size"), BOXES)
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_sums_are_those_of_a_bincount(xp, loops, shape, voxel_size, dtype):
    first, second = (np.fft.rfftn(noise(shape, seed)).astype(dtype) for seed in (1, 2))
    for a, b in ((first, second), (first, first)):
        result = fourier.shell_sums(xp.asarray(a), xp.asarray(b), shape, voxel_size)
        wanted, magnitude = binned(a, b, fourier.shells(shape, voxel_size))
        assert type(result) is np.ndarray
        assert result.dtype == np.float64
        assert (np.abs(result - wanted) <= 1e-12 * magnitude).all()


@pytest.mark.parametrize(("shape", "voxel_size"), BOXES)
@pytest.mark.parametrize("make", [noise, blob])
def test_power_is_that_of_the_float64_transform(xp, loops, shape, voxel_size, make):
    array = make(shape)
    spectrum = np.fft.rfftn(array.astype(np.float64))
    result = fourier.shell_power(xp.asarray(array), voxel_size)
    wanted = binned(spectrum, spectrum, fourier.shells(shape, voxel_size))[0]
    assert type(result) is np.ndarray
    assert result.dtype == np.float64
    assert (np.abs(result - wanted) <= FLOAT32 * wanted.max()).all()


@pytest.mark.parametrize(("shape", "voxel_size"), BOXES)
def test_parseval(xp, loops, shape, voxel_size):
    for array in (noise(shape), blob(shape), blob(shape) > 0.5):
        energy = (array.astype(np.float64) ** 2).sum() * array.size
        assert fourier.shell_power(xp.asarray(array), voxel_size).sum() == pytest.approx(energy, rel=1e-6)


@pytest.mark.parametrize(("shape", "voxel_size"), BOXES)
def test_power_does_not_change_when_the_object_moves(xp, loops, shape, voxel_size):
    array = blob(shape)
    still = fourier.shell_power(xp.asarray(array), voxel_size)
    for shift in ((3, -2, 1), tuple(n // 2 for n in shape)):  # inside the box, and around its faces
        moved = fourier.shell_power(xp.asarray(np.roll(array, shift, (0, 1, 2))), voxel_size)
        np.testing.assert_allclose(moved, still, atol=FLOAT32 * still.max(), rtol=1e-5)


def test_power_of_one_voxel_is_the_number_of_coefficients(xp, loops):
    array = np.zeros((12, 15, 18), np.float32)
    array[3, 4, 5] = 1
    np.testing.assert_allclose(
        fourier.shell_power(xp.asarray(array), 1.5), fourier.shells(array.shape, 1.5).coefficients, rtol=1e-6
    )


def test_power_of_nothing(xp, loops):
    result = fourier.shell_power(xp.zeros((8, 9, 10), np.float32), 1)
    assert type(result) is np.ndarray
    assert not result.any()


def test_the_same_bytes_each_time(xp, loops):
    shape = (19, 40, 33)
    array = xp.asarray(blob(shape))
    a, b = (xp.asarray(np.fft.rfftn(noise(shape, seed))) for seed in (1, 2))
    for operation in (lambda: fourier.shell_power(array, 1), lambda: fourier.shell_sums(a, b, shape, 1)):
        assert len({operation().tobytes() for _ in range(5)}) == 1


@pytest.mark.parametrize("shape", [(19, 40, 33), (64, 9, 12), (1, 30, 30)])
def test_threads_do_not_matter(loops, monkeypatch, shape):
    array = blob(shape)
    a, b = (np.fft.rfftn(noise(shape, seed)) for seed in (1, 2))
    seen = set()
    for count in (1, 2, 3, 8):
        monkeypatch.setattr(threads, "count", lambda count=count: count)
        seen.add((fourier.shell_power(array, 1).tobytes(), fourier.shell_sums(a, b, shape, 1).tobytes()))
    assert len(seen) == 1


@pytest.mark.parametrize(("shape", "voxel_size"), BOXES)
def test_every_body_puts_a_coefficient_in_the_same_shell(xp, monkeypatch, shape, voxel_size):
    """Sums of integers are exact: what differs would be an index, made by another order of addition."""
    shells = fourier.shells(shape, voxel_size)
    a = (100 * np.fft.rfftn(noise(shape))).round()
    b = (100 * np.fft.rfftn(noise(shape, 1))).round()
    wanted = binned(a, b, shells)[0]
    rest = (shells.squares, shells.weights, shells.count)
    np.testing.assert_array_equal(backend.of(xp.asarray(a)).shell_sums(xp.asarray(a), xp.asarray(b), *rest), wanted)
    np.testing.assert_array_equal(_cpu.shell_sums(a, b, *rest), wanted)
    monkeypatch.setitem(sys.modules, "numba", None)
    np.testing.assert_array_equal(_cpu.shell_sums(a, b, *rest), wanted)


@pytest.mark.parametrize(("shape", "voxel_size"), BOXES)
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_products_are_the_three_sums(xp, loops, shape, voxel_size, dtype):
    a, b = (xp.asarray(np.fft.rfftn(noise(shape, seed)).astype(dtype)) for seed in (1, 2))
    for convention in fourier.CONVENTIONS:
        found = fourier.shell_products(a, b, shape, voxel_size, convention)
        for values, pair in zip(found, ((a, b), (a, a), (b, b)), strict=True):
            wanted = fourier.shell_sums(*pair, shape, voxel_size, convention)
            assert values == pytest.approx(wanted, rel=1e-12, abs=1e-12 * np.abs(wanted).max())
