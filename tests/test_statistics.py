"""``statistics`` against exactly rounded sums; its order of addition is part of the result."""

import importlib
import math

import numpy as np
import pytest

from gpumask import _cpu, backend
from gpumask._cpu import threads

statistics = importlib.import_module("gpumask._cpu.statistics")  # the package has a function of that name

COLUMNS = 65536
SIZES = (1, 2, 65535, 65536, 65537, 131071, 131072, 131073, 200000)
RELATIVE = 2.0**-48  # at the most four values a column here, each added with one rounding; then fsum
KINDS = {
    "normal": lambda rng, n: rng.normal(0.01, 1, n).astype(np.float32),
    "offset": lambda rng, n: rng.normal(1e4, 1, n).astype(np.float32),
    "constant": lambda rng, n: np.full(n, 0.1, np.float32),
    "huge and tiny": lambda rng, n: (rng.standard_normal(n) * 10.0 ** rng.integers(-30, 15, n)).astype(np.float32),
    "float64": lambda rng, n: rng.normal(3, 2, n),
    "int16": lambda rng, n: rng.integers(-32768, 32767, n).astype(np.int16),
}


def exact(values):
    values = [float(v) for v in values]
    mean = math.fsum(values) / len(values)
    return min(values), max(values), mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_against_exact_sums(kind, size):
    array = KINDS[kind](np.random.default_rng(size), size).reshape(1, 1, size)
    low, high, mean, deviation = _cpu.statistics(array)
    want_low, want_high, want_mean, want_deviation = exact(array.reshape(-1))
    scale = math.fsum(abs(float(v)) for v in array.reshape(-1)) / size
    assert (low, high) == (want_low, want_high)
    assert abs(mean - want_mean) <= RELATIVE * scale
    assert deviation == pytest.approx(want_deviation, rel=RELATIVE, abs=RELATIVE * scale)
    assert all(type(value) is float for value in (low, high, mean, deviation))


def test_order_of_addition(xp):
    """Value i is added to partial i % 65536, in order; the partials are added exactly."""
    array = (np.random.default_rng(3).standard_normal((7, 151, 239)) * 1e3).astype(np.float32)
    partial = [0.0] * COLUMNS
    for i, value in enumerate(array.reshape(-1).tolist()):
        partial[i % COLUMNS] += value
    mean = math.fsum(partial) / array.size
    partial = [0.0] * COLUMNS
    for i, value in enumerate(array.reshape(-1).tolist()):
        partial[i % COLUMNS] += (value - mean) * (value - mean)
    placed = xp.asarray(array)
    found = backend.of(placed).statistics(placed)
    assert found == (float(array.min()), float(array.max()), mean, math.sqrt(math.fsum(partial) / array.size))


def test_layout_and_threads_do_not_matter(monkeypatch):
    array = np.random.default_rng(4).standard_normal((41, 43, 47)).astype(np.float32)
    wanted = _cpu.statistics(array)
    assert _cpu.statistics(np.asfortranarray(array)) == wanted
    assert _cpu.statistics(np.repeat(array, 2, axis=2)[:, :, ::2]) == wanted
    assert _cpu.statistics(array.astype(">f4")) == wanted
    for count in (1, 7):
        monkeypatch.setattr(threads, "count", lambda count=count: count)
        assert _cpu.statistics(array) == wanted


def test_float64_keeps_what_float32_sums_lose():
    """2^21 voxels of 1 and as many of 1 + 2^-23: the mean is in between."""
    array = np.ones((4, 1024, 1024), np.float32)
    array[2:] += np.float32(2**-23)
    low, high, mean, deviation = _cpu.statistics(array)
    assert (mean - 1) * 2**24 == 1
    assert deviation * 2**24 == 1


@pytest.mark.parametrize("size", [1, 1023, 1024, 65537, 200000])
def test_pieces_of_zeros_are_passed_over_and_told(loops, size):
    """The compiled sums are those of numpy to the bit, with and without pieces that hold nothing."""
    values = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    values[size // 3 : size // 2] = 0
    values[-1:] = -0.0  # a bit is set
    found, filled = statistics.survey(values.reshape(1, 1, size))
    assert found == statistics.of_chunks(lambda: [values])
    pieces = [values[start : start + statistics.PIECE].tobytes() for start in range(0, size, statistics.PIECE)]
    assert filled.tolist() == [any(piece) for piece in pieces]


@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [np.inf, -np.inf]])
def test_values_that_are_no_numbers_show(loops, bad):
    values = np.zeros((2, 3, 4), np.float32)
    values.reshape(-1)[: len(bad)] = bad
    assert not all(map(math.isfinite, _cpu.statistics(values)))
