"""The help of every command that looks at a backbone."""

import dataclasses

import pytest

from pixpro_tf import visualize
from pixpro_tf.evaluation import correspondence, dense, detection, linear

MODULES = (correspondence, dense, detection, linear, visualize)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_help_tells_every_flag(module, capsys):
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert module.__name__ in printed
    for field in dataclasses.fields(module.Settings):
        assert f"--{field.metadata['name'] or field.name}" in printed
