"""The whole recipe in one command, each step skipped when its result is there:

python -m training.run --data DIR --repositories DIR --work DIR --config training/builtin.toml
"""

from __future__ import annotations

import argparse
import logging
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from training import export, photos, samples, space, teachers, text, texts, vision, vocabulary
from training.towers import TextSize, VisionSize

log = logging.getLogger(__name__)

STEPS = ("prepare", "vision", "text", "tune", "vision-again", "export")


def sentence_vectors(work: Path, name: str, wanted: list[str]) -> torch.Tensor:
    """MiniLM vectors (n, 384) float32 of `wanted`, computed once and kept as sentences/<name>.npy."""
    target = work / "sentences" / f"{name}.npy"
    return torch.from_numpy(np.asarray(teachers.compute_sentences(wanted, target))).float()


def class_sentences(data: Path, work: Path) -> torch.Tensor:
    """Mean MiniLM vector of each class's prompts, (1000, 384)."""
    prompts = [t.format(n[0]) for n in texts.imagenet_names(data) for t in texts.TEMPLATES[: texts.CLASS_PROMPTS]]
    return sentence_vectors(work, "classes", prompts).view(1000, texts.CLASS_PROMPTS, -1).mean(1)


def fit_space(config: dict[str, Any], data: Path, work: Path) -> space.Space:
    """Fit the joint space on the training photos (no dev row) of sets with texts; keep it as space.safetensors."""
    target = work / "space.safetensors"
    if target.exists():
        return space.Space.load(target)
    texts_seen: dict[str, int] = {}
    pair_photo: list[int] = []
    pair_text: list[int] = []
    features: list[np.ndarray] = []
    kept = 0
    for name in config["mix"]:
        rows = photos.load(name, work / "photos")[1]
        if not any(row[2] for row in rows):
            continue  # photos without texts would only move the mean
        train = [k for k, row in enumerate(rows) if row[1] == "train"]
        features.append(np.load(work / "teacher" / f"{name}.npy")[train])
        for place, k in enumerate(train):
            if name == "tiny-imagenet":
                break  # its labels come in through the classifier's probabilities
            captioned = name in photos.CAPTIONED
            for label in texts.label_texts(name, rows[k][2])[: 5 if captioned else 2]:
                for _ in range(2 if captioned else 1):
                    pair_photo.append(kept + place)
                    pair_text.append(texts_seen.setdefault(label, len(texts_seen)))
        kept += len(train)
    every = torch.from_numpy(np.concatenate(features))
    weight, bias = teachers.PhotoTeacher().classifier()
    probabilities = torch.cat([(part.float() @ weight.T + bias).softmax(1).half() for part in torch.split(every, 8192)])
    torch.manual_seed(config["seed"])
    fitted = space.fit(
        every, probabilities, torch.tensor(pair_photo), torch.tensor(pair_text),
        sentence_vectors(work, "pairs", list(texts_seen)),
        class_sentences(data, work), seed=config["seed"], **config["space"],
    )  # fmt: skip
    fitted.save(target)
    return fitted


def captions_of(work: Path, name: str, split: str) -> tuple[list[int], list[str]]:
    """Photo rows and captions of one split of a captioned set; a photo with several comes several times."""
    rows = photos.load(name, work / "photos")[1]
    pairs = [(k, text) for k, row in enumerate(rows) if row[1] == split and row[2] for text in row[2].split(" | ")]
    return [k for k, _ in pairs], [caption for _, caption in pairs]


def captioned_sets(config: dict[str, Any]) -> list[str]:
    return [name for name in config["mix"] if name in photos.CAPTIONED]


def make_check(fitted: space.Space, data: Path, work: Path) -> vision.Check:
    pictures = photos.load("flickr8k", work / "photos")[0]
    rows, captions = captions_of(work, "flickr8k", "dev")
    order = sorted(set(rows))
    place = {row: k for k, row in enumerate(order)}
    table, encoded = photos.read_tar(data / "eval" / "imagenet-1000.tar")
    even = [row for row in table if int(row[1]) % 2 == 0 and row[5] == "no"]
    return vision.Check(
        dev=np.asarray(pictures[order]),
        dev_text=fitted.text_vectors(sentence_vectors(work, "dev", captions)),
        dev_owner=torch.tensor([place[row] for row in rows]),
        classes=np.stack([photos.squashed(encoded[row[0]], 192) for row in even]),
        class_index=torch.tensor([int(row[1]) for row in even]),
        class_vectors=fitted.classes,
    )


def make_bank(config: dict[str, Any], fitted: space.Space, work: Path) -> vision.Bank:
    captions = [caption for name in captioned_sets(config) for caption in captions_of(work, name, "train")[1]]
    return vision.Bank(fitted.text_vectors(sentence_vectors(work, "train", captions)), fitted.classes)


