"""Files of weights that are none."""

from __future__ import annotations

import os
import struct

import pytest

pytest.importorskip("torch", reason="torch is not installed here (pip install '.[train]' has it)")

from uniref_model.cli import main
from uniref_model.errors import ModelFileError
from uniref_model.network.tensors import read_weights

CONTENTS = {
    "empty": b"",
    "noise": bytes(range(256)),
    "huge header": struct.pack("<Q", 2**62) + b"{}",
    "no mapping": struct.pack("<Q", 2) + b"[]",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_of_weights_that_is_none_is_an_error_that_names_it(name, tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    path.write_bytes(CONTENTS[name])
    with pytest.raises(ModelFileError, match=r"a\.safetensors: truncated or not a safetensors file"):
        read_weights(path)
    assert main(["export", str(path), "--model", "uniref_nano", "-o", str(tmp_path / "model")]) == 1
    assert "a.safetensors: truncated" in capsys.readouterr().err


def test_a_pipe_of_weights_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(ModelFileError, match="no such file"):
        read_weights(tmp_path / "a.safetensors")
