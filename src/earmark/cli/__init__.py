"""The command line. One command, one file; nothing heavy is imported before a command runs."""


def main() -> None:
    """Runs `earmark`."""
    from .root import app

    app()
