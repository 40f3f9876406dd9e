"""Searches whose right answers are known, made of labelled photos: what confidence is fitted and measured on.

Four sorts of questions, as people ask them: the name of one of ImageNet's classes, an everyday word for many of them
(`kinds.tsv`), a whole sentence (a caption of Flickr8k), an everyday word whose photos the captions name
(`caption_words.tsv`). The even classes and Flickr8k's dev photos are for fitting, the odd classes and the test photos
for reporting; neither was trained on.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Floats: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]
Part: TypeAlias = Literal["fit", "report"]

FOLDER = Path(__file__).parent
GENERAL_KINDS = ("an animal", "food")
"""Rows of kinds.tsv too wide to make two classes relatives."""
SAME = 0.75
"""A photo whose captions hold this share of a sentence's content words shows what the sentence says."""
RELATED = 0.5
"""From this share on it is too near to stand in a library that holds "nothing of the kind"."""
STOPWORDS = frozenset(
    re.findall(
        "[a-z]+",
        """
        a an the of in on at with and is are to his her their its it by for from as that this who which while has
        have be being over into up down out off near next front through another other some two one three there
        him them they he she very around across along behind beside under top against away toward towards several
        many group
        """,
    )
)


@dataclass(frozen=True)
class Encoder:
    """The model under measurement: both functions give unit vectors, float32 (n, dim)."""

    photos: Callable[[Sequence[Image.Image]], Floats]
    texts: Callable[[Sequence[str]], Floats]


@dataclass(frozen=True)
class Searches:
    """Queries of one sort over one library."""

    name: str
    texts: list[str]
    queries: Floats
    """Shape (k, dim)."""
    photos: Floats
    """The library, shape (n, dim)."""
    fits: Mask
    """Shape (k, n): the photo shows what the query says."""
    related: Mask
    """Shape (k, n): the photo shows that or something of its kind; without these nothing of the kind is there."""


@dataclass(frozen=True)
class Classified:
    """Photos of some of ImageNet's classes, one a class, with what is known of those."""

    vectors: Floats
    classes: NDArray[np.int64]
    names: list[str]
    """All names of the photo's class, comma separated."""
    kinds: dict[str, frozenset[int]] = field(default_factory=dict)
    """Everyday word -> class indices."""


@dataclass(frozen=True)
class Captioned:
    """Photos with five captions each."""

    vectors: Floats
    captions: list[str]
    owner: NDArray[np.int64]
    """The photo of each caption."""


def read_classified(data: Path, part: Part, encoder: Encoder) -> Classified:
    """The even classes to fit on, the odd ones to report on, without photos that Tiny ImageNet has, too."""
    header, rows, photos = _read_tar(data / "eval" / "imagenet-1000.tar")
    at = {name: place for place, name in enumerate(header)}
    chosen = [
        row
        for row in rows
        if int(row[at["class_index"]]) % 2 == (part == "report") and row[at["photo_in_tiny_imagenet"]] != "yes"
    ]
    return Classified(
        encoder.photos([_open(photos[row[at["filename"]]]) for row in chosen]),
        np.array([int(row[at["class_index"]]) for row in chosen]),
        [row[at["names"]] for row in chosen],
        {query: _classes(ranges) for query, ranges in _table("kinds.tsv")},
    )


def read_captioned(data: Path, part: Part, encoder: Encoder) -> Captioned:
    """Flickr8k's dev photos to fit on, its test photos to report on."""
    header, rows, photos = _read_tar(data / ("train/flickr8k.tar" if part == "fit" else "eval/flickr8k-test.tar"))
    if part == "fit":
        rows = [row for row in rows if row[header.index("split")] == "dev"]
    place: dict[str, int] = {}
    owner = np.array([place.setdefault(row[0], len(place)) for row in rows])
    captions = [row[header.index("caption")] for row in rows]
    return Captioned(encoder.photos([_open(photos[name]) for name in place]), captions, owner)


def class_names(data: Classified, encoder: Encoder) -> Searches:
    """Each class by its first name; right is its one photo. Relatives share a row of kinds.tsv."""
    texts = [names.split(",")[0].strip() for names in data.names]
    narrow = [classes for query, classes in data.kinds.items() if query not in GENERAL_KINDS]
    relatives = [
        frozenset([index]).union(*(classes for classes in narrow if index in classes))
        for index in data.classes.tolist()
    ]
    related = np.array([np.isin(data.classes, list(classes)) for classes in relatives])
    return Searches("class names", texts, encoder.texts(texts), data.vectors, np.eye(len(texts), dtype=bool), related)


def kind_words(data: Classified, encoder: Encoder) -> Searches:
    """Everyday words that at least one photo's class belongs to; right are all such photos."""
    fits = {query: np.isin(data.classes, list(classes)) for query, classes in data.kinds.items()}
    return _by_word("kinds", {query: right for query, right in fits.items() if right.any()}, data.vectors, encoder)


