"""The root of the command line: which command lives in which file."""

import typer

from . import train

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=True)
app.add_typer(train.app, name="train")


@app.callback()
def root() -> None:
    """Why did an audio classifier decide that? See it, hear it, check it."""
