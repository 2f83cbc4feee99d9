"""gpumask demo -o DIR"""

RESOLUTION = 4.0  # Å, of the body: the rigid part of the simulated particle
HEAD = "sphere:-29,33,6centre:30A"  # about the head
LABEL = "gpumask demo, simulated"


def fill(parser):
    parser.description = "Simulate a particle of four domains, and make the mask of one of them for a local refinement."
    parser.set_defaults(run=run)
    parser.add_argument("-o", "--output", metavar="DIR", default="demo", help="folder for the files (default: demo)")
    parser.add_argument("--box", metavar="N", type=int, default=160, help="edge of the box in voxels (default: 160)")
    parser.add_argument("--device", metavar="DEVICE", help="auto (default), cpu, cuda, cuda:N")
    parser.add_argument("--force", action="store_true", help="overwrite files of an earlier demo")


def run(arguments):
    import shlex
    import time
    from pathlib import Path

    from gpumask import cli, filters, io, simulation
    from gpumask.cli import options
    from gpumask.errors import WriteFailed
    from gpumask.volume import Volume

    folder = Path(arguments.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteFailed(f"{folder}: cannot be made: {error.strerror}; give another folder with -o") from error
    start = time.perf_counter()
    particle = simulation.particle(box=arguments.box)
    size = (particle.voxel_size,) * 3
    maps = {
        "map.mrc": filters.lowpass((particle.half1 + particle.half2) / 2, RESOLUTION, size),
        "half1.mrc": particle.half1,
        "half2.mrc": particle.half2,
    }
    files = [(folder / name, io.encode(Volume(data, size), label=LABEL)) for name, data in maps.items()]
    files.append((folder / "model.pdb", [simulation.model_text(particle).encode()]))
    io.write_files(files, arguments.force)
    masses = ", ".join(f"{name} {mass:.0f}" for name, mass in particle.masses.items())
    print(f"A simulated particle (kDa: {masses}) in {arguments.box}³ voxels of {particle.voxel_size:g} Å,")
    print(f"made in {time.perf_counter() - start:.1f} s. The arm and the head move, so they are blurred; the head")
    print("carries glycans. To refine the head alone, a mask is needed that cuts it out softly.")
    print()
    print(f"{folder / 'map.mrc'} is the mean of half1.mrc and half2.mrc, low-passed to {RESOLUTION:g} Å;")
    print(f"{folder / 'model.pdb'} its atoms. First the regions of the map; then those of the head, as a cropped map;")
    print("then the mask: --like puts the head back on the grid of the map.")
    has_plot = options.can_draw()
    volume, state = str(folder / "map.mrc"), str(folder / "map.regions.json")
    base, mask = str(folder / "head_base.mrc"), str(folder / "head_mask.mrc")
    plot = ["--plot"] if has_plot else []
    force = ["--force"] if arguments.force else []
    device = ["--device", arguments.device] if arguments.device else []
    sizes = ["--threshold", "0.05", "--dilate", "5px", "--soft-edge", "17px"]
    resolution = ["--resolution", f"{RESOLUTION:g}A"]
    halves = ["--half1", str(folder / "half1.mrc"), "--half2", str(folder / "half2.mrc")]
    figure = folder / "head_spectrum.png"
    drawn = ["--plot", str(figure), *force] if has_plot else []
    steps = [
        ["segment", volume, "--gaussian", "2A", "--level", "0.1", "-o", state, *force, *device],
        ["regions", state, "--select", HEAD, "--export", "density", "--crop", "-o", base, *force],
        ["create", base, "--like", volume, "-o", mask, *sizes, *resolution, *plot, *force, *device],
        ["inspect", mask, *resolution, *device],
        ["spectrum", mask, *resolution, *halves, *drawn, *device],
    ]
    for step in steps:
        print(f"\n$ gpumask {shlex.join(step)}")
        code = cli.main(step)
        if code:
            return code
    drawn = ("map.png (regions)", "head_mask.png (three slices)", "head_spectrum.png")
    figures = f"{', '.join(str(folder / name) for name in drawn)}, or " if has_plot else ""
    print(f"\nLook at it: {figures}", end="")
    print(f"open map.mrc and head_mask.mrc of {folder} in ChimeraX.")
    if not has_plot:
        print("With the extra `plot` (matplotlib) the demo also draws the regions, three slices and the spectrum.")
    return 0
