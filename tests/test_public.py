"""What is public: that it starts light, is documented, and does what it says when called."""

import doctest
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gpumask as gm
from gpumask import (
    advisor,
    algebra,
    backend,
    choices,
    correlation,
    coverage,
    directional,
    edges,
    emdb,
    errors,
    filters,
    fourier,
    grids,
    interpolation,
    io,
    job,
    local_resolution,
    mask,
    model_fit,
    models,
    morphology,
    phases,
    pipeline,
    positions,
    recipe,
    region_file,
    region_tree,
    regions,
    segger,
    segmentation,
    shapes,
    sharpening,
    star,
    sweeps,
    symmetry,
    thresholds,
    units,
    volume,
    watershed,
)
from gpumask.volume import Header

FOLDER = Path(gm.__file__).parent
MODULES = (
    errors, units, star, emdb, recipe, io, filters, fourier, phases, correlation, directional, grids, interpolation,
    positions, regions, mask, shapes, models, morphology, thresholds,
    sharpening, local_resolution, algebra, symmetry, watershed, model_fit, coverage,
    segmentation, region_tree, region_file, segger, sweeps, edges, choices, advisor,
)  # fmt: skip
BASE = np.zeros((9, 10, 11), bool)
BASE[4, 5, 6] = True
MAP = BASE.astype(np.float32)
VOLUME = gm.Volume(MAP, 2)
CUBE, BRICK = (2.0, 2.0, 2.0), (3.0, 2.0, 1.0)
NOISE = np.random.default_rng(0).standard_normal((2, *MAP.shape)).astype(np.float32)
HALVES = [fourier.rfftn(half) for half in NOISE]
SIGNAL = NOISE + 9 * MAP
EVEN = MAP + np.roll(MAP[::-1, ::-1, ::-1], (1, 1, 1), (0, 1, 2))
POWER = fourier.shell_sums(HALVES[0], HALVES[0], MAP.shape, 2)
SHELLS = fourier.shells(MAP.shape, 2)
CORNER = BASE | (np.indices(BASE.shape).sum(axis=0) == 0)