def prepare(config: dict[str, Any], data: Path, repositories: Path, work: Path) -> None:
    """Decode all photos and compute all teacher features that the config names."""
    names = ("flickr8k-whole-dev", *config["mix"])
    for name in names:
        photos.prepare(name, data, repositories, work / "photos")
    missing = [name for name in names if not (work / "teacher" / f"{name}.npy").exists()]
    if missing:
        engine = teachers.PhotoTeacherEngine()
        for name in missing:
            teachers.compute_features(name, work, engine)


def place_captions(
    config: dict[str, Any], work: Path, sets: list[samples.PhotoSet], bank: vision.Bank, check: vision.Check
) -> None:
    """Tell the sets, the bank and the check where the tuned text tower places the captions."""
    first, every = 0, []
    for source in sets:
        if source.name in captioned_sets(config):
            rows, captions = captions_of(work, source.name, "train")
            for place, row in enumerate(rows, start=first):
                source.captions.setdefault(row, []).append(place)
            first += len(rows)
            every += captions
    tokenizer = Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))
    size = text_size(config, tokenizer)
    tower = text.TextStudent(size, bank.captions.shape[1])
    tower.load_state_dict(load_file(work / "tuned" / "weights.safetensors"))
    dev = captions_of(work, "flickr8k", "dev")[1]
    for_bank, for_check = (text.embed_texts(tower, tokenizer, some, size.eos_token_id) for some in (every, dev))
    bank.tuned_captions, check.tuned_text = for_bank.clone(), for_check.clone()  # out of inference mode


def train_vision(config: dict[str, Any], data: Path, work: Path, start: Path | None, *, again: bool = False) -> Path:
    """The vision tower, up to the first tuning, or `again` after it."""
    fitted = fit_space(config, data, work)
    sets = [samples.open_set(name, work, share) for name, share in config["mix"].items()]
    log.info("sets: %s", {s.name: len(s.train_rows) for s in sets})
    synset_class = {synset: k for k, synset in enumerate(texts.imagenet_synsets(data))}
    settings = dict(config["vision"])
    size = VisionSize(**settings.pop("size"))
    phases = [vision.Phase(**phase) for phase in settings.pop("phases") + (config["again"]["phases"] if again else [])]
    bank, check = make_bank(config, fitted, work), make_check(fitted, data, work)
    if again:
        place_captions(config, work, sets, bank, check)
    return vision.train(
        size, fitted, sets, bank, check,
        teachers.PhotoTeacherEngine(), synset_class, phases, work / "vision",
        seed=config["seed"], start=start, **settings,
    )  # fmt: skip


def make_lessons(
    config: dict[str, Any], fitted: space.Space, data: Path, repositories: Path, work: Path
) -> text.Lessons:
    """All texts of the text tower with their places in the joint space, in groups."""
    captions = texts.caption_texts(data)
    names = texts.imagenet_names(data)
    prompts = [(k, t.format(name)) for k, some in enumerate(names) for name in some for t in texts.TEMPLATES]
    labels = {
        label
        for name in ("corel", "caltech", "pacs", "scenes")
        for row in photos.load(name, work / "photos")[1]
        for label in texts.label_texts(name, row[2])
    }
    others = [name for name in captioned_sets(config) if name != "flickr8k"]  # whose captions are among those above
    groups = {
        "captions": captions,
        "more-captions": [caption for name in others for caption in captions_of(work, name, "train")[1]],
        "prompts": [prompt for _, prompt in prompts],
        "phrases": texts.phrases(config["seed"], 25_000) + sorted(labels),
        "words": texts.words_of(captions, 8),
        "wordnet": texts.wordnet_names(repositories),
    }
    every: list[str] = []
    edges: dict[str, tuple[int, int, float]] = {}
    targets: list[torch.Tensor] = []
    for name, group in groups.items():
        log.info("texts: %s %d", name, len(group))
        vectors = sentence_vectors(work, f"text-{name}", group)
        if name == "prompts":
            offsets = fitted.class_offset[torch.tensor([k for k, _ in prompts])]
            placed = torch.nn.functional.normalize(vectors @ fitted.text + offsets, dim=1)
        else:
            placed = fitted.text_vectors(vectors)
        edges[name] = (len(every), len(every) + len(group), config["text"]["shares"][name])
        every += group
        targets.append(placed.half())
    return text.Lessons(every, torch.cat(targets), edges)


