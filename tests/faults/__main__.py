"""Plants the faults of the catalogue one at a time and reports which of them the tests catch.

    python -m tests.faults --map          # runs the tests of `make test` once, to record which of them cover which lines
    python -m tests.faults [--jobs=2] [--only=NAME,NAME] [--area=AREA]

For each fault, the tree is copied, the fault is planted in the copy, and the tests that cover the changed lines run until one fails,
starting with the test file of the changed module. If all pass, the other tests of their files follow, which share fixtures and traced
graphs with them. A fault that these do not catch either has survived, and the exit code is 1. The results are kept in
`.faults/results.json`; faults that were caught according to it are not planted again unless --only names them.
"""

import argparse
import ast
import collections
import concurrent.futures
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from coverage import CoverageData

from tests.faults.catalogue import FAULTS, Fault

ROOT = pathlib.Path(__file__).parent.parent.parent
KEPT = ROOT / ".faults"
COVERAGE, COSTS, RESULTS = KEPT / "coverage", KEPT / "costs.json", KEPT / "results.json"
_SELECTION = ("-m", "not thorough")
# Time limit of the tests of one fault, because a fault may make a test wait forever.
_SECONDS = 900
_TOO_LONG = "(the tests did not end)"


def changed_lines(fault: Fault, source: str) -> set[int]:
    """Returns the lines of the innermost statements that a fault changes, counted from 1."""
    start = source.index(fault.old)
    old, new = fault.old, fault.new
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), len(old))
    tail = old[same:], new[same:]
    same_end = 0
    while same_end < min(map(len, tail)) and tail[0][-1 - same_end] == tail[1][-1 - same_end]:
        same_end += 1
    first = source.count("\n", 0, start + same) + 1
    last = source.count("\n", 0, start + len(old) - same_end) + 1
    changed = set(range(first, last + 1))
    for node in ast.walk(ast.parse(source)):
        simple = isinstance(node, ast.stmt) and not hasattr(node, "body")
        if simple and node.lineno <= last and node.end_lineno >= first:
            changed |= set(range(node.lineno, node.end_lineno + 1))
    return changed


class Map:
    """Map from lines to the tests of `make test` that cover them, with the seconds of each test."""

    def __init__(self):
        if not COVERAGE.exists():
            sys.exit(
                "error: .faults/coverage does not exist; create it with python -m tests.faults --map"
            )
        self._data = CoverageData(str(COVERAGE))
        self._data.read()
        self._seconds = {test: cost["wall"] for test, cost in json.loads(COSTS.read_text()).items()}

    def tests_of(self, fault: Fault) -> tuple[list[str], list[str]]:
        """Returns the tests that cover a changed line, and the other tests of their files."""
        path = ROOT / fault.path
        # Measured files have their paths in the tree in which the map was created.
        (measured,) = [
            name for name in self._data.measured_files() if name.endswith(f"/{fault.path}")
        ]
        contexts = self._data.contexts_by_lineno(measured)
        direct = set()
        for line in changed_lines(fault, path.read_text()):
            direct |= {context.partition("|")[0] for context in contexts.get(line, ())}
        direct.discard("")
        if not direct:
            # The changed lines run when the module is imported.
            for found in contexts.values():
                direct |= {context.partition("|")[0] for context in found}
            direct.discard("")
        # Coverage sees neither code that AutoGraph has rewritten nor graphs that an earlier test has traced.
        direct |= {test for test in self._seconds if _is_own(test, fault)}
        direct &= self._seconds.keys()
        files = {test.partition("::")[0] for test in direct}
        others = {test for test in self._seconds if test.partition("::")[0] in files} - direct
        return self._in_order(direct, fault), self._in_order(others, fault)

    def _in_order(self, tests, fault):
        """Sorts tests: the test file of the module first, then from the fastest file on; tests of a file share their setup."""
        files = collections.Counter()
        for test in tests:
            files[test.partition("::")[0]] += self._seconds[test]

        def key(test):
            file = test.partition("::")[0]
            return not _is_own(test, fault), files[file], file, self._seconds[test]

        return sorted(tests, key=key)


def _is_own(test: str, fault: Fault) -> bool:
    """Whether the file of a test belongs to the module of the fault, to its package, or to its area."""
    module = pathlib.PurePath(fault.path)
    names = {module.stem, module.parent.name, fault.area} - {"__main__", "pixpro_tf", "data"}
    stem = pathlib.PurePath(test.partition("::")[0]).stem
    return any(name.replace(" ", "_") in stem for name in names)


def make_map() -> None:
    KEPT.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.cost", f"--cost-json={COSTS}"]
    command += ["--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder", *_SELECTION]
    command += ["--cov", "--cov-context=test", "--cov-report="]
    subprocess.run(command, cwd=ROOT, check=True)
    shutil.move(ROOT / ".coverage", COVERAGE)


