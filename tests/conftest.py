"""The order of files: the longest go first, so that no worker sits idle at the end."""

LONGEST = ("test_matrix.py", "test_kills.py", "test_evaluate_kills.py", "test_commands.py", "test_memory.py")


def pytest_collection_modifyitems(items):
    """Puts the tests of the longest files first, file by file; all others stay in their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))
