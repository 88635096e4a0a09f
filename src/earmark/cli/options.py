"""What every command shares: options from configuration dataclasses, JSON output, exit codes, repeated runs.

A command is a plain function that returns one JSON object. `command` adds `--json`, `--debug` and `--params`, prints
the object or leaves what the function printed, and turns errors into one sentence and an exit code.
"""

import functools
import inspect
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from .. import disk
from ..errors import EarmarkError, InputError, OutputError

Command = Callable[..., dict[str, Any]]


def command(function: Command, show: Callable[[dict[str, Any]], str] | None = None) -> Callable[..., None]:
    """Returns the function that typer calls: the same options, and the shared ones.

    Parameters
    ----------
    show
        Returns the result in words, which go to standard output without `--json`.
    """

    @functools.wraps(function)
    def wrapper(*, as_json: bool, debug: bool, params: Path | None, **options: Any) -> None:
        try:
            with _warnings_in_words():
                result = function(**options)
        except Exception as error:
            if debug:
                raise
            raise typer.Exit(_report(error, as_json)) from error
        if as_json:
            typer.echo(json.dumps(result, indent=2, default=str))
        elif show:
            typer.echo(show(result))
        if result.get("exit_code"):
            raise typer.Exit(result["exit_code"])

    shared = [
        _option("as_json", bool, False, "--json", "Print one JSON object on standard output."),
        _option("debug", bool, False, "--debug", "Show the traceback of an error."),
        _params_option(),
    ]
    _set_signature(wrapper, [*_parameters(function), *shared])
    return wrapper


def with_config(name: str, config: type) -> Callable[[Command], Command]:
    """Adds one option per field of a configuration dataclass; the function gets the built object as `name`.

    The help text of an option is the comment behind its field.
    """
    assert is_dataclass(config)
    hints = get_type_hints(config)
    help_of = _comments(config)
    defaults = {f.name: inspect.Parameter.empty if f.default is MISSING else f.default for f in fields(config)}

    def decorate(function: Command) -> Command:
        taken = {p.name for p in _parameters(function)}
        own = [n for n in defaults if n not in taken]

        @functools.wraps(function)
        def wrapper(**options: Any) -> dict[str, Any]:
            values = {n: options.pop(n) for n in own}
            values |= {n: options[n] for n in defaults if n in taken and n in options}
            return function(**options, **{name: config(**values)})

        parameters = [p for p in _parameters(function) if p.name != name]
        parameters += [_option(n, hints[n], defaults[n], _flag(n, hints[n]), help_of.get(n, "")) for n in own]
        _set_signature(wrapper, parameters)
        return wrapper

    return decorate


def say(text: str) -> None:
    """Prints for people, on standard error, so that standard output stays machine-readable."""
    typer.echo(text, err=True)


def refuse_other(folder: Path, name: str) -> None:
    """Refuses a folder that holds what another command wrote, since pages and summaries have the same names.

    Raises
    ------
    InputError
        If its `run.json` is that of another command.
    """
    try:
        other = json.loads((folder / "run.json").read_text(encoding="utf-8"))["command"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if other != name:
        raise InputError(f"{folder} holds the results of `earmark {other}`; name another folder with --out.")


def save_params(folder: Path, name: str, options: dict[str, Any]) -> None:
    """Writes `run.json`, from which `--params` repeats the run."""
    from ..classifiers.card import write_whole

    text = json.dumps({"command": name, "options": options}, indent=2, default=str)
    write_whole(folder / "run.json", text + "\n")


@contextmanager
def _warnings_in_words() -> Iterator[None]:
    """Shows warnings of earmark as sentences, without the line of code that they come from."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], filename: str, *more: Any) -> None:
            if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parents[1]):
                say(f"warning: {message}")
            else:
                shown(message, category, filename, *more)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _report(error: Exception, as_json: bool) -> int:
    if refused := None if isinstance(error, EarmarkError) else disk.problem(error):
        error = OutputError(refused)
    code = error.exit_code if isinstance(error, EarmarkError) else 1
    text = str(error) if isinstance(error, EarmarkError) else f"{type(error).__name__}: {error}"
    say(f"earmark: {text}" if code == 2 else f"earmark: {text}\nRun again with --debug for the traceback.")
    if as_json:
        typer.echo(json.dumps({"error": text, "exit_code": code}))
    return code


def _params_option() -> inspect.Parameter:
    def load(ctx, value):  # typer knows them by their order
        if value is not None and not ctx.resilient_parsing:
            try:
                run = json.loads(value.read_text(encoding="utf-8"))
                name, ctx.default_map = run["command"], run["options"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                say(f"earmark: {value} is not a run.json of an earlier run ({error}).")
                raise typer.Exit(InputError.exit_code) from error
            if not f" {ctx.command_path}".endswith(f" {name}"):
                say(f"earmark: {value} repeats `earmark {name}`, and this is `{ctx.command_path}`; run that command.")
                raise typer.Exit(InputError.exit_code)
        return value

    option = typer.Option(
        "--params", help="Repeat a run: its run.json; other options win.", is_eager=True, callback=load
    )
    return inspect.Parameter(
        "params", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, option]
    )


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return [
        p.replace(annotation=hints.get(p.name, p.annotation), kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(function).parameters.values()
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    ]


def _option(name: str, kind: Any, default: Any, flag: str, text: str) -> inspect.Parameter:
    annotation = Annotated[_cli_type(kind), typer.Option(flag, help=text)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _flag(name: str, kind: Any) -> str:
    word = name.replace("_", "-")
    return f"--{word}/--no-{word}" if kind is bool else f"--{word}"


def _cli_type(kind: Any) -> Any:
    """Returns the type for typer: a tuple of any length is not offered, a Literal is text."""
    if get_origin(kind) is tuple and get_args(kind)[-1:] == (Ellipsis,):
        return str
    return kind


def _set_signature(wrapper: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    vars(wrapper).pop("__wrapped__", None)


def _comments(config: type) -> dict[str, str]:
    """Returns the comment behind each field of a dataclass and of those that it inherits from, from their source."""
    parts = [part for part in reversed(config.__mro__) if is_dataclass(part)]
    return {name: comment for part in parts for name, comment in _own_comments(part).items()}


@functools.cache
def _own_comments(config: type) -> dict[str, str]:
    found = {}
    for line in _body(config):
        left, separator, comment = line.partition("  # ")
        name = left.strip().split(":")[0]
        if separator and name.isidentifier():
            found[name] = comment.strip()
    return found


def _body(config: type) -> Iterator[str]:
    """Yields the lines of a class; `inspect.getsource` parses the whole file first, and `--help` waits."""
    lines = iter(Path(str(sys.modules[config.__module__].__file__)).read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith((f"class {config.__name__}(", f"class {config.__name__}:")):
            break
    for line in lines:
        if line and not line[0].isspace():
            return
        yield line


def is_terminal() -> bool:
    """Says whether a person watches standard error."""
    return sys.stderr.isatty()


def page_is_of(page: Path, key: str) -> bool:
    """Says whether a page is that of the results with a key."""
    try:
        with page.open(encoding="utf-8") as file:
            return f'content="{key}"' in file.read(4000)
    except OSError:
        return False
