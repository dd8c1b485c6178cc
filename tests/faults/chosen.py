"""Plugin of pytest that runs the tests listed in `chosen.txt`, in the order of the list."""

import pathlib

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    order = {
        nodeid: number
        for number, nodeid in enumerate(pathlib.Path("chosen.txt").read_text().split("\n"))
    }
    items[:] = sorted(
        (item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid]
    )
