"""Masks of real maps: what they should weigh, where they should lie, and what must survive."""

import numpy as np
import pytest
from scipy import ndimage

import gpumask as gm
from gpumask import filters, io, mask, pipeline, regions, thresholds, units
from gpumask.recipe import lengths

ROUNDING = 2.0**-24
FACES = "ignore:the mask meets the box face"


def load(data, name):
    return io.load(data / "maps" / f"{name}.gz")[0]


def base_of(volume, made):
    """The thresholded set a mask was made from."""
    return mask.threshold(pipeline.filtered(volume, made.volume.recipe), made.threshold)


def kda(voxels, voxel_size):
    return units.mass_kda(units.volume_angstrom3(voxels, voxel_size))


def contrast(density, made):
    """Mean density where the mask is 1, in units of its mean where the mask is 0."""
    inside, outside = (density.mean(where=made == value, dtype=np.float64) for value in (1, 0))
    return inside / abs(outside)


def check_against_scipy(made, base, lengths):
    radius, width = lengths
    distance = ndimage.distance_transform_edt(~base)
    wanted = 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - radius) / width, 0, 1))
    assert np.abs(made.volume.data - wanted).max() <= ROUNDING + 1e-12


def test_polymerase_in_its_own_solvent(data):
    """EMD-11007 (240³, axes 3,2,1): --lowpass 15A --threshold 4sigma --dilate 5px --soft-edge 17px."""
    volume = load(data, "emd_11007.map")
    recipe = pipeline.build_recipe(lowpass="15A", threshold="4sigma", dilation="5px", soft_edge="17px")
    made = pipeline.make(volume, recipe)
    filtered = filters.lowpass(volume.data, 15, volume.voxel_size).astype(np.float64)
    assert made.threshold == pytest.approx(filtered.mean() + 4 * filtered.std(), rel=1e-6)
    assert abs(made.threshold - 4 * volume.data.std()) > 1  # of the map before the filter: 3.9, twice as much

    base = base_of(volume, made)
    _, sizes = regions.label(base)
    assert kda(made.base_voxels, volume.voxel_size) == pytest.approx(152.6, abs=0.5)
    assert sizes.sum() - sizes.max() < 1e-3 * sizes.max()
    assert made.components == 1
    check_against_scipy(made, base, (5, 17))

    assert made.equivalent_edge_px == pytest.approx(17, abs=0.5)
    assert made.volume_angstrom3 == pytest.approx(6.217e5, rel=1e-3)
    assert mask.centre_of_mass(made.volume.data) == pytest.approx((129.08, 117.69, 108.45), abs=0.02)
    assert made.faces_touched == ["-x"]
    assert len(made.warnings) == 1
    assert contrast(volume.data, made.volume.data) > 25


@pytest.mark.slow
def test_polymerase_with_a_convolved_edge(data):
    volume = load(data, "emd_11007.map")
    parameters = {"lowpass": "15A", "threshold": "4sigma", "largest": 1, "dilation": "5px", "soft_edge": "17px"}
    made = pipeline.make(volume, pipeline.build_recipe(parameters, edge="convolved"))
    distance = ndimage.distance_transform_edt(~regions.largest(base_of(volume, made)))
    assert (made.volume.data[distance <= 5] == 1).all()
    assert (made.volume.data[distance >= 22] == 0).all()
    assert made.equivalent_edge_px == pytest.approx(17, abs=0.7)


def test_haemoglobin(data):
    """EMD-3488 is masked and has C2 symmetry about x: so has the mask."""
    volume = load(data, "emd_3488.mrc")
    made = pipeline.make(volume, pipeline.build_recipe(threshold=0.15, dilation="3px", soft_edge="6px"))
    assert made.base_voxels == np.count_nonzero(volume.data >= np.float32(0.15)) == 11537
    assert made.components == 1
    assert made.faces_touched == []
    assert made.warnings == []
    assert mask.centre_of_mass(made.volume.data)[1:] == pytest.approx((50, 50), abs=1e-3)
    check_against_scipy(made, base_of(volume, made), (3, 6))