def public(module):
    """Functions and classes that a module defines for others."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }


def transforms_made(call):
    """How many transforms a call makes."""
    with fourier.counting() as count:
        call()
    return count.made


def swept():
    """A sweep of the map under noise."""
    given = {"thresholds": 0.5, "dilations": [0, 1], "soft_edges": [2], "resolution": 5, "onset": "12A", "region": BASE}
    return sweeps.sweep(MAP, *SIGNAL, **given, assume_unmasked=True, voxel_size=2)


def advised():
    """Advice for the map under noise; so small a box has no shell for Λ."""
    given = {"threshold": 0.5, "dilations": [0], "soft_edges": [2], "resolution": 5, "onset": "12A", "voxel_size": 2}
    given |= {"goal": "subtraction", "region": MAP + 1, "assume_unmasked": True}
    return advisor.advise(MAP, *(NOISE + 99 * MAP), **given)


def counted(run):
    """The sum of what `run` hands to its argument."""
    handed = []
    run(handed.append)
    return sum(handed)


def with_file(check):
    """`check` is called with a folder that holds map.mrc."""

    def run(folder):
        gm.write(folder / "map.mrc", gm.Volume(MAP, 2, Header(nstart=(1, 2, 3))))
        return check(folder)

    run.needs_folder = True
    return run


def raises(error, call):
    with pytest.raises(error):
        call()
    return True


def segmented():
    """Two regions of a voxel each, in a corner and in the middle."""
    return segmentation.from_labels(np.cumsum(CORNER).reshape(MAP.shape) * CORNER, VOLUME)[0]


# one call with a meaningful check for every public name of the modules above
CALLS = {
    "units.Length": lambda: str(units.Length(7.0, "A")) == "7A",
    "units.length": lambda: units.length("7A") == (7, "A"),
    "units.angstrom": lambda: units.angstrom("3.5A") == 3.5,
    "units.voxel_edges": lambda: units.voxel_edges(2) == CUBE and units.voxel_edges([3, 2, 1]) == BRICK,
    "units.snap": lambda: units.snap(2.99999993) == 3,
    "units.is_isotropic": lambda: units.is_isotropic(CUBE) and not units.is_isotropic(BRICK),
    "units.pixel_edge": lambda: (units.pixel_edge(CUBE), units.pixel_edge(BRICK)) == (2, 1),
    "units.sampling": lambda: units.sampling(BRICK) == (3, 2, 1) and units.sampling(CUBE) is None,
    "units.to_px": lambda: units.to_px("7A", CUBE) == 3.5,
    "units.along_axes": lambda: units.along_axes("6A", BRICK) == (2, 3, 6),
    "units.to_angstrom": lambda: units.to_angstrom(3.5, CUBE) == 7,
    "units.both": lambda: units.both(3.5, CUBE) == "3.5 px = 7.0 Å",
    "units.volume_angstrom3": lambda: units.volume_angstrom3(10, BRICK) == 60,
    "units.voxels_in": lambda: units.voxels_in(60, BRICK) == 10,
    "units.angstrom3_of_kda": lambda: units.angstrom3_of_kda(81) == 1e5,
    "units.mass_kda": lambda: units.mass_kda(1e5) == 81,
    "units.minimum_soft_edge_px": lambda: units.minimum_soft_edge_px(4, CUBE) == 10,
    "units.nyquist_resolution": lambda: units.nyquist_resolution(BRICK) == 6,
    "units.shell_frequency_step": lambda: units.shell_frequency_step((10, 20, 30), CUBE) == 1 / 60,
    "units.corner_px_to_angstrom": lambda: units.corner_px_to_angstrom((1, 2, 3), BRICK, (0, 0, 9)) == (3, 4, 12),
    "units.angstrom_to_corner_px": lambda: units.angstrom_to_corner_px((3, 4, 12), BRICK, (0, 0, 9)) == (1, 2, 3),
    "units.corner_px_to_centre_px": lambda: units.corner_px_to_centre_px((5, 5, 5), (9, 10, 11)) == (1, 0, 0),
    "units.centre_px_to_corner_px": lambda: units.centre_px_to_corner_px((1, 0, 0), (9, 10, 11)) == (5, 5, 5),
    "units.xyz": lambda: units.xyz((1, 2, 3)) == [3, 2, 1],
    "units.by": lambda: units.by((1, 2, 3)) == "3 x 2 x 1",
    "units.of_bytes": lambda: [units.of_bytes(size) for size in (999, 1e3, 2.5e6, 7e9)]
    == ["999 B", "1 kB", "2.5 MB", "7 GB"],
    "units.plain": lambda: (units.plain(5.0), units.plain(0.05)) == ("5", "0.05"),
    "recipe.MaskRecipe": lambda: recipe.MaskRecipe(threshold=1, dilation=5).dilation == "5px",
    "recipe.loads": lambda: recipe.loads('{"threshold": 1}') == {"threshold": 1},
    "recipe.lengths": lambda: recipe.lengths(recipe.MaskRecipe(threshold=1, near="6A", far="14A"), CUBE) == (3, 4),
    "recipe.preset": lambda: recipe.preset("cryosparc-v4")["far"] == "14A",
    "recipe.parse_threshold": lambda: recipe.parse_threshold("3sigma") == ("sigma", 3),
    "recipe.parse_position": lambda: recipe.parse_position("1,2,3A") == ((3, 2, 1), "A"),
    "recipe.parse_edge": lambda: recipe.parse_edge("slepian:2.5") == ("slepian", 2.5),
    "recipe.parse_butterworth": lambda: recipe.parse_butterworth("15A:4") == (15, 4),
    "io.read": with_file(lambda folder: np.array_equal(io.read(folder / "map.mrc").data, MAP)),
    "io.load": with_file(lambda folder: io.load(folder / "map.mrc")[1] == []),
    "io.Slabs": with_file(lambda folder: [len(s) for s in io.Slabs(folder / "map.mrc").slabs(4)] == [4, 4, 1]),
    "io.unpacked": with_file(lambda folder: len(io.unpacked(folder / "map.mrc", 1 << 20)) == 1024 + 4 * MAP.size),
    "io.write": with_file(lambda folder: io.write(folder / "new.mrc", VOLUME) or (folder / "new.mrc").is_file()),
    "io.encode": lambda: [len(chunk) for chunk in io.encode(gm.Volume(MAP, 2))] == [1024, 4 * MAP.size],
    "io.encode_pieces": lambda: io.encode_pieces(gm.Volume(MAP, 2))[2:][1] == 4096,
    "io.encode_slabs": with_file(lambda folder: encoded_in_slabs(folder / "slabs.mrc")),
    "io.write_files": with_file(
        lambda folder: io.write_files([(folder / "a", [b"1"])]) or (folder / "a").read_bytes() == b"1"
    ),
    "io.check_output": with_file(lambda folder: raises(FileExistsError, lambda: io.check_output(folder / "map.mrc"))),
    "io.sha256": with_file(lambda folder: len(io.sha256(folder / "map.mrc")) == 64),
    "grids.check_same_voxel_size": lambda: grids.check_same_voxel_size("a", VOLUME, "b", VOLUME) is None,
    "grids.on_one_grid": lambda: grids.on_one_grid({"a": VOLUME, "b": None, "c": MAP})[0][2].voxel_size == CUBE,
    "symmetry.spelled": lambda: [symmetry.spelled(name) for name in ("c04", "I")] == ["C4", "I2"],
    "grids.check_one_grid": lambda: grids.check_one_grid({"a": VOLUME, "b": VOLUME}) == [],
    "grids.paste": lambda: np.array_equal(grids.paste("a", VOLUME, "b", VOLUME)[0].data, MAP),
    "grids.origin_of": lambda: grids.origin_of(Header(), (4, 2, 0), CUBE).nstart == (2, 1, 0),
    "grids.crop": lambda: grids.crop(VOLUME, (4, 5, 6), (5, 6, 8)).data.tolist() == [[[1, 0]]],
    "grids.boxed": lambda: grids.boxed(VOLUME, (3, 3, 3), (4, 5, 6)).data[1, 1, 1] == 1,
    "grids.bounds": lambda: grids.bounds(MAP, margin=1) == ((3, 4, 5), (6, 7, 8)),
    "grids.flip": lambda: grids.flip(VOLUME, "x").data[4, 5, 4] == 1,
    "grids.invert_hand": lambda: grids.invert_hand(VOLUME).data[4, 5, 4] == 1,
    "grids.permute": lambda: grids.permute(VOLUME, "zyx").shape == (11, 10, 9),
    "grids.shift": lambda: grids.shift(VOLUME, (1, 0, 0.5))[0].data[5, 5, 6:8].tolist() == [0.5, 0.5],
    "grids.even_shape": lambda: grids.even_shape((10, 10, 10), 2, 3) == (6, 6, 6),
    "grids.rescale": lambda: grids.rescale(VOLUME, (18, 20, 22))[0].voxel_size == (1, 1, 1),
    "grids.resample": lambda: grids.resample("a", VOLUME, "b", grids.flip(VOLUME, "x"))[1] == "exact",
    "grids.compare": lambda: grids.compare("a", VOLUME, "b", grids.flip(VOLUME, "x")).max_difference == 1,
    "grids.Comparison": lambda: grids.compare("a", VOLUME, "b", VOLUME).to_dict()["same_grid"],
    "interpolation.trilinear": lambda: interpolation.trilinear(MAP, [np.array([p]) for p in (4, 5.5, 6)]) == 0.5,
    "interpolation.trigonometric": lambda: np.allclose(
        interpolation.trigonometric(MAP, [np.arange(n) for n in MAP.shape]), MAP, atol=1e-6
    ),
    "interpolation.inside": lambda: interpolation.inside(np.array([-1, 0, 1]), 2).tolist() == [False, True, True],
    "positions.point": lambda: positions.point("2,4,6A", VOLUME) == (3, 2, 1),
    "positions.displacement": lambda: positions.displacement("1,2,3", CUBE) == (3, 2, 1),
    "positions.interface": lambda: positions.interface(BASE, mask.dilate(BASE, 1))[0] == (4, 5, 6),
    "positions.frames": lambda: positions.frames((4, 5, 6), VOLUME)["centre_px"] == [1, 0, 0],
    "positions.as_text": lambda: positions.as_text((3, 2, 1)) == "1.0,2.0,3.0",
    "positions.in_box": lambda: positions.in_box((8, 9, 10), MAP.shape) and not positions.in_box((9, 9, 9), MAP.shape),
    "filters.lowpass": lambda: keeps_the_mean_and_smooths(filters.lowpass(MAP, 10, 2)),
    "filters.butterworth": lambda: keeps_the_mean_and_smooths(filters.butterworth(MAP, 10, 2)),
    "filters.highpass": lambda: abs(filters.highpass(MAP, 10, 2).sum(dtype=float)) < 990 * 2**-25,
    "filters.bandpass": lambda: np.array_equal(
        filters.bandpass(MAP, 18, 5, 2), filters.combined(MAP, 2, highpass=18, lowpass=5)
    ),
    "filters.bfactor": lambda: keeps_the_mean_and_smooths(filters.bfactor(MAP, 50, 2)),
    "filters.combined": lambda: keeps_the_mean_and_smooths(filters.combined(MAP, 2, lowpass=10, bfactor=50)),
    "filters.rect": lambda: keeps_the_mean_and_smooths(filters.rect(MAP, 10, 2)),
    "filters.gaussian": lambda: keeps_the_mean_and_smooths(filters.gaussian(MAP, 2, 2)),
    "filters.gaussian_kernels": lambda: [len(k) for k in filters.gaussian_kernels(MAP.shape, 1, 2)] == [7, 7, 7],
    "filters.convolve": lambda: filters.convolve(MAP, [np.full(3, 1 / 3)] * 3)[3, 4, 5] == np.float32(1 / 27),
    "fourier.rfftn": lambda: np.allclose(fourier.rfftn(MAP), np.fft.rfftn(MAP), atol=1e-6),
    "fourier.irfftn": lambda: np.allclose(fourier.irfftn(fourier.rfftn(MAP), MAP.shape), MAP, atol=1e-6),
    "fourier.half_weights": lambda: [list(fourier.half_weights(n)) for n in (4, 5)] == [[1, 2, 1], [1, 2, 2]],
    "fourier.shells": lambda: fourier.shells(MAP.shape, 2).coefficients.sum() == MAP.size,
    "fourier.Shells": lambda: fourier.shells((8, 8, 8), 2).frequency[4] == 1 / 4,
    "fourier.shell_power": lambda: np.isclose(fourier.shell_power(MAP, 2).sum(), MAP.size * (MAP**2).sum()),
    "fourier.shell_sums": lambda: np.allclose(
        fourier.shell_sums(fourier.rfftn(MAP), fourier.rfftn(MAP), MAP.shape, 2), fourier.shell_power(MAP, 2), rtol=1e-5
    ),
    "fourier.on_shell": lambda: fourier.on_shell(MAP, 2, 3)[3].sum()
    == fourier.shells(MAP.shape, 2).coefficients[3],
    "fourier.over_planes": lambda: counted(lambda add: fourier.over_planes(lambda a, b: add(b - a), MAP)) == len(MAP),
    "fourier.coefficients_on_shell": lambda: all(
        np.allclose(a, b, atol=1e-6)
        for a, b in zip(
            fourier.coefficients_on_shell(HALVES[0], MAP.shape, 2, 3), fourier.on_shell(NOISE[0], 2, 3)[1:], strict=True
        )
    ),
    "fourier.counting": lambda: transforms_made(lambda: fourier.rfftn(MAP)) == 1,
    "fourier.Count": lambda: fourier.Count().made == 0,
    "fourier.even_transform": lambda: np.allclose(
        fourier.even_transform(EVEN[: MAP.shape[0] // 2 + 1], MAP.shape), np.fft.rfftn(EVEN).real, atol=1e-6
    ),
    "fourier.even_inverse": lambda: np.allclose(
        fourier.even_inverse(np.fft.rfftn(EVEN).real, MAP.shape), EVEN[: MAP.shape[0] // 2 + 1], atol=1e-6
    ),
    "fourier.scale_shells": lambda: np.allclose(
        fourier.scale_shells(fourier.rfftn(MAP), np.full(20, 3.0), MAP.shape, 2), 3 * fourier.rfftn(MAP)
    ),
    "fourier.fast_length": lambda: 101 <= fourier.fast_length(101) <= 128,
    "fourier.central_planes": lambda: all(np.allclose(plane, 1) for plane in fourier.central_planes(MAP)),
    "fourier.apply_radial": lambda: keeps_the_mean_and_smooths(fourier.apply_radial(MAP, CUBE, lambda f: f < 0.1)),
    "correlation.curve": lambda: correlation.curve(np.array([2.0]), np.array([4.0]), np.array([1.0])) == [1],
    "fourier.shell_products": lambda: all(
        np.allclose(fourier.shell_products(HALVES[0], HALVES[0], MAP.shape, 2)[i], POWER) for i in range(3)
    ),
    "correlation.corrected": lambda: np.isclose(correlation.corrected(0.5, 0.2), 0.375),
    "correlation.of_the_part": lambda: correlation.of_the_part(0.5, 1) == 0.5,
    "correlation.figure_of_merit": lambda: correlation.figure_of_merit(1) == 1,
    "correlation.information": lambda: np.isclose(correlation.information(np.inf, 1), 1 / 3),
    "correlation.variance": lambda: correlation.variance(0, 4) == 0.25,
    "correlation.band": lambda: correlation.band(0.5, 100)[0] < 0.5 < correlation.band(0.5, 100)[1],
    "correlation.onset_shell": lambda: correlation.onset_shell(np.array([1, 0.9, 0.7]), SHELLS, 0.8) == 2,
    "phases.stream": lambda: len({phases.stream(s, n) for s in range(9) for n in range(9)}) == 81,
    "phases.uniform": lambda: abs(phases.uniform(np.arange(10**5), phases.stream(0, 1), np).mean() - 0.5) < 0.01,
    "phases.randomized": lambda: np.allclose(
        np.abs(phases.randomized(HALVES[0], MAP.shape, 2, 1, 0, 0)), np.abs(HALVES[0])
    ),
    "correlation.signs_of_a_mask": lambda: correlation.signs_of_a_mask(NOISE[0], NOISE[1]) == (0, []),
    "correlation.noise_spectrum": lambda: [len(c) for c in correlation.noise_spectrum(*NOISE, 2)] == [5, 5],
    "correlation.check_half_maps": lambda: correlation.check_half_maps(*NOISE) is None,
    "correlation.half_maps": lambda: correlation.half_maps(*NOISE, 2, onset="10A").onset == 3,
    "correlation.HalfMaps": lambda: len(correlation.half_maps(*NOISE, 2, "10A").predicted(np.ones_like(MAP))) == 5,
    "sweeps.sweep": lambda: [row["volume_angstrom3"] for row in swept().rows] == sorted(
        np.sum(mask.soft_mask(BASE, d, 2), dtype=float) * 8 for d in (0, 1)
    ),
    "sweeps.Sweep": lambda: swept().recipe(swept().rows[1]).dilation == "1px",
    "sweeps.prepare": lambda: sweeps.prepare(*SIGNAL, onset="12A", voxel_size=2).pair[1].voxel_size == CUBE,
    "sweeps.Halves": lambda: sweeps.prepare(*SIGNAL, assume_unmasked=True, voxel_size=2).maps.quiet_share is None,
    "sweeps.target_voxels": lambda: raises(errors.InputRefused, lambda: sweeps.target_voxels(MAP, MAP / 3, 2)),
    "edges.bytes_needed": lambda: edges.bytes_needed((4, 4, 4), 6) == 8 * 64 * (6 + edges.BESIDE),
    "edges.check_room": lambda: raises(MemoryError, lambda: edges.check_room((10**6,) * 3, 2)),
    "edges.pixels_between": lambda: edges.pixels_between(1, 3.5) == [1, 2, 3, 3.5],
    "edges.least_leak": lambda: edges.least_leak(BASE, 1, 3, mask.soft_mask(BASE, 1, 2), 5, voxel_size=2).gain_db > 0,
    "edges.LeastLeak": lambda: edges.least_leak(
        BASE, 1, 3, mask.soft_mask(BASE, 1, 2), 5, voxel_size=2
    ).line().endswith("worth it"),
    "edges.edge_spectra": lambda: np.allclose(
        edges.edge_spectra(BASE, [0, 1, 3], voxel_size=2).power([1, 1, 0]),
        fourier.shell_power(edges.edge_spectra(BASE, [0, 1, 3], voxel_size=2).mask([1, 1, 0]), 2),
        rtol=1e-4,
    ),
    "edges.EdgeSpectra": lambda: list(
        edges.edge_spectra(BASE, [0, 1, 2], voxel_size=2).least_leak(0, 2, 8).round()[[0, 2]]
    ) == [1, 0],
    "choices.fails": lambda: len(choices.fails(swept())[0]) > 0,
    "choices.no_leak": lambda: choices.no_leak(replace(swept(), resolution=5.0)).startswith("no mask has a Λ"),
    "advisor.check_base": lambda: raises(errors.InputRefused, lambda: advisor.check_base(MAP / 3, MAP)),
    "advisor.advise": lambda: advised().row["soft_edge_px"] == 2,
    "advisor.Advice": lambda: advised().to_dict()["goal"] == "subtraction",
    "choices.choose": lambda: choices.choose(swept(), "subtraction").index == 0,
    "choices.front": lambda: choices.front(swept()) == [],
    "choices.Choice": lambda: choices.choose(swept(), "subtraction").reasons.count(None) == 1,
    "choices.Goal": lambda: choices.GOALS["local"].target == "base",
    "choices.Policy": lambda: choices.Policy() == choices.POLICY,
    "advisor.fewest_coefficients": lambda: advisor.fewest_coefficients() == 183,
    "advisor.smallest_diameter": lambda: round(advisor.smallest_diameter(4.0), 1) == 18.3,
    "directional.conical_fsc": lambda: directional.conical_fsc(*NOISE[[0, 0]], 2, axes=5).cfar > 0,
    "directional.DirectionalFSC": lambda: len(directional.conical_fsc(*NOISE, 2, axes=5).to_dict()["curves"]) == 5,
    "directional.fsc_volume": lambda: directional.fsc_volume(*NOISE[[0, 0]], 2).volume[4, 5, 5] == 1,
    "directional.FSCVolume": lambda: directional.fsc_volume(*NOISE, 2).to_dict()["threshold"] == 0.5,
    "regions.bounding_box": lambda: regions.bounding_box(BASE) == (slice(4, 5), slice(5, 6), slice(6, 7)),
    "regions.label": lambda: regions.label(CORNER)[1].tolist() == [1, 1],
    "regions.largest": lambda: regions.largest(CORNER).sum() == 1,
    "regions.drop_dust": lambda: not regions.drop_dust(CORNER, 2).any(),
    "regions.fill_holes": lambda: np.array_equal(regions.fill_holes(BASE), BASE),
    "regions.holding": lambda: np.array_equal(regions.holding(CORNER, BASE), BASE),
    "regions.flood": lambda: np.array_equal(regions.flood(CORNER, (4, 5, 6)), BASE),
    "regions.check_inside": lambda: raises(errors.UsageError, lambda: regions.check_inside((9, 0, 0), BASE.shape)),
    "regions.background_seed": lambda: "[3, 2, 1] (x, y, z), is background" in str(regions.background_seed((1, 2, 3))),
    "regions.clip": lambda: np.array_equal(regions.clip(CORNER, (4, 5, 7), 1), BASE),
    "morphology.opening": lambda: not morphology.opening(BASE, 1).any(),
    "morphology.closing": lambda: morphology.closing(np.arange(11) + np.zeros(MAP.shape) != 5, 1).all(),
    "thresholds.Level": lambda: thresholds.Level("value", 0.5, "as given").warnings == (),
    "thresholds.level": lambda: thresholds.level(MAP, "volume:8", 2).value == 1,
    "thresholds.level_of_pieces": lambda: thresholds.level_of_pieces(lambda: [MAP[:4], MAP[4:]], "volume:8", 2).value
    == 1,
    "thresholds.smoothed": lambda: np.array_equal(thresholds.smoothed(MAP, CUBE)[0], filters.gaussian(MAP, 3.0, 2)),
    "thresholds.self_consistent_level": lambda: np.isclose(thresholds.self_consistent_level(MAP), 0.6),
    "regions.component_count": lambda: regions.component_count(CORNER) == 2,
    "mask.EdgeMeter": lambda: measured_by_planes(mask.soft_mask(BASE, 1, 2)),
    "mask.threshold": lambda: np.array_equal(mask.threshold(MAP, 1), BASE),
    "mask.squared_distance": lambda: mask.squared_distance(BASE, 3)[4, 5, 8] == 4,
    "mask.dilate": lambda: mask.dilate(BASE, 1).sum() == 7,
    "mask.erode": lambda: np.array_equal(mask.erode(mask.dilate(BASE, 1), 1), BASE),
    "mask.edge_profile": lambda: np.allclose(mask.edge_profile(np.array([0, 0.5, 1])), [1, 0.5, 0]),
    "mask.edge_table": lambda: np.allclose(mask.edge_table(0, 2)[[0, 1, 4, 5]], [1, 0.5, 0, 0]),
    "mask.soft_mask": lambda: mask.soft_mask(BASE, 1, 2)[4, 5, 8] == 0.5,
    "mask.convolved_bytes": lambda: mask.convolved_bytes((10, 10, 10), 4) == 48 * 19**3,
    "mask.metered": lambda: np.isclose(mask.metered(MAP).steepness, 6 * 0.5) and mask.metered(MAP).softness == 0,
    "mask.check_range": lambda: raises(errors.InputRefused, lambda: mask.check_range(MAP * 2)),
    "mask.verdict": lambda: [mask.verdict(*pair) for pair in ((0, 9), (5, 9), (9, 9))] == ["hard", "narrow", "ok"],
    "mask.verdict_line": lambda: mask.verdict_line(5, 9, CUBE, -40.2, 3.6).startswith("narrow: edge 5 px = 10.0 Å"),
    "mask.from_distance": lambda: np.array_equal(
        mask.from_distance(mask.squared_distance(BASE, 9), 1, 2), mask.soft_mask(BASE, 1, 2)
    ),
    "mask.invert": lambda: mask.invert(MAP)[4, 5, 6] == 0,
    "mask.equivalent_edge": lambda: mask.equivalent_edge(MAP) == 0,
    "mask.centre_of_mass": lambda: mask.centre_of_mass(MAP) == (4, 5, 6),
    "mask.is_mask": lambda: mask.is_mask(0, 1) and not mask.is_mask(-1, 1) and not mask.is_mask(0.3, 0.5),
    "mask.faces_touched": lambda: mask.faces_touched(MAP[:, :, 6:]) == ["-x"],
    "shapes.Sphere": lambda: shapes.Sphere(2).distance(*np.eye(3) * 5).tolist() == [3, 3, 3],
    "shapes.Shell": lambda: shapes.Shell(3, 2).distance(*np.zeros((3, 1))) == 2,
    "shapes.Cylinder": lambda: shapes.Cylinder(3, 4).distance(*np.array([[6.0], [0], [6]])) == 5,
    "shapes.Cuboid": lambda: shapes.Cuboid((2, 4, 6)).distance(*np.array([[1.0], [5], [7]])) == 5,
    "shapes.Ellipsoid": lambda: np.isclose(shapes.Ellipsoid((2, 3, 4)).distance(*np.array([[0.0], [0], [9]])), 5),
    "shapes.Cone": lambda: shapes.Cone(3, 4).distance(*np.array([[4.0], [0], [0]])) == 2,
    "shapes.Slab": lambda: shapes.Slab(4).distance(*np.ones((3, 1)) * 5) == 3,
    "shapes.soft_mask": lambda: shapes.soft_mask(shapes.Sphere(1), MAP.shape, 2)[4, 5, 5:9].tolist() == [1, 1, 0.5, 0],
    "shapes.orientation": lambda: shapes.orientation((0, 0, 5))[0] == (0, 0, 1),
    "shapes.ShapeRecipe": lambda: shapes.ShapeRecipe("sphere", radius=5).radius == "5px",
    "shapes.body": lambda: shapes.body(shapes.ShapeRecipe("sphere", radius="6A"), VOLUME) == shapes.Sphere(3),
    "shapes.centre": lambda: shapes.centre(shapes.ShapeRecipe("slab", thickness=1, centre="4,8,2A"), VOLUME)
    == (1, 4, 2),
    "shapes.soft_edge": lambda: shapes.soft_edge(shapes.ShapeRecipe("sphere", radius=5, resolution=4), CUBE) == 10,
    "shapes.make": lambda: np.array_equal(
        shapes.make(shapes.ShapeRecipe("sphere", radius="2A", soft_edge="4A"), VOLUME),
        shapes.soft_mask(shapes.Sphere(1), MAP.shape, 2),
    ),
    "algebra.base": lambda: algebra.base(MAP, 1).any() and not algebra.base(MAP, 1, "relion").any(),
    "algebra.combined": lambda: np.array_equal(algebra.combined("xor", CORNER, BASE), CORNER & ~BASE),
    "algebra.inverted": lambda: np.array_equal(algebra.inverted(MAP), ~BASE),
    "algebra.partition": lambda: [one.sum() for one in algebra.partition(BASE + 1, np.ones_like(MAP), 0)] == [989, 1],
    "algebra.subtraction": lambda: np.array_equal(algebra.subtraction(CORNER, BASE, 0), CORNER & ~BASE),
    "algebra.overlap": lambda: algebra.overlap(MAP, mask.soft_mask(BASE, 1, 0)) == 1,
    "algebra.with_outside": lambda: algebra.with_outside(MAP, 0.5).min() == 0.5,
    "algebra.composite": lambda: np.array_equal(algebra.composite(MAP, MAP, 0 * MAP, 10, 2), MAP),
    "algebra.filled": lambda: algebra.filled(MAP + 2, MAP, "mean")[0, 0, 0] == 2,
    "symmetry.order": lambda: [symmetry.order(name) for name in ("C4", "D2", "T", "O", "I")] == [4, 4, 12, 24, 60],
    "symmetry.rotations": lambda: symmetry.rotations("C2").tolist()[1] == [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
    "symmetry.axis_and_angle": lambda: symmetry.axis_and_angle(symmetry.rotations("C2")[1]) == ((1, 0, 0), 180),
    "symmetry.rotated": lambda: symmetry.rotated(MAP, symmetry.rotations("C2")[1])[4, 5, 4] == 1,
    "symmetry.symmetrised": lambda: symmetry.symmetrised(BASE, "C2").sum() == 2,
    "symmetry.agreement": lambda: symmetry.agreement(BASE, "C2").score == 0,
    "symmetry.Agreement": lambda: symmetry.Agreement("C1", []).symmetric,
    "symmetry.middle": lambda: np.isclose(np.linalg.norm(symmetry.middle("I")), 1),
    "symmetry.asymmetric_mask": lambda: symmetry.asymmetric_mask(MAP, "C2", 0, toward=(0, 1, 1)).sum() == 1,
    "symmetry.asymmetric_units": lambda: symmetry.asymmetric_units(MAP.shape, "D2").max() == 3,
    "models.read": with_file(lambda folder: len(models.read(atoms_in(folder / "x.pdb"))) == 2),
    "models.parse": lambda: two_atoms().positions.tolist() == [[3, 2, 1], [3, 2, 4]],
    "models.Model": lambda: len(two_atoms().select("ion")) == 1,
    "models.ModelRecipe": lambda: models.ModelRecipe(radius="3Å").radius == "3A",
    "models.base": lambda: models.base(two_atoms().select("ion"), 1, GRID).sum() == 7,
    "models.squared_distance": lambda: models.squared_distance(two_atoms(), 2, GRID)[3, 2, 6] == 4,
    "models.soft_mask": lambda: np.isclose(models.soft_mask(two_atoms(), 1, 2, GRID)[3, 4, 4], 0.5),
    "models.density": lambda: models.density(two_atoms(), 4, GRID).argmax() == (3 * 9 + 2) * 9 + 4,
    "models.outside": lambda: models.outside(two_atoms(), grids.empty((4, 4, 3), 1)) == 1,
    "models.outside_note": lambda: "1 of 2" in models.outside_note(two_atoms(), grids.empty((4, 4, 3), 1))[0],
    "models.around": lambda: models.around(two_atoms(), 1, 2).origin == (1, 0, -1),
    "grids.empty": lambda: grids.empty((4, 5, 6), 2).data.shape == (4, 5, 6),
    "models.table": lambda: [row["kind"] for row in models.table(two_atoms())] == ["ion", "water"],
    "model_fit.map_model": lambda: model_fit.map_model(VOLUME, MAP).curve("map_model_unmasked")[1:].min() > 1 - 1e-6,
    "model_fit.MapModel": lambda: model_fit.map_model(VOLUME, MAP).resolution["0"]["map_model_unmasked"] == 5.5,
    "model_fit.density": lambda: model_fit.density(two_atoms(), GRID).argmax() == (3 * 9 + 2) * 9 + 4,
    "model_fit.density_resolution": lambda: model_fit.density_resolution(BRICK) == 9,
    "model_fit.own_mask": lambda: model_fit.own_mask(two_atoms(), GRID)[3, 2, 1:8].min() == 1,
    "model_fit.joined": lambda: model_fit.joined(gm.fsc(*NOISE, VOLUME.data, voxel_size=2, assume_unmasked=True),
        model_fit.map_model(VOLUME, MAP), mask="given").map_model["mask"] == "given",
    "coverage.shares": lambda: coverage.shares(BASE, MAP) == (1, 0, 0, 1),
    "coverage.Shares": lambda: coverage.shares(~BASE, MAP).cut == 1,
    "segmentation.segment": lambda: gm.segment(VOLUME, 1).regions[0].low == (4, 5, 6),
    "segmentation.Segmentation": lambda: segmented().hide([1]).state.hidden == {1},
    "segmentation.Region": lambda: segmented().regions[1].to_dict(VOLUME)["centre_px"] == [6, 5, 4],
    "segmentation.from_labels": lambda: segmented().labels.data.sum() == 3,
    "region_tree.State": lambda: region_tree.State({}, frozenset([1])).selection == frozenset(),
    "region_tree.start": lambda: region_tree.start(3, [watershed.Group(4, (1, 2), 1.0)]).top == {3, 4},
    "region_tree.applied": lambda: region_tree.applied(
        region_tree.start(3, ()), {"do": "group", "regions": [1, 2], "made": 4}).top == {3, 4},
    "region_tree.filled": lambda: region_tree.filled([watershed.Group(4, (1, 9), 1.0)], [1])[0].children == (1,),
    "region_tree.worded": lambda: region_tree.worded({"do": "hide", "regions": [1]}) == "hide 1",
    "region_tree.told": lambda: region_tree.told([3, 1, 2]) == "1 to 3",
    "region_tree.listed": lambda: region_tree.listed([1, 1]) == {1},
    "region_file.document": lambda: region_file.document(segmented())["done"] == 0,
    "region_file.fields": lambda: region_file.fields(segmented().to_dict(), segmented().labels)["groups"] == (),
    "region_file.whole": lambda: raises(errors.InputRefused, lambda: region_file.whole(MAP / 2)),
    "segger.read": lambda: raises(errors.GpumaskError, lambda: segger.read(b"", "x.seg", VOLUME)),
    "watershed.label": lambda: np.array_equal(watershed.label(CORNER, 1) > 0, CORNER),
    "watershed.leaves": lambda: watershed.leaves(BASE * 1, MAP).peak.tolist() == [[4, 5, 6]],
    "watershed.Leaves": lambda: len(watershed.leaves(CORNER * 1, MAP)) == 1,
    "watershed.contacts": lambda: watershed.contacts(np.arange(8).reshape(2, 2, 2) // 2)[0].tolist() == [1, 3, 2],
    "watershed.group": lambda: watershed.group(MAP, np.cumsum(mask.dilate(BASE, 1)).reshape(MAP.shape)
        * mask.dilate(BASE, 1))[0].children == (1, 2, 3, 4, 5, 6, 7),
    "watershed.Group": lambda: watershed.Group(3, (1, 2), 1.0).children == (1, 2),
    "star.loads": lambda: star.loads("data_a\n_b 1\nloop_\n_c\n2\n3\n") == {"a": {"b": "1", "c": ["2", "3"]}},
    "star.dumps": lambda: star.dumps({"a": {"b": 0.5}}).split() == ["data_a", "_b", "0.5"],
    "star.postprocess": lambda: star.postprocess(0.1, [1, 1], half1="a", half2="b")["fsc"]["rlnAngstromResolution"]
    == [999, 10],
    "emdb.fsc_xml": lambda: "<x>0.5</x>" in emdb.fsc_xml([0.5], [1]),
    "local_resolution.measure": lambda: within_bounds(local_resolution.measure(*NOISE, 2, BASE + 1, window="8px")),
    "local_resolution.LocalResolution": lambda: local_resolution.measure(
        *NOISE, 2, BASE + 1, window="8px", step="99A"
    ).to_dict()["points"]["count"]
    == 1,
    "local_resolution.filtered": lambda: np.array_equal(local_resolution.filtered(MAP, np.full(MAP.shape, 4), 2), MAP),
    "sharpening.Guinier": lambda: sharpening.guinier(MAP, 2, b_factor=-30).to_dict()["b_factor"] == -30,
    "sharpening.Sharpened": lambda: gm.sharpen(*NOISE, weight=False, b_factor=-9, voxel_size=2).b_factor == -9,
    "sharpening.fsc_weights": lambda: list(sharpening.fsc_weights([1, 0, 1])) == [1, 0, 0],
    "sharpening.parse_mtf": lambda: sharpening.parse_mtf("0,1\n0.5,0.5")[1].tolist() == [1, 0.5],
    "sharpening.guinier": lambda: np.allclose(sharpening.guinier(MAP, 2, b_factor=0).original, -np.log(MAP.size)),
    "sharpening.sharpen": lambda: np.allclose(
        gm.sharpen(*NOISE, weight=False, b_factor=0, voxel_size=2).volume, NOISE.mean(axis=0), atol=1e-6
    ),
}  # fmt: skip


GRID = grids.empty((9, 9, 9), 1)
ATOMS = """\
HETATM    1  O   HOH A   1       1.000   2.000   3.000  1.00 10.00           O
HETATM    2 ZN    ZN A   2       4.000   2.000   3.000  1.00 10.00          ZN
"""


def two_atoms():
    pytest.importorskip("gemmi", reason="the extra `model` is not installed")
    return models.parse(ATOMS, "x.pdb")


def atoms_in(path):
    pytest.importorskip("gemmi", reason="the extra `model` is not installed")
    path.write_text(ATOMS)
    return path


def encoded_in_slabs(path):
    placed = gm.Volume(MAP, 2, Header(nstart=(1, 2, 3)))
    with path.open("w+b") as stream:
        io.encode_slabs(stream, placed.shape, placed.voxel_size, placed.header, "float32", "made",
                        lambda write: [write(MAP[:4]), write(MAP[4:])])  # fmt: skip
    return path.read_bytes() == b"".join(bytes(chunk) for chunk in io.encode(placed, "float32", "made"))


def measured_by_planes(soft):
    meter = mask.EdgeMeter()
    for plane in soft:
        meter.add(plane)
    # the same float64 sums, in an order of their own
    return np.isclose(meter.value(), mask.equivalent_edge(soft), rtol=1e-12) and meter.value() > 0


def within_bounds(found):
    coarsest, finest = found.bounds
    return finest <= found.values.min() <= found.values.max() <= coarsest == 16


def keeps_the_mean_and_smooths(filtered):
    # float32 values of at most 1: 990 of them add up to 1 within 990 half ulps of what a voxel holds
    return abs(filtered.sum(dtype=float) - 1) < 990 * 2**-25 and 0 < filtered[4, 5, 6] < 1


PUBLIC = sorted(
    f"{module.__name__.rpartition('.')[2]}.{name}"
    for module in MODULES
    if module is not errors
    for name in public(module)
)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_does_what_it_says(name, tmp_path):
    assert name in CALLS, f"{name} is public and not called here: add a line to CALLS"
    call = CALLS[name]
    assert call(tmp_path) if hasattr(call, "needs_folder") else call()


def test_no_call_is_of_a_name_that_is_gone():
    assert set(CALLS) <= set(PUBLIC)


def test_the_names_of_the_package_resolve():
    for name in gm.__all__:
        value = getattr(gm, name)
        assert name in dir(gm)
        assert inspect.ismodule(value) or inspect.isclass(value) or inspect.isfunction(value)
    with pytest.raises(AttributeError, match="no attribute 'masks'"):
        gm.masks  # noqa: B018


def test_the_five_lines_of_the_manual(tmp_path):
    gm.write(tmp_path / "map.mrc", gm.Volume(mask.dilate(BASE, 2).astype(np.float32), 1.4))
    read = gm.read(tmp_path / "map.mrc", device="cpu")
    made = gm.create_mask(read, threshold=0.05, dilation="1px", soft_edge="1.4A")
    assert (made.recipe.dilation, made.voxel_size, made.shape) == ("1px", read.voxel_size, (9, 10, 11))
    gm.write(tmp_path / "mask.mrc", made)
    assert np.array_equal(gm.read(tmp_path / "mask.mrc").data, made.data)
    assert np.array_equal(gm.mask.soft_mask(read.data, dilation_px=1, soft_edge_px=1), made.data)


def test_an_array_gives_an_array_and_needs_its_voxel_size(xp):
    array = xp.asarray(MAP)
    made = gm.create_mask(array, voxel_size=2, threshold=0.5, dilation="2A", soft_edge="2px")
    assert isinstance(made, xp.ndarray)
    assert np.array_equal(backend.to_numpy(made), mask.soft_mask(BASE, 1, 2))
    with pytest.raises(TypeError, match="voxel_size="):
        gm.create_mask(array, threshold=0.5)
    with pytest.raises(errors.UsageError, match="a Volume has its own voxel size"):
        gm.create_mask(gm.Volume(array, 2), voxel_size=2, threshold=0.5)


def test_the_library_prints_nothing(tmp_path, capfd):
    gm.write(tmp_path / "map.mrc", gm.Volume(MAP, 2))
    gm.create_mask(gm.read(tmp_path / "map.mrc"), threshold=0.5, soft_edge=2)
    assert capfd.readouterr() == ("", "")


def test_arrays_and_maps_are_left_as_they_were():
    array = mask.dilate(BASE, 2).astype(np.float32)
    before = array.copy()
    gm.create_mask(array, voxel_size=1, threshold=0.5, absolute_value=True, fill_holes=True, largest=1, gaussian=1,
                   soft_edge=2, invert=True)  # fmt: skip
    assert np.array_equal(array, before)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_with_nan_is_refused_from_the_library_too(value):
    array = mask.dilate(BASE, 1).astype(np.float32)
    array[0, 0, 0] = value
    with pytest.raises(errors.InputRefused, match="NaN"):
        gm.create_mask(array, voxel_size=1, threshold=0.5, soft_edge=1.5)


# errors

ERRORS = {
    errors.UsageError: (ValueError, 2),
    errors.InputRefused: (ValueError, 3),
    errors.InputNotFound: (FileNotFoundError, 3),
    errors.OutputExists: (FileExistsError, 3),
    errors.DeviceNotFound: (RuntimeError, 4),
    errors.WriteFailed: (OSError, 5),
    errors.OutOfMemory: (MemoryError, 5),
    errors.MissingExtra: (ImportError, 2),
}


def test_every_error_is_a_gpumask_error_the_builtin_and_an_exit_code():
    found = {kind for kind in public(errors).values() if issubclass(kind, gm.GpumaskError)} - {gm.GpumaskError}
    assert found == ERRORS.keys()
    for kind, (builtin, code) in ERRORS.items():
        assert issubclass(kind, builtin)
        assert kind.exit_code == code
        assert str(kind("what was wanted")) == "what was wanted"


def test_errors_are_caught_as_the_builtin(tmp_path):
    for builtin, call in (
        (FileNotFoundError, lambda: gm.read(tmp_path / "none.mrc")),
        (ValueError, lambda: gm.units.length("5nm")),
        (OSError, lambda: gm.write(tmp_path / "none" / "mask.mrc", gm.Volume(MAP, 1))),
        (ValueError, lambda: gm.create_mask(MAP, voxel_size=1, threshold=2)),
    ):
        with pytest.raises(builtin) as caught:
            call()
        assert isinstance(caught.value, gm.GpumaskError)
    assert not issubclass(gm.errors.GpumaskWarning, gm.GpumaskError)


# text


@pytest.mark.parametrize("module", [*MODULES, pipeline, job, backend, volume])
def test_everything_public_is_documented(module):
    assert module.__doc__
    for name, value in public(module).items():
        assert inspect.getdoc(value), f"{module.__name__}.{name} has no docstring"
        for method, body in vars(value).items() if inspect.isclass(value) else ():
            if not method.startswith("_") and (inspect.isfunction(body) or isinstance(body, property)):
                assert inspect.getdoc(body), f"{module.__name__}.{name}.{method} has no docstring"


def submodules():
    return sorted(
        module.name for module in pkgutil.walk_packages([str(FOLDER)], "gpumask.") if "__main__" not in module.name
    )


@pytest.mark.parametrize("name", ["gpumask", *submodules()])
def test_examples_in_docstrings_are_true(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")
    assert doctest.testmod(module).failed == 0


def test_no_module_bears_the_name_of_a_public_function():
    modules = {path.stem for path in FOLDER.iterdir() if path.suffix == ".py" or path.is_dir()}
    functions = {name for name in gm.__all__ if not inspect.ismodule(getattr(gm, name))}
    assert not modules & functions
    assert not {path.stem for path in FOLDER.glob("*.py")} & {name.rpartition(".")[2] for name in PUBLIC}


# start

LOADED = (
    "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
)


@pytest.mark.parametrize("code", [
    "import gpumask",
    "import gpumask; dir(gpumask); gpumask.__version__; gpumask.__all__",
    "from gpumask import GpumaskError, errors, units",
    *(f"from gpumask.cli import main; assert main({words}) == 0" for words in (["--help"], ["--version"],
      ["create", "--help"], ["inspect", "--help"], ["demo", "--help"], ["doctor", "--help"], ["bench", "--help"])),
    "from gpumask.cli import main; assert main(['create']) == 2",
])  # fmt: skip
def test_starting_loads_nothing_third_party(code):
    run = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(FOLDER.parent)!r}); before = set(sys.modules); {code}\n{LOADED}",
    ]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    third_party = set(json.loads(done.stderr.splitlines()[-1])) & {
        "numpy",
        "scipy",
        "mrcfile",
        "numba",
        "cupy",
        "matplotlib",
    }
    assert not third_party


def test_reading_the_name_of_a_module_gives_the_module():
    assert gm.mask is mask
    assert gm.units is units
    assert gm.read is io.read