def train_text(config: dict[str, Any], data: Path, repositories: Path, work: Path) -> Path:
    """Vocabulary and text tower, against the photo teacher's vectors."""
    fitted = fit_space(config, data, work)
    lessons = make_lessons(config, fitted, data, repositories, work)
    folder = work / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        vocabulary.build(lessons.texts, config["vocabulary"]["size"], folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = dict(config["text"])
    settings.pop("shares")
    size = text_size(config, tokenizer)
    settings.pop("size")
    rows, captions = captions_of(work, "flickr8k", "dev")
    order = sorted(set(rows))
    features = {name: torch.from_numpy(np.load(work / "teacher" / f"{name}.npy")) for name in captioned_sets(config)}
    bank = [features[name][sorted(set(captions_of(work, name, "train")[0]))] for name in features]
    return text.train(
        size, tokenizer, lessons, fitted.photo_vectors(torch.cat(bank)), fitted.scale.item(), work / "text",
        seed=config["seed"],
        dev_texts=captions, dev_owner=torch.tensor([order.index(row) for row in rows]),
        dev_photos=fitted.photo_vectors(features["flickr8k"][order]),
        **settings,
    )  # fmt: skip


def averaged_tower(config: dict[str, Any], fitted: space.Space, work: Path) -> vision.Student:
    """The vision tower as `vision` left it."""
    student = vision.Student(VisionSize(**config["vision"]["size"]), fitted.photo.shape[1], fitted.components.shape[1])
    student.load_state_dict(load_file(work / "vision" / "averaged.safetensors"))
    return student


def measure_sides(config: dict[str, Any], data: Path, work: Path, sides: list[int]) -> None:
    """What that tower finds on dev with pictures of these sides, whatever it was trained with."""
    fitted = fit_space(config, data, work)
    check, student = make_check(fitted, data, work), averaged_tower(config, fitted, work)
    for side in sides:
        log.info("measure: side %d, %s", side, vision.measure(student, check, side))


def class_pairs(config: dict[str, Any], data: Path, work: Path, student: vision.Student) -> text.ClassPairs:
    """Training photos of which the photo teacher is sure, as the locked tower sees them, up to 40 a class."""
    side = config["export"]["side"]
    weight, bias = teachers.PhotoTeacher().classifier()
    seen: list[torch.Tensor] = []
    probabilities: list[torch.Tensor] = []
    held: dict[int, int] = {}
    for name in ("coco", "flickr8k", "caltech", "corel", "tiny-imagenet"):
        pictures, rows = photos.load(name, work / "photos")
        train = np.array([k for k, row in enumerate(rows) if row[1] == "train"])
        np.random.default_rng(config["seed"]).shuffle(train)
        features = torch.from_numpy(np.load(work / "teacher" / f"{name}.npy")[train]).float()
        likely = (features @ weight.T + bias).softmax(1)
        chosen = []
        for k, (p, c) in enumerate(zip(*likely.max(1), strict=True)):
            if p > 0.5 and held.get(int(c), 0) < 40:
                held[int(c)] = held.get(int(c), 0) + 1
                chosen.append(k)
        order = np.sort(np.array(chosen))
        log.info("classes: %s %d photos", name, len(order))
        for first in range(0, len(order), 1000):
            part = order[first : first + 1000]
            seen.append(vision.embed(student, np.stack([pictures[train[k]] for k in part]), side))
        probabilities.append(likely[order].half())
    every = torch.cat(probabilities)
    best = every.float().argmax(1).numpy()
    rows_of = {int(c): np.flatnonzero(best == c) for c in np.unique(best)}
    log.info("classes: %d with photos, %d photos", len(rows_of), len(best))
    prompts = [[t.format(n) for n in names for t in texts.TEMPLATES] for names in texts.imagenet_names(data)]
    return text.ClassPairs(torch.cat(seen).clone(), every, rows_of, prompts)


def seen_pairs(work: Path, name: str, split: str, student: vision.Student, side: int) -> text.Pairs:
    """The captions of a set with its photos as the locked tower sees them."""
    pictures = photos.load(name, work / "photos")[0]
    rows, captions = captions_of(work, name, split)
    order = sorted(set(rows))
    place = {row: k for k, row in enumerate(order)}
    parts = [vision.embed(student, pictures[order[k : k + 1000]], side) for k in range(0, len(order), 1000)]
    return text.Pairs(captions, torch.tensor([place[row] for row in rows]), torch.cat(parts).clone())


def joined(sets: list[text.Pairs]) -> text.Pairs:
    """The pairs of several sets as those of one."""
    starts = np.cumsum([0, *(len(pairs.photos) for pairs in sets)])
    return text.Pairs(
        [caption for pairs in sets for caption in pairs.captions],
        torch.cat([pairs.owner + int(start) for pairs, start in zip(sets, starts[:-1], strict=True)]),
        torch.cat([pairs.photos for pairs in sets]),
    )


def tune_text(config: dict[str, Any], data: Path, repositories: Path, work: Path) -> Path:
    """LiT: the vision tower is locked; the text tower keeps its lessons and learns what that tower sees.

    Once for each of `classes_weights`; the mean of what they learn is kept (model soups, Wortsman et al. 2022).
    """
    fitted = fit_space(config, data, work)
    tokenizer = Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))
    side = config["export"]["side"]
    student = averaged_tower(config, fitted, work)
    pairs = joined([seen_pairs(work, name, "train", student, side) for name in captioned_sets(config)])
    dev = seen_pairs(work, "flickr8k", "dev", student, side)
    settings = {k: v for k, v in config["text"].items() if k not in ("shares", "size", "steps", "lr")}
    tuning = dict(config["tune"])
    classes_weights = tuning.pop("classes_weights")
    lessons = make_lessons(config, fitted, data, repositories, work)
    classes = class_pairs(config, data, work, student) if any(classes_weights) else None
    found = [
        load_file(text.train(
            text_size(config, tokenizer), tokenizer, lessons, pairs.photos, fitted.scale.item(),
            work / f"tuned-{weight:g}", seed=config["seed"],
            dev_texts=dev.captions, dev_owner=dev.owner, dev_photos=dev.photos,
            start=work / "text" / "weights.safetensors", pairs=pairs,
            classes=classes if weight else None, classes_weight=weight, **tuning, **settings,
        ))
        for weight in classes_weights
    ]  # fmt: skip
    mean = {name: torch.stack([weights[name] for weights in found]).mean(0) for name in found[0]}
    (work / "tuned").mkdir(exist_ok=True)
    save_file(mean, work / "tuned" / "weights.safetensors")
    return work / "tuned" / "weights.safetensors"


