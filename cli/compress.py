"""`mbz compress`: files to archives."""

from mbz.levels import DEFAULT, LEVELS

from . import files, options
from .ui import Ui


def compress(
    names: options.OptionalFiles = None,
    *,
    output: options.Output = None,
    stdout: options.Stdout = False,
    force: options.Force = False,
    keep: options.Keep = False,  # noqa: ARG001 - accepted because hands type it
    level: options.Level = DEFAULT,
    no_mix: options.NoMix = False,
    model: options.Model = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    lanes: options.Lanes = None,
    block_size: options.BlockSize = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Compresses each FILE to FILE.mbz.

    Without FILE, standard input goes to standard output. Levels -0 to -9 trade time for size; -0
    needs no network; the others have the models tiny, small (from -3) and base (from -6), unless
    --model names another.
    """
    ui = Ui(quiet=quiet, verbose=verbose, debug=debug)
    names = names or [files.STREAM]
    with ui.reporting():
        from mbz import codec, zoo
        from mbz.errors import MbzError

        from .predictors import Models

        files.check_outputs(names, output=output, stdout=stdout)
        plan = LEVELS[level]
        wanted = model or plan.model
        if no_mix and wanted is None:
            raise MbzError("--no-mix leaves nothing of level 0, which has no network")
        folder = zoo.find(wanted) if wanted is not None else None
        models = Models(folder=folder, device=device, threads=threads)
        for name in names:
            with ui.reporting(name), files.opened(name, binary=False) as source:
                target = files.target_name(name, output=output, stdout=stdout, restoring=False)
                size = files.size_of(source)
                with (
                    files.created(target, source, force=force, binary=True) as result,
                    ui.progress(name, size) as progress,
                ):
                    predictor, model_id = models.open(folder) if folder else (None, None)
                    stats = codec.compress(
                        source,
                        result,
                        predictor,
                        model_id,
                        experts=None if no_mix else plan.experts,
                        block_size=block_size or codec.DEFAULT_BLOCK,
                        lanes=lanes,
                        lane_bytes=plan.lane_bytes or codec.DEFAULT_LANE,
                        size=size,
                        progress=progress,
                    )
                ui.done(name, stats.raw_length, stats.archive_length, packing=True)
    ui.exit()
