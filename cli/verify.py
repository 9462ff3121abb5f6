"""`mbz test`: decodes and checks archives, and writes nothing."""

from __future__ import annotations

from . import amounts, files, options
from .ui import Ui


def verify(
    names: options.Files,
    *,
    max_output: amounts.MaxOutput = None,
    model: options.Model = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Decodes and checks each archive.

    Writes nothing and says nothing when all is well.
    """
    ui = Ui(quiet=quiet, verbose=verbose, debug=debug)
    with ui.reporting():
        from .predictors import SMALL_ARCHIVES
        from .restore import Plan, models_for, restore

        models = models_for(model, device, threads)
        models.settle(names, SMALL_ARCHIVES)
        plan = Plan(max_output=max_output)
        for name in names:
            with ui.reporting(name), files.opened(name) as source:
                stats = restore(ui, name, source, None, models, plan)
                ui.done(name, stats.raw_length, stats.archive_length, packing=False)
    ui.exit()
