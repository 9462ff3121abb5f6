"""`mbz decompress`: archives back to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import amounts, files, options
from .naming import Naming
from .ui import Ui

if TYPE_CHECKING:
    from .predictors import Models


def decompress(
    names: options.OptionalFiles = None,
    *,
    output: options.Output = None,
    stdout: options.Stdout = False,
    output_dir: options.OutputDir = None,
    recursive: options.Recursive = False,
    force: options.Force = False,
    keep: options.Keep = False,
    remove: options.Remove = False,
    span: amounts.Range = None,
    salvage: amounts.Salvage = False,
    max_output: amounts.MaxOutput = None,
    model: options.Model = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Restores each FILE.mbz to FILE.

    Without FILE, standard input goes to standard output. The archive says which model it needs,
    which is looked for among the installed ones unless --model names it.
    """
    ui = Ui(quiet=quiet, verbose=verbose, debug=debug, as_json=as_json)
    names = names or [files.STREAM]
    with ui.reporting():
        from mbz.errors import MbzError

        from .predictors import SMALL_ARCHIVES
        from .restore import Plan, complain, models_for, need_of, restore
        from .several import each

        naming = Naming(
            restoring=True,
            output=output,
            stdout=stdout,
            folder=output_dir,
            recursive=recursive,
            keep=keep,
            remove=remove,
            as_json=as_json,
        )
        naming.check(names)
        models = models_for(model, device, threads)
        if remove and (span is not None or salvage):
            raise MbzError("--rm would remove what --range or --salvage may leave out")
        plan = Plan(span=span, salvage=salvage, max_output=max_output)

        def unpack(ui: Ui, name: str, models: Models) -> None:
            with (
                ui.reporting(name),
                files.opened(name) as source,
                files.removing(name, source, wanted=remove),
            ):
                target = naming.target(name)
                with files.created(
                    target, source, force=force, binary=False, as_file=remove
                ) as result:
                    stats = restore(ui, name, source, result, models, plan)
                ui.done(name, stats.raw_length, stats.archive_length, packing=False, output=target)
                complain(ui, name, stats)

        inputs = naming.inputs(names, ui)
        models.settle(inputs, SMALL_ARCHIVES)
        share = need_of if span is None and not salvage else None
        each(ui, inputs, models, unpack, apart=naming.apart(inputs), need_of=share)
    ui.exit()
