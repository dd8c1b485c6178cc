"""The help of every command that looks at a backbone."""

import dataclasses

import pytest

from pixpro_tf.evaluation import correspondence, dense, detection, linear, visualize

MODULES = (correspondence, dense, detection, linear, visualize)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_help_tells_every_flag(module, capsys):
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    # visualize has the shorter name that it always had.
    assert module.__name__.replace("evaluation.visualize", "visualize") in printed
    for field in dataclasses.fields(module.Settings):
        assert f"--{field.metadata['name'] or field.name}" in printed
