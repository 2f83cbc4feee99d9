"""Volume: the grid a map lies on."""

import dataclasses

import numpy as np
import pytest

import gpumask as gm
from gpumask.errors import UsageError
from gpumask.volume import Header

DATA = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize("size", [1.4, np.float32(1.4), (1.4, 1.4, 1.4), [1.4] * 3, np.full(3, 1.4)])
def test_one_voxel_size_stands_for_three(size):
    assert gm.Volume(DATA, size).voxel_size == pytest.approx((1.4, 1.4, 1.4), rel=1e-7)  # float32


@pytest.mark.parametrize(
    "size", [0, -1, float("nan"), float("inf"), (1, 2), (1, 2, 0), (1, 1, 1, 1), (1, float("nan"), 1)]
)
def test_a_voxel_size_that_is_none_is_refused(size):
    with pytest.raises(UsageError, match="voxel size must be one or three numbers > 0 Å"):
        gm.Volume(DATA, size)


@pytest.mark.parametrize("size", ["1.4", None, np.array(1.4)])
def test_a_voxel_size_of_another_type_is_refused_in_words(size):
    try:
        assert gm.Volume(DATA, size).voxel_size == (1.4, 1.4, 1.4)
    except gm.GpumaskError as error:
        assert "voxel size" in str(error)


@pytest.mark.parametrize("data", [DATA[0], DATA[None], DATA.tolist(), 3.0, None])
def test_data_needs_three_axes(data):
    with pytest.raises(UsageError, match="three axes"):
        gm.Volume(data, 1)


def test_a_box_without_voxels_is_refused():
    with pytest.raises(gm.GpumaskError):
        gm.Volume(np.zeros((0, 3, 3), np.float32), 1)


@pytest.mark.parametrize(
    ("header", "origin"),
    [
        (Header(), (0, 0, 0)),
        (Header(nstart=(-32, 2, 3)), (-64, 3, 3)),
        (Header(origin=(0.0, 0.0, 7.5)), (0, 0, 7.5)),
        (Header(origin=(0.0, 0.0, 7.5), nstart=(-32, 2, 3)), (0, 0, 7.5)),  # ORIGIN wins where any component is set
    ],
)
def test_origin_by_the_rule_of_chimerax(header, origin):
    assert gm.Volume(DATA, (2, 1.5, 1), header).origin == origin


def test_a_volume_cannot_be_changed_in_place():
    volume = gm.Volume(DATA, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        volume.voxel_size = (2, 2, 2)


def test_with_data_keeps_the_grid():
    volume = gm.Volume(DATA, (2, 1.5, 1), Header(nstart=(1, 2, 3), labels=("a",)))
    other = volume.with_data(DATA + 1, recipe="how")
    assert (other.voxel_size, other.header, other.recipe) == (volume.voxel_size, volume.header, "how")
    assert other.shape == (2, 3, 4)
    assert np.array_equal(other.data, volume.data + 1)
    assert volume.recipe is None
