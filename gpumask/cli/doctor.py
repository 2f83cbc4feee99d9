"""gpumask doctor"""

from gpumask.cli import terminal


def fill(parser):
    parser.description = "Print what this machine has, which device `auto` chooses, and why."
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments):
    import gpumask
    from gpumask import backend, cuda

    facts = {"gpumask": gpumask.__version__, **backend.facts()}
    usable = facts["device"] != "none"
    facts["first_call_seconds"] = backend.first_call_seconds(facts["device"]) if usable else None
    facts["kernel_load_seconds"] = {f"{name} {variant}": s for (name, variant, _), s in cuda.load_seconds.items()}
    if arguments.json:
        terminal.document(facts)
        return
    memory = facts["memory_available_bytes"]
    hints = {"numba": "the extra `fast`: faster distances", "matplotlib": "the extra `plot`: figures"}
    hints |= dict.fromkeys(("cupy-cuda12x", "cupy-cuda13x"), "only for a GPU")
    terminal.table(
        [
            ("gpumask", facts["gpumask"]),
            ("system", f"{facts['system']}, Python {facts['python']}"),
            ("cpu", f"{facts['cpu_threads']} threads"),
            ("memory", "unknown" if memory is None else f"{memory / 2**30:.1f} GiB available"),
            *(
                (name, version or f"not installed{' (' + hints[name] + ')' if name in hints else ''}")
                for name, version in facts["packages"].items()
            ),
            ("device", f"{facts['device']} ({facts['device_reason']})"),
            *([("first call", f"{facts['first_call_seconds']:.2f} s: loading and compiling")] if usable else []),
            *((f"  {name}", f"{seconds:.2f} s") for name, seconds in facts["kernel_load_seconds"].items()),
        ]
    )
