"""All texts of the recipe: captions, class names in templates, keywords, short queries; none of dev or test."""

from __future__ import annotations

import gzip
import random
from collections import defaultdict
from pathlib import Path

from training.photos import CAPTIONED, read_repository, read_tar

TEMPLATES = (
    "a photo of a {}", "{}", "a {}", "the {}", "a picture of a {}", "a close-up of a {}", "a photo of the {}",
    "photo of one {}", "some {}", "{}s", "a {} in the picture", "an image of a {}", "this is a {}", "a small {}",
    "a big {}",
)  # fmt: skip
CLASS_PROMPTS = 3  # the first so many templates make a class's mean vector

COLOURS = ["red", "blue", "green", "yellow", "white", "black", "brown", "orange", "pink", "purple", "grey", "golden"]
PLACES = (
    "at the beach", "in the snow", "in a park", "on a street", "in the city", "in the mountains", "in the water",
    "in a field", "on the grass", "in a forest", "indoors", "outdoors", "at night", "at sunset", "in a kitchen",
    "in the desert", "by a lake", "by a river", "on a boat", "on a road", "in the sky", "in a garden", "at a party",
    "in a restaurant", "on a stage", "at a wedding", "in a swimming pool", "on a mountain", "in the rain", "in autumn",
)  # fmt: skip
SUBJECTS = (
    "dog", "cat", "child", "boy", "girl", "man", "woman", "baby", "people", "crowd", "bird", "horse", "car", "bicycle",
    "motorcycle", "boat", "house", "tree", "flower", "ball", "football", "surfer", "skier", "climber", "runner",
    "players", "couple", "family", "friends", "two dogs", "two men", "two women", "children", "group of people",
    "train", "bus", "truck", "airplane", "building", "bridge", "church", "tower", "mountain", "lake", "river", "sea",
    "waterfall", "beach", "forest", "sunset", "food", "cake", "fruit", "table", "chair", "guitar", "band", "swimmer",
    "skateboarder", "snowboarder", "basketball player", "football player", "soccer player", "cyclist", "rider",
    "puppy", "kitten", "sheep", "cow", "elephant", "fish", "duck", "boots", "hat", "shirt", "jacket", "dress",
)  # fmt: skip
ACTIONS = (
    "running", "jumping", "swimming", "sitting", "standing", "walking", "playing", "smiling", "climbing",
    "riding a bike",
    "riding a horse", "catching a ball", "kicking a ball", "eating", "dancing", "sleeping", "surfing", "skiing",
    "skateboarding", "playing football", "playing guitar", "throwing a frisbee", "laughing", "talking", "drinking",
    "looking at the camera", "holding a child", "wearing a hat", "wearing sunglasses", "swinging", "fishing", "reading",
)  # fmt: skip


def caption_texts(data: Path) -> list[str]:
    """The 140,307 plain captions."""
    with gzip.open(data / "train" / "caption-text.txt.gz", "rt", encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def imagenet_names(data: Path) -> list[list[str]]:
    """The WordNet names of the 1,000 classes, in ILSVRC order (the table only; no photo is read for training)."""
    rows, _ = read_tar(data / "eval" / "imagenet-1000.tar")
    ordered = sorted(rows, key=lambda row: int(row[1]))
    return [[name.strip() for name in row[3].split(",")] for row in ordered]


def imagenet_synsets(data: Path) -> list[str]:
    rows, _ = read_tar(data / "eval" / "imagenet-1000.tar")
    return [row[2] for row in sorted(rows, key=lambda row: int(row[1]))]


def wordnet_names(repositories: Path) -> list[str]:
    """Every noun of words.txt (first name of each synset), lower case, short ones only."""
    root = "tiny-imagenet-200"
    files = dict(read_repository(repositories, "rangeetpan/IMagenet", "HEAD", f"{root}/words.txt"))
    names = set()
    for line in files[f"{root}/words.txt"].decode().splitlines():
        for name in line.split("\t")[1].split(",")[:2]:
            name = name.strip().lower()
            if len(name.split()) <= 3:
                names.add(name)
    return sorted(names)


def label_texts(set_name: str, text: str) -> list[str]:
    """Texts that are true of a labelled photo, by the set it is from; the first is the most telling."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        return []
    if set_name in CAPTIONED:
        return text.split(" | ")
    if set_name == "corel":
        joined = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
        return [f"a photo of {joined}", ", ".join(parts), *parts]
    if set_name == "pacs":
        kind = {"photo": "photo", "art painting": "painting", "cartoon": "cartoon", "sketch": "sketch"}[parts[1]]
        return [f"a {kind} of a {parts[0]}", f"{kind} of a {parts[0]}", parts[0]]
    if set_name == "scenes":
        return [f"a photo of {parts[0]}", parts[0], f"a view of the {parts[0]}"]
    return [template.format(parts[0]) for template in TEMPLATES[:4]]


def phrases(seed: int, count: int) -> list[str]:
    """Short made-up queries of the kind people type: "a red car", "two dogs at the beach", "child climbing"."""
    rng = random.Random(seed)
    out: dict[str, None] = dict.fromkeys([*SUBJECTS, *PLACES, *ACTIONS, *COLOURS])
    while len(out) < count:
        subject = rng.choice(SUBJECTS)
        if rng.random() < 0.4:
            subject = f"{rng.choice(COLOURS)} {subject}"
        kind = rng.random()
        text = subject if kind < 0.2 else f"{subject} {rng.choice(PLACES if kind < 0.65 else ACTIONS)}"
        if rng.random() < 0.15:
            text = f"{text} {rng.choice(PLACES)}"
        lead = rng.choice(("", "", "a ", "the ", "a photo of a ", "photo of "))
        out[lead + text] = None
    return list(out)


def words_of(captions: list[str], least: int) -> list[str]:
    """Single words and pairs of neighbouring words that occur at least `least` times: queries of one or two words."""
    counts: dict[str, int] = defaultdict(int)
    for caption in captions:
        tokens = [t for t in caption.lower().replace(".", " ").replace(",", " ").split() if t.isalpha()]
        for first, second in zip(tokens, [*tokens[1:], ""], strict=True):
            if len(first) > 2:
                counts[first] += 1
                if len(second) > 2:
                    counts[f"{first} {second}"] += 1
    return sorted(text for text, count in counts.items() if count >= least)
