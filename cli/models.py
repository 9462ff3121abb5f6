"""`mbz models`: which models are here, and where."""

import json
from typing import Annotated

import typer

from mbz import zoo

from . import options
from .ui import Ui, print_table

app = typer.Typer(help="Shows the installed models.")

Name = Annotated[str | None, typer.Argument(metavar="[NAME|PATH]", help="None: the default.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME|PATH]...", help="None: all that are installed.")
]


@app.command("list")
def list_models(*, as_json: options.AsJson = False, debug: options.Debug = False) -> None:
    """Lists the models that --model can name; a star marks the default."""
    ui = Ui(debug=debug)
    with ui.reporting():
        models = zoo.installed()
        if as_json:
            fields = [
                {
                    "name": model.name,
                    "default": model.default,
                    "bytes": model.size,
                    "fingerprint": model.fingerprint.hex(),
                    "licence": model.licence,
                    "path": str(model.path),
                }
                for model in models
            ]
            typer.echo(json.dumps(fields, indent=2))
        else:
            rows = [
                (
                    model.name + " *" * model.default,
                    model.size,
                    model.fingerprint[:8].hex(),
                    model.licence or "-",
                    str(model.path),
                )
                for model in models
            ]
            print_table(("model", "bytes", "fingerprint", "licence", "folder"), rows)
    ui.exit()


@app.command("show")
def show_model(name: Name = None, *, debug: options.Debug = False) -> None:
    """Prints a model's fingerprint, its settings and its card."""
    ui = Ui(debug=debug)
    with ui.reporting():
        folder = zoo.find(name)
        typer.echo(f"folder: {folder}\nfingerprint: {zoo.fingerprint(folder).hex()}")
        for key, value in zoo.metadata(folder).items():
            typer.echo(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")
        card = folder / "README.md"
        if card.is_file():
            typer.echo("\n" + card.read_text(encoding="utf-8"), nl=False)
    ui.exit()


@app.command("verify")
def verify_models(
    names: Names = None,
    *,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Tests that models predict here what they must: the counts and code words kept with them."""
    ui = Ui(quiet=quiet, debug=debug)
    with ui.reporting():
        from mbz import golden

        from .predictors import Models

        models = Models(folder=None, device=device, threads=threads)
        for name in names or [str(model.path) for model in zoo.installed()]:
            with ui.reporting():
                model = models.load(zoo.find(name))
                kept = golden.verify(model)
                what = "golden vectors" if kept else f"self-test (it has no {golden.FILE_NAME})"
                ui.tell(f"{model.name}: passes its {what}, fingerprint {model.fingerprint.hex()}")
    ui.exit()


@app.command("path")
def print_path(name: Name = None, *, debug: options.Debug = False) -> None:
    """Prints the folder of a model."""
    ui = Ui(debug=debug)
    with ui.reporting():
        typer.echo(zoo.find(name))
    ui.exit()
