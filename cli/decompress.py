"""`mbz decompress`: archives back to files."""

from __future__ import annotations

from . import amounts, files, options
from .ui import Ui


def decompress(
    names: options.OptionalFiles = None,
    *,
    output: options.Output = None,
    stdout: options.Stdout = False,
    force: options.Force = False,
    keep: options.Keep = False,  # noqa: ARG001 - accepted because hands type it
    span: amounts.Range = None,
    salvage: amounts.Salvage = False,
    max_output: amounts.MaxOutput = None,
    model: options.Model = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Restores each FILE.mbz to FILE.

    Without FILE, standard input goes to standard output. The archive says which model it needs,
    which is looked for among the installed ones unless --model names it.
    """
    ui = Ui(quiet=quiet, verbose=verbose, debug=debug)
    names = names or [files.STREAM]
    with ui.reporting():
        from .restore import Plan, complain, models_for, restore

        files.check_outputs(names, output=output, stdout=stdout)
        models = models_for(model, device, threads)
        plan = Plan(span=span, salvage=salvage, max_output=max_output)
        for name in names:
            with ui.reporting(name), files.opened(name) as source:
                target = files.target_name(name, output=output, stdout=stdout, restoring=True)
                with files.created(target, source, force=force, binary=False) as result:
                    stats = restore(ui, name, source, result, models, plan)
                ui.done(name, stats.raw_length, stats.archive_length, packing=False)
                complain(ui, name, stats)
    ui.exit()
