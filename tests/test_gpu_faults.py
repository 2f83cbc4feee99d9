"""What a GPU path must survive: another device, strange layouts and types, no voxels, no usable device, no memory.

Tests of `_gpu` run its launches on the shim; those with ``xp`` run on a GPU where there is one.
"""

import numpy as np
import pytest
from cuda_host import COMPILER, Host, installed
from test_cuda import fake_cupy, forget  # noqa: F401

import gpumask as gm
from gpumask import _cpu, _gpu, backend, mask, pipeline, slabs, thresholds
from gpumask.backend import to_numpy
from gpumask.cli import main
from gpumask.errors import DeviceNotFound, UsageError
from gpumask.job import creation

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="the host shim needs g++")
EMPTY = [(0, 4, 5), (4, 0, 5), (4, 5, 0), (0, 0, 0)]
SUBNORMAL = np.array([0.0, -0.0, 1e-45, -1e-45, 3e-39, -3e-39, 1e-38, np.nan, np.inf, -np.inf], np.float32)


class NoLaunch(Host):
    def kernel(self, *name):
        pytest.fail(f"{name} was launched")


# -- no voxels


@needs_compiler
@pytest.mark.parametrize("shape", EMPTY)
@pytest.mark.parametrize("reach", [3, 80])
def test_bodies_launch_nothing_without_voxels(shape, reach):
    foreground = np.zeros(shape, bool)
    costs, cap = [(np.arange(reach + 1) ** 2).astype(np.uint16)] * 3, np.uint16(reach * reach + 1)
    with installed(NoLaunch()):
        distance = _gpu.distance(foreground, costs, cap)
        soft = _gpu.soft_mask(foreground, costs, cap, np.zeros(int(cap) + 1, np.float32))
        reached = _gpu.at_least(np.zeros(shape, np.float32), np.float32(1), False)
        with pytest.raises(ValueError, match="without voxels"):
            _gpu.statistics(np.zeros(shape, np.float32))
    assert (distance.shape, distance.dtype) == (shape, np.uint16)
    assert (soft.shape, soft.dtype) == (shape, np.float32)
    assert (reached.shape, reached.dtype) == (shape, bool)


@pytest.mark.parametrize("shape", EMPTY)
def test_a_mask_without_voxels_is_none(xp, shape):
    base = xp.zeros(shape, bool)
    for options in ({}, {"edge": "convolved"}, {"sampling": (1, 1.1, 1.3)}, {"style": "relion"}, {"style": "cryodrgn"}):
        assert mask.soft_mask(base, 2, 3, **options).shape == shape
    assert mask.soft_mask(base, 90, 3).shape == mask.dilate(base, 2).shape == mask.erode(base, 2).shape == shape


# -- nothing and everything, in a box smaller than the radius


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5)])
@pytest.mark.parametrize("strict", [False, True])
def test_nothing_grows_to_nothing_and_everything_stays_whatever_the_radius(xp, shape, strict):
    nothing, everything = xp.zeros(shape, bool), xp.ones(shape, bool)
    style = "relion" if strict else "euclidean"
    for radius in (1, 2.5, 10, 300, 70000):
        assert not bool(mask.soft_mask(nothing, radius, 0, style=style).any())
        assert bool((mask.soft_mask(everything, -radius, 3, style=style) == 1).all())
        assert not bool(mask.dilate(nothing, radius).any())
        assert bool(mask.erode(everything, radius).all())


# -- the threshold on the device: -ftz=true must not show


@needs_compiler
@pytest.mark.parametrize("level", [0.0, -0.0, 1e-45, -1e-45, 2e-39, 1e-38, np.inf, -np.inf])
@pytest.mark.parametrize("absolute", [False, True])
def test_the_comparison_kernel_is_ieee(level, absolute):
    values, level = SUBNORMAL.reshape(1, 2, 5), np.float32(level)
    with installed(Host()):
        found = _gpu.at_least(values, level, absolute)
    np.testing.assert_array_equal(found, (np.abs(values) if absolute else values) >= level)


@pytest.mark.parametrize("absolute", [False, True])
def test_threshold_of_subnormals(xp, absolute):
    values = SUBNORMAL.reshape(1, 2, 5)
    for level in (1e-45, 2e-39, 1e-38):
        found = to_numpy(mask.threshold(xp.asarray(values), level, absolute))
        np.testing.assert_array_equal(found, _cpu.at_least(values, np.float32(level), absolute))


