"""Geometric masks: distances against constructions, closed forms, laws, and the shapes of RELION and ttmask."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from scipy.spatial import cKDTree

import gpumask as gm
from gpumask import io, mask, shapes, units
from gpumask.backend import to_numpy
from gpumask.errors import UsageError
from gpumask.shapes import Cone, Cuboid, Cylinder, Ellipsoid, ShapeRecipe, Shell, Slab, Sphere
from gpumask.volume import Header

FLOAT64 = 1e-12  # px: distances of some ten px in float64, with room for a few roundings
FLOAT32 = 2.0**-24  # half an ulp of 1
BODIES = {
    "sphere": Sphere(9.3),
    "shell": Shell(11.2, 5.6),
    "cylinder": Cylinder(6.2, 14.4),
    "tube": Cylinder(9.7, 13.1, 5.2),
    "can": Cylinder(9.6, 16.3, 5.1, 7.4),
    "cuboid": Cuboid((12.3, 9.1, 16.7)),
    "ellipsoid": Ellipsoid((6.3, 9.2, 12.1)),
    "cone": Cone(8.1, 15.3),
    "frustum": Cone(4.2, 11.7, 9.4),
    "slab": Slab(7.3),
}
FILLED = ("sphere", "cylinder", "cuboid", "ellipsoid", "cone", "frustum")
BOX = (36, 40, 44)


def inside(name, z, y, x):
    """Which points lie in the body, written after its description."""
    b, across, out = BODIES[name], np.hypot(y, x), np.sqrt(z * z + y * y + x * x)
    if name in ("sphere", "shell"):
        return (out <= b.radius) & (out >= getattr(b, "inner_radius", 0))
    if name in ("cylinder", "tube"):
        return (across <= b.radius) & (across >= b.inner_radius) & (abs(z) <= b.height / 2)
    if name == "can":
        cavity = (across < b.inner_radius) & (abs(z) < b.inner_height / 2)
        return (across <= b.radius) & (abs(z) <= b.height / 2) & ~cavity
    if name == "cuboid":
        return (abs(z) <= b.size[0] / 2) & (abs(y) <= b.size[1] / 2) & (abs(x) <= b.size[2] / 2)
    if name == "ellipsoid":
        return sum((p / r) ** 2 for p, r in zip((z, y, x), b.radii, strict=True)) <= 1
    if name == "slab":
        return abs(z) <= b.thickness / 2
    share = (z + b.height / 2) / b.height
    return (share >= 0) & (share <= 1) & (across <= b.radius + share * (b.top_radius - b.radius))


def grid(box=BOX, voxel_size=1.0, origin=(0.0, 0.0, 0.0)):
    return gm.Volume(np.zeros(box, np.float32), voxel_size, Header(origin=origin))


# distances


@pytest.mark.parametrize(("body", "point", "distance"), [
    (Sphere(5), (0, 3, 4), 0),
    (Sphere(5), (0, 0, 9), 4),
    (Sphere(5), (0, 0, 0), -5),
    (Shell(5, 3), (0, 0, 1), 2),
    (Shell(5, 3), (0, 0, 0), 3),
    (Shell(5, 3), (0, 6, 8), 5),
    (Cylinder(5, 8), (7, 0, 0), 3),
    (Cylinder(5, 8), (0, 0, 7), 2),
    (Cylinder(5, 8), (7, 6, 7.211102550927978), math.hypot(3, math.hypot(6, 7.211102550927978) - 5)),
    (Cylinder(5, 8), (8, 0, 8), 5),
    (Cylinder(5, 8, 3), (0, 0, 1), 2),
    (Cylinder(5, 8, 3), (8, 0, 0), 5),
    (Cylinder(5, 12, 3, 6), (0, 0, 0), 3),
    (Cylinder(5, 12, 3, 6), (2, 0, 0), 1),
    (Cylinder(5, 12, 3, 6), (9, 0, 0), 3),
    (Cuboid((2, 4, 6)), (0, 0, 5), 2),
    (Cuboid((2, 4, 6)), (4, 6, 3), 5),
    (Cuboid((2, 4, 6)), (3, 4, 6), math.sqrt(17)),
    (Ellipsoid((2, 3, 4)), (0, 0, 7), 3),
    (Ellipsoid((2, 3, 4)), (-5, 0, 0), 3),
    (Ellipsoid((5, 5, 5)), (6, 6, 7), 6),
    (Cone(3, 4), (2, 0, 0), 0),
    (Cone(3, 4), (5, 0, 0), 3),
    (Cone(3, 4), (-5, 0, 0), 3),
    (Cone(3, 4), (-2, 0, 7), 4),
    (Cone(3, 4), (0 + 3, 0, 1.5 + 4), 5),  # 5 along (0.6, 0.8), the normal at the middle of the side
    (Cone(3, 4, 3), (0, 0, 5), 2),
    (Slab(6), (-5, 99, 99), 2),
])  # fmt: skip
def test_distance_at_known_points(xp, body, point, distance):
    found = body.distance(*(xp.asarray([float(part)]) for part in point))
    assert float(found[0]) == pytest.approx(distance, abs=FLOAT64)


@pytest.mark.parametrize("name", BODIES)
def test_distance_is_that_to_the_nearest_point_of_the_body(name):
    """A fine lattice of the body's points: none is nearer, and one is within a diagonal of its cells, or within two
    where the body is thin."""
    step, rng = 0.4, np.random.default_rng(3)
    lattice = np.arange(-16, 16 + step / 2, step)
    points = np.stack(np.meshgrid(lattice, lattice, lattice, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points[inside(name, *points.T)]
    asked = rng.uniform(-14, 14, (400, 3))
    found = BODIES[name].distance(*asked.T)
    nearest = cKDTree(points).query(asked)[0]
    assert np.array_equal(found <= 0, inside(name, *asked.T))
    outside = found > 0
    assert 0 < outside.sum() < len(asked)
    assert (found[outside] <= nearest[outside] + FLOAT64).all()
    assert (found[outside] >= nearest[outside] - 2 * step * math.sqrt(3)).all()


@pytest.mark.parametrize("radii", [(1, 1, 1), (2, 3, 4), (0.1, 3, 4), (0.01, 0.01, 10), (0.01, 10, 10), (29, 30, 31)])
def test_distance_to_an_ellipsoid_is_exact(xp, radii):
    """From a point of the surface along its normal: the distance is how far one has gone."""
    rng, squares = np.random.default_rng(5), np.square(radii)
    normal = rng.standard_normal((20000, 3))
    normal /= np.linalg.norm(normal, axis=1)[:, None]
    normal[:3] = np.eye(3)
    surface = squares * normal / np.sqrt((squares * normal**2).sum(axis=1))[:, None]
    gone = np.exp(rng.uniform(-12, 5, len(normal)))
    points = xp.asarray(surface + normal * gone[:, None])
    found = to_numpy(Ellipsoid(radii).distance(*points.T))
    assert (np.abs(found - gone) <= FLOAT64 * np.maximum(gone, max(radii))).all()


def test_distance_to_an_ellipsoid_beyond_what_is_asked_for_is_a_bound():
    body, points = Ellipsoid((2.0, 3.0, 4.0)), np.random.default_rng(7).uniform(-30, 30, (3, 5000))
    exact, bound = body.distance(*points), body.distance(*points, within=5)
    near = (exact > 0) & (exact <= 5)
    assert np.array_equal(bound[near], exact[near])
    assert (bound[exact > 5] <= exact[exact > 5] * (1 + FLOAT64)).all()
    assert (bound[(exact > 5) & (bound != exact)] > 5).all()


# volumes


def parallel_volume(volume, area, curvature, width):
    """Of a convex body with a raised-cosine edge outside: Steiner's area of the parallel surfaces,
    ``A + 2·M·d + 4π·d²``, times the profile, integrated."""
    d = (np.arange(20000) + 0.5) / 20000 * width
    surface = area + 2 * curvature * d + 4 * math.pi * d * d
    return volume + (surface * mask.edge_profile(d / width)).sum() * width / len(d)


@pytest.mark.parametrize("axis", [(1, 0, 0), (3, 1, 2)])
@pytest.mark.parametrize("name", ["sphere", "cylinder", "cuboid"])
def test_volume_with_the_soft_edge_is_steiners(xp, name, axis):
    """A sum over the lattice misses the integral by the mask's transform at whole frequencies k. The slope of a flat
    edge is a half-sine, so that an area misses at the most ``Σ 2/(2πk·(4k²w² - 1))`` = 0.1/w² of itself."""
    body, width = BODIES[name], 10.0
    measures = {
        "sphere": lambda r: (4 / 3 * math.pi * r**3, 4 * math.pi * r**2, 4 * math.pi * r),
        "cylinder": lambda r, h: (math.pi * r * r * h, 2 * math.pi * r * (r + h), math.pi * (h + math.pi * r)),
        "cuboid": lambda a, b, c: (a * b * c, 2 * (a * b + b * c + c * a), math.pi * (a + b + c)),
    }[name]
    sizes = body.size if name == "cuboid" else [body.radius] + [getattr(body, "height", None)] * (name == "cylinder")
    volume, area, curvature = measures(*sizes)
    made = shapes.soft_mask(body, (48, 50, 52), width, centre_px=(23.3, 25.1, 25.8), axis=axis, xp=xp)
    assert float(made.sum(dtype=float)) == pytest.approx(
        parallel_volume(volume, area, curvature, width), abs=0.1 * area / width**2
    )


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("name", FILLED)
def test_volume_comes_to_the_closed_form_as_the_box_grows(name, scale):
    """A voxel counts by its centre, which is within h = √3/2 px of all its points: the count lies between the volumes
    of the body shrunk and grown by h, and those between (1 - h/r)³ and (1 + h/r)³ of its own, r its inradius."""
    body = BODIES[name]
    grown = type(body)(**{
        field: tuple(scale * part for part in value) if isinstance(value, tuple) else scale * value
        for field, value in vars(body).items()
        if value is not None
    })  # fmt: skip
    volume, inradius = {
        "sphere": lambda b: (4 / 3 * math.pi * b.radius**3, b.radius),
        "cylinder": lambda b: (math.pi * b.radius**2 * b.height, min(b.radius, b.height / 2)),
        "cuboid": lambda b: (math.prod(b.size), min(b.size) / 2),
        "ellipsoid": lambda b: (4 / 3 * math.pi * math.prod(b.radii), min(b.radii)),
        "cone": lambda b: (
            math.pi / 3 * b.radius**2 * b.height,
            b.radius * b.height / (b.radius + math.hypot(b.radius, b.height)),
        ),
        "frustum": lambda b: (
            math.pi / 3 * b.height * (b.radius**2 + b.radius * b.top_radius + b.top_radius**2),
            b.radius * 0.9,  # a ball of less than the smaller end's radius, its centre on the axis
        ),
    }[name](grown)
    box = (int(2 * grown.reach) + 3,) * 3
    count = shapes.soft_mask(grown, box, centre_px=[n / 2 - 0.37 for n in box]).sum(dtype=float)
    h = math.sqrt(3) / 2
    assert (1 - h / inradius) ** 3 <= count / volume <= (1 + h / inradius) ** 3


def test_hollow_bodies_are_differences():
    box = (40, 40, 40)
    outer, inner = shapes.soft_mask(Sphere(15.1), box), shapes.soft_mask(Sphere(9.1), box)
    assert np.array_equal(shapes.soft_mask(Shell(15.1, 9.1), box), outer - inner)
    outer, inner = shapes.soft_mask(Cylinder(15.1, 30.2), box), shapes.soft_mask(Cylinder(9.1, 12.2), box)
    assert np.array_equal(shapes.soft_mask(Cylinder(15.1, 30.2, 9.1, 12.2), box), outer - inner)
    inner = shapes.soft_mask(Cylinder(9.1, 99), box)
    assert np.array_equal(shapes.soft_mask(Cylinder(15.1, 30.2, 9.1), box), outer * (1 - inner))


# masks


@pytest.mark.parametrize("edge", ["cosine", "gaussian", "quarter-cosine", "linear", "slepian:2.5"])
@pytest.mark.parametrize("name", BODIES)
def test_mask_is_the_profile_of_the_distance(xp, name, edge):
    body, centre, width = BODIES[name], (17.2, 21.9, 20.4), 6.5
    points = [g - c for g, c in zip(np.indices(BOX), centre, strict=True)]
    distance = body.distance(*points)
    wanted = np.where(distance <= 0, 1, mask.edge_profile(distance / width, edge))
    made = shapes.soft_mask(body, BOX, width, edge, centre_px=centre, xp=xp)
    assert isinstance(made, xp.ndarray)
    assert made.dtype == np.float32
    assert np.abs(to_numpy(made) - wanted).max() <= FLOAT32 + 2 * FLOAT64


@pytest.mark.parametrize("edge", ["cosine", "gaussian", "quarter-cosine", "linear", "slepian"])
def test_half_way_the_profile_is_half_way(edge):
    made = shapes.soft_mask(Sphere(5), (31, 31, 31), 8, edge)
    assert made[15, 15, 15 + 9] == np.float32(mask.edge_profile(np.array(0.5), edge))
    made = shapes.soft_mask(Shell(14, 9), (31, 31, 31), 8, edge)
    assert made[15, 15, 15 + 5] == np.float32(mask.edge_profile(np.array(0.5), edge))


def test_cosine_is_one_half_half_way_in_and_out():
    made = shapes.soft_mask(Shell(12, 7), (41, 41, 41), 4)
    assert made[20, 20, 20:41].tolist() == pytest.approx(
        [0] * 4 + [0.5 - math.sqrt(0.125), 0.5, 0.5 + math.sqrt(0.125)] + [1] * 6
        + [0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)] + [0] * 5, abs=FLOAT32
    )  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_symmetry(name):
    """About a voxel centre each body is its mirror image; the cones only across their axis."""
    made = shapes.soft_mask(BODIES[name], (41, 43, 45), 5)
    for axis in range(3):
        if axis or name not in ("cone", "frustum"):
            assert np.array_equal(np.flip(made, axis), made)


@pytest.mark.parametrize("name", BODIES)
def test_rotation_by_90_degrees_is_the_turned_array(name):
    """Bytes for bytes: the own axes are exact, and only the order of sums of squares changes."""
    box, body = (45, 45, 45), BODIES[name]
    upright = shapes.soft_mask(body, box, 5)
    for axis, turned in {
        (0, 0, 1): upright[::-1].transpose(2, 1, 0)[:, :, ::-1],
        (-1, 0, 0): upright[::-1, ::-1],
        (0, 1, 0): upright[:, ::-1].transpose(1, 0, 2),
    }.items():
        assert np.abs(shapes.soft_mask(body, box, 5, axis=axis) - turned).max() <= 2 * FLOAT32, axis


def test_turn_is_right_handed_about_the_own_axis():
    """Long along x, turned by 90° it is long along y; by 30° its end is at (cos 30°, sin 30°) in x, y."""
    body = Cuboid((4, 4, 24))
    assert np.array_equal(
        shapes.soft_mask(body, (31, 31, 31), 3, turn=90),
        shapes.soft_mask(Cuboid((4, 24, 4)), (31, 31, 31), 3),
    )
    made = shapes.soft_mask(body, (31, 31, 31), turn=30)
    z, y, x = np.nonzero(made)
    along = (x - 15) * math.cos(math.pi / 6) + (y - 15) * math.sin(math.pi / 6)
    assert np.abs(along).max() <= 12 + 1e-5
    assert np.ptp(along) >= 22
    assert np.abs((y - 15) * math.cos(math.pi / 6) - (x - 15) * math.sin(math.pi / 6)).max() <= 2 + 1e-5


@pytest.mark.parametrize("axis", [(1, 0, 0), (-1, 0, 0), (1, 2, 3), (-5, 0.1, 0), (-1, 1e-8, 1e-8)])
@pytest.mark.parametrize("turn", [0, 90, 180, -37.5])
def test_orientation_is_a_rotation_to_the_axis(axis, turn):
    rows = np.array(shapes.orientation(axis, turn))
    assert rows @ rows.T == pytest.approx(np.eye(3), abs=1e-7)  # the last axis is all but -z: 1 + z keeps 8 digits
    assert rows[0] == pytest.approx(np.array(axis) / np.linalg.norm(axis), abs=1e-15)
    z, y, x = (row[::-1] for row in rows)
    assert np.cross(x, y) == pytest.approx(z, abs=1e-7)


@pytest.mark.parametrize("turn", [0, 90, 180, 270, 30, 127.5, -37.5, 765])
def test_own_axes_after_a_turn(turn):
    """About z its x axis comes to (cos, sin) in x, y; exact where those are 0 or 1."""
    angle = math.radians(turn)
    wanted = [(1, 0, 0), (0, math.cos(angle), -math.sin(angle)), (0, math.sin(angle), math.cos(angle))]
    found = np.array(shapes.orientation((1, 0, 0), turn))
    assert found == pytest.approx(np.array(wanted), abs=1e-14)
    if turn % 90 == 0:
        assert np.isin(found, (-1, 0, 1)).all()


def test_a_cone_points_along_its_axis():
    for axis in itertools.product((-1, 0, 1), repeat=3):
        if any(axis):
            centre = np.array(mask.centre_of_mass(shapes.soft_mask(Cone(6, 16), (41, 41, 41), axis=axis))) - 20
            wide = -np.array(axis) / np.linalg.norm(axis)
            assert centre @ wide == pytest.approx(4, abs=0.5)  # a quarter of the height from the base
            assert np.linalg.norm(centre - (centre @ wide) * wide) <= 0.5


@pytest.mark.parametrize("name", BODIES)
def test_monotone_in_every_length_and_in_the_edge(name):
    """But for the height of a cone: as it grows, the wide end moves away and leaves a narrower part in its place."""
    body = BODIES[name]
    made = shapes.soft_mask(body, BOX, 4)
    assert (shapes.soft_mask(body, BOX, 5) >= made).all()
    for field, value in vars(body).items():
        if value and not (isinstance(body, Cone) and field == "height"):
            larger = tuple(part + 0.7 for part in value) if isinstance(value, tuple) else value + 0.7
            changed = shapes.soft_mask(type(body)(**{**vars(body), field: larger}), BOX, 4)
            bigger = (changed <= made) if field.startswith("inner") else (changed >= made)
            # another ellipsoid's profile is as exact as its distance
            assert (bigger | (abs(changed - made) <= FLOAT32)).all()
            assert (changed != made).any()


@pytest.mark.parametrize("name", BODIES)
def test_shifted_by_whole_voxels(name):
    made = shapes.soft_mask(BODIES[name], (40, 40, 40), 3, centre_px=(20, 20, 20), axis=(2, 1, 2))
    shifted = shapes.soft_mask(BODIES[name], (40, 40, 40), 3, centre_px=(23, 18, 21), axis=(2, 1, 2))
    assert np.array_equal(shifted[6:37, 3:30, 6:37], made[3:34, 5:32, 5:36])


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("chunk", [1, 3 * 41 * 42])
def test_the_planes_worked_on_at_a_time_do_not_matter(monkeypatch, name, chunk):
    place = {"centre_px": (12.5, 20, 30), "axis": (1, 1, 0)}
    whole = shapes.soft_mask(BODIES[name], (40, 41, 42), 5, **place)
    monkeypatch.setattr(shapes, "CHUNK", chunk)
    assert np.array_equal(shapes.soft_mask(BODIES[name], (40, 41, 42), 5, **place), whole)


@pytest.mark.parametrize("name", ["ellipsoid", "cone", "slab"])
def test_memory_is_that_of_the_mask_and_a_few_chunks(monkeypatch, name):
    """At the most 20 arrays of float64 a chunk, 2.5 masks here; three coordinates of the whole box would be six."""
    monkeypatch.setattr(shapes, "CHUNK", 1 << 15)
    tracemalloc.start()
    made = shapes.soft_mask(BODIES[name], (128, 128, 128), 60, axis=(1, 1, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= made.nbytes + 20 * 8 * (1 << 15)


def test_a_body_outside_the_box_gives_nothing_and_one_around_it_everything():
    assert not shapes.soft_mask(Sphere(5), (8, 8, 8), 3, centre_px=(4, 4, 40)).any()
    assert (shapes.soft_mask(Sphere(50), (8, 8, 8), 3, centre_px=(4, 4, 40)) == 1).all()
    assert shapes.soft_mask(Sphere(5), (8, 8, 8), 3, centre_px=(4, 4, 14)).any()


@pytest.mark.parametrize("name", [name for name in BODIES if name != "slab"])
def test_anisotropic_voxels_measure_in_angstrom(name):
    """Every second plane of the mask on fine voxels is the mask on voxels of twice the height."""
    fine = shapes.soft_mask(BODIES[name], (60, 40, 42), 5, axis=(1, 2, 2), centre_px=(30, 20, 21))
    flat = shapes.soft_mask(
        BODIES[name], (30, 40, 42), 5, axis=(1, 2, 2), centre_px=(15, 20, 21), sampling=(2.0, 1.0, 1.0)
    )
    assert np.array_equal(flat, fine[::2])


# other programs


def test_relions_shell(data):
    """``--denovo``: one ulp of float32 is allowed, since sums of squares may be ordered otherwise."""
    wanted = io.load(data / "relion_masks" / "m09_denovo_shell_r20_35_c4_-3_2_s5.mrc.gz")[0]
    recipe = ShapeRecipe("shell", radius=35, inner_radius=20, centre="4,-3,2centre", soft_edge=5)
    assert np.abs(shapes.make(recipe, wanted) - wanted.data).max() <= 2 * FLOAT32


@pytest.mark.parametrize(("name", "fields"), [
    ("ttmask_sphere_d60A_s5", {"shape": "sphere", "radius": "30A", "soft_edge": 5}),
    # ttmask makes the caps of a can half as thick as its wall: 120 Å - 12 Å
    ("ttmask_cyl_h120_d60_w12_s4_px2", {"shape": "cylinder", "radius": "30A", "height": "120A", "inner_radius": "18A",
                                        "inner_height": "108A", "soft_edge": 4}),
])  # fmt: skip
def test_ttmasks_shapes(data, name, fields):
    """In its style as it is; the exact style differs where a voxel centre is not on the surface: by less than the √3 px
    of a voxel's diagonal times the steepest slope, π/(2·w)."""
    wanted = io.load(data / "reference_masks" / f"{name}.mrc.gz")[0]
    made = shapes.make(ShapeRecipe(**fields, style="ttmask"), wanted)
    assert np.abs(made - wanted.data).max() <= 2 * FLOAT32
    exact = shapes.make(ShapeRecipe(**fields), wanted)
    assert 0 < np.abs(exact - wanted.data).max() <= math.sqrt(3) * math.pi / (2 * fields["soft_edge"])


