"""A small glycoprotein as a PDB file: a ball of residues with N-glycans that stand out of it."""

import numpy as np

RADIUS, SPACING, SITES, SUGARS = 14.0, 4.5, 4, 4  # Å, Å between residues
RING, BOND = 1.45, 1.45  # Å
ALANINE = {"N": (1.4, 0, 0), "CA": (0, 0, 0), "C": (-0.7, 1.3, 0), "O": (-1.8, 1.4, 0.4), "CB": (-0.7, -0.8, 1.1)}


def text(centre=(0.0, 0.0, 0.0)):
    """PDB lines; `centre` is x, y, z in Å."""
    random = np.random.default_rng(0)
    steps = np.arange(-RADIUS, RADIUS + 1, SPACING)
    places = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    places = places[(places**2).sum(axis=1) <= RADIUS**2] + centre
    atoms, links, number = [], [], 0
    for place in places + random.uniform(-1.5, 1.5, places.shape):
        number += 1
        atoms += [("ATOM", name, "ALA", "A", number, place + offset) for name, offset in ALANINE.items()]
    for site in range(SITES):
        along, side = directions(site)
        start = centre + along * (RADIUS + 3)
        number += 1
        asparagine = {"CA": -4.4, "CB": -2.9, "CG": -1.4, "ND2": 0.0}
        atoms += [("ATOM", name, "ASN", "A", number, start + along * far) for name, far in asparagine.items()]
        before = ("ND2", "ASN", "A", number)
        for sugar in range(SUGARS):
            middle = start + along * (BOND + RING + sugar * (2 * RING + 2 * BOND))
            ring = {
                name: middle + RING * (np.cos(turn) * along + np.sin(turn) * side)
                for name, turn in zip(
                    ("C1", "C2", "C3", "C4", "C5", "O5"), np.pi + np.arange(6) * np.pi / 3, strict=True
                )
            }
            ring["O4"] = middle + along * (RING + BOND)
            own = SITES * sugar + site + 1
            atoms += [("HETATM", name, "NAG", "B", own, place) for name, place in ring.items()]
            links.append((before, ("C1", "NAG", "B", own)))
            before = ("O4", "NAG", "B", own)
    return "\n".join([*map(_link, links), *(_atom(i, *atom) for i, atom in enumerate(atoms, 1)), "END", ""])


def directions(site):
    """Unit vectors (x, y, z) along a glycan and across it: to the corners of a tetrahedron."""
    along = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)][site]) / np.sqrt(3)
    side = np.cross(along, (0, 0, 1.0))
    return along, side / np.linalg.norm(side)


def _atom(serial, record, name, residue, chain, number, place):
    x, y, z = place
    return (
        f"{record:<6}{serial:>5}  {name:<3} {residue} {chain}{number:>4}    {x:8.3f}{y:8.3f}{z:8.3f}"
        f"  1.00 20.00          {name[0]:>2}"
    )


def _link(ends):
    (one, *of_one), (two, *of_two) = ends
    ends = (
        f" {name:<3} {residue} {chain}{number:>4}" for name, residue, chain, number in ((one, *of_one), (two, *of_two))
    )
    return f"{'LINK':<12}{(' ' * 16).join(ends)}{'1555':>9}{'1555':>7}{BOND:6.2f}"