def test_haemoglobin_by_its_resolution(data):
    """64 kDa at 3.2 Å, 1.05 Å voxels: the edge is 16 px, and meets the box."""
    volume = load(data, "emd_3488.mrc")
    with pytest.warns(gm.GpumaskWarning, match="faces -y, \\+y|faces \\+x, -y, \\+y"):
        made = gm.create_mask(volume, lowpass="15A", threshold="3sigma", resolution="3.2A", dilation="4A")
    assert lengths(made.recipe, volume.voxel_size) == (pytest.approx(4 / 1.05), 16)
    assert mask.equivalent_edge(made.data) == pytest.approx(16, abs=0.3)
    kept = (volume.data.astype(np.float64) ** 2 * made.data).sum() / (volume.data.astype(np.float64) ** 2).sum()
    assert kept > 0.97


@pytest.mark.parametrize(("threshold", "mass"), [("3sigma", 620), ("0.2max", 671)])
def test_beta_galactosidase(data, threshold, mass):
    """A D2 tetramer of 465 kDa at low resolution with solvent noise: one piece around the box centre."""
    volume = load(data, "betaGal_ngl.mrc")
    made = pipeline.make(
        volume, pipeline.build_recipe(lowpass="15A", threshold=threshold, dilation="7A", soft_edge="20A")
    )
    assert kda(made.base_voxels, volume.voxel_size) == pytest.approx(mass, rel=0.01)
    assert regions.component_count(base_of(volume, made)) == 1
    assert mask.centre_of_mass(made.volume.data) == pytest.approx((50, 50, 50), abs=1e-6)
    for axes in ((0, 1), (0, 2), (1, 2)):
        turned = np.roll(np.flip(made.volume.data, axes), [1] * 2, axes)
        assert ((turned >= 0.5) & (made.volume.data >= 0.5)).sum() > 0.98 * (turned >= 0.5).sum()
    assert made.equivalent_edge_px == pytest.approx(20 / 3.54, abs=0.3)
    assert made.warnings == []
    check_against_scipy(made, base_of(volume, made), (7 / 3.54, 20 / 3.54))


def test_emd_1832_at_the_level_of_its_segmentation(data, tmp_path):
    """5910 voxels at 0.42; nstart -32 goes through to the file."""
    volume = load(data, "emd_1832.map")
    made = pipeline.make(volume, pipeline.build_recipe(threshold=0.42, dilation="2px", soft_edge="5px"))
    assert made.base_voxels == 5910
    assert made.components == 1
    assert made.warnings == []
    check_against_scipy(made, base_of(volume, made), (2, 5))
    assert made.volume.header.nstart == (-32, -32, -32)
    gm.write(tmp_path / "mask.mrc", made.volume)
    back = gm.read(tmp_path / "mask.mrc")
    assert np.array_equal(back.data, made.volume.data)
    assert (back.voxel_size, back.header.nstart, back.origin) == (volume.voxel_size, (-32, -32, -32), volume.origin)


@pytest.mark.filterwarnings(FACES)
@pytest.mark.parametrize(
    "name", ["emd_1883.map", "emd_3186.map", "emd_32143_lowres_moorhen.map", "emd_5625.map", "emd_1832.map"]
)
@pytest.mark.parametrize("style", ["euclidean", "relion", "cryodrgn"])
@pytest.mark.parametrize("edge", ["cosine", "convolved"])
def test_every_map_gives_a_mask(data, name, style, edge):
    volume = load(data, name)
    made = gm.create_mask(
        volume, threshold="3sigma", lowpass="20A", largest=1, dilation="6A", soft_edge="12A", style=style, edge=edge
    )
    assert mask.is_mask(float(made.data.min()), float(made.data.max()))
    assert (made.voxel_size, made.header) == (volume.voxel_size, volume.header)
    assert regions.component_count(made.data > 0) == 1
    assert contrast(volume.data, made.data) > 5


