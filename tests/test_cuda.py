"""How kernels are found, pasted, compiled and cached, and what is said where they cannot run."""

import ctypes
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from gpumask import cuda
from gpumask.errors import DeviceNotFound

KERNELS = Path(__file__).parents[1] / "kernels"


@pytest.fixture(autouse=True)
def forget():
    """No test sees what another cached."""
    yield
    cuda.cupy.cache_clear()
    cuda._module.cache_clear()
    cuda._function.cache_clear()
    cuda.load_seconds.clear()


class FakeModule:
    """What RawModule was asked for."""

    def __init__(self, code, options):
        self.code, self.options, self.compiled = code, options, 0

    def compile(self):
        self.compiled += 1

    def get_function(self, name):
        return self, name


def fake_cupy(monkeypatch, usable=True, nvrtc=lambda: (12, 9), driver=12040):
    cupy = ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    cupy.is_available = lambda: usable
    cupy.device = 0
    cupy.cuda = SimpleNamespace(nvrtc=SimpleNamespace(getVersion=nvrtc), Device=lambda: SimpleNamespace(id=cupy.device))
    cupy.RawModule = FakeModule
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cuda, "_driver_version", lambda: driver)
    return cupy


def test_every_kernel_file_has_variants_and_every_variant_a_file():
    assert sorted(path.stem for path in KERNELS.glob("*.cu")) == sorted(cuda.VARIANTS)


def test_a_program_stands_alone_and_keeps_line_numbers():
    source, options = cuda.program("distance", {"WINDOW": 32})
    assert "-DWINDOW=32" in options
    assert "#include" not in source
    lines = (KERNELS / "distance.cu").read_text().splitlines()
    include = lines.index('#include "packed.cuh"')
    after = source.split(f'#line {include + 2} "distance.cu"\n')[1]
    assert after == "\n".join(lines[include + 1 :])
    assert (KERNELS / "packed.cuh").read_text().rstrip("\n") in source


def test_kernels_say_what_they_move_and_where_they_come_from():
    for path in KERNELS.glob("*.cu"):
        text = path.read_text()
        for word in ("Bytes per voxel", "Source:"):
            assert re.search(rf"^// {word}", text, re.MULTILINE), f"{path.name} lacks {word!r}"


def test_a_kernel_is_loaded_once_for_each_device_and_its_time_is_kept(monkeypatch):
    cupy = fake_cupy(monkeypatch)
    module, name = cuda.kernel("threshold", "float32", "pack")
    assert name == "pack"
    assert (module.code, module.options) == cuda.program("threshold", cuda.VARIANTS["threshold"]["float32"])
    assert module.compiled == 1
    assert cuda.kernel("threshold", "float32", "pack")[0] is module
    cupy.device = 1
    assert cuda.kernel("threshold", "float32", "pack")[0] is not module
    assert sorted(cuda.load_seconds) == [("threshold", "float32", 0), ("threshold", "float32", 1)]
    assert all(seconds >= 0 for seconds in cuda.load_seconds.values())


def test_without_a_driver(monkeypatch):
    monkeypatch.setattr(cuda, "_driver_version", lambda: None)
    assert not cuda.available()
    with pytest.raises(DeviceNotFound, match="no NVIDIA driver"):
        cuda.cupy()
    with pytest.raises(DeviceNotFound, match="no NVIDIA driver"):
        cuda.kernel("threshold", "float32", "pack")


def test_no_driver_library_is_no_driver(monkeypatch):
    def refuse(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert cuda._driver_version() is None


@pytest.mark.parametrize(("driver", "extra"), [(12040, "cuda12"), (13000, "cuda13"), (13010, "cuda13")])
def test_a_driver_without_cupy_names_the_extra(monkeypatch, driver, extra):
    monkeypatch.setattr(cuda, "_driver_version", lambda: driver)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert f"pip install 'gpumask[{extra}]'" in cuda.missing()


def test_cupy_without_a_device(monkeypatch):
    fake_cupy(monkeypatch, usable=False)
    assert cuda.missing() == "CuPy 14.2.0 and a driver for CUDA 12.4 were found but no usable CUDA device"


def test_cupy_without_nvrtc(monkeypatch):
    def fail():
        raise RuntimeError("no libnvrtc.so.12\nlooked everywhere")

    fake_cupy(monkeypatch, nvrtc=fail)
    message = cuda.missing()
    assert "\n" not in message
    assert "no libnvrtc.so.12" in message
    assert "pip install 'gpumask[cuda12-ctk]'" in message


def test_a_usable_device(monkeypatch):
    cupy = fake_cupy(monkeypatch)
    assert cuda.available()
    assert cuda.cupy() is cupy
