"""Point groups: rotations, symmetric masks, tests of symmetry, asymmetric units; RELION where it is installed."""

import re
import shutil
import subprocess

import numpy as np
import pytest

import gpumask as gm
from gpumask import backend, io, mask, symmetry
from gpumask.errors import InputRefused, UsageError

ORDERS = {"C1": 1, "C2": 2, "C3": 3, "C4": 4, "C7": 7, "D1": 2, "D2": 4, "D3": 6, "D7": 14, "T": 12, "O": 24}
ORDERS |= dict.fromkeys(("I", "I1", "I2", "I3", "I4"), 60)
ONTO_VOXELS = ("C2", "C4", "D1", "D2", "D4", "O")  # whose rotations take the voxels of a cubic box onto voxels
ROUNDING = 1e-12  # of a product of two rotations with entries of at most 1: some ten roundings of 1e-16
PRINTED = 1e-5  # RELION's axes have six digits, and it prints its matrices with as few
INTERPOLATED = 2e-6  # RELION's axes of six digits move a voxel at 16 px by 1e-5 px, over density that falls by 0.1 a px
RELION = shutil.which("relion_image_handler")


def blob(shape=(33, 33, 33), xp=np, at=(3, -5, 7), radius=4, width=6):
    """A soft ball away from every axis."""
    base = np.zeros(shape, bool)
    base[tuple(n // 2 + a for n, a in zip(shape, at, strict=True))] = True
    return xp.asarray(mask.soft_mask(base, radius, width))


def same(a, b):
    return abs(a - b).max() < ROUNDING


@pytest.mark.parametrize("name", ORDERS)
def test_rotations_are_a_group_of_the_right_order(name):
    rotations = symmetry.rotations(name)
    assert len(rotations) == symmetry.order(name) == ORDERS[name]
    assert np.array_equal(rotations[0], np.eye(3))
    for one in rotations:
        assert same(one @ one.T, np.eye(3))
        assert abs(np.linalg.det(one) - 1) < ROUNDING
    products = np.einsum("aij,bjk->abik", rotations, rotations).reshape(-1, 9)
    apart = abs(products[:, None] - rotations.reshape(1, -1, 9)).max(axis=2)
    assert apart.min(axis=1).max() < ROUNDING  # every product is one of them
    assert (apart < 0.01).sum(axis=1).max() == 1  # and they are all different


@pytest.mark.parametrize(("name", "fold", "axis"), [
    ("C5", 5, (0, 0, 1)), ("D3", 3, (0, 0, 1)), ("D3", 2, (1, 0, 0)), ("T", 3, (0, 0, 1)), ("O", 4, (0, 0, 1)),
    ("O", 4, (1, 0, 0)), ("O", 3, (1, 1, 1)), ("I", 2, (0, 0, 1)), ("I1", 2, (1, 0, 0)), ("I3", 5, (0, 0, 1)),
    ("I", 5, (1, 0, (1 + 5**0.5) / 2)),
])  # fmt: skip
def test_axes_are_where_relion_has_them(name, fold, axis):
    wanted = np.array(axis) / np.linalg.norm(axis)
    angles = set()
    for one in symmetry.rotations(name)[1:]:
        found, angle = symmetry.axis_and_angle(one)
        if abs(abs(np.dot(found[::-1], wanted)) - 1) < 1e-9:
            angles.add(round(angle, 6))
    assert min(angles) == round(360 / fold, 6)


def test_axis_and_angle_say_how_a_vector_turns():
    assert symmetry.axis_and_angle(np.eye(3)) == ((1, 0, 0), 0)
    quarter = [r for r in symmetry.rotations("C4") if symmetry.axis_and_angle(r) == ((1.0, 0.0, 0.0), 90.0)]
    assert np.array_equal(quarter[0] @ (0, 0, 1), (0, 1, 0))  # right-handed about z: x goes to y
    for name in ("D7", "O", "I"):
        for one in symmetry.rotations(name)[1:]:
            axis, angle = symmetry.axis_and_angle(one)
            assert abs(one @ axis - axis).max() < 1e-9
            assert 0 < angle <= 180


@pytest.mark.parametrize("name", ["", "C0", "C61", "c", "E4", "I5", "T2", "D", "C-1", None])
def test_what_is_no_group_is_refused(name):
    with pytest.raises(UsageError, match="symmetry must be C1"):
        symmetry.order(name)


@pytest.mark.parametrize("shape", [(9, 9, 9), (8, 8, 8), (7, 9, 9), (8, 10, 9)])
def test_voxels_that_go_onto_voxels_keep_their_values(xp, shape):
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for one in symmetry.rotations("O"):
        turned = backend.to_numpy(symmetry.rotated(xp.asarray(noise), one))
        wanted = np.zeros_like(noise)
        for index in np.ndindex(shape):
            new = np.rint(one @ (np.array(index) - np.array(shape) // 2)).astype(int) + np.array(shape) // 2
            if all(0 <= a < n for a, n in zip(new, shape, strict=True)):
                wanted[tuple(new)] = noise[index]
        assert np.array_equal(turned, wanted)


def test_turning_moves_a_blob_where_the_rotation_says(xp):
    at, shape = np.array((3, -5, 7)), (41, 40, 43)
    for one in symmetry.rotations("I"):
        centre = mask.centre_of_mass(symmetry.rotated(blob(shape, xp), one))
        wanted = one @ at + np.array(shape) // 2
        assert abs(np.array(centre) - wanted).max() < 0.01  # px; what interpolation does to a centre of mass


def test_turning_in_angstrom_on_anisotropic_voxels():
    sampling = (2.0, 1.0, 1.0)  # z steps of two
    base = np.zeros((31, 51, 51), np.float32)
    base[15, 25, 25 + 10] = 1
    quarter = symmetry._rotation(np.pi / 2, (0, 1, 0))  # about y: x goes to -z
    turned = symmetry.rotated(base, quarter, sampling)
    assert mask.centre_of_mass(turned) == pytest.approx((15 - 5, 25, 25))


@pytest.mark.parametrize("how", symmetry.HOW)
@pytest.mark.parametrize("name", ONTO_VOXELS)
def test_symmetrised_masks_are_symmetric_and_stay_what_they_are(xp, name, how):
    made = symmetry.symmetrised(blob(xp=xp), name, how)
    for one in symmetry.rotations(name):
        # a mean is rounded once, and each sum of the same values in another order gives the same float64 to 1e-15
        assert float(abs(symmetry.rotated(made, one) - made).max()) <= (0 if how == "max" else 2**-24)
    assert float(abs(symmetry.symmetrised(made, name, how) - made).max()) <= (0 if how == "max" else 2**-24)
    assert float((made - blob(xp=xp)).min()) >= 0 or how == "mean"


@pytest.mark.parametrize("name", ["C3", "D5", "T", "I"])
def test_symmetrised_masks_are_symmetric_as_far_as_interpolation_goes(name):
    soft = symmetry.symmetrised(blob((49,) * 3, at=(7, -9, 11)), name, "mean")
    # Linear interpolation is off by at most a/8·Σ|curvature|: π²/(2·6²) along each of three axes for an edge of 6 px,
    # twice, for the copies and for the turn here.
    allowed = 2 * 3 * np.pi**2 / (2 * 6**2) / 8
    for one in symmetry.rotations(name):
        assert abs(symmetry.rotated(soft, one) - soft).max() < allowed
    assert symmetry.agreement(soft, name).symmetric


def test_a_base_stays_a_base(xp):
    base = blob(xp=xp, radius=1, width=2) >= 0.5
    united = symmetry.symmetrised(base, "D2")
    shared = symmetry.symmetrised(base, "D2", "mean")
    assert united.dtype == shared.dtype == bool
    assert int(united.sum()) == 4 * int(base.sum())  # the copies do not touch
    assert not bool(shared.any())  # a quarter of them at the most, everywhere
    with pytest.raises(UsageError, match="max, mean"):
        symmetry.symmetrised(base, "D2", "median")


def test_agreement_tells_what_is_symmetric(xp):
    soft = blob(xp=xp, radius=1)
    assert symmetry.agreement(soft, "C1").answer() == "C1: yes, as everything"
    found = symmetry.agreement(soft, "C2")
    assert (found.score, found.symmetric) == (0, False)
    assert "no, 0.000" in found.answer()
    assert "180° about 0, 0, 1" in found.answer()
    made = symmetry.agreement(symmetry.symmetrised(soft, "D2"), "D2")
    assert made.score == 1
    assert made.symmetric
    assert len(made.operators) == 3
    half = blob(xp=xp, radius=1) + blob(xp=xp, at=(3, 5, -7), radius=1)  # a half turn about z, in C4 not a quarter turn
    scores = {round(one["angle"]): one["score"] for one in symmetry.agreement(half, "C4").operators}
    assert scores[180] == 1
    assert scores[90] < 0.5
    with pytest.raises(InputRefused, match="empty"):
        symmetry.agreement(xp.zeros((5, 5, 5), xp.float32), "C2")


def test_a_reconstruction_with_d2_has_it_and_no_more(data):
    volume, _ = io.load(data / "maps" / "betaGal_ngl.mrc.gz")  # beta-galactosidase
    base = volume.data >= np.float32(0.05)
    scores = {name: symmetry.agreement(base, name) for name in ("C2", "D2", "C4", "D3", "O")}
    assert {name for name, found in scores.items() if found.symmetric} == {"C2", "D2"}
    assert scores["D2"].score > 0.999


@pytest.mark.parametrize("name", ["C1", "C2", "C3", "C4", "D2", "D3", "T", "O", "I"])
def test_each_voxel_is_in_one_unit_and_units_are_copies(xp, name):
    shape = (25, 25, 25)
    units = backend.to_numpy(symmetry.asymmetric_units(shape, name, xp=xp))
    assert units.dtype == np.uint8
    assert set(np.unique(units)) == set(range(symmetry.order(name)))
    # Away from the faces of units the rotation of a voxel's vector leads to the rotated unit: the definition, by hand.
    rotations = symmetry.rotations(name)
    centres = rotations @ np.array(symmetry.middle(name))
    vectors = np.indices(shape).reshape(3, -1).T - 12
    along = vectors @ centres.T
    assert np.array_equal(along[np.arange(len(along)), units.ravel()].round(9), along.max(axis=1).round(9))
    for k, one in enumerate(rotations):
        turned = np.argmax(vectors @ one.T @ centres.T, axis=1)
        ranked = np.sort(along, axis=1)
        clear = np.ones(len(along), bool) if ranked.shape[1] == 1 else ranked[:, -1] - ranked[:, -2] > 1e-6
        assert (turned[clear & (units.ravel() == 0)] == k).all()


@pytest.mark.parametrize("name", ["C4", "D2", "O"])
def test_copies_of_one_unit_fill_the_box_once(name):
    unit = (symmetry.asymmetric_units((21,) * 3, name) == 0).astype(np.float32)
    covered = sum(symmetry.rotated(unit, one) for one in symmetry.rotations(name))
    vectors = np.indices(covered.shape).reshape(3, -1).T - 10
    on_axis = np.zeros(covered.shape, bool)
    for one in symmetry.rotations(name)[1:]:
        on_axis |= (abs(vectors @ one.T - vectors).max(axis=1) < 1e-9).reshape(covered.shape)
    assert (covered[~on_axis] == 1).all()  # what lies on an axis several units share, and the first has it
    assert 0 < on_axis.mean() < 0.03


@pytest.mark.parametrize("name", ["C1", "C4", "D2", "O", "C3", "D3", "T", "I"])
def test_copies_of_the_mask_of_a_unit_add_up_to_the_symmetric_mask(xp, name):
    edge, blend = 6, 8
    soft = symmetry.symmetrised(blob((41,) * 3, xp, at=(2, 1, 5), radius=6, width=edge), name, "mean")
    soft /= soft.max()
    unit = symmetry.asymmetric_mask(soft, name, blend)
    copies = sum(symmetry.rotated(unit, one) for one in symmetry.rotations(name))
    # Linear interpolation is off by a/8·Σ|curvature| along three axes, of both cosines; 24 products are rounded.
    interpolated = 3 / 8 * (np.pi**2 / (2 * edge**2) + np.pi**2 / (2 * blend**2))
    allowed = interpolated if name in ("C3", "D3", "T", "I") else 24 * 2**-24
    assert float(abs(copies - soft).max()) < allowed
    assert float(unit.min()) >= 0
    assert float((unit - soft).max()) <= 0


def test_the_side_of_a_unit_is_a_cosine_and_without_a_width_a_cut(xp):
    whole = xp.ones((21, 21, 21), xp.float32)
    unit = backend.to_numpy(symmetry.asymmetric_mask(whole, "C2", 8, toward=(0, 0, 1)))
    from_side = np.arange(21) - 10
    wanted = 0.5 + 0.5 * np.sin(np.pi * np.clip(from_side / 8, -0.5, 0.5))
    assert abs(unit - wanted).max() < 2**-24
    cut = backend.to_numpy(symmetry.asymmetric_mask(whole, "C2", 0, toward=(0, 0, 1)))
    assert np.array_equal(cut, np.broadcast_to(np.sign(from_side) / 2 + 0.5, cut.shape))  # both units have the side
    tall = symmetry.asymmetric_mask(np.ones((9, 9, 9), np.float32), "D1", 8, toward=(1, 0, 0), sampling=(2.0, 1, 1))
    assert abs(tall[5, 4, 4] - wanted[12]) < 2**-24  # one voxel up are two units
    for width in (-1, np.inf, "3px"):
        with pytest.raises(UsageError, match="width of the blend"):
            symmetry.asymmetric_mask(whole, "C2", width)


@pytest.mark.parametrize(("name", "toward"), [
    ("C1", None), ("C2", (0, 0, 1)), ("C4", (0, 0, 1)), ("D2", (1, 1, 2)), ("D4", (1, 0.5, 2)), ("O", (1, 2, 4)),
])  # fmt: skip
def test_copies_of_a_unit_that_is_cut_add_up_on_its_sides_and_axes_too(xp, name, toward):
    soft = symmetry.symmetrised(blob((21,) * 3, xp, at=(2, 1, 4), radius=4, width=6), name)
    soft = xp.maximum(soft, xp.float32(0.25))  # so that every side and axis has something
    unit = symmetry.asymmetric_mask(soft, name, 0, toward)
    copies = sum(symmetry.rotated(unit, one) for one in symmetry.rotations(name))
    # Each of up to 24 shares is rounded to float32, and so is each sum of them.
    assert float(abs(copies - soft).max()) <= 2 * 24 * 2**-24
    assert symmetry.order(name) == 1 or bool(((unit > 0) & (unit < soft)).any())


def test_a_group_has_one_spelling():
    spelled = {"c4": "C4", "C04": "C4", "d7": "D7", "t": "T", "O": "O", "I": "I2", "i2": "I2", "I4": "I4"}
    assert {name: symmetry.spelled(name) for name in spelled} == spelled


def test_a_unit_is_about_the_direction_that_was_given():
    shape, toward = (31, 31, 31), (0.2, -1.0, 0.7)
    units = symmetry.asymmetric_units(shape, "D3", toward)
    voxel = tuple(int(15 + 10 * a / np.linalg.norm(toward)) for a in toward)
    assert units[voxel] == 0
    with pytest.raises(UsageError, match="lies on a symmetry axis of D3"):
        symmetry.asymmetric_units(shape, "D3", (1, 0, 0))
    with pytest.raises(UsageError, match="lies on a symmetry axis of D3"):
        symmetry.asymmetric_mask(np.ones(shape, np.float32), "D3", 5, (1, 0, 0))
    for wrong in ((0, 0, 0), (1, 2), (np.nan, 1, 1)):
        with pytest.raises(UsageError, match="three numbers"):
            symmetry.asymmetric_units(shape, "D3", wrong)


def test_the_middle_of_a_unit_is_on_no_axis():
    for name in ORDERS:
        direction = np.array(symmetry.middle(name))
        assert np.linalg.norm(direction) == pytest.approx(1)
        for one in symmetry.rotations(name)[1:]:
            assert np.linalg.norm(one @ direction - direction) > 0.4  # 60 copies on a sphere are 0.4 apart at least


def test_the_order_is_the_n_asym_of_a_spectrum():
    soft = symmetry.symmetrised(blob(), "D2")
    one = gm.mask_spectrum(soft, voxel_size=2)
    four = gm.mask_spectrum(soft, voxel_size=2, asymmetric_units=symmetry.order("D2"))
    for a, b in zip(one.shells, four.shells, strict=True):
        assert b["n_effective"] == a["n_effective"] / 4


@pytest.mark.skipif(shutil.which("relion_refine") is None, reason="RELION is not installed")
@pytest.mark.parametrize("name", ORDERS)
def test_rotations_are_those_that_relion_prints(name):
    run = ["relion_refine", "--sym", name, "--print_symmetry_ops"]
    text = subprocess.run(run, capture_output=True, text=True, timeout=60).stdout
    blocks = re.split(r"R\(\d+\)=", text)[1:]
    printed = [np.array(block.split()[:9], float).reshape(3, 3)[::-1, ::-1] for block in blocks]
    own = symmetry.rotations(name)
    assert len(printed) == len(own)
    for one in printed:
        assert min(abs(own - one).max(axis=(1, 2))) < PRINTED


@pytest.mark.skipif(RELION is None, reason="RELION is not installed")
@pytest.mark.parametrize("name", ["C3", "D2", "T", "I1", "I2", "I3", "I4"])
def test_the_mean_over_copies_is_that_of_relion(name, tmp_path):
    soft = blob((32,) * 3, radius=2, width=4)
    gm.write(tmp_path / "in.mrc", gm.Volume(soft, 1.0))
    run = [RELION, "--i", "in.mrc", "--o", "out.mrc", "--sym", name]
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    wanted = gm.read(tmp_path / "out.mrc").data
    made = symmetry.symmetrised(soft, name, "mean")
    assert wanted.max() > 1 / 100
    assert abs(made - wanted).max() < INTERPOLATED