# name: kDa of the particle, and the share by which the largest component above ``auto`` may miss it
MASSES = {"emd_3488.mrc": (64.5, 0.3), "emd_11007.map": (160, 0.3), "betaGal_ngl.mrc": (465, 0.3)}


@pytest.mark.parametrize("filtered", [{}, {"lowpass": "8A"}, {"lowpass": "15A"}], ids=str)
@pytest.mark.parametrize("name", MASSES)
def test_auto_weighs_what_the_particle_weighs(data, name, filtered):
    """Haemoglobin; polymerase with nsp7 and two nsp8 of the sequence; beta-galactosidase."""
    volume = load(data, name)
    made = pipeline.make(volume, pipeline.build_recipe(threshold="auto", dilation="3px", soft_edge="6px", **filtered))
    mass, slack = MASSES[name]
    assert kda(made.base_voxels, volume.voxel_size) == pytest.approx(mass, rel=slack)
    assert made.components == 1


def test_auto_encloses_what_the_stated_level_does(data):
    """EMD-1832 was segmented at 0.42, 5910 voxels; within a factor of 1.5."""
    made = pipeline.make(load(data, "emd_1832.map"), pipeline.build_recipe(threshold="auto", soft_edge="6px"))
    assert 5910 / 1.5 < made.base_voxels < 5910 * 1.5
    assert made.threshold == pytest.approx(0.554, abs=0.001)


@pytest.mark.parametrize(
    "name",
    [
        *("emd_3488.mrc", "emd_1832.map", "betaGal_ngl.mrc", "emd_1883.map", "emd_3186.map", "emd_5625.map"),
        "emd_32143_lowres_moorhen.map",
    ],
)
def test_auto_of_real_maps_sees_neither_box_nor_units(data, name):
    volume = load(data, name)

    def enclosed(array):
        return int((array >= np.float32(thresholds.level(array, "auto", volume.voxel_size).value)).sum())

    wanted, border = enclosed(volume.data), round(volume.shape[0] * 0.05)
    inner = (slice(border, -border),) * 3
    assert enclosed(np.pad(volume.data, border)) == pytest.approx(wanted, rel=0.01)
    assert enclosed(np.ascontiguousarray(volume.data[inner])) == pytest.approx(wanted, rel=0.01)
    assert enclosed(volume.data * np.float32(2.0**12)) == wanted
    assert enclosed(volume.data * np.float32(3.7)) == pytest.approx(wanted, abs=2)


@pytest.mark.filterwarnings("ignore::gpumask.GpumaskWarning")
@pytest.mark.parametrize("mass", [20, 64.5, 150])
def test_a_mass_is_inverted_exactly_on_a_real_map(data, mass):
    """EMD-3488 is 71 % zeros: a mass that is more than the rest takes all of them, and says so."""
    volume = load(data, "emd_3488.mrc")
    found = thresholds.level(volume.data, f"mass:{mass}", volume.voxel_size)
    wanted = round(units.voxels_in(units.angstrom3_of_kda(mass), volume.voxel_size))
    reached = int((volume.data >= np.float32(found.value)).sum())
    if mass == 150:
        assert found.value == 0
        assert f"{wanted} voxels were asked for, but {reached} reach the level" in found.warnings[-1]
    else:
        assert reached == wanted
        assert kda(reached, volume.voxel_size) == pytest.approx(mass, abs=kda(0.5, volume.voxel_size))


def test_fdr_wants_the_noise_of_an_unmasked_map(data):
    masked, unmasked = (load(data, name) for name in ("emd_3488.mrc", "emd_11007.map"))
    assert "masked in part" in thresholds.level(masked.data, "fdr:0.01", masked.voxel_size).warnings[0]
    found = thresholds.level(unmasked.data, "fdr:0.01", unmasked.voxel_size)
    assert found.warnings == ()
    largest = regions.label(unmasked.data >= np.float32(found.value))[1].max()
    assert kda(largest, unmasked.voxel_size) == pytest.approx(120, rel=0.05)
