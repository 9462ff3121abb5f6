"""`mbz compress`: files to archives."""

from mbz.levels import DEFAULT, LEVELS

from . import files, options
from .naming import Naming
from .ui import Ui


def compress(
    names: options.OptionalFiles = None,
    *,
    output: options.Output = None,
    stdout: options.Stdout = False,
    output_dir: options.OutputDir = None,
    recursive: options.Recursive = False,
    force: options.Force = False,
    keep: options.Keep = False,
    remove: options.Remove = False,
    verify: options.Verify = None,
    level: options.Level = DEFAULT,
    no_mix: options.NoMix = False,
    model: options.Model = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    lanes: options.Lanes = None,
    block_size: options.BlockSize = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Compresses each FILE to FILE.mbz.

    Without FILE, standard input goes to standard output. Levels -0 to -9 trade time for size; -0
    needs no network; the others have the models tiny, small (from -3) and base (from -6), unless
    --model names another.
    """
    ui = Ui(quiet=quiet, verbose=verbose, debug=debug, as_json=as_json)
    names = names or [files.STREAM]
    with ui.reporting():
        from mbz import codec, zoo
        from mbz.errors import MbzError

        from .predictors import SMALL_CONTENT, Models
        from .several import each
        from .verified import verify as verified

        naming = Naming(
            restoring=False,
            output=output,
            stdout=stdout,
            folder=output_dir,
            recursive=recursive,
            keep=keep,
            remove=remove,
            as_json=as_json,
        )
        naming.check(names)
        if remove and verify is False:
            raise files.Refused("--rm removes only what was verified; leave out --no-verify")
        plan = LEVELS[level]
        wanted = model or plan.model
        if no_mix and wanted is None:
            raise MbzError("--no-mix leaves nothing of level 0, which has no network")
        folder = zoo.find(wanted) if wanted is not None else None
        models = Models(folder=folder, device=device, threads=threads)
        checking = bool(verify or remove)

        def pack(ui: Ui, name: str, models: Models) -> None:
            with (
                ui.reporting(name),
                files.opened(name, binary=False) as source,
                files.removing(name, source, wanted=remove),
            ):
                target = naming.target(name)
                size = files.size_of(source)
                start = source.tell() if source.seekable() else None
                with files.created(
                    target, source, force=force, binary=True, as_file=checking
                ) as result:
                    with ui.progress(name, size) as progress:
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
                            threads=models.threads or None,
                        )
                    if checking:
                        with ui.bar(f"{name}: verifying", size) as progress:
                            verified(result, source, start, models=models, progress=progress)
                ui.done(name, stats.raw_length, stats.archive_length, packing=True, output=target)

        inputs = naming.inputs(names, ui)
        models.settle(inputs, SMALL_CONTENT)
        each(ui, inputs, models, pack, apart=naming.apart(inputs))
    ui.exit()
