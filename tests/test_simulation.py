"""The simulated particle has the shape, the signal and the noise that its docstring states."""

import numpy as np
import oracles
import pytest
from scipy import ndimage

from gpumask import simulation
from gpumask.errors import UsageError
from gpumask.simulation import LABELS, particle

BOX, VOXEL = 160, 1.4
BASE_THRESHOLD, DILATION, SOFT_EDGE = 0.05, 5, 17  # px; the tutorial's mask of the head


@pytest.fixture(scope="module")
def simulated():
    return particle(BOX, VOXEL)


@pytest.fixture(scope="module")
def coarse():
    return particle(88, 2.5)


@pytest.fixture(scope="module")
def base(simulated):
    """The mask base pasted back into the box."""
    whole = np.zeros_like(simulated.density)
    crop = tuple(slice(o, o + n) for o, n in zip(simulated.offset, simulated.head_base.shape, strict=True))
    whole[crop] = simulated.head_base
    return whole


def shells(array):
    """Shell number of each coefficient of the half transform of a cube."""
    n = len(array)
    whole, half = np.fft.fftfreq(n, 1 / n), np.fft.rfftfreq(n, 1 / n)
    return np.rint(np.sqrt(whole[:, None, None] ** 2 + whole[:, None] ** 2 + half**2)).astype(int).ravel()