def copy_to(tree: pathlib.Path) -> None:
    """Copies all files that belong to the project."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    names = listed.stdout.decode().split("\0")
    # Files that have been deleted are still listed.
    for name in filter(lambda name: (ROOT / name).is_file(), names):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)


def check_tree() -> None:
    """Ends the program if tests cannot be collected in a copy: each fault would then count as caught."""
    with tempfile.TemporaryDirectory(prefix="fault-") as folder:
        copy_to(pathlib.Path(folder))
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *_SELECTION]
        process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if process.returncode:
            sys.exit(f"error: the tests cannot be collected in a copy\n{process.stdout[-2000:]}")


def plant(fault: Fault, tree: pathlib.Path) -> None:
    copy_to(tree)
    path = tree / fault.path
    source = path.read_text()
    assert source.count(fault.old) == 1, (
        f"{fault.name}: its text must occur exactly once in {fault.path}"
    )
    path.write_text(source.replace(fault.old, fault.new))


def try_out(fault: Fault, tests: Map) -> dict:
    """Plants a fault, runs its tests and returns the result."""
    started = time.monotonic()
    direct, others = tests.tests_of(fault)
    found = {"area": fault.area, "covered_by": len(direct), "caught_by": None, "first": True}
    with tempfile.TemporaryDirectory(prefix="fault-") as folder:
        tree = pathlib.Path(folder) / "tree"
        tree.mkdir()
        plant(fault, tree)
        for chosen in (direct, others):
            if chosen and (caught := first_failure(chosen, tree)):
                found["caught_by"] = None if caught == _TOO_LONG else caught
                found["ended"] = caught != _TOO_LONG
                break
            found["first"] = False
    return found | {"seconds": round(time.monotonic() - started)}


def first_failure(tests: list[str], tree: pathlib.Path) -> str | None:
    """Returns the first of the tests, in their order, that fails in a tree; None if all pass."""
    # The tests are listed in a file, because there may be too many for a command line.
    (tree / "chosen.txt").write_text("\n".join(tests))
    files = sorted({test.partition("::")[0] for test in tests})
    command = [sys.executable, "-m", "pytest", "-p", "tests.faults.chosen", "-x", "--tb=no"]
    command += [*_SELECTION, "-p", "no:cacheprovider", f"--basetemp={tree / 'tmp'}", *files]
    try:
        process = subprocess.run(
            command, cwd=tree, capture_output=True, text=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        # Perhaps the fault makes a test wait forever, perhaps there are only many tests: somebody has to look.
        return _TOO_LONG
    failed = [
        line.partition(" ")[2].partition(" - ")[0]
        for line in process.stdout.splitlines()
        if line.startswith(("FAILED ", "ERROR "))
    ]
    if process.returncode and not failed:
        raise RuntimeError(process.stdout[-2000:] + process.stderr[-2000:])
    return failed[0] if failed else None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--map", action="store_true", help="record which tests cover which lines")
    parser.add_argument("--only", help="names of faults to plant, separated by commas")
    parser.add_argument("--area", help="name of an area whose faults are planted")
    parser.add_argument("--jobs", type=int, default=2, help="number of faults at a time")
    flags = parser.parse_args(arguments)
    if flags.map:
        make_map()
        return 0
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    wanted = [fault for fault in FAULTS if not flags.area or fault.area == flags.area]
    if flags.only:
        wanted = [fault for fault in wanted if fault.name in flags.only.split(",")]
    else:
        wanted = [f for f in wanted if not results.get(f.name, {}).get("caught_by")]
    tests = Map()
    check_tree()
    with concurrent.futures.ThreadPoolExecutor(flags.jobs) as pool:
        running = {pool.submit(try_out, fault, tests): fault for fault in wanted}
        for done in concurrent.futures.as_completed(running):
            fault, found = running[done], done.result()
            results[fault.name] = found
            RESULTS.write_text(json.dumps(results, indent=1))
            said = "SURVIVED" if found.get("ended", True) else f"NOT DECIDED in {_SECONDS} s"
            if found["caught_by"]:
                said = f"caught by {found['caught_by']}"
            print(f"{fault.area}: {fault.name}: {said} ({found['seconds']} s)", flush=True)
    results = {fault.name: results[fault.name] for fault in FAULTS if fault.name in results}
    survivors = [name for name, found in results.items() if not found["caught_by"]]
    areas = collections.Counter(found["area"] for found in results.values())
    print(f"{len(results) - len(survivors)} of {len(results)} faults caught, in {len(areas)} areas")
    for name in survivors:
        print(f"survived: {name}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