# -- layouts and types


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8, np.int16, np.int32, np.int64, np.uint8])
def test_other_types_and_layouts_of_a_map_give_the_same_mask(xp, dtype):
    values = (np.random.default_rng(1).standard_normal((20, 31, 42)) * 3).astype(dtype)
    wanted = pipeline.make(gm.Volume(values, 1.0), pipeline.build_recipe(threshold=3)).volume.data
    fortran = xp.asfortranarray(xp.asarray(values))
    strided = xp.repeat(xp.asarray(values), 2, axis=2)[:, :, ::2]
    mirrored = xp.asarray(values[::-1].copy())[::-1]
    for strange in (fortran, strided, mirrored):
        made = pipeline.make(gm.Volume(strange, 1.0), pipeline.build_recipe(threshold=3)).volume.data
        np.testing.assert_array_equal(to_numpy(made), wanted)
        assert thresholds.level(strange, "3sigma").value == thresholds.level(values, "3sigma").value


# -- another GPU


@pytest.mark.gpu
def test_an_array_on_another_gpu():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.is_available() or cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two CUDA devices")
    base = np.random.default_rng(0).random((20, 30, 40)).astype(np.float32)
    volume = backend.place(gm.Volume(base, 1.0), "cuda:1")
    assert cupy.cuda.Device().id == 0
    made = pipeline.make(volume, pipeline.build_recipe(threshold=0.999, dust=1)).volume.data
    assert made.device.id == 1
    wanted = pipeline.make(gm.Volume(base, 1.0), pipeline.build_recipe(threshold=0.999, dust=1)).volume.data
    np.testing.assert_array_equal(made.get(), wanted)
    with pytest.raises(UsageError, match="on cuda:1 but the current device is cuda:0"):
        mask.soft_mask(volume.data, 2, 3)
    assert backend.first_call_seconds("cuda:1") > 0


def test_an_array_on_another_gpu_is_refused_in_words(monkeypatch):
    cupy = fake_cupy(monkeypatch)
    cupy.ndarray = type("ndarray", (), {})
    array = cupy.ndarray()
    array.device = type("Device", (), {"id": 1})()
    for ask in (backend.of, backend.xp):
        with pytest.raises(UsageError, match=r"on cuda:1 but the current device is cuda:0; call inside `with cupy"):
            ask(array)
    cupy.device = 1
    assert backend.xp(array) is cupy
    assert backend.of(array) is _gpu


# -- no usable device


def test_a_driver_older_than_cupys_cuda_is_exit_4(monkeypatch, capsys):
    """CuPy 13 raises from is_available()."""

    def fail():
        raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

    cupy = fake_cupy(monkeypatch)
    cupy.is_available = fail
    with pytest.raises(DeviceNotFound, match=r"insufficient.*update the driver"):
        backend.choose("cuda")
    assert backend.choose("auto")[0] == "cpu"


def test_a_driver_without_nvrtc_is_exit_4(monkeypatch, capsys, tmp_path):
    def fail():
        raise RuntimeError("CuPy failed to load libnvrtc.so.12")

    gm.write(tmp_path / "map.mrc", gm.Volume(np.ones((4, 4, 4), np.float32), 1.0))
    fake_cupy(monkeypatch, nvrtc=fail).ndarray = type("ndarray", (), {})
    arguments = ["create", str(tmp_path / "map.mrc"), "-o", str(tmp_path / "mask.mrc"), "--threshold", "0.5"]
    assert main([*arguments, "--device", "cuda"]) == 4
    printed = capsys.readouterr().err
    assert "libnvrtc.so.12" in printed
    assert "pip install 'gpumask[cuda12-ctk]'" in printed
    assert not (tmp_path / "mask.mrc").exists()


# -- memory


def test_slabs_on_a_device_stay_within_the_memory_that_was_given(monkeypatch):
    given = []
    monkeypatch.setattr(slabs, "make", lambda source, recipe, write, budget, *_: given.append(budget))
    for asked, on_device in ((300_000_000, 100 << 30), (8 << 30, 2 << 30)):
        monkeypatch.setattr(backend, "device_memory", lambda device, size=on_device: size)
        monkeypatch.setattr(backend, "available_memory", lambda: 100 << 30)
        creation._Run(None, "cuda:0", True, asked, None).in_slabs(None, None)
        assert given[-1] <= min(asked, 0.8 * on_device)
