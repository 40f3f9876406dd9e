"""Which checkpoints there are: the built-in one, those downloaded, and Apple's published ones.

A downloaded checkpoint lies in `models_folder() / OWNER / NAME`; nothing here uses the network.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from photoseek.aimv2.checkpoint import Checkpoint, read_checkpoint
from photoseek.errors import CheckpointError, UsageError

BUILTIN = "builtin"
MODELS_VARIABLE = "PHOTOSEEK_MODELS"
"""Environment variable that names another folder for downloaded checkpoints."""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One checkpoint that Apple has published."""

    name: str
    """Its name on the Hub."""
    parameters_millions: int
    image_side: int | None
    """Pixels; None for native resolution."""
    has_text: bool
    """Whether words can be searched with it; the others find photos by example."""


PUBLISHED = (
    PublishedModel("apple/aimv2-large-patch14-224-lit", 437, 224, has_text=True),
    PublishedModel("apple/aimv2-large-patch14-native", 309, None, has_text=False),
    PublishedModel("apple/aimv2-large-patch14-224-distilled", 309, 224, has_text=False),
    PublishedModel("apple/aimv2-large-patch14-336-distilled", 310, 336, has_text=False),
    *(
        PublishedModel(f"apple/aimv2-{size}-patch14-{side}", millions, side, has_text=False)
        for size, millions in (("large", 309), ("huge", 680), ("1B", 1235), ("3B", 2720))
        for side in (224, 336, 448)
    ),
)
"""Source: apple/ml-aim, aim-v2/aim/v2/utils.py. The first with a text tower is the recommended one."""


def models_folder() -> Path:
    """Where downloaded checkpoints lie; it need not exist."""
    named = os.environ.get(MODELS_VARIABLE)
    if named:
        return Path(os.path.expanduser(named))
    import platformdirs

    return Path(platformdirs.user_data_dir("photoseek", appauthor=False)) / "models"


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Open "builtin", a downloaded checkpoint by its Hub name, or a checkpoint folder. Never the network.

    A name that is also an existing folder means the folder.

    Raises:
        CheckpointError: it is not there, truncated, or no AIMv2 checkpoint.
        UsageError: an empty text; as a folder it would be the current one.
    """
    if not os.fspath(source).strip():
        raise UsageError(
            "the name of the model is empty", hint='"photoseek models list" shows the models that there are'
        )
    if source == BUILTIN:
        return read_checkpoint(Path(__file__).parent / BUILTIN, BUILTIN)
    folder = Path(os.path.expanduser(source))
    if os.path.isdir(folder):  # unlike Path's, never an error: a folder that may not be looked at is none
        folder = folder.resolve()
        return read_checkpoint(folder, _downloaded_name(folder) or folder.name)
    if isinstance(source, str) and is_hub_name(source):
        if os.path.isdir(downloaded := downloaded_folder(source)):
            return read_checkpoint(downloaded, source)
        raise CheckpointError(
            f"the checkpoint {source} is not on this machine",
            hint=f'get it with "photoseek models download {source}"',
        )
    raise CheckpointError(
        f"there is no model {source}, nor a checkpoint folder of that name",
        hint='"photoseek models list" shows the models that there are',
    )


def default_checkpoint() -> Checkpoint:
    """The best checkpoint at hand with both towers: the largest downloaded one, otherwise the built-in one.

    A downloaded checkpoint that is damaged is passed over here; opening it by name says what is wrong.

    Raises:
        CheckpointError: none was downloaded and the built-in one is missing or damaged.
    """
    usable = [checkpoint for checkpoint in list_models() if checkpoint.has_text and checkpoint.has_vision]
    return max(usable, key=_work, default=None) or open_checkpoint(BUILTIN)


def list_models() -> list[Checkpoint]:
    """The checkpoints on this machine that open: the built-in one first, then downloaded ones by name."""
    found = []
    for name in (BUILTIN, *downloaded_names()):
        try:
            found.append(open_checkpoint(name))
        except CheckpointError:
            continue  # listing shows what works; open_checkpoint(name) tells what does not, and why
    return found


def downloaded_names() -> list[str]:
    """Hub names of the folders that hold a checkpoint, whole or damaged."""
    folder = models_folder()
    if not os.path.isdir(folder):
        return []
    found = (f"{config.parent.parent.name}/{config.parent.name}" for config in folder.glob("*/*/config.json"))
    return sorted(name for name in found if is_hub_name(name))  # a download under way begins with a dot


def downloaded_folder(name: str) -> Path:
    """The folder of a checkpoint by its Hub name.

    Raises:
        UsageError: this is no Hub name.
    """
    if not is_hub_name(name):
        raise UsageError(f'{name!r} is no model name: one looks like "apple/aimv2-large-patch14-224-lit"')
    owner, model = name.split("/")
    return models_folder() / owner / model


def is_hub_name(name: str) -> bool:
    """Whether a string has the form OWNER/NAME, both made of letters, digits, dots, dashes, underscores."""
    parts = name.split("/")
    return len(parts) == 2 and all(
        part.isascii() and part.replace("-", "").replace("_", "").replace(".", "").isalnum() and part[0] != "."
        for part in parts
    )


def _downloaded_name(folder: Path) -> str | None:
    name = "/".join(folder.parts[-2:])
    known = is_hub_name(name) and folder == downloaded_folder(name).resolve()
    return name if known else None


def _work(checkpoint: Checkpoint) -> int:
    """Grows with the vision tower's multiplications a photo: the measure of `best` among AIMv2 models."""
    sizes = checkpoint.vision
    assert sizes is not None
    patches = (sizes.image // sizes.patch) ** 2 if sizes.image else 1024
    return patches * sizes.layers * sizes.width * (4 * sizes.width + 3 * sizes.mlp)
