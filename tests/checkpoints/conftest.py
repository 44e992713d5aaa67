import pytest

from .small_folders import write_folder


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / "bert", "BertForTokenClassification")
    return tmp_path / "bert"
