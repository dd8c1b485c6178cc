"""The exports of an installed package as one command, `pixpro-export NAME ...`; of a checkout they are `python -m export.NAME ...`."""

import importlib
import sys

from pixpro_tf.cli.commands import exit_code_of
from pixpro_tf.errors import ConfigError

# Of each consumer's name, the module with its command.
COMMANDS = {
    "savedmodel": "savedmodel",
    "od_api": "od_api.__main__",
    "model_garden": "model_garden.__main__",
    "detectron2": "detectron2",
}
_HELP = f"""usage: pixpro-export {{{",".join(COMMANDS)}}} ...

Exports a trained backbone. `pixpro-export NAME --help` lists a consumer's flags."""


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    given = sys.argv[1:] if arguments is None else arguments
    return exit_code_of(lambda: _run(given))


def _run(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(_HELP)
        return 0
    if name not in COMMANDS:
        raise ConfigError(f"{name!r} is no export; give one of {', '.join(COMMANDS)}")
    return importlib.import_module(f"pixpro_tf.export.{COMMANDS[name]}").main(rest)


if __name__ == "__main__":
    sys.exit(main())
