"""FSC of two half maps, whole and local: against plain numpy curve by curve, and against relion_postprocess."""

import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import scipy.fft
from scipy import ndimage

import gpumask
from gpumask import directional, io, local_resolution, sharpening, simulation, star

from . import Case, Table, peak_memory
from .create import THREADS, without_numba
from .spectrum import shell_index

EXTENT = 230.4  # Å, of the box of the simulated particle
MASK_LEVEL, MASK_NEAR, MASK_EDGE = 0.05, 3.0, 12.0  # of the noise-free density; Å
MEASURED = ("unmasked", "spherical", "loose", "tight", "masked", "randomized", "predicted")
RELION_MEASURED = 3  # unmasked, masked, randomised
LOCAL_BOXES = (100, 128)
RELION_COLUMNS = {
    "unmasked": "rlnFourierShellCorrelationUnmaskedMaps",
    "masked": "rlnFourierShellCorrelationMaskedMaps",
}


def tables(box):
    box = box or 256
    halves = inputs(box)
    yield curves(*halves)
    yield others(*halves)
    yield memory(*halves)
    whole = processes(*halves)
    yield whole
    yield per_curve(whole)
    for edge in LOCAL_BOXES:
        local = locally(*inputs(edge))
        yield local
        yield per_point(local)


def inputs(box):
    """Two simulated half maps, a soft mask of the particle, and the voxel size in Å."""
    size = EXTENT / box
    made = simulation.particle(box, size)
    mask = gpumask.mask.soft_mask(made.density >= MASK_LEVEL, MASK_NEAR / size, MASK_EDGE / size)
    return made.half1, made.half2, mask, size


def small():
    """The same of a ball in noise, 48³: what a first call loads, without the memory that a simulation takes."""
    rng = np.random.default_rng(0)
    grid = np.ogrid[[slice(-24, 24)] * 3]
    distance = np.sqrt(sum(g * g for g in grid))
    ball = np.clip(14 - distance, 0, 4).astype(np.float32)
    halves = (ball + rng.standard_normal(ball.shape, np.float32) for _ in range(2))
    return *halves, np.clip((20 - distance) / 4, 0, 1).astype(np.float32), 4.0


