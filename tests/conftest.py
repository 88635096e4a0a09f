"""The order of files, and how much is checked beside the assertions: what keeps the suite under twelve minutes."""

import os

import jaxtyping
import pytest

#: These go first, so that no worker sits idle at the end.
LONGEST = ("test_matrix.py", "test_kills.py", "test_evaluate_kills.py", "test_commands.py", "test_memory.py")
#: So many cases of a test check types and shapes at each call, which takes a third of the time; all if told so.
TYPED_CASES = 10**9 if os.environ.get("EARMARK_TYPES") == "all" else 1
TYPED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items):
    """Puts the tests of the longest files first, file by file; all others stay in their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))
    cases: dict[str, int] = {}
    for item in items:
        test = item.nodeid.partition("[")[0]
        cases[test] = cases.get(test, 0) + 1
        item.stash[TYPED] = cases[test] <= TYPED_CASES


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Leaves out the checks of types and shapes where other cases of the same test have had them."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", before or not item.stash[TYPED])
    try:
        return (yield)
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
