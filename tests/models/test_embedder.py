"""The one door to models: names."""

import subprocess
import sys

import pytest

from curation.config import ModelConfig
from curation.errors import ModelError
from curation.models import open_embedder


@pytest.mark.parametrize("name", ["", "timm", "timm/", "resnet50", "sscd", "lvd/", "classical/", "/etc/passwd"])
def test_a_name_of_no_family_is_refused_in_one_line(name):
    with pytest.raises(ModelError, match=r"^model '.*': unknown; name timm/<model>, as in .* or classical/") as refused:
        open_embedder(ModelConfig(model=name))
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_classical_models_do_not_import_torch():
    code = (
        "import sys; from curation.config import ModelConfig; from curation.models import open_embedder; "
        "open_embedder(ModelConfig(model='classical/hog-colour-8x8')); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
