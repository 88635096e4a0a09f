"""The root of the command line: which command lives in which file."""

import typer

from . import fit, train
from .ablate import ablate
from .bank import bank
from .check import check
from .compare import compare
from .demo import demo
from .evaluate import evaluate
from .explain import explain
from .info import info
from .report import report
from .verify import verify

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=True)
app.command("demo")(demo)
app.command("explain")(explain)
app.add_typer(fit.app, name="fit")
app.add_typer(train.app, name="train")
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.command("check")(check)
app.command("ablate")(ablate)
app.command("verify")(verify)
app.command("info")(info)
app.command("bank")(bank)
app.command("report")(report)


@app.callback()
def root() -> None:
    """Why did an audio classifier decide that? See it, hear it, check it."""
