"""The styles against masks that RELION 3.1.3 and ttmask 0.1.7 made from the same maps."""

import numpy as np
import pytest
from scipy import ndimage

import gpumask as gm
from gpumask import io

SOFT = 1e-6  # both compute the cosine in float64 and store float32: half an ulp of 1 each, and the transform's rounding
RELION = {
    "relion_masks/m01_bin_t015": ("emd_3488", {"threshold": 0.15, "soft_edge": 0}),
    "relion_masks/m02_t015_e3": ("emd_3488", {"threshold": 0.15, "dilation": 3, "soft_edge": 0}),
    "relion_masks/m03_t015_e3_s6": ("emd_3488", {"threshold": 0.15, "dilation": 3, "soft_edge": 6}),
    "relion_masks/m04_lp15_t002_e2_s5": (
        "emd_3488",
        {"lowpass": 15, "threshold": 0.02, "dilation": 2, "soft_edge": 5},
    ),
    "relion_masks/m06_t015_e3_s6_invert": (
        "emd_3488",
        {"threshold": 0.15, "dilation": 3, "soft_edge": 6, "invert": True},
    ),
    "relion_masks/m07_t015_s4": ("emd_3488", {"threshold": 0.15, "soft_edge": 4}),
    "relion_postprocess/iso_mask_lp15_t0012_e3_s6": (
        "halves",
        {"lowpass": 15, "threshold": 0.012, "dilation": 3, "soft_edge": 6},
    ),
    "relion_postprocess/iso_mask_tight_lp6_t008_e0_s3": (
        "halves",
        {"lowpass": 6, "threshold": 0.08, "soft_edge": 3},
    ),
}


def source(data, name):
    if name != "halves":
        return io.load(data / "maps" / f"{name}.mrc.gz")[0]
    first, second = (io.load(data / "halves" / f"sim_iso_half{i}_unfil.mrc.gz")[0] for i in (1, 2))
    return first.with_data((first.data + second.data) / 2)


@pytest.mark.filterwarnings("ignore::gpumask.GpumaskWarning")
@pytest.mark.parametrize("name", RELION)
def test_relion_mask_is_reproduced(data, name):
    origin, parameters = RELION[name]
    wanted = io.load(data / f"{name}.mrc.gz")[0].data
    made = gm.create_mask(source(data, origin), style="relion", **parameters).data
    if parameters["soft_edge"] == 0:
        assert np.array_equal(made, wanted)
    else:
        assert np.abs(made - wanted).max() <= SOFT


@pytest.mark.filterwarnings("ignore::gpumask.GpumaskWarning")
@pytest.mark.parametrize(("name", "padding", "soft"), [("ttmask_t015_bin", 0, 0), ("ttmask_t015_p3_s6", 3, 6)])
def test_ttmask_is_reproduced(data, name, padding, soft):
    """ttmask dilates by d <= r and measures its edge from the dilated set."""
    wanted = io.load(data / "reference_masks" / f"{name}.mrc.gz")[0].data
    base = gm.mask.threshold(source(data, "emd_3488").data, 0.15)
    made = gm.mask.soft_mask(gm.mask.dilate(base, padding), 0, soft)
    assert np.abs(made - wanted).max() <= SOFT


@pytest.mark.filterwarnings("ignore::gpumask.GpumaskWarning")
def test_cryodrgn_style_is_its_formula():
    """cryoDRGN 4: ``binary_dilation`` ``int(Å // voxel)`` times, ``cos(π·d/2w)``, six decimals."""
    base = np.random.default_rng(7).random((30, 41, 36)) < 0.002
    voxel_size, dilation, edge = 1.1, 5.5, 7.7
    grown = ndimage.binary_dilation(base, iterations=int(dilation // voxel_size))
    distance = np.minimum(ndimage.distance_transform_edt(~grown), edge / voxel_size)
    wanted = np.cos(np.pi * distance / (edge / voxel_size) / 2).round(6)
    made = gm.create_mask(
        gm.Volume(base.astype(np.float32), voxel_size),
        threshold=0.5, dilation=f"{dilation}A", soft_edge=f"{edge}A", style="cryodrgn",
    )  # fmt: skip
    assert np.abs(made.data - wanted).max() <= SOFT


@pytest.mark.parametrize(("name", "soft"), [("ttmask_sphere_d60A_s5", 5), ("ttmask_cyl_h120_d60_w12_s4_px2", 4)])
def test_the_edge_of_ttmasks_shapes_is_reproduced(data, name, soft):
    """The shape is taken from the file, as the set where it is 1; its soft edge is ours."""
    wanted = io.load(data / "reference_masks" / f"{name}.mrc.gz")[0].data
    assert np.abs(gm.mask.soft_mask(wanted == 1, 0, soft) - wanted).max() <= SOFT


def test_the_edges_of_relions_shell_are_reproduced(data):
    """``--denovo``, radii 20 and 35 about (4, -3, 2), soft edge 5: raised cosines of the exact distance."""
    wanted = io.load(data / "relion_masks" / "m09_denovo_shell_r20_35_c4_-3_2_s5.mrc.gz")[0].data
    centre = gm.units.centre_px_to_corner_px((2, -3, 4), wanted.shape)
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(np.indices(wanted.shape), centre, strict=True)))
    made = gm.mask.edge_profile((distance - 35) / 5) * gm.mask.edge_profile((20 - distance) / 5)
    assert np.abs(made - wanted).max() <= SOFT
