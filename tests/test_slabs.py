"""Slabs give the bytes that memory gives, within the memory that they were given."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import gpumask as gm
from gpumask import io, job, pipeline, slabs, uncached
from gpumask.errors import OutOfMemory
from gpumask.job import creation

RECIPES = {
    "sigma": {"threshold": "2.5sigma", "dilation": "4A", "soft_edge": "9A"},
    "gaussian, largest": {"threshold": "0.6max", "gaussian": "2A", "soft_edge": "5A", "largest": 1},
    "dust, holes, erosion": {"threshold": 1, "dust": 300, "dilation": "-1.5A", "soft_edge": "6A", "fill_holes": True},
    "relion, inverted": {"threshold": 1.2, "style": "relion", "dilation": "4A", "soft_edge": "6A", "invert": True},
    "mostly foreground": {"threshold": -0.5, "fill_holes": True, "dilation": "-3A", "soft_edge": "4A"},
    "absolute, slepian": {"threshold": 2, "absolute_value": True, "soft_edge": "8A", "edge": "slepian"},
    "near and far": {"threshold": 2, "near": "3A", "far": "9A"},
    "otsu, hysteresis": {"threshold": "otsu", "hysteresis": "percentile:99", "soft_edge": "4A"},
    "volume, opening": {"threshold": "volume:30000", "opening": "3A", "soft_edge": "4A"},
    "mass, closing, absolute": {"threshold": "mass:40", "closing": "5A", "absolute_value": True, "soft_edge": "4A"},
    "percentile, gaussian, all clean-up": {
        "threshold": "percentile:70",
        "gaussian": "1.5A",
        "clip_radius": "33A",
        "clip_centre": "2,1,-3centre",
        "hysteresis": "0.4max",
        "opening": "1.5A",
        "dust": 200,
        "largest": 2,
        "closing": "2.9A",
        "fill_holes": True,
        "soft_edge": "3A",
    },
    "seed": {"threshold": "percentile:80", "seed": "15,17,38", "closing": "4A", "fill_holes": True, "soft_edge": "3A"},
}


def noise(shape=(61, 47, 53), seed=0):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    return (field / field.std()).astype(np.float32)


@pytest.fixture
def in_slabs(monkeypatch):
    def run(volume, recipe, planes):
        monkeypatch.setattr(slabs, "planes_per_slab", lambda *_: planes)
        made = []
        return slabs.make(slabs.InMemory(volume), recipe, made.append, 0), np.concatenate(made)

    return run


CUBES, FLAT, TALL = 1.3, (1.1, 1.4, 2.0), (2.0, 1.4, 1.1)
DEPTHS = [(CUBES, 1), (CUBES, 7), (CUBES, 20), (CUBES, 61), (FLAT, 7), (FLAT, 61), (TALL, 1), (TALL, 20)]


@pytest.mark.parametrize(("voxel_size", "planes"), DEPTHS)
@pytest.mark.parametrize("name", RECIPES)
def test_the_same_bytes_as_in_memory(in_slabs, name, voxel_size, planes):
    volume = gm.Volume(noise(), voxel_size)
    recipe = pipeline.build_recipe(**RECIPES[name])
    wanted = pipeline.make(volume, recipe)
    made, data = in_slabs(volume, recipe, planes)
    assert data.tobytes() == wanted.volume.data.tobytes()
    for fact in ("threshold", "threshold_why", "base_voxels", "components", "faces_touched", "verdict", "warnings"):
        assert getattr(made, fact) == getattr(wanted, fact), fact
    # sums over planes and over the box round differently: n additions, 2^-53 each
    assert made.volume_angstrom3 == pytest.approx(wanted.volume_angstrom3, rel=data.size * 2**-53)
    assert made.equivalent_edge_px == pytest.approx(wanted.equivalent_edge_px, rel=data.size * 2**-53)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0.1, 0.3, 0.5, 0.8]))
def test_components_joined_across_slabs_are_scipys(seed, depth, planes, share):
    box = np.random.default_rng(seed).random((depth, 5, 6)) < share
    for structure in (slabs.ALL_NEIGHBOURS, slabs.FACE_NEIGHBOURS):
        labels, count = ndimage.label(box, structure=structure)
        found = slabs.Components(lambda a, b: box[a:b], box.shape, planes, structure)  # noqa: B023
        assert found.sizes.tolist() == np.bincount(labels.reshape(-1))[1:].tolist()
        for number in range(count):
            keep = np.arange(count) == number
            kept = np.concatenate([slab for _, slab in found.selected(keep)])
            assert np.array_equal(kept, labels == number + 1)
            touching = np.pad(np.zeros([max(n - 2, 0) for n in box.shape], bool), 1, constant_values=True)
            touching = np.ones_like(box) if touching.shape != box.shape else touching
            assert found.open[number] == bool((kept & touching).any())


def test_bits_are_the_box():
    box = np.random.default_rng(1).random((5, 7, 13)) < 0.5
    bits = slabs.Bits(box.shape)
    bits.put(0, box[:2])
    bits.put(2, box[2:])
    assert np.array_equal(bits.get(-3, 99), box)
    assert bits.count() == box.sum()
    assert slabs.Bits.bytes(box.shape) == bits.packed.nbytes


@pytest.mark.parametrize(
    "parameters",
    [
        {"lowpass": "9A"}, {"rect": "9A"}, {"butterworth": "9A"}, {"edge": "convolved"}, {"threshold": "auto"},
        {"threshold": "fdr:0.1"}, {"hysteresis": "auto"},
    ],
)  # fmt: skip
def test_what_needs_the_whole_box_is_refused_with_the_number(parameters):
    volume = gm.Volume(noise(), 1.3)
    with pytest.raises(OutOfMemory, match=r"whole box of 53 x 47 x 61 voxels in memory, [\d.]+ MB, but 1 MB"):
        slabs.make(slabs.InMemory(volume), pipeline.build_recipe(**{"threshold": 2} | parameters), print, 10**6)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"seed": "0,0,0"}, r"the seed, voxel \[0, 0, 0\] \(x, y, z\), is background"),
        ({"seed": "0,0,99"}, "the seed must lie in the box of 53 x 47 x 61 voxels"),
        ({"hysteresis": 99}, "no component reaches the hysteresis level 99"),
        ({"hysteresis": 1}, "hysteresis must be at or above the threshold"),
        ({"opening": "20A"}, "the opening by 20A leaves nothing"),
        ({"clip_radius": 1, "clip_centre": "0,0,0"}, "nothing above the threshold lies within 1px"),
        ({"dust": 1e9}, "every component is dust"),
    ],
)
def test_the_same_refusals_as_in_memory(in_slabs, parameters, text):
    volume, recipe = gm.Volume(noise(), 1.3), pipeline.build_recipe(threshold=2, **parameters)
    with pytest.raises(gm.GpumaskError, match=text) as whole:
        pipeline.make(volume, recipe)
    with pytest.raises(gm.GpumaskError, match=text) as sliced:
        in_slabs(volume, recipe, 7)
    assert (type(sliced.value), str(sliced.value)) == (type(whole.value), str(whole.value))


def test_a_budget_below_one_plane_is_refused_with_the_number():
    volume = gm.Volume(noise(), 1.3)
    with pytest.raises(OutOfMemory, match="even in slabs, but 100 kB may be used"):
        slabs.make(slabs.InMemory(volume), pipeline.build_recipe(threshold=2), print, 10**5)


@pytest.mark.filterwarnings("ignore::gpumask.GpumaskWarning")
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_made_in_slabs_is_the_file_made_in_memory(tmp_path, suffix):
    import gzip

    path = tmp_path / "map.mrc"
    io.write(path, gm.Volume(noise((90, 61, 50)), 1.3))
    if suffix:
        (tmp_path / "map.mrc.gz").write_bytes(gzip.compress(path.read_bytes()))
    recipe = pipeline.build_recipe(threshold="2sigma", gaussian="2A", largest=2, dilation="2px", soft_edge="5px")
    whole = job.create(path, tmp_path / "whole.mrc", recipe, device="cpu")
    sliced = job.create(f"{path}{suffix}", tmp_path / "slabs.mrc", recipe, device="cpu", memory=2_000_000)
    assert (tmp_path / "slabs.mrc").read_bytes() == (tmp_path / "whole.mrc").read_bytes()
    assert any("made in slabs" in text for text in sliced["warnings"])
    assert not any("made in slabs" in text for text in whole["warnings"])


class Failing:
    """A body that fails a number of times, as an allocator does."""

    def __init__(self, times, body):
        self.times, self.body = times, body

    def __call__(self, *arguments, **options):
        if self.times:
            self.times -= 1
            raise MemoryError("planted")
        return self.body(*arguments, **options)


@pytest.mark.parametrize("failures", [0, 1])
def test_out_of_memory_goes_on_in_slabs_and_says_so(tmp_path, monkeypatch, failures):
    io.write(tmp_path / "map.mrc", gm.Volume(noise(), 1.3))
    recipe = pipeline.build_recipe(threshold=2, soft_edge="4px")
    wanted = pipeline.make(gm.Volume(noise(), 1.3), recipe).volume.data
    left, empty = [failures], uncached.empty

    def short(shape, dtype):
        """An allocator that fails at the first whole box, as one does that is asked for more than there is."""
        if left[0] and math.prod(shape) == math.prod(noise().shape):
            left[0] -= 1
            raise MemoryError("planted")
        return empty(shape, dtype)

    monkeypatch.setattr(uncached, "empty", short)
    made = job.create(tmp_path / "map.mrc", tmp_path / "mask.mrc", recipe, device="cpu")
    assert np.array_equal(io.load(tmp_path / "mask.mrc")[0].data, wanted)
    assert [text for text in made["warnings"] if "out of memory" in text] == (
        ["out of memory at once on cpu; going on in slabs"] * failures
    )


def test_the_last_rung_ends_in_one_line_and_no_file(tmp_path, monkeypatch):
    io.write(tmp_path / "map.mrc", gm.Volume(noise(), 1.3))
    for module in (pipeline, slabs):
        monkeypatch.setattr(module, "make", Failing(9, None))
    with pytest.raises(OutOfMemory, match="53 x 47 x 61 voxels does not fit in memory"):
        job.create(tmp_path / "map.mrc", tmp_path / "mask.mrc", pipeline.build_recipe(threshold=2), device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["map.mrc"]


@pytest.mark.parametrize("demanded", [True, False])
def test_the_ladder_of_a_gpu(monkeypatch, demanded):
    """Caches are freed, then slabs; a demanded device is never left."""
    run = creation._Run(pipeline.build_recipe(threshold=2), "cuda:0", demanded, None, lambda name, share=None: None)
    tried = []

    def failing(name):
        def rung(volume, device, *_):
            tried.append((name, device))
            raise MemoryError("planted")

        return rung

    for name in ("_at_once", "_after_freeing", "_by_slabs"):
        monkeypatch.setattr(run, name, failing(name))
    with pytest.raises(OutOfMemory):
        run.whole(gm.Volume(noise(), 1.3), None, ("map", None))
    on_gpu = [("_at_once", "cuda:0"), ("_after_freeing", "cuda:0"), ("_by_slabs", "cuda:0")]
    assert tried == on_gpu + ([] if demanded else [("_at_once", "cpu"), ("_by_slabs", "cpu")])
    assert len(run.notes) == len(tried) - 1


@pytest.mark.slow
def test_512_within_300_mb(tmp_path):
    """The mask of a 512 MB map, with the program's own memory, under 300 MB above the bare imports."""
    edge = 512
    path = tmp_path / "map.mrc"
    field = noise((64, 64, 64)).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    data = np.zeros((edge,) * 3, np.float32)
    data[192:320, 192:320, 192:320] = field
    io.write(path, gm.Volume(data, 1.0))
    code = (
        "import sys, pathlib, numpy as np\n"
        "from gpumask import job, mask, pipeline\n"
        "mask.soft_mask(np.ones((4, 4, 4), bool), 1, 1)\n"
        "status = lambda key: next(int(line.split()[1]) * 1024 for line in\n"
        "    pathlib.Path('/proc/self/status').read_text().splitlines() if line.startswith(key))\n"
        "before = status('VmRSS')\n"
        "pathlib.Path('/proc/self/clear_refs').write_text('5')\n"
        "recipe = pipeline.build_recipe(threshold=2, largest=1, dilation='5px', soft_edge='17px')\n"
        "job.create(sys.argv[1], sys.argv[2], recipe, device='cpu', memory=290_000_000)\n"
        "print(status('VmHWM') - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "mask.mrc")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 300_000_000
    assert math.prod(io.load(tmp_path / "mask.mrc")[0].shape) == edge**3
