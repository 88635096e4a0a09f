"""A group of commands whose files are imported when one of them is asked for, so that `--help` need not wait."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

#: File and function or group of each command of `earmark`, and what its help begins with.
COMMANDS = {
    "demo": (
        "demo:demo",
        "Generate a scene, save it as a WAV, explain it; and, where ESC-10 is at hand, one of its clips.",
    ),
    "explain": (
        "explain:explain",
        "Explain what a classifier heard in each clip: a page, sounds, tables and exact values.",
    ),
    "fit": ("fit:app", "Fit an explainer to a classifier, which is not changed."),
    "train": ("train:app", "Train a small model."),
    "evaluate": (
        "evaluate:evaluate",
        "Score explainers on clips under one protocol: tables with intervals, beside controls, and a page.",
    ),
    "compare": (
        "compare:compare",
        "Show several explainers on the same clips side by side: pictures, evidence as sound at equal area, scores.",
    ),
    "check": (
        "check:check",
        "Check an explainer: randomized weights, determinism, completeness, stability; verdicts in words, and a page.",
    ),
    "ablate": (
        "ablate:ablate",
        "Take out the region of APEX's top channel, beside controls, and score what is left: tables and a page.",
    ),
    "verify": (
        "verify:verify",
        "Measure logits at every entry, contributions, geometry and axis order; with an APEX, its invariance.",
    ),
    "info": ("info:info", "Say what something is: labels, training, scores, diagnostics."),
    "bank": (
        "bank:bank",
        "Tell and draw what a classifier listens to: per class its channels, their shares and their prototypes.",
    ),
    "report": (
        "report:report",
        "Make one page over many explanations: sortable, searchable, with how far methods and labels agree.",
    ),
}


class Lazy(TyperGroup):
    """Lists commands by name and help alone, and puts the real one in place when it is asked for."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Returns the command that a command line begins with."""
        if args and args[0] in COMMANDS:
            self.commands[args[0]] = real(args[0])
        return super().resolve_command(ctx, args)


def real(name: str) -> Any:
    """Returns a command, or a group of them, from its own file."""
    file, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(f"{__package__}.{file}"), attribute)
    if not isinstance(found, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(name)(found)
        found = app
    command = typer.main.get_command(found)
    command.name = name
    return command
