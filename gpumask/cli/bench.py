"""gpumask bench [WORD]"""


def fill(parser):
    parser.description = "Check, warm up and time gpumask and the peers that are installed, on the same arrays."
    parser.set_defaults(run=run)
    parser.add_argument(
        "word",
        nargs="?",
        metavar="WORD",
        help="create, regions, resampling, spectrum, fsc, start, watershed, sweep, advise, batch or gpu (default: "
        "create; gpu with --device cuda)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="cuda: the benchmarks of the GPU")
    parser.add_argument("--box", metavar="N", type=int, help="edge of the box in voxels")
    parser.add_argument("--form", choices=("short", "long"), help="of advise: how much is run (default: short)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--save", metavar="FILE", help="write the JSON document to FILE")


def run(arguments):
    from gpumask.benchmarks import run as benchmark

    return benchmark(arguments.word, arguments.device, arguments.box, arguments.json, arguments.save, arguments.form)