class Plain:
    """The curves as they are usually written: transforms by scipy.fft in float32, shell indices made once, and
    numpy.bincount."""

    def __init__(self, half1, half2, mask, size, onset):
        self.halves, self.given, self.size, self.onset = (half1, half2), mask, size, onset
        self.shape, self.count = half1.shape, len(half1) // 2 + 1
        self.index = shell_index(self.shape)
        squares = [np.fft.fftfreq(n, 1 / n) ** 2 for n in self.shape[:2]] + [
            np.fft.rfftfreq(self.shape[2], 1 / self.shape[2]) ** 2
        ]
        self.beyond = squares[0][:, None, None] + squares[1][:, None] + squares[2] >= onset * onset - 0.5
        self.weights = np.full(self.shape[2] // 2 + 1, 2.0)
        self.weights[0] = 1
        if self.shape[2] % 2 == 0:
            self.weights[-1] = 1

    def sums(self, product):
        return np.bincount(self.index.reshape(-1), (product * self.weights).reshape(-1))[: self.count]

    def fsc(self, a, b):
        cross = self.sums((a * b.conj()).real)
        return cross / np.sqrt(self.sums(np.abs(a) ** 2) * self.sums(np.abs(b) ** 2))

    def under(self, mask):
        return self.fsc(*(forward(half * mask) for half in self.halves))

    def unmasked(self):
        return self.fsc(*map(forward, self.halves))

    def masked(self):
        return self.under(self.given)

    def spherical(self):
        grid = np.ogrid[[slice(-(n // 2), n - n // 2) for n in self.shape]]
        outer = len(self.halves[0]) / 2
        edge = (np.sqrt(sum(g * g for g in grid)) / outer - 0.85) / 0.15
        return self.under((0.5 + 0.5 * np.cos(math.pi * np.clip(edge, 0, 1))).astype(np.float32))

    def loose(self):
        return self.under(self.near_far(25.0, 40.0))

    def tight(self):
        return self.under(self.near_far(6.0, 12.0))

    def near_far(self, near, far):
        """CryoSPARC's: 1 within `near`, 0 beyond `far` Å of half the maximum at 20 Å."""
        frequency = [np.fft.fftfreq(n) * self.shape[0] for n in self.shape[:2]]
        frequency.append(np.fft.rfftfreq(self.shape[2]) * self.shape[2])
        shell = np.sqrt(frequency[0][:, None, None] ** 2 + frequency[1][:, None] ** 2 + frequency[2] ** 2)
        middle = round(self.shape[0] * self.size / 20)
        smooth = 0.5 + 0.5 * np.cos(math.pi * np.clip((shell - middle + 1) / 2, 0, 1))
        mean = backward(forward((self.halves[0] + self.halves[1]) / 2) * smooth, self.shape)
        away = self.size * ndimage.distance_transform_edt(mean < 0.5 * mean.max())
        edge = np.clip((away - near) / (far - near), 0, 1)
        return (0.5 + 0.5 * np.cos(math.pi * edge)).astype(np.float32)

    def randomized(self):
        """Phases are those of white noise, which are Hermitian by themselves."""
        rng, masked = np.random.default_rng(0), []
        for half in self.halves:
            transform, noise = forward(half), forward(rng.standard_normal(self.shape, np.float32))
            turned = np.where(self.beyond, np.abs(transform) * noise / np.abs(noise), transform)
            masked.append(forward(backward(turned, self.shape) * self.given))
        return self.fsc(*masked)

    def predicted(self):
        around = backward(np.abs(forward(self.given)) ** 2 + 0j, self.shape)
        leaked, spread = [], []
        for half in self.halves:
            transform = forward(half)
            beyond = self.beyond
            leaked.append(forward(backward(np.where(beyond, 0, transform), self.shape) * self.given))
            high = backward(np.where(beyond, np.abs(transform) ** 2, 0) + 0j, self.shape)
            spread.append(self.sums(forward(high * around).real) / half.size)
        first, second = (self.sums(np.abs(one) ** 2) + more for one, more in zip(leaked, spread, strict=True))
        return self.sums((leaked[0] * leaked[1].conj()).real) / np.sqrt(first * second)

    def all(self):
        found = {name: getattr(self, name)() for name in MEASURED}
        start = self.onset + gpumask.correlation.SKIPPED
        for name, drawn in (("corrected", "randomized"), ("corrected_predicted", "predicted")):
            found[name] = found["masked"].copy()
            found[name][start:] = ((found["masked"] - found[drawn]) / (1 - found[drawn]))[start:]
        return found


def forward(array):
    return scipy.fft.rfftn(array, workers=THREADS)


def backward(transform, shape):
    return scipy.fft.irfftn(transform, shape, workers=THREADS)


def curves(half1, half2, mask, size):
    """All of them by one call, and one by one by numpy; a curve of numpy's is checked against that call."""

    def ours():
        return gpumask.fsc(half1, half2, mask, voxel_size=size)

    def without():
        with without_numba():
            return ours()

    found = ours()
    plain = Plain(half1, half2, mask, size, found.onset)
    whole = plain.all()
    exact = [name for name in whole if name not in ("randomized", "corrected")]
    wrong = {name: float(np.nanmax(np.abs(whole[name] - found.curve(name)))) for name in exact}
    drawn = float(np.abs(whole["randomized"] - found.curve("randomized"))[found.onset :].max())
    without()
    cases = [
        Case("gm.fsc, all curves", ours, 0.0, 5),
        Case("gm.fsc without numba", without, None, 3),
        Case("numpy, all curves", lambda: Plain(half1, half2, mask, size, found.onset).all(), max(wrong.values()), 3),
    ]
    cases += [Case(f"numpy, {name}", getattr(plain, name), wrong.get(name), 3) for name in MEASURED]
    return Table(
        f"Curves of half maps in memory, warm: {len(half1)}³, {THREADS} threads",
        cases,
        cases[0].name,
        note=f"The mask fills {100 * float((mask > 0).mean()):.0f} % of the box. gm.fsc also gives a pre-whitened "
        f"curve, bands, SSNR and crossings. Other random phases make another curve: up to {drawn:.3f} apart here. "
        "max |Δ| of all curves takes in the corrected one (predicted).",
    )


def others(half1, half2, mask, size):
    """What comes after the curves."""
    found = gpumask.fsc(half1, half2, mask, voxel_size=size)
    runs = {
        "gm.fsc, all curves": lambda: gpumask.fsc(half1, half2, mask, voxel_size=size),
        "sharpening.sharpen, FSC given": lambda: sharpening.sharpen(half1, half2, mask, fsc=found, voxel_size=size),
        f"directional.conical_fsc, {directional.AXES} axes": lambda: directional.conical_fsc(half1, half2, size, mask),
    }
    cases = []
    for name, function in runs.items():
        function()
        cases.append(Case(name, function, None, 2))
    return Table(f"Sharpening and directions in memory, warm: {len(half1)}³", cases, cases[0].name)


def memory(half1, half2, mask, size):
    """Peaks of one call each, with the three maps that it is given."""
    begin = "import gpumask; from benchmarks import fsc; *maps, size = fsc.small(); "
    begin += "gpumask.fsc(*maps, voxel_size=size)"
    calls = {
        "gm.fsc": f"found = gpumask.fsc(*array, voxel_size={size})",
        "numpy, all curves": f"found = fsc.Plain(*array, {size}, 8).all()",
    }
    cases = []
    for name, call in calls.items():
        peak = 3 * peak_memory(begin, call, np.stack([half1, half2, mask]))
        cases.append(Case(f"{name}: {peak:.2f} maps, the 3 given ones included", lambda: None, None, 1))
    return Table(f"Peak memory above the bare imports, in maps: {len(half1)}³", cases, cases[0].name)


def _written(folder, half1, half2, mask, size):
    paths = [str(folder / name) for name in ("half1.mrc", "half2.mrc", "mask.mrc")]
    for path, array in zip(paths, (half1, half2, mask), strict=True):
        io.write(path, gpumask.Volume(array, size))
    return paths


def _ours(paths, *options):
    command = [sys.executable, "-c", "import sys; from gpumask.cli import main; sys.exit(main())", "fsc"]
    return [*command, *paths[:2], "--mask", paths[2], "--device", "cpu", "--force", *options]


def processes(half1, half2, mask, size):
    """Start, read, compute, write. RELION is asked for no weighting and a B-factor of 0, but still transforms the mean,
    fits its Guinier plot, and writes two maps; gpumask checks and hashes its inputs, and writes no map."""
    folder = Path(tempfile.mkdtemp(prefix="gpumask-bench-"))
    paths = _written(folder, half1, half2, mask, size)
    out = {style: folder / style for style in ("gpumask", "relion")}
    commands = {
        f"gpumask fsc, {len(MEASURED)} curves": _ours(paths, "-o", str(out["gpumask"])),
        f"gpumask fsc --style relion, {len(MEASURED)} curves": _ours(
            paths, "-o", str(out["relion"]), "--style", "relion"
        ),
    }
    program = shutil.which("relion_postprocess")
    if program:
        (folder / "post").mkdir()  # where it leaves a log
        commands[f"relion_postprocess, {RELION_MEASURED} curves"] = [
            *(program, "--i", paths[0], "--i2", paths[1], "--mask", paths[2], "--angpix", f"{size:.6f}"),
            *("--skip_fsc_weighting", "--adhoc_bfac", "0", "--o", str(folder / "post")),
        ]
    for command in commands.values():
        _run(command)
    error = None
    if program:
        theirs = star.loads((folder / "post.star").read_text())["fsc"]
        rows = json.loads((out["relion"] / "fsc.json").read_text())["shells"]
        error = max(
            abs(float(value) - row[name])
            for name, column in RELION_COLUMNS.items()
            for value, row in zip(theirs[column], rows, strict=True)
        )
    cases = [
        Case(name, lambda c=command: _run(c), error if "style relion" in name else None, 5)
        for name, command in commands.items()
    ]
    gpumask.fsc(half1, half2, mask, voxel_size=size)
    name = f"gm.fsc, arrays in memory, warm, {len(MEASURED)} curves"
    cases.append(Case(name, lambda: gpumask.fsc(half1, half2, mask, voxel_size=size), None, 5))
    title = f"Whole processes: {len(half1)}³, read, compute, write; {THREADS} threads"
    note = "max |Δ| is against relion_postprocess, unmasked and masked." if program else ""
    return Table(title, cases, cases[0].name, note=note)


def _run(command):
    subprocess.run(command, check=True, capture_output=True)


def per_curve(whole):
    """The processes over the curves that each of them measures."""
    return _shared_out(whole, "Per measured curve", lambda name: int(re.search(r"(\d+) curves", name)[1]))


def _shared_out(measured, title, count):
    cases = [Case(case.name, lambda: None, None, 0) for case in measured.cases]
    for case, whole in zip(cases, measured.cases, strict=True):
        case.seconds = [second / count(case.name) for second in whole.seconds]
    return Table(f"{title}. {measured.title}", cases, measured.base)


def locally(half1, half2, mask, size):
    """Local resolution on RELION's defaults: a sphere of 50 Å, 25 Å between points, all over the inscribed sphere."""
    folder = Path(tempfile.mkdtemp(prefix="gpumask-bench-"))
    paths = _written(folder, half1, half2, mask, size)

    def ours():
        return local_resolution.measure(half1, half2, size)

    found = ours()
    inside = mask >= 0.5
    cases = [Case(f"local_resolution.measure, arrays in memory, {len(found.points)} points", ours, None, 5)]
    note = f"Median under the mask: gpumask {np.median(found.volume[inside]):.2f} Å"
    local = _ours(paths, "--local-resolution", "-o", str(folder / "local"))
    local = [word for word in local if word not in ("--mask", paths[2])]
    cases.append(Case(f"gpumask fsc --local-resolution, {len(found.points)} points", lambda: _run(local), None, 3))
    program = shutil.which("relion_postprocess")
    if program:
        theirs = [
            program,
            "--i",
            paths[0],
            "--i2",
            paths[1],
            "--angpix",
            f"{size:.6f}",
            "--locres",
            "--adhoc_bfac",
            "0",
        ]
        theirs += ["--o", str(folder / "post")]
        said = subprocess.run(theirs, check=True, capture_output=True, text=True).stdout
        points = int(re.search(r"in (\d+) sampling points", said)[1])
        cases.append(Case(f"relion_postprocess --locres, {points} points", lambda: _run(theirs), None, 1))
        volume = io.load(folder / "post_locres.mrc")[0].data
        note += f", RELION {np.median(volume[inside]):.2f} Å"
    title = f"Local resolution: {len(half1)}³, {size:.3f} Å/px, {THREADS} threads"
    return Table(title, cases, cases[0].name, note=f"{note}.")


def per_point(whole):
    """The same over the points that each of them measures."""
    return _shared_out(whole, "Per point", lambda name: int(re.search(r"(\d+) points", name)[1]))
