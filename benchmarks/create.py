"""A soft mask, dilation 5 px and edge 17 px (reach 22): arrays in memory, whole processes, peak memory."""

import math
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from scipy import ndimage

import gpumask
from gpumask import io

from . import Case, Table, peak_memory

DILATION, SOFT_EDGE, LEVEL = 5, 17, 0.5
RELION_BOX = 128  # relion_mask_create tries every neighbour of every voxel: minutes at 256
THREADS = len(os.sched_getaffinity(0))


def tables(box):
    box = box or 256
    yield arrays(box)
    yield processes(box, relion=False)
    yield processes(min(box, RELION_BOX), relion=True)
    yield memory(box)


def particle(box):
    """An irregular particle whose mask fills 15 to 20 % of the box."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((box,) * 3, np.float32), 0.035 * box)
    grid = np.ogrid[[slice(-1, 1, box * 1j)] * 3]
    radius = np.sqrt(sum(g * g for g in grid))
    return np.ascontiguousarray(noise / noise.std() + 6 * (1 - radius / 0.47), np.float32)


def ours(volume):
    return gpumask.mask.soft_mask(gpumask.mask.threshold(volume, LEVEL), DILATION, SOFT_EDGE)


def cosine(distance):
    """The edge by numpy, from a distance in voxels; the array is used up."""
    mask = (distance <= DILATION).astype(np.float32)
    edge = (distance > DILATION) & (distance < DILATION + SOFT_EDGE)
    mask[edge] = 0.5 + 0.5 * np.cos(math.pi * (distance[edge] - DILATION) / SOFT_EDGE)
    return mask


def scipy_whole(volume):
    return cosine(ndimage.distance_transform_edt(volume < LEVEL))


def scipy_cropped(volume):
    base = volume >= LEVEL
    reach = DILATION + SOFT_EDGE
    box = tuple(slice(max(s.start - reach, 0), s.stop + reach) for s in ndimage.find_objects(base.astype(np.int8))[0])
    mask = np.zeros(volume.shape, np.float32)
    mask[box] = cosine(ndimage.distance_transform_edt(~base[box]))
    return mask


def edt_library(volume):
    import edt

    return cosine(edt.edt(volume < LEVEL, parallel=THREADS))


def ttmask_library(volume):
    from ttmask.map2mask import mask_from_map

    return mask_from_map(volume, LEVEL, DILATION, SOFT_EDGE)


@contextmanager
def without_numba():
    saved = sys.modules.get("numba")
    sys.modules["numba"] = None
    try:
        yield
    finally:
        sys.modules.pop("numba")
        if saved is not None:
            sys.modules["numba"] = saved


def ours_without_numba(volume):
    with without_numba():
        return ours(volume)


def arrays(box):
    volume = particle(box)
    reference = cosine(ndimage.distance_transform_edt(volume < LEVEL).astype(np.float64))
    runs = {
        "gpumask, numba": (ours, "numba", 9),
        "gpumask, numpy": (ours_without_numba, None, 5),
        f"edt ({THREADS} threads) + cosine": (edt_library, "edt", 5),
        "scipy, cropped + cosine": (scipy_cropped, None, 3),
        "scipy + cosine": (scipy_whole, None, 3),
        "ttmask (edge from the dilated set)": (ttmask_library, "ttmask", 2),
    }
    cases = []
    for name, (function, package, rounds) in runs.items():
        if package is None or _has(package):
            error = float(np.abs(function(volume) - reference).max())  # also the warm-up
            cases.append(Case(name, lambda f=function: f(volume), error, rounds))
    target = np.empty_like(volume)
    cases.append(Case("copy of the map (1 thread)", lambda: np.copyto(target, volume), None, 9))
    target.fill(1)
    fill = float((reference > 0).mean())
    return Table(
        f"Arrays in memory, warm: {box}³, dilation {DILATION} px, edge {SOFT_EDGE} px, {THREADS} threads",
        cases,
        "gpumask, numba" if _has("numba") else "gpumask, numpy",
        note=f"The mask fills {100 * fill:.0f} % of the box. max |Δ| is against float64 scipy.",
    )


def processes(box, relion):
    """Start, read, compute, write: gpumask with its checks and provenance, and the peers' programs."""
    folder = Path(tempfile.mkdtemp(prefix="gpumask-bench-"))
    source, target = folder / "map.mrc", folder / "mask.mrc"
    io.write(source, gpumask.Volume(particle(box), 1.0))
    level, dilation, edge = str(LEVEL), str(DILATION), str(SOFT_EDGE)
    create = [sys.executable, "-c", "import sys; from gpumask.cli import main; sys.exit(main())", "create"]
    create += [str(source), "-o", str(target), "--threshold", level, "--dilate", dilation, "--soft-edge", edge]
    commands = {"gpumask create": [*create, "--force", "--device", "cpu", "--json"]}
    ttmask = Path(sys.executable).with_name("ttmask")
    if ttmask.exists():
        commands["ttmask map2mask"] = [
            *(str(ttmask), "map2mask", "--input-map", str(source), "--binarization-threshold", level),
            *(
                "--padding-width",
                dilation,
                "--soft-edge-width",
                edge,
                "--pixel-size",
                "1",
                "--output-mask",
                str(target),
            ),
        ]
    program = shutil.which("relion_mask_create")
    if relion and program:
        commands[f"relion_mask_create --j {THREADS}"] = [
            *(program, "--i", str(source), "--o", str(target), "--ini_threshold", level, "--extend_inimask", dilation),
            *("--width_soft_edge", edge, "--angpix", "1", "--j", str(THREADS)),
        ]
        commands["gpumask create --style relion"] = [*commands["gpumask create"], "--style", "relion"]
    cases = []
    made = {}
    for name, command in commands.items():
        subprocess.run(command, check=True, capture_output=True)
        made[name] = io.load(target)[0].data
        reference = made.get("relion_mask_create --j 2") if "relion" in name else None
        error = None if reference is None else float(np.abs(made[name] - reference).max())
        rounds = 1 if name.startswith("relion") else 5
        cases.append(Case(name, lambda c=command: subprocess.run(c, check=True, capture_output=True), error, rounds))
    if relion and program:
        volume = particle(box)
        ours(volume)
        cases.append(Case("gpumask, arrays in memory, warm", lambda: ours(volume), None, 9))
    title = f"Whole processes: {box}³, read, compute, write"
    return Table(title, cases, "gpumask create", note="max |Δ| is against relion_mask_create." if relion else "")


def memory(box):
    """Peak resident memory of one call above what the process held before it, in multiples of the map."""
    peak = peak_memory(
        "from gpumask import mask; mask.soft_mask(np.ones((4, 4, 4), bool), 1, 1)",
        f"made = mask.soft_mask(mask.threshold(array, {LEVEL}), {DILATION}, {SOFT_EDGE})",
        particle(box),
    )
    case = Case("gpumask, map and mask included", lambda: None, None, 1)
    return Table(f"Peak memory at {box}³: {peak:.2f} maps above the bare imports", [case], case.name)


def _has(package):
    try:
        __import__(package)
    except ImportError:
        return False
    return True
