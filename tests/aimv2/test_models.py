"""Which checkpoint a name means, and which one serves by default."""

from __future__ import annotations

import pytest
from checkpoints import make_checkpoint

from photoseek.aimv2 import PUBLISHED, default_checkpoint, list_models, models_folder, open_checkpoint
from photoseek.errors import CheckpointError

LIT = "apple/aimv2-large-patch14-224-lit"


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty models folder, and a tiny checkpoint in the place of the built-in one."""
    monkeypatch.setenv("PHOTOSEEK_MODELS", str(tmp_path / "models"))
    builtin = make_checkpoint(tmp_path / "package" / "builtin")
    monkeypatch.setattr("photoseek.aimv2.models.__file__", str(builtin.parent / "models.py"))
    return tmp_path / "models"


def test_without_downloads_the_builtin_checkpoint_serves(models):
    assert default_checkpoint().name == "builtin"
    assert [checkpoint.name for checkpoint in list_models()] == ["builtin"]


def test_the_largest_downloaded_checkpoint_with_both_towers_serves(models):
    make_checkpoint(models / "me" / "small", layers=1)
    make_checkpoint(models / "me" / "large", layers=3)
    make_checkpoint(models / "apple" / "vision-only", text=False, layers=9)
    assert default_checkpoint().name == "me/large"
    assert [checkpoint.name for checkpoint in list_models()] == [
        "builtin",
        "apple/vision-only",
        "me/large",
        "me/small",
    ]


def test_a_damaged_download_does_not_keep_the_others_from_serving(models):
    folder = make_checkpoint(models / "apple" / "damaged", layers=3)
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.truncate(5000)
    assert default_checkpoint().name == "builtin"
    with pytest.raises(CheckpointError, match="truncated"):
        open_checkpoint("apple/damaged")


def test_a_download_under_way_is_no_model(models):
    make_checkpoint(models / "apple" / ".aimv2.0123.download")
    assert [checkpoint.name for checkpoint in list_models()] == ["builtin"]


def test_a_name_that_was_not_downloaded_says_how_to_get_it(models):
    with pytest.raises(CheckpointError, match="not on this machine") as caught:
        open_checkpoint(LIT)
    assert f"photoseek models download {LIT}" in caught.value.hint


def test_a_folder_that_is_not_there_is_named(models):
    with pytest.raises(CheckpointError, match="there is no model"):
        open_checkpoint("/nowhere/at/all")


def test_a_downloaded_checkpoint_has_its_hub_name_however_it_is_opened(models):
    folder = make_checkpoint(models / "apple" / "tiny")
    assert open_checkpoint("apple/tiny").name == open_checkpoint(folder).name == open_checkpoint(str(folder)).name
    assert open_checkpoint(make_checkpoint(models.parent / "elsewhere")).name == "elsewhere"


def test_the_models_folder_can_be_named(models, monkeypatch):
    assert models_folder() == models
    monkeypatch.delenv("PHOTOSEEK_MODELS")
    assert models_folder().parts[-2:] == ("photoseek", "models")


def test_the_published_models_begin_with_the_one_that_understands_words():
    assert [model.name for model in PUBLISHED if model.has_text] == [LIT]
    assert PUBLISHED[0].name == LIT
    assert len({model.name for model in PUBLISHED}) == len(PUBLISHED) == 16
