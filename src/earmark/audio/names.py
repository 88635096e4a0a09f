"""Names of files as text: a file system takes names that no terminal, JSON or HTML file can hold."""


def printable(text: str) -> str:
    r"""Returns a name as one line that any terminal and file can take: what cannot be printed becomes an escape.

    Examples
    --------
    >>> print(printable("two\nlines.wav"))
    two\nlines.wav
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
