"""gpumask demo -o DIR"""

RESOLUTION = 4.0  # Å, of the body: the rigid part of the simulated particle


def fill(parser):
    parser.description = "Simulate a particle of four domains, and make the mask of one of them for a local refinement."
    parser.set_defaults(run=run)
    parser.add_argument("-o", "--output", metavar="DIR", default="demo", help="folder for the files (default: demo)")
    parser.add_argument("--box", metavar="N", type=int, default=160, help="edge of the box in voxels (default: 160)")
    parser.add_argument("--device", metavar="DEVICE", help="auto (default), cpu, cuda, cuda:N")
    parser.add_argument("--force", action="store_true", help="overwrite files of an earlier demo")


def run(arguments):
    import time
    from pathlib import Path

    from gpumask import cli, filters, io, simulation, units
    from gpumask.errors import WriteFailed
    from gpumask.volume import Header, Volume

    folder = Path(arguments.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteFailed(f"{folder}: cannot be made: {error.strerror}; give another folder with -o") from error
    start = time.perf_counter()
    particle = simulation.particle(box=arguments.box)
    size = (particle.voxel_size,) * 3
    origin = units.corner_px_to_angstrom(particle.offset, size)
    mean = filters.lowpass((particle.half1 + particle.half2) / 2, RESOLUTION, size)
    volumes = {
        "map.mrc": Volume(mean, size),
        "half1.mrc": Volume(particle.half1, size),
        "half2.mrc": Volume(particle.half2, size),
        "head_base.mrc": Volume(particle.head_base, size, Header(origin=origin)),
    }
    for name, volume in volumes.items():
        io.write(folder / name, volume, overwrite=arguments.force, label="gpumask demo, simulated")
    masses = ", ".join(f"{name} {mass:.0f}" for name, mass in particle.masses.items())
    print(f"A simulated particle (kDa: {masses}) in {arguments.box}³ voxels of {particle.voxel_size:g} Å,")
    print(f"made in {time.perf_counter() - start:.1f} s. The arm and the head move, so they are blurred; the head")
    print("carries glycans. To refine the head alone, a mask is needed that cuts it out softly.")
    print()
    print(f"{folder / 'map.mrc'} is the mean of half1.mrc and half2.mrc, low-passed to {RESOLUTION:g} Å;")
    print(f"{folder / 'head_base.mrc'} is the head's density as a segmentation tool exports it:")
    print("cropped to its own small box. --like puts it back on the grid of the map.")
    has_plot = _has_matplotlib()
    base, mask = folder / "head_base.mrc", folder / "head_mask.mrc"
    plot = ["--plot"] if has_plot else []
    force = ["--force"] if arguments.force else []
    device = ["--device", arguments.device] if arguments.device else []
    like = ["--like", str(folder / "map.mrc"), "-o", str(mask)]
    sizes = ["--threshold", "0.05", "--dilate", "5px", "--soft-edge", "17px"]
    resolution = ["--resolution", f"{RESOLUTION:g}A"]
    halves = ["--half1", str(folder / "half1.mrc"), "--half2", str(folder / "half2.mrc")]
    figure = folder / "head_spectrum.png"
    drawn = ["--plot", str(figure), *force] if has_plot else []
    steps = [
        ["create", str(base), *like, *sizes, *resolution, *plot, *force, *device],
        ["inspect", str(mask), *resolution, *device],
        ["spectrum", str(mask), *resolution, *halves, *drawn, *device],
    ]
    for step in steps:
        print(f"\n$ gpumask {' '.join(step)}")
        code = cli.main(step)
        if code:
            return code
    figures = f"{folder / 'head_mask.png'} (three slices), {figure} (spectrum), or " if has_plot else ""
    print(f"\nLook at it: {figures}", end="")
    print(f"open map.mrc and head_mask.mrc of {folder} in ChimeraX.")
    if not has_plot:
        print("With the extra `plot` (matplotlib) the demo also draws three slices and the spectrum.")
    return 0


def _has_matplotlib():
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None
