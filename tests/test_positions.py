"""Points in every frame, against hand-made numbers."""

import numpy as np
import pytest

import gpumask as gm
from gpumask import errors, mask, positions, units
from gpumask.volume import Header

SHAPE = (320, 300, 280)


def volume(voxel_size=1.4, header=None, shape=SHAPE):
    return gm.Volume(np.broadcast_to(np.float32(0), shape), voxel_size, header or Header())


def test_the_fulcrum_of_the_tutorial():
    assert positions.as_text(positions.point("249.5,250.1,253.3A", volume())) == "178.2,178.6,180.9"


@pytest.mark.parametrize(
    ("text", "corner"),
    [
        ("1,2,3", (3, 2, 1)),
        (" 1, 2 ,3 px", (3, 2, 1)),
        ("14,28,42A", (30, 20, 10)),
        ("14,28,42 Å", (30, 20, 10)),
        ("0,0,0centre", (160, 150, 140)),
        ("-4.5,0,1e1centre", (170, 150, 135.5)),
    ],
)
def test_point(text, corner):
    assert positions.point(text, volume()) == pytest.approx(corner, abs=1e-12)


@pytest.mark.parametrize("voxel", [1.1, 1.3, 0.83, 1.06, 0.6575, 1.35])
def test_a_point_in_angstrom_is_the_voxel_that_it_means(voxel):
    """Whole numbers of voxels written as six digits of Å, on a grid whose cell a header has held as float32."""
    edge = float(np.float32(voxel * 320)) / 320
    for at in (3, 17, 100):
        assert positions.point(f"{at * voxel:.6g},0,0A", volume(edge))[2] == at
    assert positions.point("3.00009,0,0", volume(edge))[2] == 3
    assert positions.point("3.0002,0,0", volume(edge))[2] == 3.0002


def test_a_point_in_angstrom_is_in_the_frame_of_the_header():
    placed = volume(2.0, Header(origin=(-10.0, 20.0, 30.0)))
    assert positions.point("30,20,-10A", placed) == (0, 0, 0)
    assert positions.point("36,24,-8A", placed) == (1, 2, 3)
    assert positions.point("0,0,0A", volume(2.0, Header(nstart=(-5, 0, 5)))) == (5, 0, -5)


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "1,2,x", "nan,1,2", "1,2,inf", "1,2,3nm"])
def test_what_is_no_point(text):
    with pytest.raises(errors.UsageError, match="point must be x,y,z"):
        positions.point(text, volume())
    with pytest.raises(errors.UsageError, match="shift must be x,y,z, x,y,zpx or x,y,zA, got"):
        positions.displacement(text, (1, 1, 1))


def test_displacement():
    assert positions.displacement("3.5,-2,1", (3, 2, 1)) == (1, -2, 3.5)
    assert positions.displacement("3.5,-2,1A", (2, 2, 1.75)) == (0.5, -1, 2)
    assert positions.displacement("2.0999999,0,0A", (1, 1, 1.05)) == (0, 0, 2)
    with pytest.raises(errors.UsageError, match="shift must be"):
        positions.displacement("1,2,3centre", (1, 1, 1))


def test_frames_lead_back():
    placed = volume((2.0, 1.5, 1.25), Header(nstart=(-3, 4, 5)))
    found = positions.frames((10.25, 20.5, 30.0), placed)
    assert found["corner_px"] == [30.0, 20.5, 10.25]
    assert found["centre_px"] == [-110, -129.5, -149.75]
    assert found["angstrom"] == [(30 + 5) * 1.25, (20.5 + 4) * 1.5, (10.25 - 3) * 2]
    for name, unit in (("corner_px", "px"), ("centre_px", "centre"), ("angstrom", "A")):
        text = ",".join(map(str, found[name])) + unit
        assert positions.point(text, placed) == pytest.approx((10.25, 20.5, 30.0), abs=1e-12)


def test_text_has_no_minus_zero():
    assert positions.as_text((-0.04, 1.25, 12)) == "12.0,1.2,0.0"


def test_in_box():
    assert positions.in_box((-0.5, 0, 9.5), (10, 10, 10))
    assert not positions.in_box((0, 0, 9.6), (10, 10, 10))


# the interface


def test_the_interface_of_a_flat_cut_lies_on_the_cut(xp):
    """A rod along x, cut between x = 11 and x = 12."""
    density = np.zeros((20, 20, 30), bool)
    density[8:13, 6:11, 3:27] = True
    inside = np.zeros_like(density)
    inside[:, :, :12] = True
    found, voxels, contacts = positions.interface(xp.asarray(inside), xp.asarray(density))
    assert found == (10, 8, 11.5)
    assert (voxels, contacts) == (50, 1)


def test_the_interface_of_two_balls_lies_between_them(xp):
    grid = np.indices((40, 40, 60))
    balls = [((grid - np.reshape((20, 20, x), (3, 1, 1, 1))) ** 2).sum(axis=0) <= 121 for x in (20, 40)]
    inside = balls[0] | (grid[2] < 30)
    found, _, contacts = positions.interface(xp.asarray(inside & balls[0]), xp.asarray(balls[0] | balls[1]))
    assert found[:2] == pytest.approx((20, 20), abs=1e-9)
    assert 30 <= found[2] <= 32  # the ball inside reaches to 31
    assert contacts == 1


def test_two_contacts_are_counted(xp):
    density = np.zeros((10, 10, 40), bool)
    density[4:7, 4:7, 2:38] = True
    inside = np.zeros_like(density)
    inside[:, :, 10:20] = True
    found, voxels, contacts = positions.interface(xp.asarray(inside), xp.asarray(density))
    assert found == (5, 5, 14.5)
    assert (voxels, contacts) == (36, 2)


def test_the_interface_moves_with_the_map(xp):
    random = np.random.default_rng(3)
    density, inside = np.zeros((2, 24, 24, 24), bool)
    density[6:16, 6:16, 6:16] = random.random((10, 10, 10)) < 0.5
    inside[:, :, :11] = True
    one = positions.interface(xp.asarray(inside), xp.asarray(density))
    moved = (np.roll(array, (2, -3, 4), (0, 1, 2)) for array in (inside, density))
    two = positions.interface(*map(xp.asarray, moved))
    assert np.subtract(two[0], one[0]) == pytest.approx((2, -3, 4), abs=1e-9)
    assert two[1:] == one[1:]


def test_no_interface():
    density, inside = np.zeros((2, 10, 10, 10), bool)
    density[2:4] = True
    inside[:4] = True
    with pytest.raises(errors.InputRefused, match="no density outside"):
        positions.interface(inside, density)
    with pytest.raises(errors.InputRefused, match="no density inside"):
        positions.interface(~inside, density)
    density[6:8] = True
    with pytest.raises(errors.InputRefused, match="do not touch"):
        positions.interface(inside, density)


def test_the_centre_of_mass_goes_through_all_frames():
    base = np.zeros((30, 30, 30), np.float32)
    base[10:13, 5:8, 20:25] = 1
    placed = gm.Volume(base, 1.4, Header(origin=(7.0, 14.0, 21.0)))
    found = positions.frames(mask.centre_of_mass(base), placed)
    assert found["corner_px"] == pytest.approx([22, 6, 11], abs=1e-12)
    assert found["centre_px"] == pytest.approx([7, -9, -4], abs=1e-12)
    assert found["angstrom"] == pytest.approx([22 * 1.4 + 21, 6 * 1.4 + 14, 11 * 1.4 + 7], abs=1e-9)
    assert units.xyz(positions.point("51.8,22.4,22.4A", placed)) == pytest.approx([22, 6, 11], abs=1e-9)
