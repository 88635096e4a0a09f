"""The root of the command line."""

import typer

from .lazy import COMMANDS, Lazy

app = typer.Typer(cls=Lazy, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=True)


@app.callback()
def root() -> None:
    """Why did an audio classifier decide that? See it, hear it, check it."""


for name, (_, summary) in COMMANDS.items():
    app.command(name, help=summary)(lambda: None)