def export_checkpoint(config: dict[str, Any], data: Path, work: Path, folder: Path) -> None:
    """Write the averaged vision tower and the newest text tower as a checkpoint folder."""
    tokenizer = Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))
    tuned, plain = work / "tuned" / "weights.safetensors", work / "text" / "weights.safetensors"
    digest = export.export(
        work / "vision" / "averaged.safetensors", tuned if tuned.exists() else plain, work / "tokenizer",
        VisionSize(**config["vision"]["size"]), text_size(config, tokenizer), config["export"]["side"],
        fit_space(config, data, work).scale.item(), folder,
    )  # fmt: skip
    log.info("exported %s, SHA-256 of model.safetensors %s", folder, digest)


def text_size(config: dict[str, Any], tokenizer: Tokenizer) -> TextSize:
    return TextSize(
        **config["text"]["size"], vocab_size=tokenizer.get_vocab_size(),
        eos_token_id=tokenizer.token_to_id(vocabulary.END) or 0,
        max_position_embeddings=vocabulary.CONTEXT,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and eval/ (the tars)")
    parser.add_argument("--repositories", type=Path, required=True, help="folder with clones named owner+name")
    parser.add_argument("--work", type=Path, required=True, help="folder for arrays, features, states and logs")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("builtin.toml"))
    parser.add_argument(
        "--start", type=Path, help="weights (safetensors) to begin from when there is no state to resume"
    )
    parser.add_argument("--threads", type=int, help="instead of the config's: one where other work shares the cores")
    parser.add_argument("--export", type=Path, help="folder of the checkpoint to write; WORK/checkpoint if not given")
    parser.add_argument("--step", choices=[*STEPS, "measure"], help="only this step")
    parser.add_argument("--sides", type=int, nargs="+", help="of pictures, for the step measure")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s",
        handlers=[logging.StreamHandler(), logging.FileHandler(options.work / "training.log")],
    )  # fmt: skip
    config = tomllib.loads(options.config.read_text(encoding="utf-8"))
    torch.set_num_threads(options.threads or config["threads"])
    steps = [options.step] if options.step else STEPS
    if "prepare" in steps:
        prepare(config, options.data, options.repositories, options.work)
    if "vision" in steps:
        train_vision(config, options.data, options.work, options.start)
    if "measure" in steps:
        measure_sides(config, options.data, options.work, options.sides or [config["export"]["side"]])
    if "text" in steps:
        train_text(config, options.data, options.repositories, options.work)
    if "tune" in steps:
        tune_text(config, options.data, options.repositories, options.work)
    if "vision-again" in steps:
        train_vision(config, options.data, options.work, options.start, again=True)
    if "export" in steps:
        export_checkpoint(config, options.data, options.work, options.export or options.work / "checkpoint")


if __name__ == "__main__":
    main()
