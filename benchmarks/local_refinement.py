"""A local refinement under a mask, of a simulated particle whose poses, densities and noise are known.

A rigid body and a domain that turns and shifts about a hinge, with chains of sugars on the domain that are different in
every particle; three-dimensional particles, each a box of voxels with white noise, in two halves that never meet. Each
half refines the poses of the domain against its own mean, masked and weighted by the FSC of the two masked means, in a
search around the pose it has, finer from turn to turn.

Lengths are voxels, positions (z, y, x) from the box centre ``n // 2``. k counts in units of 1/box; all that is kept of
a particle are its coefficients up to LIMIT, on a grid twice as fine, where trilinear interpolation turns it.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from gpumask import correlation, fourier

BOX = 48
VOXEL = 3.0  # Å
LIMIT = 14  # the last shell that is refined: 10.3 Å
PADDING = 2  # how much finer the grid is that coefficients are interpolated on
BLUR = 1.3  # standard deviation of a point
PACKING = 0.2  # points in a voxel at the most: residues of protein at 3 Å a voxel
HELIX, HELIX_STEP, APART, TRIES = 11, 0.5, 2.7, 20000  # residues, their rise, room between helices, and what is tried
SUGAR, SUGAR_STEP, WANDER = 1.3, 1.7, 0.5  # weight in points, distance to the next, how much a chain changes direction
# Degrees and voxels of a turn's search: -1, 0, 1 times these along each of the six axes.
STEPS = ((6, 2), (6, 2), (4, 1), (3, 1), (2, 0.5), (2, 0.5), (1, 0.25))
BASE_BLUR, BASE_LEVEL = 1.0, 0.25  # of the mean map's greatest value, where the base of masks is cut
SEED = 0
EVALUATION = 2, 6  # dilation and edge of the mask that results are judged in, from the domain as it is


@dataclass(frozen=True)
class Geometry:
    """A body and a domain, ellipsoids; the motion's standard deviations about and along each axis, in degrees and
    voxels; the chains on the domain and the sugars in each; what its random numbers begin with."""

    name: str
    body: tuple
    body_axes: tuple
    domain: tuple
    domain_axes: tuple
    hinge: tuple
    turn: float
    shift: float
    chains: int
    sugars: int
    seed: int


GEOMETRIES = (
    Geometry("globular", (0, -10, 0), (9, 9, 9), (0, 8, 0), (8, 8.5, 8), (0, -0.5, 0), 6.0, 1.2, 6, 6, 8),
    Geometry("elongated", (0, -11, 0), (11, 7, 10), (2, 7, 0), (6.5, 11, 7), (0, -4, 0), 5.0, 1.0, 4, 5, 9),
    Geometry("glycoprotein", (0, -5, -9), (9, 11, 7), (0, 1, 5), (7.5, 9, 7.5), (0, -1, -2), 7.0, 1.2, 14, 7, 12),
)


class Poses(NamedTuple):
    """What takes the domain at rest to where it is in each particle, about the fulcrum: ``r = R·s + t``."""

    turns: Rotation
    shifts: np.ndarray

    @classmethod
    def rest(cls, count):
        """Those of the body."""
        return cls(Rotation.identity(count), np.zeros((count, 3)))


class Result(NamedTuple):
    """A refinement against the truth.

    Attributes
    ----------
    turn_error, shift_error : float
        Root mean square over the particles, degrees and voxels; what all of a half share is a choice of frame and does
        not count.
    area : float
        Mean FSC, up to LIMIT, of the final map with the domain, in the evaluation mask.
    noise_correlation : float
        Mean FSC, over the band that Λ is taken over, of the noise of the two half maps in the evaluation mask.
    resolution : float
        Å, the last shell before the FSC of the masked half maps falls below 0.143.
    """

    turn_error: float
    shift_error: float
    area: float
    noise_correlation: float
    resolution: float


class _Wave:
    """Coefficients k up to LIMIT, one of each pair of mates, sorted by |k|."""

    def __init__(self):
        line = np.arange(-LIMIT, LIMIT + 1)
        k = np.stack(np.meshgrid(line, line, line[LIMIT:], indexing="ij"), axis=-1).reshape(-1, 3)
        k = k[(k**2).sum(1) <= LIMIT**2]
        self.k = k[np.argsort((k**2).sum(1), kind="stable")]
        length = np.sqrt((self.k**2).sum(1))
        self.shell = (length + 0.5).astype(int)
        self.weight = np.where(self.k[:, 2] == 0, 1.0, 2.0)
        self.index = tuple((self.k % BOX).T)
        self.up_to = np.searchsorted(length, np.arange(LIMIT + 1) + 0.5)


WAVE = _Wave()
REACH = PADDING * LIMIT + 1  # of the fine grid


class Particles:
    """Simulated particles of one geometry; see the module.

    Attributes
    ----------
    fulcrum : tuple of int
        The voxel nearest to the domain's centre, which poses are told about.
    true : list of two Poses
    domain : array
        The domain at rest, without sugars.
    base : array of bool
        Where masks of the domain begin: the mean map of all particles without noise, blurred, above a level, and more
        the domain's than the body's.
    """

    def __init__(self, geometry, count):
        rng = np.random.default_rng([SEED, geometry.seed])
        body = _ellipsoid(rng, geometry.body, geometry.body_axes)
        domain = _ellipsoid(rng, geometry.domain, geometry.domain_axes)
        roots, normals = _roots(rng, geometry)
        self.geometry, self.count = geometry, count
        self.fulcrum = tuple(round(c) + BOX // 2 for c in geometry.domain)
        self._to_fine = _dft(self.fulcrum)
        offset = np.subtract(self.fulcrum, BOX // 2)
        hinge = np.subtract(geometry.hinge, offset)
        self.true, self._clean, self.noise, self._means = [], [], [], []
        still, self.domain = volume(body), volume(domain)
        moved_mean = np.zeros_like(still)
        for half in (0, 1):
            rng = np.random.default_rng([SEED, geometry.seed, half])
            turns = Rotation.from_rotvec(np.radians(geometry.turn) * rng.standard_normal((count, 3)))
            shifts = geometry.shift * rng.standard_normal((count, 3)) + hinge - turns.apply(hinge)
            self.true.append(Poses(turns, shifts))
            clean, noise = np.empty((2, count, 2 * REACH + 1, 2 * REACH + 1, REACH + 1), np.complex64)
            sums = np.zeros((2, BOX, BOX, BOX))
            for i in range(count):
                beads = _chains(rng, roots, normals, geometry.sugars)
                points, weights = np.concatenate([domain, beads]), np.repeat([1, SUGAR], [len(domain), len(beads)])
                moved = volume(turns[i].apply(points - offset) + shifts[i] + offset, weights)
                moved_mean += moved / (2 * count)
                grain = rng.standard_normal((BOX,) * 3, np.float32)
                for kept, total, what in zip((clean, noise), sums, (still + moved, grain), strict=True):
                    kept[i] = self.fine(what)
                    total += what
            self._clean.append(clean)
            self.noise.append(noise)
            self._means.append(sums / count)
        mean = ndimage.gaussian_filter((self._means[0][0] + self._means[1][0]) / 2, BASE_BLUR)
        here = ndimage.gaussian_filter(moved_mean, BASE_BLUR) > ndimage.gaussian_filter(still, BASE_BLUR)
        self.base = (mean >= BASE_LEVEL * mean.max()) & here

    def fine(self, array):
        """Coefficients of a box of voxels about the fulcrum, on the fine grid."""
        z, y, x = self._to_fine
        rows = array.astype(np.float32) @ x.T  # (z, y, kx)
        planes = np.matmul(y, rows)  # (z, ky, kx)
        return (z @ planes.reshape(BOX, -1)).reshape(len(z), *planes.shape[1:])

    def half_maps(self, noise):
        """The two means over all particles as they are, float32: unmasked half maps of a consensus refinement."""
        return [(clean + noise * grain).astype(np.float32) for clean, grain in self._means]

    def noisy(self, noise):
        """Fine coefficients of the particles of each half with noise of that standard deviation in a voxel."""
        return [clean + np.float32(noise) * grain for clean, grain in zip(self._clean, self.noise, strict=True)]

    def map(self, coefficients):
        """A box of voxels from coefficients about the fulcrum."""
        spectrum = np.zeros((BOX, BOX, BOX // 2 + 1), np.complex64)
        spectrum[WAVE.index] = coefficients * np.exp(-2j * np.pi / BOX * (WAVE.k @ self.fulcrum))
        return fft.irfftn(spectrum, (BOX,) * 3)


def _ellipsoid(rng, centre, axes):
    """Points of helices packed into an ellipsoid, (n, 3)."""
    wanted = PACKING * 4 / 3 * math.pi * math.prod(axes)
    along = HELIX_STEP * (np.arange(HELIX) - (HELIX - 1) / 2)
    points = np.empty((0, 3))
    for middle, direction in zip(rng.uniform(-1, 1, (TRIES, 3)), rng.standard_normal((TRIES, 3)), strict=True):
        helix = middle * axes + along[:, None] * direction / np.linalg.norm(direction)
        inside = ((helix / axes) ** 2).sum(1).max() < 1
        if inside and len(points) < wanted and ((helix[:, None] - points) ** 2).sum(2).min(initial=9e9) > APART**2:
            points = np.concatenate([points, helix])
    return points + centre


def _roots(rng, geometry):
    """Where chains begin on the domain's surface, away from the hinge, and the directions outwards there."""
    directions = rng.standard_normal((40 * geometry.chains + 40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    outward = np.subtract(geometry.domain, geometry.hinge)
    directions = directions[directions @ outward > -0.2 * np.linalg.norm(outward)]
    chosen = [0]  # each the farthest from those before
    while len(chosen) < geometry.chains:
        chosen.append(int((directions @ directions[chosen].T).max(1).argmin()))
    normals = directions[chosen[: geometry.chains]]
    return geometry.domain + normals * geometry.domain_axes, normals


def _chains(rng, roots, normals, length):
    """Sugars of one particle: from each root a walk outwards."""
    steps = normals[:, None] + WANDER * rng.standard_normal((len(roots), length, 3)).cumsum(axis=1)
    steps *= SUGAR_STEP / np.linalg.norm(steps, axis=2, keepdims=True)
    return (roots[:, None] + steps.cumsum(axis=1)).reshape(-1, 3)


def volume(points, weights=1.0):
    """Blurred points in a box of voxels, from their exact transform up to Nyquist; float32."""
    half = BOX // 2
    line = np.arange(1 - half, half)
    blur = np.exp(-2 * (np.pi * BLUR * line / BOX) ** 2)
    at = points + half
    z, y, x = ((blur * np.exp(-2j * np.pi / BOX * at[:, axis, None] * line)).astype(np.complex64) for axis in range(3))
    x = x[:, half - 1 :] * np.broadcast_to(weights, len(points))[:, None].astype(np.float32)
    spectrum = np.zeros((BOX, BOX, half + 1), np.complex64)
    planes = (y[:, :, None] * x[:, None]).reshape(len(points), -1)
    spectrum[line[:, None], line, :half] = (z.T @ planes).reshape(len(line), len(line), half)
    return fft.irfftn(spectrum, (BOX,) * 3)


def _dft(fulcrum):
    """Matrices along z, y and x from voxels to the fine grid, the origin at the fulcrum; the voxels are divided by what
    trilinear interpolation between its points multiplies them with."""
    matrices = []
    for axis, f in enumerate(fulcrum):
        r = np.arange(BOX) - f
        k = np.arange(0 if axis == 2 else -REACH, REACH + 1)
        wave = np.exp(-2j * np.pi * k[:, None] * r / (PADDING * BOX)) / np.sinc(r / (PADDING * BOX)) ** 2
        matrices.append(wave.astype(np.complex64))
    return matrices


def turned(grid, matrix, count):
    """The first `count` coefficients at ``matrix · k``, interpolated between the points of a fine grid."""
    at = PADDING * (WAVE.k[:count] @ matrix.T)
    mate = at[:, 2] < 0
    at[mate] *= -1
    at[:, :2] += REACH
    low = np.minimum(at.astype(np.int32), [2 * REACH - 1, 2 * REACH - 1, REACH - 1])
    high = (at - low).astype(np.float32)
    shape = grid.shape
    first = (low[:, 0] * shape[1] + low[:, 1]) * shape[2] + low[:, 2]
    flat, found = grid.reshape(-1), np.zeros(count, np.complex64)
    (z0, y0, x0), (z1, y1, x1) = (1 - high).T, high.T
    for z, dz in ((z0, 0), (z1, 1)):
        for y, dy in ((y0, 0), (y1, 1)):
            start = first + (dz * shape[1] + dy) * shape[2]
            found += (z * y) * (x0 * flat[start] + x1 * flat[start + 1])
    found.imag[mate] *= -1
    return found


def aligned(grids, poses, count):
    """Coefficients of particles brought back to rest: ``X(R·k)·exp(2πi·(R·k)·t)``."""
    found = np.empty((len(grids), count), np.complex64)
    for i, (matrix, shift) in enumerate(zip(poses.turns.as_matrix(), poses.shifts, strict=True)):
        phase = np.exp(2j * np.pi / BOX * (WAVE.k[:count] @ (matrix.T @ shift)))
        found[i] = turned(grids[i], matrix, count) * phase.astype(np.complex64)
    return found


def _real(coefficients):
    """Complex rows as real ones, twice as long."""
    return np.ascontiguousarray(coefficients).view(np.float32)


STAR = np.stack(np.meshgrid(*[(0, -1, 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)  # rest comes first


def search(particles, reference, weights, rows, degrees, step):
    """For each row of coefficients the turn and the shift, of those one step around, that a reference fits best with.

    Returns
    -------
    Poses
    """
    count = rows.shape[1]
    grid = particles.fine(reference)
    turns = Rotation.from_rotvec(np.radians(degrees) * STAR)
    phases = np.exp(-2j * np.pi / BOX * step * (STAR @ WAVE.k[:count].T)).astype(np.complex64)
    weights = (weights * WAVE.weight)[:count].astype(np.float32)
    scores = []
    for matrix in turns.as_matrix():
        here = turned(grid, matrix.T, count)
        # Interpolation leaves a turned reference a little weaker than one at rest.
        weighted = here * (weights / np.sqrt((weights * np.abs(here) ** 2).sum()))
        scores.append(_real(rows) @ _real(weighted * phases).T)
    best = np.concatenate(scores, axis=1).argmax(axis=1)
    return Poses(turns[best // len(STAR)], step * STAR[best % len(STAR)])


def refine(particles, noisy, mask, steps=STEPS):
    """Refine the poses of both halves under a mask.

    Returns
    -------
    poses : list of two Poses
    resolution : float
        See :class:`Result`.
    """
    poses = [Poses.rest(particles.count)] * 2
    rows = [aligned(grids, pose, len(WAVE.k)) for grids, pose in zip(noisy, poses, strict=True)]
    for degrees, step in steps:
        maps = [mask * particles.map(found.mean(axis=0)) for found in rows]
        weights, last = _weights(*maps)
        count = WAVE.up_to[last]
        for half in (0, 1):
            near = search(particles, maps[half], weights, rows[half][:, :count], degrees, step)
            turns, shifts = poses[half]
            poses[half] = Poses(turns * near.turns, shifts + turns.apply(near.shifts))
            rows[half] = aligned(noisy[half], poses[half], len(WAVE.k))
    _, last = _weights(*(mask * particles.map(found.mean(axis=0)) for found in rows))
    return poses, BOX * VOXEL / last


def _weights(first, second):
    """C_ref of two masked half maps for every coefficient up to the resolution, and the shell of that."""
    curve = fsc(first, second)
    below = np.flatnonzero(curve[1:] < 0.143)
    last = int(below[0]) if len(below) else LIMIT
    last = max(last, 2)  # a search needs something to go by
    weights = correlation.figure_of_merit(curve)
    weights[0] = 1.0
    weights[last + 1 :] = 0
    return weights[WAVE.shell], last


def fsc(first, second):
    """FSC of two boxes of voxels, shells 0 to LIMIT."""
    spectra = [fourier.rfftn(m, "float32") for m in (first, second)]
    return correlation.curve(*fourier.shell_products(*spectra, first.shape, VOXEL))[: LIMIT + 1]


def errors(true, found):
    """Errors of a half's poses but for what they share, in degrees and voxels, and the poses without that.

    Returns
    -------
    turn, shift : float
        Root mean square.
    poses : Poses
    """
    off = true.turns.inv() * found.turns
    away = true.turns.inv().apply(found.shifts - true.shifts)
    common, drift = off.mean(), away.mean(axis=0)
    turns = found.turns * common.inv()
    angles = (common.inv() * off).magnitude()
    shift = np.sqrt(((away - drift) ** 2).sum(axis=1).mean())
    corrected = Poses(turns, found.shifts - turns.apply(drift))
    return math.degrees(math.sqrt((angles**2).mean())), float(shift), corrected


def judge(particles, noisy, poses, resolution, evaluation, band):
    """A refinement as a :class:`Result`; `band` holds the first and the last shell that noise is compared over."""
    wrong, maps, grains = [], [], []
    for half in (0, 1):
        turn, shift, pose = errors(particles.true[half], poses[half])
        wrong.append((turn, shift))
        for kept, grids in ((maps, noisy[half]), (grains, particles.noise[half])):
            kept.append(particles.map(aligned(grids, pose, len(WAVE.k)).mean(axis=0)))
    turn, shift = np.sqrt((np.array(wrong) ** 2).mean(axis=0))
    truth = fsc(evaluation * (maps[0] + maps[1]) / 2, evaluation * particles.domain)
    grain = fsc(*(evaluation * m for m in grains))
    area = float(truth[1:].mean())
    return Result(float(turn), float(shift), area, float(grain[band[0] : band[1] + 1].mean()), resolution)