def sentences(data: Captioned, encoder: Encoder) -> Searches:
    """Each caption; right is its own photo, and every photo whose captions together hold most of its content words."""
    words = [content_words(caption) for caption in data.captions]
    vocabulary = {word: place for place, word in enumerate(sorted(frozenset().union(*words)))}
    used = np.zeros((len(words), len(vocabulary)), dtype=np.float32)
    for row, found in enumerate(words):
        used[row, [vocabulary[word] for word in found]] = 1
    shown = np.zeros((len(data.vectors), len(vocabulary)), dtype=np.float32)
    np.maximum.at(shown, data.owner, used)
    share = used @ shown.T / np.maximum(used.sum(axis=1, keepdims=True), 1)
    own = own_photo(data)
    return Searches(
        "sentences", data.captions, encoder.texts(data.captions), data.vectors, own | (share >= SAME),
        own | (share >= RELATED),
    )  # fmt: skip


def own_photo(data: Captioned) -> Mask:
    """The strict reading of a caption, (captions, photos): only the photo it was written for is right."""
    return np.asarray(data.owner[:, None] == np.arange(len(data.vectors))[None])


def caption_words(data: Captioned, encoder: Encoder) -> Searches:
    """Everyday words; right is every photo with a caption that names it."""
    fits = {}
    for query, forms in _table("caption_words.tsv"):
        wanted = [frozenset(form.split("+")) for form in forms.split()]
        spoken = [frozenset(re.findall("[a-z]+", caption.lower())) for caption in data.captions]
        right = np.zeros(len(data.vectors), dtype=bool)
        right[data.owner[[any(form <= words for form in wanted) for words in spoken]]] = True
        if right.any():
            fits[query] = right
    return _by_word("words", fits, data.vectors, encoder)


@dataclass(frozen=True)
class Asked:
    """The searches of one part."""

    captioned: Captioned
    own: list[Searches]
    """The four sorts, each over its own collection: class names, kinds, sentences, words."""
    elsewhere: list[Searches]
    """Class names and sentences over both collections, where photos of the other one alone are "not of the kind"."""


def all_searches(data: Path, part: Part, encoder: Encoder) -> Asked:
    """Every photo and every text of the part is embedded, which takes a minute."""
    classified, captioned = read_classified(data, part, encoder), read_captioned(data, part, encoder)
    names, told = class_names(classified, encoder), sentences(captioned, encoder)
    of_classes, of_photos = _class_words(classified), _photo_words(captioned)
    of_captions = [content_words(text) for text in told.texts]
    return Asked(
        captioned,
        [names, kind_words(classified, encoder), told, caption_words(captioned, encoder)],
        [
            _across(names, of_classes, captioned.vectors, of_photos, "class names, other collection"),
            _across(told, of_captions, classified.vectors, of_classes, "sentences, other collection"),
        ],
    )


def _across(
    asked: Searches, asked_words: list[frozenset[str]], other: Floats, other_words: list[frozenset[str]], name: str
) -> Searches:
    """The queries over both collections together; only photos of the other one count as "not of the kind".

    Of those, photos that share a content word with the query (or with its kinds) are related.
    """
    shares = np.array([[bool(words & shown) for shown in other_words] for words in asked_words])
    everything = np.ones_like(asked.fits)
    return replace(
        asked,
        name=name,
        photos=np.concatenate([asked.photos, other]),
        fits=np.concatenate([asked.fits, np.zeros_like(shares)], axis=1),
        related=np.concatenate([everything, shares], axis=1),
    )


def _class_words(data: Classified) -> list[frozenset[str]]:
    """For each photo, the content words of its class's names and of the everyday words for it."""
    return [
        content_words(" ".join([names, *(query for query, classes in data.kinds.items() if index in classes)]))
        for index, names in zip(data.classes.tolist(), data.names, strict=True)
    ]


def _photo_words(data: Captioned) -> list[frozenset[str]]:
    """For each photo, the content words of its captions."""
    texts: list[list[str]] = [[] for _ in data.vectors]
    for caption, owner in zip(data.captions, data.owner.tolist(), strict=True):
        texts[owner].append(caption)
    return [content_words(" ".join(captions)) for captions in texts]


def content_words(text: str) -> frozenset[str]:
    """The words that say what is seen, without their endings."""
    found = re.findall(r"[a-z]{2,}", text.lower())
    return frozenset(_stem(word) for word in found if word not in STOPWORDS)


def _stem(word: str) -> str:
    for ending in ("ning", "ing", "ies", "es", "s", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def _by_word(name: str, fits: dict[str, Mask], photos: Floats, encoder: Encoder) -> Searches:
    right = np.array(list(fits.values()))
    return Searches(name, list(fits), encoder.texts(list(fits)), photos, right, right)


def _table(name: str) -> list[tuple[str, str]]:
    """The rows of a table of this folder with two columns, without comments and header."""
    lines = [line for line in (FOLDER / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [(first, second) for first, second in (line.split("\t") for line in lines[1:])]


def _classes(ranges: str) -> frozenset[int]:
    """`0-3,7` as numbers, both ends included."""
    ends = [[int(end) for end in part.split("-")] for part in ranges.split(",")]
    return frozenset(number for pair in ends for number in range(pair[0], pair[-1] + 1))


def _read_tar(path: Path) -> tuple[list[str], list[list[str]], dict[str, bytes]]:
    """Header and rows of the table, and the photos by their names in it."""
    with tarfile.open(path) as tar:
        members = [member for member in tar.getmembers() if member.isfile()]
        contents = {member.name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    table = contents.pop(members[0].name).decode().splitlines()
    photos = {name.removeprefix("images/"): data for name, data in contents.items()}
    return table[0].split("\t"), [line.split("\t") for line in table[1:]], photos


def _open(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")
