"""Pytest plugin that measures the cost of the tests and its causes; it is not loaded by default.

    python -m pytest -p tests.support.cost --numprocesses=2 --dist=loadfile

prints a table of the test files, in seconds: wall time, and its share for tracing graphs, first runs of graphs (Grappler, XLA's compilation
and arithmetic) and later runs; then CPU time, in the worker and in the processes that its tests started, not counting the forks of a warm
server. Memory is the worker's own, the maximum over the ends of its tests. The line below the table shows the peak memory of all processes
together, where shared pages are counted once; it is sampled every second, or less often if sampling takes long. `--cost-json=FILE` saves
the cost of each test.
"""

import collections
import contextlib
import functools
import json
import os
import pathlib
import resource
import threading
import time

import psutil
import pytest

FIGURES = ("wall", "trace", "first", "later", "own_cpu", "child_cpu")
_totals = dict.fromkeys(("trace", "first", "later"), 0.0)
_depth = 0


def _timed(function, kind_of):
    """Wraps `function` to time its outermost calls only: tracing within tracing, or a graph that runs another, counts once."""

    @functools.wraps(function)
    def timed(*args, **kwargs):
        global _depth
        kind = kind_of(*args)
        if _depth:
            return function(*args, **kwargs)
        _depth += 1
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            _totals[kind] += time.perf_counter() - start
            _depth -= 1

    return timed


def _which_run(graph, *_):
    first = not graph.__dict__.get("_has_run")
    graph.__dict__["_has_run"] = True
    return "first" if first else "later"


@functools.cache
def _watch_tensorflow():
    # These names are private because TensorFlow has no public equivalent; both stacks have them.
    from tensorflow.python.eager.polymorphic_function import atomic_function
    from tensorflow.python.framework import func_graph

    func_graph.func_graph_from_py_func = _timed(
        func_graph.func_graph_from_py_func, lambda *_: "trace"
    )
    runner = atomic_function.AtomicFunction
    runner.call_flat = _timed(runner.call_flat, _which_run)


def _figures():
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "wall": time.perf_counter(),
        **_totals,
        "own_cpu": own.ru_utime + own.ru_stime,
        "child_cpu": children.ru_utime + children.ru_stime,
    }


def _memory():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _phase(item):
    _watch_tensorflow()
    before = _figures()
    yield
    item.stash[_COST] = {name: value - before[name] for name, value in _figures().items()} | {
        "memory": _memory()
    }


_COST = pytest.StashKey[dict]()


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    yield from _phase(item)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    yield from _phase(item)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_teardown(item):
    yield from _phase(item)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    outcome.get_result().user_properties.append(("cost", item.stash.get(_COST, {})))


_peak = 0


def pytest_sessionstart(session):
    """Starts to watch the memory of the whole run, in the process that is not a worker."""
    if not hasattr(session.config, "workerinput"):
        threading.Thread(target=_watch_memory, daemon=True).start()


def _watch_memory():
    global _peak
    this = psutil.Process()
    while True:
        started = time.monotonic()
        total = 0
        for process in (this, *this.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        _peak = max(_peak, total)
        # Shared memory is counted page by page, which is slow for gigabytes; the pause limits the cost to a hundredth of the run.
        time.sleep(max(1, 50 * (time.monotonic() - started)))


def pytest_addoption(parser):
    parser.addoption("--cost-json", help="JSON file for the cost of each test")


_tests = collections.defaultdict(collections.Counter)


def pytest_runtest_logreport(report):
    latest: dict[str, float] = {}
    for name, cost in report.user_properties:
        if name == "cost":
            # The user_properties of a phase contain those of the phases before it.
            latest = cost
    for figure in FIGURES:
        _tests[report.nodeid][figure] += latest.get(figure, 0)
    _tests[report.nodeid]["memory"] = max(_tests[report.nodeid]["memory"], latest.get("memory", 0))


def pytest_terminal_summary(terminalreporter, config):
    files = collections.defaultdict(collections.Counter)
    for nodeid, cost in _tests.items():
        path = nodeid.partition("::")[0]
        for figure in FIGURES:
            files[path][figure] += cost[figure]
        files[path]["memory"] = max(files[path]["memory"], cost["memory"])
        files[path]["tests"] += 1
    terminalreporter.section("cost of the tests, in seconds")
    line = "{:44} {:>6} {:>8} {:>7} {:>7} {:>7} {:>8} {:>9} {:>7}".format
    terminalreporter.line(line("file", "tests", *FIGURES, "MiB"))
    for path, cost in sorted(files.items(), key=lambda item: -item[1]["wall"]):
        seconds = (f"{cost[figure]:.1f}" for figure in FIGURES)
        terminalreporter.line(line(path, cost["tests"], *seconds, cost["memory"] >> 20))
    total = collections.Counter()
    for cost in files.values():
        total.update(cost)
    seconds = (f"{total[figure]:.1f}" for figure in FIGURES)
    terminalreporter.line(line("all", total["tests"], *seconds, ""))
    terminalreporter.line(f"all processes together: {_peak >> 20} MiB at most")
    if path := config.getoption("--cost-json"):
        pathlib.Path(path).write_text(json.dumps(_tests, indent=1))
