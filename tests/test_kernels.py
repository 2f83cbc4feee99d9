"""The CUDA kernels, on the host (tests/cuda_host) and on a GPU, equal to oracles and CPU bodies to the bit."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import oracles
import pytest
from cuda_host import COMPILER, Host, installed, reserved

from gpumask import _cpu, _gpu, cuda, fourier
from gpumask._gpu.distance import from_bits
from gpumask._gpu.threshold import Bits, pack, threshold

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="the host shim needs g++")

SHAPES = [(37, 71, 83), (131, 3, 65), (1, 67, 257), (33, 65, 1), (9, 1, 300), (1, 1, 1)]
REACHES = [0, 1, 9, 22, 31, 32, 45, 63]


@pytest.fixture(params=[pytest.param("host", marks=needs_compiler), pytest.param("device", marks=pytest.mark.gpu)])
def gpu(request):
    """``gpu(function, *arguments)``: run a function of `gpumask._gpu` with numpy arrays in and out."""
    if request.param == "host":
        with installed(Host()):
            yield lambda function, *arguments: function(*arguments)
        return
    if not cuda.available():
        pytest.skip(cuda.missing())
    cupy = cuda.cupy()

    def to_device(value):
        return cupy.asarray(value) if isinstance(value, np.ndarray) else value

    def to_host(value):
        return value.get() if isinstance(value, cupy.ndarray) else value

    def run(function, *arguments):
        result = function(*map(to_device, arguments))
        return Bits(*map(to_host, result)) if isinstance(result, Bits) else to_host(result)

    yield run


def squares(reach, dtype=np.uint16):
    return [(np.arange(reach + 1) ** 2).astype(dtype)] * 3


def sprinkled(shape, seed=0):
    """About one voxel in 2000, but always one: most tiles have some, many windows have none."""
    random = np.random.default_rng(seed)
    foreground = random.random(shape) < 5e-4
    foreground[tuple(random.integers(shape))] = True
    return foreground


def expected(foreground, cap):
    return np.minimum(oracles.squared_distance(foreground), cap)


def unpacked(bits):
    """The words of `Bits` as a bool volume, padding included: (32 words, ny, pitch)."""
    shifts = np.arange(32, dtype=np.uint32)[:, None, None]
    return np.concatenate([(word >> shifts & 1).astype(bool) for word in bits.words])


def same(result, reference):
    assert result.dtype == reference.dtype
    np.testing.assert_array_equal(result, reference)


# -- threshold


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("inverted", [False, True])
def test_bits_hold_the_volume_and_nothing_beyond_it(gpu, shape, inverted):
    foreground = np.random.default_rng(1).random(shape) < 0.3
    nz, ny, nx = shape
    volume = unpacked(gpu(pack, foreground, inverted))
    np.testing.assert_array_equal(volume[:nz, :, :nx], foreground ^ inverted)
    assert not volume[nz:].any()
    assert not volume[:, :, nx:].any()


def test_occupancy_tells_some_foreground_and_some_background(gpu):
    foreground = np.zeros((40, 3, 100), bool)
    foreground[:32, 1, 32:64] = True
    foreground[35, 2, 99] = True
    foreground[32:, 0, 64:] = True
    occupancy = gpu(pack, foreground).occupancy
    np.testing.assert_array_equal(occupancy[0], [[2, 2, 2, 2], [2, 1, 2, 2], [2, 2, 2, 2]])
    np.testing.assert_array_equal(occupancy[1], [[2, 2, 1, 1], [2, 2, 2, 2], [2, 2, 2, 3]])


@pytest.mark.parametrize("level", [0.0, -0.0, 0.5, -0.5, 1e-45, -1e-45, np.inf, -np.inf])
@pytest.mark.parametrize("absolute", [False, True])
def test_threshold_compares_as_ieee_floats_do(gpu, level, absolute):
    signalling = np.uint32(0x7F800001).view(np.float32)  # the NaN next to infinity
    special = [0.0, -0.0, 0.5, -0.5, 1e-45, -1e-45, 3e-39, -3e-39, np.inf, -np.inf, np.nan, -np.nan, signalling, -3.0]
    values = np.array(special, np.float32).reshape(1, 2, 7)
    reference = (np.abs(values) if absolute else values) >= np.float32(level)
    np.testing.assert_array_equal(unpacked(gpu(threshold, values, level, absolute))[:1, :, :7], reference)


# -- distance within a reach of 63


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach", REACHES)
def test_distance(gpu, shape, reach):
    foreground, cap = sprinkled(shape), np.uint16(reach * reach + 1)
    result = gpu(_gpu.distance, foreground, squares(reach), cap)
    same(result, expected(foreground, cap).astype(np.uint16))
    same(result, _cpu.distance(foreground, squares(reach), cap))


@pytest.mark.parametrize("reach", [1, 22, 63])
def test_soft_mask_reads_the_table(gpu, reach):
    foreground, cap = sprinkled((37, 71, 83)), reach * reach + 1
    table = np.random.default_rng(2).random(cap + 1, np.float32)
    result = gpu(_gpu.soft_mask, foreground, squares(reach), np.uint16(cap), table)
    same(result, table[expected(foreground, cap)])
    same(result, _cpu.soft_mask(foreground, squares(reach), np.uint16(cap), table))


@needs_compiler
@pytest.mark.parametrize("reach", [9, 63])
@pytest.mark.parametrize("tap", [0, 1, 2])
def test_every_tap_gives_the_same(reach, tap):
    foreground, cap = sprinkled((17, 71, 83)), np.uint16((reach + 1) ** 2)
    with installed(Host(macros={"TAP": tap})):
        result = _gpu.distance(foreground, squares(reach), cap)
    same(result, _cpu.distance(foreground, squares(reach), cap))


@pytest.mark.parametrize("reach", [5, 40, 80])
def test_empty_and_full_volumes(gpu, reach):
    cap = np.uint16(reach * reach + 1)
    table = np.arange(cap + 1.0, dtype=np.float32)
    for foreground, value in ((np.zeros((41, 66, 70), bool), cap), (np.ones((41, 66, 70), bool), 0)):
        assert (gpu(_gpu.distance, foreground, squares(reach), cap) == value).all()
        assert (gpu(_gpu.soft_mask, foreground, squares(reach), cap, table) == value).all()


@pytest.mark.parametrize("reach", [31, 63])
@pytest.mark.parametrize(
    ("shape", "voxel"),
    [((135, 70, 71), (66, 1, 2)), ((3, 140, 80), (1, 66, 70)), ((3, 5, 600), (1, 2, 250)), ((3, 5, 600), (1, 2, 520))],
)
def test_one_voxel_reaches_into_every_tile(gpu, reach, shape, voxel):
    foreground, cap = np.zeros(shape, bool), np.uint16(reach * reach + 1)
    foreground[voxel] = True
    same(gpu(_gpu.distance, foreground, squares(reach), cap), expected(foreground, cap).astype(np.uint16))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("end", [0, -1])
def test_foreground_on_a_face(gpu, axis, end):
    foreground = np.zeros((70, 66, 131), bool)
    np.moveaxis(foreground, axis, 0)[end] = True
    cap = np.uint16(626)
    same(gpu(_gpu.distance, foreground, squares(25), cap), expected(foreground, cap).astype(np.uint16))


@pytest.mark.parametrize("outside", [False, True])
def test_tiles_that_are_empty_or_full_beside_others(gpu, outside):
    """A ball's tiles: empty, full, and both kinds beside stored ones. Its complement: an eroded ball's."""
    z, y, x = np.ogrid[:97, :201, :330]
    ball = (z - 48) ** 2 + (y - 100) ** 2 / 4 + (x - 150) ** 2 / 8 <= 45**2
    cap = np.uint16(101)
    result = gpu(lambda volume: from_bits(pack(volume, outside), squares(10), cap, None), ball)
    same(result, expected(ball ^ outside, cap).astype(np.uint16))


# -- any reach, any cost


@pytest.mark.parametrize("shape", [(37, 41, 83), (131, 3, 130), (1, 1, 1)])
@pytest.mark.parametrize(("reach", "dtype"), [(9, np.uint32), (64, np.uint16), (100, np.uint16), (100, np.uint32)])
def test_distance_for_any_reach(gpu, shape, reach, dtype):
    foreground, cap = sprinkled(shape), dtype(reach * reach + 1)
    table = np.random.default_rng(3).random(int(cap) + 1, np.float32)
    result = gpu(_gpu.distance, foreground, squares(reach, dtype), cap)
    same(result, expected(foreground, cap).astype(dtype))
    same(result, _cpu.distance(foreground, squares(reach, dtype), cap))
    same(gpu(_gpu.soft_mask, foreground, squares(reach, dtype), cap, table), table[result])


def test_a_cap_beyond_the_reach_counts_only_steps_within_it(gpu):
    foreground = sprinkled((20, 30, 40))
    same(
        gpu(_gpu.distance, foreground, squares(5), np.uint16(200)),
        _cpu.distance(foreground, squares(5), np.uint16(200)),
    )


@pytest.mark.parametrize("edges", [(1.0, 1.1, 1.3), (2.5, 1.0, 1.7), (1.07, 1.07, 1.0)])
def test_distance_with_anisotropic_voxels(gpu, edges):
    foreground = sprinkled((31, 23, 37), seed=4)
    radius = 12.0
    costs = [(np.arange(int(radius / edge) + 1) * edge) ** 2 for edge in edges]
    cap = np.float64(np.nextafter(radius**2, np.inf))
    result = gpu(_gpu.distance, foreground, costs, cap)
    same(result, _cpu.distance(foreground, costs, cap))
    brute = oracles.brute_squared_distance(foreground, edges)
    near = brute <= radius**2
    np.testing.assert_allclose(result[near], brute[near], rtol=4 * np.finfo(float).eps)
    assert (result[brute > cap] == cap).all()


def test_voxels_twice_as_long_along_one_axis(gpu):
    foreground = sprinkled((20, 30, 40))
    costs = [4 * squares(4)[0], squares(8)[0], squares(8)[0]]
    same(gpu(_gpu.distance, foreground, costs, np.uint16(65)), _cpu.distance(foreground, costs, np.uint16(65)))


# -- statistics


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 11), (64, 32, 32), (41, 43, 47), (90, 91, 92)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_statistics_equal_to_the_bit(gpu, shape, dtype):
    array = (np.random.default_rng(5).standard_normal(shape) * 1000 + 0.1).astype(dtype)
    assert gpu(_gpu.statistics, array) == _cpu.statistics(array)


@pytest.mark.parametrize("largest", [0x00800001, 0x7F800000], ids=["subnormal", "any"])
def test_statistics_of_any_finite_bits(gpu, largest):
    random = np.random.default_rng(6)
    magnitudes, signs = random.integers(largest, size=70_000), random.integers(2, size=70_000)
    array = (magnitudes | signs << 31).astype(np.uint32).view(np.float32).reshape(7, 100, 100)
    assert gpu(_gpu.statistics, array) == _cpu.statistics(array)


@pytest.mark.parametrize("value", [np.nan, -np.nan])
def test_statistics_of_nan_are_nan(gpu, value):
    assert np.isnan(gpu(_gpu.statistics, np.array([[[1.0, value, 2.0]]], np.float32))).all()


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
def test_survey_says_which_pieces_are_not_zero(gpu, size, dtype):
    array = np.zeros(size, dtype)
    array[size // 2], array[-1] = 1, 3
    found, filled = gpu(_gpu.survey, array.reshape(1, 1, size))
    wanted, pieces = _cpu.survey(array.reshape(1, 1, size))
    assert found == wanted
    np.testing.assert_array_equal(filled, pieces)
    assert filled.tolist() == [array[start : start + 1024].any() for start in range(0, size, 1024)]


# -- sums over shells

BOXES = [  # shape, voxel edges
    ((37, 41, 53), (1, 1, 1)),
    ((20, 300, 64), (1, 1, 1)),
    ((1, 30, 41), (1, 1, 1)),
    ((40, 1, 33), (1, 1, 1)),
    ((9, 2, 1), (1, 1, 1)),
    ((1, 1, 1), (1, 1, 1)),
    ((12, 30, 20), (1, 1.1, 1.3)),
    ((7, 9, 90), (2.5, 1, 1.7)),
    ((54, 48, 48), (1.2, 1, 1)),  # another order of adding squares would put two coefficients in other shells
    ((2000, 3, 40), (1, 1, 1)),  # the shells of a block in several passes
    ((3, 1200, 5), (1, 1, 1)),
]


def coefficients(shape, dtype, seed):
    random = np.random.default_rng(seed)
    half = (*shape[:2], shape[2] // 2 + 1)
    return (random.standard_normal(half) + 1j * random.standard_normal(half)).astype(dtype)


def binned(a, b, shells):
    """The sums and those of the absolute values, with indices made at once and in float64 throughout."""
    z, y, x = shells.squares
    index = (np.sqrt((y[:, None] + x) + z[:, None, None]) + 0.5).astype(int).reshape(-1)
    products = (a.astype(complex) * b.astype(complex).conj()).real * shells.weights
    return [np.bincount(index, values.reshape(-1), shells.count) for values in (products, np.abs(products))]


def summed(gpu, a, b, shells):
    if a is b:  # on a device as well
        return gpu(lambda a, w: _gpu.shell_sums(a, a, shells.squares, w, shells.count), a, shells.weights)
    return gpu(_gpu.shell_sums, a, b, shells.squares, shells.weights, shells.count)


@pytest.mark.parametrize(("shape", "edges"), BOXES)
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("same_array", [False, True])
def test_shell_sums(gpu, shape, edges, dtype, same_array):
    shells = fourier.shells(shape, edges)
    a = coefficients(shape, dtype, 7)
    b = a if same_array else coefficients(shape, dtype, 8)
    result = summed(gpu, a, b, shells)
    wanted, magnitude = binned(a, b, shells)
    assert result.dtype == np.float64
    assert (np.abs(result - wanted) <= 1e-12 * magnitude).all()
    assert result.tobytes() == summed(gpu, a, b, shells).tobytes()


@pytest.mark.parametrize(("shape", "edges"), BOXES)
def test_every_coefficient_is_in_the_shell_of_the_cpu(gpu, shape, edges):
    """Sums of small integers are exact in any order: equal to the bit."""
    shells = fourier.shells(shape, edges)
    a, b = ((1000 * coefficients(shape, np.complex64, seed)).round() for seed in (9, 10))
    same(summed(gpu, a, b, shells), _cpu.shell_sums(a, b, shells.squares, shells.weights, shells.count))


def test_shell_sums_of_two_precisions(gpu):
    shells = fourier.shells((9, 10, 11), 1)
    a, b = coefficients((9, 10, 11), np.complex64, 1), coefficients((9, 10, 11), np.complex128, 2)
    same(summed(gpu, a, b, shells), summed(gpu, a.astype(np.complex128), b, shells))


def in_the_middle(shape):
    array = np.zeros(shape, np.float32)
    middle = tuple(slice(n // 4, max(n // 4 + 1, 3 * n // 4)) for n in shape)
    array[middle] = np.random.default_rng(11).random(array[middle].shape) + 0.1
    return array


@pytest.mark.parametrize(("shape", "edges"), BOXES)
def test_shell_power(gpu, shape, edges):
    shells, array = fourier.shells(shape, edges), in_the_middle(shape)
    part = array[_cpu.bounding_box(array != 0)]
    result = gpu(_gpu.shell_power, part, shape, shells.squares, shells.weights, shells.count)
    wanted = binned(*[np.fft.rfftn(array.astype(np.float64))] * 2, shells)[0]
    assert (np.abs(result - wanted) <= 4 * np.finfo(np.float32).eps * wanted.max()).all()  # of float32 transforms
    again = gpu(_gpu.shell_power, part, shape, shells.squares, shells.weights, shells.count)
    assert result.tobytes() == again.tobytes()


@needs_compiler
@pytest.mark.parametrize(("shape", "edges"), BOXES)
def test_each_part_of_the_transform_is_shown(monkeypatch, shape, edges):
    """By both bodies, with the rows and planes that it holds; together it is the whole transform, once."""
    monkeypatch.setattr(sys.modules["gpumask._gpu.shell_sums"], "CHUNK", 8 * shape[0] * shape[2])
    shells, array = fourier.shells(shape, edges), in_the_middle(shape)
    wanted = np.fft.rfftn(array.astype(np.float64))
    for body in (_gpu, _cpu):
        seen = np.zeros(wanted.shape, np.complex128)

        def each(planes, rows, block, seen=seen):
            seen[np.ix_(planes, rows)] += block

        with installed(Host()):
            body.shell_power(array, shape, shells.squares, shells.weights, shells.count, each)
        assert (np.abs(seen - wanted) <= 4 * np.finfo(np.float32).eps * np.abs(wanted).max()).all()


@needs_compiler
@pytest.mark.parametrize(("shape", "edges"), BOXES)
@pytest.mark.parametrize("few_at_a_time", [False, True])
def test_shell_power_from_the_same_transforms(monkeypatch, shape, edges, few_at_a_time):
    if few_at_a_time:
        module = sys.modules["gpumask._gpu.shell_sums"]
        monkeypatch.setattr(module, "CHUNK", 8 * shape[0] * shape[2])
        monkeypatch.setattr(module, "WINDOWS", 1)
    shells, array = fourier.shells(shape, edges), in_the_middle(shape)
    with installed(Host()):
        result = _gpu.shell_power(array, array.shape, shells.squares, shells.weights, shells.count)
    wanted = _cpu.shell_power(array, array.shape, shells.squares, shells.weights, shells.count)
    np.testing.assert_allclose(result, wanted, rtol=1e-12)


def test_shell_power_of_nothing_and_of_bools(gpu):
    shells = fourier.shells((8, 9, 10), 1)
    array = np.zeros((8, 9, 10), bool)
    assert (gpu(_gpu.shell_power, array, array.shape, shells.squares, shells.weights, shells.count) == 0).all()
    array[2:5, 3:7, 1:4] = True
    result = gpu(_gpu.shell_power, array, array.shape, shells.squares, shells.weights, shells.count)
    assert result.sum() == pytest.approx(array.sum() * array.size, rel=1e-6)


@pytest.mark.parametrize(("limit", "left"), [(-1, [2**26, -1]), (2**30, [2**26, 2**30]), (2**20, []), (0, [])])
def test_plans_beyond_a_limit_are_freed_and_the_limit_stays(monkeypatch, limit, left):
    seen = []
    cache = SimpleNamespace(get_memsize=lambda: limit, set_memsize=seen.append)
    fake = SimpleNamespace(fft=SimpleNamespace(config=SimpleNamespace(get_plan_cache=lambda: cache)))
    fft = ModuleType("cupyx.scipy.fft")
    scipy = ModuleType("cupyx.scipy")
    cupyx = ModuleType("cupyx")
    cupyx.scipy, scipy.fft = scipy, fft
    for module in (cupyx, scipy, fft):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(cuda, "cupy", lambda: fake)
    with cuda.transforms(2**26) as given:
        assert given is fft
    assert seen == left


# -- watershed

HEIGHTS = {  # -> values of a map with that random generator and shape
    "rough": lambda random, shape: random.standard_normal(shape),
    "steps": lambda random, shape: random.integers(-3, 9, shape),
    "binary": lambda random, shape: random.random(shape) < 0.7,
    "constant": lambda random, shape: np.ones(shape),
    "subnormal": lambda random, shape: random.integers(-5, 5, shape) * 1e-45,
    "signed zeros": lambda random, shape: np.copysign(0, random.standard_normal(shape)) + (random.random(shape) < 0.1),
    "ramp": lambda random, shape: np.indices(shape).sum(axis=0),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("heights", "wide"), [*((name, False) for name in HEIGHTS), ("steps", True)])
@pytest.mark.parametrize("merged", [False, True])
def test_watershed(gpu, monkeypatch, shape, heights, merged, wide):
    if wide:
        monkeypatch.setattr(sys.modules["gpumask._gpu.watershed"], "WIDE", 0)
    array = HEIGHTS[heights](np.random.default_rng(13), shape).astype(np.float32)
    foreground = array >= min(0, array.max())
    wanted, count = _cpu.watershed(array, foreground, merged)
    same(gpu(lambda a, f: _gpu.watershed(a, f, merged)[0], array, foreground), wanted)
    assert gpu(lambda a, f: _gpu.watershed(a, f, merged)[1], array, foreground) == count == wanted.max()


@pytest.mark.parametrize("density", [0.1, 0.3])
def test_plateaus_are_joined_whichever_thread_comes_first(gpu, density):
    """Many threads meet at the same roots; on the host those of a block take turns between reading and writing."""
    for seed in range(4):
        array = (np.random.default_rng(seed).random((16, 64, 64)) < density).astype(np.float32)
        labels = gpu(lambda a, f: _gpu.watershed(a, f, True)[0], array, array > 0)
        same(labels, _cpu.watershed(array, array > 0, True)[0])


def test_watershed_along_one_path_through_the_box(gpu):
    """A path of 2000 steps, which many threads shorten at once."""
    array = np.zeros((3, 79, 101), np.float32)
    rows = np.arange(0, 79, 4)
    path = [(1, y, x if i % 2 == 0 else 100 - x) for i, y in enumerate(rows) for x in range(101)]
    joints = [(1, y + step, 100 if i % 2 == 0 else 0) for i, y in enumerate(rows[:-1]) for step in (1, 2, 3)]
    order = sorted(path + joints, key=lambda v: (v[1], v[2] if v[1] // 4 % 2 == 0 else -v[2]))
    array[tuple(np.transpose(order))] = np.arange(1, len(order) + 1)
    foreground = array > 0
    assert (gpu(lambda a, f: _gpu.watershed(a, f, True)[0], array, foreground) == foreground).all()


# -- more than 2**31 voxels: only the last planes are computed, the rest is memory that was never touched

LARGE = (2**31 // (65 * 67) + 500, 65, 67)


@needs_compiler
@pytest.mark.parametrize(("dtype", "rows"), [(np.uint16, None), (np.uint32, 64 * 65)])
def test_index_arithmetic_beyond_32_bits(dtype, rows):
    reach, planes = 9, 60
    foreground = reserved(LARGE, bool)
    corner = sprinkled((64, *LARGE[1:]), seed=6)
    corner[:40] = False  # some tiles without foreground in reach
    foreground[-64:] = corner
    last = {"pack": 5 * 65, "distance_zy": 4 * 8, "distance_x": rows or 3 * 8, "distance_y": rows, "distance_z": rows}
    with installed(Host(last=last)):
        result = _gpu.distance(foreground, squares(reach, dtype), dtype(82))
    same(np.array(result[-planes:]), expected(corner, 82)[-planes:].astype(dtype))


@needs_compiler
def test_shell_sums_beyond_32_bits(monkeypatch):
    """All planes in one launch; only the last are summed."""
    planes, count = 60, 120
    _, ny, nxh = LARGE
    monkeypatch.setattr(sys.modules["gpumask._gpu.shell_sums"], "WINDOWS", 2**40)
    shells = fourier.shells((1, ny, 2 * (nxh - 1)), 1)
    squares = (np.zeros(LARGE[0]), *shells.squares[1:])
    array = reserved(LARGE, np.complex64)
    array[-planes:] = corner = coefficients((planes, ny, 2 * (nxh - 1)), np.complex64, 12)
    with installed(Host(last={"shell_sums": planes * 3, "join": planes})):
        result = _gpu.shell_sums(array, array, squares, shells.weights, count)
    wanted = _cpu.shell_sums(corner, corner, (np.zeros(planes), *squares[1:]), shells.weights, count)
    np.testing.assert_allclose(result, wanted, rtol=1e-12)


@needs_compiler
def test_watershed_beyond_32_bits():
    """Where each voxel ends, which is what the numbers are made from."""
    planes, (_, ny, nx) = 40, LARGE
    array, foreground = reserved(LARGE, np.float32), reserved(LARGE, bool)
    corner = np.random.default_rng(14).integers(0, 7, (planes, ny, nx)).astype(np.float32)
    corner[:2] = 0
    array[-planes:], foreground[-planes:] = corner, corner > 0
    blocks = corner.size // 256
    functions = ("climb", "join", "flatten", "leave", "collapse")
    maxima = sys.modules["gpumask._gpu.watershed"].maxima
    with installed(Host(last=dict.fromkeys(functions, blocks))):
        found = maxima(array, foreground, True)[0]
        wanted = maxima(corner, corner > 0, True)[0]
    assert found.dtype == np.int64
    assert wanted.dtype == np.int32
    before = (LARGE[0] - planes) * ny * nx
    ends, inside = np.array(found[before:]), corner.reshape(-1) > 0
    np.testing.assert_array_equal(ends[inside] - before, wanted[inside])


# -- sanitizers


def sanitized(build, *fault):
    """check.py in a process of its own: exit code and what it printed."""
    name = {"address": "libasan.so", "thread": "libtsan.so"}[build]
    found = subprocess.run([COMPILER, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    if not Path(found.stdout.strip()).is_absolute():
        pytest.skip(f"{COMPILER} has no {name}")
    environment = {
        **os.environ,
        "LD_PRELOAD": found.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter leaks on purpose
        "OMP_NUM_THREADS": "2",
    }
    script = Path(__file__).with_name("cuda_host") / "check.py"
    run = subprocess.run(
        [sys.executable, script, build, *fault], env=environment, capture_output=True, text=True, timeout=600
    )
    if "unexpected memory mapping" in run.stderr:
        pytest.skip("ThreadSanitizer cannot run under this kernel's address randomisation")
    return run.returncode, run.stderr


@needs_compiler
@pytest.mark.parametrize("build", ["address", "thread"])
def test_a_correct_kernel_passes(build):
    assert sanitized(build, "none") == (0, "")


@needs_compiler
@pytest.mark.parametrize(
    ("build", "fault", "message"),
    [
        ("address", "store", "heap-buffer-overflow"),
        ("address", "shared", "use-after-poison"),
        ("thread", "barrier", "data race"),
    ],
)
def test_a_planted_fault_is_found(build, fault, message):
    code, printed = sanitized(build, fault)
    assert code != 0
    assert message in printed


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("build", ["address", "thread"])
def test_kernels_are_clean(build):
    assert sanitized(build) == (0, "")


# -- mirrors


def test_gpu_bodies_mirror_cpu_bodies():
    assert sorted(_gpu.__all__) == sorted(_cpu.__all__)
    for name in _cpu.__all__:
        assert inspect.signature(getattr(_gpu, name)) == inspect.signature(getattr(_cpu, name))