def shell_sums(array, values):
    return np.bincount(shells(array), values.ravel())[: len(array) // 2 + 1]


def resolution_at(simulated, label):
    """Å of the first shell where the FSC of one domain, under a narrow soft mask, is below 0.143."""
    mask = ndimage.gaussian_filter((simulated.labels == LABELS[label]).astype(np.float32), 1.5)
    a, b = np.fft.rfftn(simulated.half1 * mask), np.fft.rfftn(simulated.half2 * mask)
    cross, power = shell_sums(mask, (a * b.conj()).real), [shell_sums(mask, abs(f) ** 2) for f in (a, b)]
    fsc = cross / np.sqrt(power[0] * power[1])
    return BOX * VOXEL / np.argmax(fsc < 0.143)


def centre_of(region):
    return np.array(ndimage.center_of_mass(region))


def test_same_seed_same_bytes(coarse):
    again, other = particle(88, 2.5, seed=0), particle(88, 2.5, seed=1)
    for name in ("density", "labels", "half1", "half2", "head_base"):
        assert getattr(again, name).tobytes() == getattr(coarse, name).tobytes(), name
        assert getattr(other, name).tobytes() != getattr(coarse, name).tobytes(), name
    assert (again.offset, again.masses) == (coarse.offset, coarse.masses)


def test_sampling_does_not_move_the_particle(simulated, coarse):
    assert coarse.masses == simulated.masses
    places = []
    for p in (simulated, coarse):
        middle = len(p.density) // 2
        places.append((centre_of(p.density) - middle) * p.voxel_size)
        assert (np.array(p.fulcrum) - middle) * p.voxel_size == pytest.approx((3, 32, -16), abs=1e-9)
    assert places[0] == pytest.approx(places[1], abs=0.01)  # trilinear shares keep the centre of mass


def test_a_box_too_small_is_refused():
    with pytest.raises(UsageError, match="at least 220 Å, got 150 px x 1.4 Å = 210 Å"):
        particle(150, 1.4)


def test_masses_are_those_of_the_ellipsoids(simulated):
    for name, domain in simulation.DOMAINS.items():
        expected = 4 / 3 * np.pi * np.prod(domain.semi_axes) * 0.81e-3
        assert simulated.masses[name] == pytest.approx(expected, abs=0.06), name  # half a residue
    assert sum(simulated.masses.values()) == pytest.approx(269, abs=2)
    body = simulated.density[simulated.labels == LABELS["body"]].sum() / simulated.density.sum()
    assert body == pytest.approx(simulated.masses["body"] / sum(simulated.masses.values()), rel=0.05)


def test_triskelion(simulated):
    body, head, foot, arm = (centre_of(simulated.labels == LABELS[n]) for n in ("body", "head", "foot", "arm"))
    assert head[1] > body[1] + 25 and foot[1] > body[1] + 25  # both above the body ...
    assert head[2] < body[2] - 20 and foot[2] > body[2] + 20  # ... and on either side of it
    rows = np.nonzero((simulated.labels == LABELS["body"]).any(axis=(0, 2)))[0]
    assert arm[1] < rows.min()  # beyond the end that is away from head and foot


def test_the_more_a_domain_moves_the_dimmer_it_is(simulated):
    bright = {n: np.percentile(simulated.density[simulated.labels == i], 99) for n, i in LABELS.items()}
    assert bright["body"] > bright["foot"] > bright["head"] > bright["arm"] > bright["glycans"]
    assert bright["glycans"] > 10 * bright["solvent"]
    assert simulated.density.max() == simulated.density[simulated.labels == LABELS["body"]].max() == 1


def test_the_more_a_domain_moves_the_worse_its_resolution(simulated):
    body, foot, head, arm = (resolution_at(simulated, n) for n in ("body", "foot", "head", "arm"))
    assert body == pytest.approx(4.0, abs=0.2)  # three shells
    assert body < foot < head < arm


def test_glycans_stand_out_of_the_head(simulated, base):
    glycans = simulated.labels == LABELS["glycans"]
    distance = ndimage.distance_transform_edt(~simulated.head)[glycans] * VOXEL
    assert 10 < distance.max() < 25
    assert ndimage.label(glycans)[1] >= 4
    assert not base[glycans].any()


def test_the_base_is_the_smoothed_average_of_the_halves_in_the_head(simulated, base):
    smoothed = ndimage.gaussian_filter((simulated.half1 + simulated.half2) / 2, 2.0 / VOXEL)
    inside = base > 0
    assert np.array_equal(base[inside], smoothed[inside])
    assert base[inside].min() > BASE_THRESHOLD
    assert simulated.head[inside].all()
    # 0.81 Da/Å³ on the segmented volume: a contour somewhat inside a blurred domain, as people choose it.
    assert inside.sum() * VOXEL**3 * 0.81e-3 == pytest.approx(simulated.masses["head"], rel=0.25)


def test_the_base_is_cropped_two_voxels_outside_its_bounding_box(simulated):
    occupied = np.argwhere(simulated.head_base > 0)
    assert occupied.min(axis=0).tolist() == [2, 2, 2]
    assert (np.array(simulated.head_base.shape) - occupied.max(axis=0)).tolist() == [3, 3, 3]


def test_the_mask_of_the_head_is_one_piece_that_meets_no_face_and_no_other_limb(simulated, base):
    dilated = oracles.within(base > BASE_THRESHOLD, DILATION)
    assert ndimage.label(dilated)[1] == 1
    occupied = np.argwhere(base > BASE_THRESHOLD)
    reach = DILATION + SOFT_EDGE
    assert occupied.min() - reach >= 0 and occupied.max() + reach < BOX
    assert not (dilated & np.isin(simulated.labels, (LABELS["foot"], LABELS["arm"]))).any()


def test_the_fulcrum_lies_between_head_and_body(simulated):
    here = tuple(np.rint(simulated.fulcrum).astype(int))
    for name in ("head", "body"):
        assert ndimage.distance_transform_edt(simulated.labels != LABELS[name])[here] * VOXEL < 10, name


def test_the_noise_of_the_halves_is_independent_and_equal(simulated):
    noise1, noise2 = simulated.half1 - simulated.density, simulated.half2 - simulated.density
    # 4.1 million voxels; the colour leaves more than a quarter of them independent: 10 sigma.
    assert abs(np.corrcoef(noise1.ravel(), noise2.ravel())[0, 1]) < 0.01
    assert noise1.std() == pytest.approx(noise2.std(), rel=0.01)
    solvent = simulated.labels == LABELS["solvent"]
    assert noise1[solvent].std() == pytest.approx(noise1[~solvent].std(), rel=0.02)  # stationary


def test_noise_spectrum_peaks_falls_and_rises(simulated):
    noise = simulated.half1 - simulated.density
    count = shell_sums(noise, np.ones(noise.shape)[..., : BOX // 2 + 1])
    power = shell_sums(noise, abs(np.fft.rfftn(noise)) ** 2) / count
    s = np.arange(BOX // 2 + 1) / (BOX * VOXEL)
    law = 1 + 10 * np.exp(-((40 * s) ** 2)) + (4 * s) ** 2
    ratio = (power / law)[4:]
    # |N|² of one coefficient is exponential (relative sd 1); half of those in the plane x = 0 are repeated.
    tolerance = 5 * np.sqrt(2 / count[4:]) + 0.02
    assert (abs(ratio / ratio[-20:].mean() - 1) < tolerance).all()
    assert power[4] > 3 * power[16] and power[80] > 2 * power[16]
