"""The quadratic form of the edge against transforms of its masks."""

import itertools

import numpy as np
import pytest
import scipy.fft
from scipy import ndimage

import gpumask as gm
from gpumask import backend, fourier, mask, regions, spectrum

BOX, SIZE, RESOLUTION = 48, 2.0, 6.0
# A coefficient of a float64 transform is good to ε·log2(voxels) of the strongest: 4e-15, 8e-9 of the power of a shell
# that is 120 dB below it
EXACT = 1e-6
HALF_ULP = 2.0**-25  # of a float32 in [0.5, 1)


@pytest.fixture(scope="module")
def base():
    """A lump with bays, in one piece."""
    rng = np.random.default_rng(0)
    grid = np.ogrid[[slice(-BOX // 2, BOX // 2)] * 3]
    ball = np.sqrt(sum(g * g for g in grid)) <= 10
    texture = ndimage.gaussian_filter(rng.standard_normal((BOX,) * 3), 1)
    return regions.largest(ndimage.gaussian_filter(ball * (1 + texture / texture.std()), 1.2) >= 0.3)


def profile_of_distance(base, nodes, values):
    """A mask by scipy's distances: linear between the nodes, its first value within, 0 beyond."""
    outside = ndimage.distance_transform_edt(~base)
    inside = ndimage.distance_transform_edt(base)
    return np.interp(np.where(base, 1 - inside, outside), nodes, values, right=0.0)


def direct(soft):
    transform = scipy.fft.rfftn(soft)
    return fourier.shell_sums(transform, transform, soft.shape, SIZE)


@pytest.mark.parametrize("nodes", [[0, 2, 4, 7, 12], [-5, -2.5, -1, 0, 1, 3.5, 8], [1, 2], [-4, -2]])
def test_the_form_is_the_spectrum_of_every_profile(xp, base, nodes):
    found = gm.edge_spectra(xp.asarray(base), nodes, voxel_size=SIZE)
    rng = np.random.default_rng(5)
    for values in (*rng.random((3, len(nodes))), np.linspace(1, 0, len(nodes)), np.eye(len(nodes))[-1]):
        soft = profile_of_distance(base, nodes, values)
        wanted = direct(soft)
        assert wanted.max() / wanted.min() < 1e12
        assert found.power(values) == pytest.approx(wanted, rel=EXACT, abs=0)
        made = backend.to_numpy(found.mask(values))
        assert np.abs(made - soft).max() <= HALF_ULP * (1 + EXACT)
        # in a shell's norm the amplitudes of the two masks are no farther apart than that of their difference
        apart = np.sqrt(direct(made.astype(float))) - np.sqrt(found.power(values))
        assert (np.abs(apart) <= np.sqrt(direct(made - soft)) + EXACT * np.sqrt(wanted)).all()
        share = spectrum.shares_beyond(RESOLUTION, found.shells)
        assert found.leakage(values, RESOLUTION) == pytest.approx(wanted @ share / wanted.sum(), rel=EXACT)


def test_a_linear_edge_is_one_of_its_profiles(base):
    found = gm.edge_spectra(base, [0, 3, 9], voxel_size=SIZE)
    assert found.mask([1, 1, 0]) == pytest.approx(mask.soft_mask(base, 3, 6, "linear"), abs=2 * HALF_ULP)


def test_one_transform_a_node(base):
    with fourier.counting() as count:
        found = gm.edge_spectra(base, range(7), voxel_size=SIZE)
        found.power(np.linspace(1, 0, 7))
        found.least_leak(0, 6, RESOLUTION)
    assert count.made == 7


def test_a_mask_of_nothing_has_no_leakage(base):
    assert gm.edge_spectra(base, [0, 3], voxel_size=SIZE).leakage([0, 0], RESOLUTION) is None


@pytest.mark.parametrize("resolution", [24, 12, 8, 5])
@pytest.mark.parametrize("ends", [(0, 12), (2, 9), (-3, 6)])
def test_least_leak_is_the_least(base, resolution, ends):
    nodes = np.arange(-3, 12.5, 0.5)
    found = gm.edge_spectra(base, nodes, voxel_size=SIZE)
    values = found.least_leak(*ends, resolution)
    core, outer = nodes <= ends[0], nodes >= ends[1]
    assert np.array_equal(values[core], np.ones(core.sum()))
    assert np.abs(values[outer]).max() <= 1e-12
    assert (np.diff(values) <= 1e-12).all()
    share = spectrum.shares_beyond(resolution, found.shells)
    form = np.einsum("k,kij->ij", share, found.form)
    # the first-order conditions of a convex problem: no drop can be moved to another node to any gain
    slope = form @ values
    gain = np.cumsum(slope)[np.searchsorted(nodes, ends[0]) : np.searchsorted(nodes, ends[1])]
    drops = -np.diff(values)[np.searchsorted(nodes, ends[0]) : np.searchsorted(nodes, ends[1])]
    least = gain.min()
    assert (gain[drops > 1e-9] - least).max() <= 1e-8 * np.abs(gain).max()
    # not worse than the raised cosine of the same support, linear between the nodes and as it is
    cosine = mask.edge_profile((nodes - ends[0]) / (ends[1] - ends[0]))
    cosine[core] = 1
    leaked = found.power(values) @ share
    assert leaked <= found.power(cosine) @ share
    if ends[0] >= 0:
        # a cosine has no kinks, a profile of straight pieces has one at each node: half a pixel apart they cost less
        # than the best profile gains
        assert leaked <= direct(mask.soft_mask(base, ends[0], ends[1] - ends[0]).astype(float)) @ share
    assert np.array_equal(values, found.least_leak(*ends, resolution))


def test_a_finer_profile_leaks_no_more(base):
    """More nodes only widen the choice: the least leak converges from above."""
    leaked = []
    for step in (4, 2, 1, 0.5):
        nodes = np.arange(0, 12 + step, step)
        found = gm.edge_spectra(base, nodes, voxel_size=SIZE)
        values = found.least_leak(0, 12, 8)
        leaked.append(found.power(values) @ spectrum.shares_beyond(8, found.shells))
    assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(leaked))
    gains = -np.diff(np.log(leaked))
    assert gains[-1] < gains[0]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda base: gm.edge_spectra(base, [0], voxel_size=SIZE), "two or more rising"),
        (lambda base: gm.edge_spectra(base, [0, 3, 3], voxel_size=SIZE), "two or more rising"),
        (lambda base: gm.edge_spectra(base, ["0px", "3px"], voxel_size=SIZE), "no finite numbers"),
        (lambda base: gm.edge_spectra(base, "0,3", voxel_size=SIZE), "no finite numbers"),
        (lambda base: gm.edge_spectra(base, [0, np.nan], voxel_size=SIZE), "no finite numbers"),
        (lambda base: gm.edge_spectra(base, [0, np.inf], voxel_size=SIZE), "no finite numbers"),
        (lambda base: gm.edge_spectra(base, [[0], [1, 2]], voxel_size=SIZE), "no finite numbers"),
        (lambda base: gm.edge_spectra(base, [[0, 1]], voxel_size=SIZE), "two or more rising"),
        (lambda base: gm.edge_spectra(base, 3, voxel_size=SIZE), "two or more rising"),
        (lambda base: gm.edge_spectra(base, [0, 3], voxel_size=(1, 2, 3)), "no cubes"),
        (lambda base: gm.edge_spectra(base & ~base, [0, 3], voxel_size=SIZE), "base of edge spectra is empty"),
        (lambda base: gm.edge_spectra(base, [0, 3], voxel_size=SIZE).power([1, 2, 3]), "each of the 2 nodes"),
        (lambda base: gm.edge_spectra(base, [0, 3], voxel_size=SIZE).power([np.nan, 0]), "finite number for each"),
        (lambda base: gm.edge_spectra(base, [0, 3], voxel_size=SIZE).mask(["1", "0"]), "finite number for each"),
        (lambda base: gm.edge_spectra(base, [0, 3], voxel_size=SIZE).leakage([1, None], 8), "finite number for each"),
        (lambda base: gm.edge_spectra(base, [0, 3], voxel_size=SIZE).least_leak(0, 2, 8), "must be at a node"),
        (lambda base: gm.edge_spectra(base, [0, 3], voxel_size=SIZE).least_leak("0px", 3, 8), "must be at a node"),
        (lambda base: gm.edge_spectra(base, [0, 3], voxel_size=SIZE).least_leak(3, 0, 8), "must end before"),
        (lambda base: gm.edge_spectra(base, [0, 3], voxel_size=SIZE).least_leak(0, 3, 3), "beyond Nyquist"),
    ],
)
def test_what_edge_spectra_refuse(base, call, says):
    with pytest.raises(gm.GpumaskError, match=says):
        call(base)