@pytest.mark.parametrize(("planes", "share", "width"), [(100, 0.3, 5), (81, 0.3, 3), (64, 0.55, 6.5)])
def test_relions_helical_slab(planes, share, width):
    """Written after RELION's description: planes within z_percentage/2 of the box are kept, a raised cosine beyond."""
    wanted = np.zeros(planes)
    for k in range(planes):
        beyond = abs(k - planes // 2) - planes * share / 2
        wanted[k] = 1 if beyond < 0 else 0 if beyond > width else 0.5 + 0.5 * math.cos(math.pi * beyond / width)
    recipe = ShapeRecipe("slab", thickness=f"{100 * share:g}%", soft_edge=width)
    made = shapes.make(recipe, grid((planes, 6, 7)))
    assert np.abs(made - wanted[:, None, None]).max() <= FLOAT32


# recipes


def test_px_and_angstrom_give_the_same_bytes():
    """5 px are 7 Å at 1.4 Å/px, as a float32 header holds it too."""
    for size in (1.4, float(np.float32(1.4))):
        box = grid((40, 40, 40), size)
        a = shapes.make(ShapeRecipe("shell", radius="10px", inner_radius="5px", soft_edge="4px"), box)
        b = shapes.make(ShapeRecipe("shell", radius="14A", inner_radius="7Å", soft_edge="5.6A"), box)
        assert np.array_equal(a, b)


def test_a_centre_in_each_frame():
    box = grid((40, 44, 48), (1.4, 1.4, 1.4), origin=(10.0, -20.0, 5.0))
    wanted = shapes.make(ShapeRecipe("sphere", radius=6, soft_edge=3, centre="30,20,12"), box)
    assert mask.centre_of_mass(wanted) == pytest.approx((12, 20, 30), abs=1e-6)
    for text in ("30px", "47A", "6centre"):
        unit = text.lstrip("0123456789")
        x, y, z = {"px": (30, 20, 12), "A": (47, 8, 26.8), "centre": (6, -2, -8)}[unit]
        made = shapes.make(ShapeRecipe("sphere", radius=6, soft_edge=3, centre=f"{x},{y},{z}{unit}"), box)
        assert np.array_equal(made, wanted), unit
    middle = shapes.make(ShapeRecipe("sphere", radius=6, soft_edge=3), box)
    assert np.array_equal(middle, shapes.make(ShapeRecipe("sphere", radius=6, soft_edge=3, centre="24,22,20"), box))


def test_triples_in_text_are_x_y_z():
    box = grid((40, 42, 44), 2.0)
    made = shapes.make(ShapeRecipe("cuboid", size="30A,20A,10A", soft_edge=0), box)
    found = [s.stop - s.start for s in gm.regions.bounding_box(made == 1)]
    assert found == [5, 11, 15]  # 5 px are voxels -2 … 2, 10 px -5 … 5, 15 px -7 … 7
    assert shapes.body(ShapeRecipe("ellipsoid", radii="30A,20A,10A"), box).radii == (5, 10, 15)
    cone = shapes.make(ShapeRecipe("cone", radius=8, height=12, axis="1,0,0", soft_edge=0), box)
    assert mask.centre_of_mass(cone)[2] < 22


def test_lengths_in_px_are_refused_on_anisotropic_voxels():
    box = grid((20, 20, 20), (2.0, 1.0, 1.0))
    with pytest.raises(UsageError, match="give it in Å"):
        shapes.make(ShapeRecipe("sphere", radius="5px", soft_edge="2A"), box)
    made = shapes.make(ShapeRecipe("sphere", radius="5A", soft_edge="4A"), box)
    assert made[10, 10, 17] == made[10, 17, 10] == 0.5
    assert made[10 + 3, 10, 10] == np.float32(0.5 + 0.5 * math.cos(math.pi / 4))  # 6 Å along z


def test_default_soft_edge_is_that_of_create():
    assert shapes.soft_edge(ShapeRecipe("sphere", radius=5), (1.4, 1.4, 1.4)) == 12
    assert shapes.soft_edge(ShapeRecipe("sphere", radius=5, resolution="3.5A"), (1.4, 1.4, 1.4)) == 13
    assert shapes.soft_edge(ShapeRecipe("sphere", radius=5, soft_edge="7A"), (1.4, 1.4, 1.4)) == 5


def test_equal_recipes_have_equal_hashes_and_come_back():
    a = ShapeRecipe("cuboid", size="3px,4.0px,5", centre=" 1,2.50, -3 center", axis="0,0,2.0", soft_edge="5", turn=30)
    b = ShapeRecipe("cuboid", size="3.0px,4px,5px", centre="1,2.5,-3centre", axis="0,0,2", soft_edge="5px", turn=30.0)
    assert a == b
    assert a.hash == b.hash != ShapeRecipe("cuboid", size="3px,4px,6px").hash
    assert ShapeRecipe.from_dict(a.to_dict()) == a
    assert ShapeRecipe("cuboid", size="7Å").size == "7A,7A,7A"
    assert ShapeRecipe("sphere", radius=1, centre="1,2,3Å").centre == "1,2,3A"


def test_invert_is_one_minus():
    box = grid()
    made = shapes.make(ShapeRecipe("sphere", radius=6, soft_edge=3), box)
    assert np.array_equal(shapes.make(ShapeRecipe("sphere", radius=6, soft_edge=3, invert=True), box), 1 - made)


@pytest.mark.parametrize(("fields", "message"), [
    ({"shape": "ball", "radius": 5}, "shape must be one of sphere"),
    ({"shape": "sphere"}, "a sphere needs its radius"),
    ({"shape": "cylinder", "radius": 5}, "a cylinder needs its height"),
    ({"shape": "sphere", "radius": 5, "height": 3}, "a sphere has no height; it has radius"),
    ({"shape": "sphere", "radius": 5, "axis": "0,0,1"}, "a sphere has no axis"),
    ({"shape": "cone", "radius": 5, "height": 5, "turn": 4}, "cannot be turned"),
    ({"shape": "cone", "radius": 5, "height": 5, "axis": "0,0,0"}, "must not be 0,0,0"),
    ({"shape": "cone", "radius": 5, "height": 5, "axis": "0,1"}, "axis must be three numbers"),
    ({"shape": "cuboid", "size": "1,2"}, "one or three lengths"),
    ({"shape": "cuboid", "size": "10%"}, "must be a length"),
    ({"shape": "slab", "thickness": "0%"}, "from 0 to 100% of the box"),
    ({"shape": "slab", "thickness": "110%"}, "from 0 to 100% of the box"),
    ({"shape": "sphere", "radius": "5nm"}, "must be a length such as 5px"),
    ({"shape": "sphere", "radius": 5, "centre": "1,2"}, "must be x,y,z"),
    ({"shape": "sphere", "radius": 5, "soft_edge": -2}, "soft edge must be >= 0"),
    ({"shape": "sphere", "radius": 5, "edge": "convolved"}, "the edge of a shape must be one of"),
    ({"shape": "sphere", "radius": 5, "edge": "soft"}, "edge must be one of"),
    ({"shape": "sphere", "radius": 5, "style": "relion"}, "style must be one of exact, ttmask"),
    ({"shape": "sphere", "radius": 5, "invert": "yes"}, "invert must be true or false"),
    ({"shape": "sphere", "radius": 5, "radios": 5}, "unknown key in the recipe of a shape: radios"),
    ({"radius": 5}, "needs a shape"),
])  # fmt: skip
def test_a_recipe_that_cannot_be_used_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        ShapeRecipe.from_dict(fields)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Sphere(0), "radius of the sphere must be > 0 px, got 0 px"),
    (lambda: Sphere(-3), "radius of the sphere must be > 0 px, got -3 px"),
    (lambda: Sphere(math.nan), "must be a number"),
    (lambda: Sphere("5"), "must be a number"),
    (lambda: Cone(5, 5, -1), "top radius of the cone must be >= 0 px"),
    (lambda: Shell(5, 5), "inner radius of the shell must be smaller than the outer one, got 5 and 5"),
    (lambda: Cylinder(5, 5, 6), "inner radius of the cylinder must be smaller"),
    (lambda: Cylinder(5, 5, 3, 5), "inner height of the cylinder must be smaller"),
    (lambda: Cylinder(5, 5, inner_height=3), "needs an inner radius beside its inner height"),
    (lambda: Cuboid((1, 2)), "three numbers"),
    (lambda: shapes.soft_mask(Sphere(5), BOX, -1), "soft edge must be >= 0 px, got -1 px"),
    (lambda: shapes.soft_mask(Sphere(5), BOX, 1, style="relion"), "style must be one of exact, ttmask"),
    (lambda: shapes.soft_mask(Sphere(5), BOX, 1, "convolved"), "the edge of a shape must be one of cosine"),
    (lambda: shapes.soft_mask(Sphere(5), BOX, 1, centre_px=(1, 2, math.inf)), "centre must be a number"),
    (lambda: shapes.soft_mask(Cone(5, 5), BOX, 1, axis=(0, 0, 0)), "must not be 0,0,0"),
])  # fmt: skip
def test_lengths_and_places_that_cannot_be_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_a_length_in_angstrom_snaps_to_whole_pixels():
    body = shapes.body(ShapeRecipe("sphere", radius="7A"), grid(BOX, 1.39999998))
    assert body.radius == units.to_px("7A", (1.39999998,) * 3) == 5
