"""Engines side by side: pictures a second, and the time from a cold start to one query's vector.

    python bench/engines.py --size small large --work engines-work

makes random checkpoints of the built-in model's size and of AIMv2-large's (1.7 GB), and runs every engine that
is installed: NumPy, OpenVINO (float32, bfloat16, int8), torch through transformers' classes (float32, bfloat16), and
ONNX Runtime on a graph built here the same way, for the decision in docs/decisions/0010. Beside them the plain
loop of transformers' documentation, one picture at a time. Speeds are the best of the repeats; cosines are the
worst picture's or text's against NumPy in float32. With --checkpoint FOLDER that checkpoint is measured instead.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoseek.aimv2 import Checkpoint, load_text_tower, load_vision_tower, open_checkpoint
from photoseek.aimv2.layout import Parameters
from photoseek.aimv2.numpy_engine import embed_tokens, end_positions
from photoseek.aimv2.patches import patch_matrix, patchify
from photoseek.aimv2.sizes import BlockSizes

QUERY = "a red car in the snow"

SIZES = {
    "small": {
        "vision": {"width": 256, "mlp": 704, "layers": 8, "heads": 4, "image_size": 128, "patch_size": 16},
        "text": {"width": 256, "mlp": 704, "layers": 5, "heads": 4},
    },
    "large": {
        "vision": {"width": 1024, "mlp": 2816, "layers": 24, "heads": 8, "image_size": 224, "patch_size": 14},
        "text": {"width": 768, "mlp": 2048, "layers": 12, "heads": 6},
    },
}

ENGINES = [
    ("numpy", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
    ("onnxruntime", "float32"),
    ("torch", "float32"),
    ("torch", "bfloat16"),
]


class OnnxGraph:
    """A tower for ONNX Runtime, built from the checkpoint's tensors; weights are shared, not serialised."""

    def __init__(self, parameters: Parameters, sizes: BlockSizes) -> None:
        self.parameters, self.sizes = parameters, sizes
        self.nodes: list[Any] = []
        self.stubs: list[Any] = []
        self.values: dict[str, NDArray[Any]] = {}

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: NDArray[Any] | list[int]) -> str:
        """Name of an initialiser; the data of a large one stays outside the protobuf."""
        from onnx import TensorProto, helper, numpy_helper

        array = np.ascontiguousarray(value)
        name = f"c{len(self.stubs)}"
        if array.size < 64:  # shape inference wants to read these
            self.stubs.append(numpy_helper.from_array(array, name))
            return name
        stub = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
        stub.data_location = TensorProto.EXTERNAL
        stub.external_data.add(key="location", value="shared")
        self.stubs.append(stub)
        self.values[name] = array
        return name

    def linear(self, x: str, name: str) -> str:
        return self.add("MatMul", x, self.constant(self.parameters.read(f"{name}.weight").T))

    def norm(self, x: str, name: str) -> str:
        square = self.add("ReduceMean", self.add("Mul", x, x), self.constant([-1]), keepdims=1)
        root = self.add("Sqrt", self.add("Add", square, self.constant(np.array([self.sizes.eps], np.float32))))
        return self.add("Mul", self.add("Div", x, root), self.constant(self.parameters.read(f"{name}.weight")))

    def heads(self, x: str) -> str:
        size = self.sizes.width // self.sizes.heads
        split = self.add("Reshape", x, self.constant([0, 0, self.sizes.heads, size]))
        return self.add("Transpose", split, perm=[0, 2, 1, 3])

    def blocks(self, x: str, tower: str, mask: str | None) -> str:
        scale = self.constant(np.array([(self.sizes.width // self.sizes.heads) ** -0.5], np.float32))
        for layer in range(self.sizes.layers):
            prefix = f"{tower}.encoder.layers.{layer}"
            y = self.norm(x, f"{prefix}.rms_norm1")
            query, key, value = (self.heads(self.linear(y, f"{prefix}.attention.{part}_proj")) for part in "qkv")
            logits = self.add("MatMul", self.add("Mul", query, scale), self.add("Transpose", key, perm=[0, 1, 3, 2]))
            logits = self.add("Add", logits, mask) if mask else logits
            mixed = self.add("MatMul", self.add("Softmax", logits, axis=-1), value)
            joined = self.add("Transpose", mixed, perm=[0, 2, 1, 3])
            joined = self.add("Reshape", joined, self.constant([0, 0, self.sizes.width]))
            x = self.add("Add", x, self.linear(joined, f"{prefix}.attention.out_proj"))
            y = self.norm(x, f"{prefix}.rms_norm2")
            gate, up = (self.linear(y, f"{prefix}.ffn.{part}_proj") for part in ("gate", "up"))
            gated = self.add("Mul", self.add("Mul", gate, self.add("Sigmoid", gate)), up)
            x = self.add("Add", x, self.linear(gated, f"{prefix}.ffn.down_proj"))
        return self.norm(x, f"{tower}.rms_norm")

    def session(self, output: str, inputs: dict[str, int], threads: int | None) -> Any:
        """Inputs by name with their rank, all float32 and of any size."""
        import onnxruntime
        from onnx import TensorProto, helper

        made = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}{n}" for n in range(rank)])
            for name, rank in inputs.items()
        ]
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "tower", made, [result], self.stubs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        options = onnxruntime.SessionOptions()
        if threads:
            options.intra_op_num_threads = threads
        shared = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in self.values.values()]
        options.add_external_initializers(list(self.values), shared)
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def onnx_vision(checkpoint: Checkpoint, threads: int | None) -> Callable[[list[Any]], NDArray[np.float32]]:
    """encode(pictures) -> unit vectors, of a tower with a fixed size and no head."""
    sizes, parameters = checkpoint.vision, checkpoint.parameters()
    assert sizes is not None
    assert not sizes.has_head
    graph, tower = OnnxGraph(parameters, sizes), "vision_model"
    x = graph.add(
        "MatMul", "x", graph.constant(patch_matrix(parameters.read(f"{tower}.embeddings.patch_embed.weight")).T)
    )
    x = graph.add("Add", x, graph.constant(parameters.read(f"{tower}.embeddings.patch_embed.bias")))
    x = graph.norm(x, f"{tower}.embeddings.rms_norm")
    x = graph.add("Add", x, graph.constant(parameters.read(f"{tower}.embeddings.position_embedding.weight")))
    pooled = graph.add("ReduceMean", graph.blocks(x, tower, None), graph.constant([1]), keepdims=0)
    session = graph.session(pooled, {"x": 3}, threads)

    def encode(pictures: list[Any]) -> NDArray[np.float32]:
        rows = []
        for start in range(0, len(pictures), 8):
            patches = patchify(np.stack(pictures[start : start + 8]), sizes.patch)
            pixels = checkpoint.preprocessing.normalise(patches.reshape(len(patches), -1, 3))
            rows.append(session.run(None, {"x": pixels.reshape(patches.shape)})[0])
        return unit(np.concatenate(rows))

    return encode


def onnx_text(checkpoint: Checkpoint, threads: int | None) -> Callable[[list[str]], NDArray[np.float32]]:
    """encode(texts) -> unit vectors, one text at a time."""
    from photoseek.aimv2.choice import read_tokenizer

    sizes, parameters = checkpoint.text, checkpoint.parameters()
    assert sizes is not None
    tokenizer = read_tokenizer(checkpoint, sizes)
    graph = OnnxGraph(parameters, sizes)
    session = graph.session(graph.blocks("x", "text_model", "mask"), {"x": 3, "mask": 2}, threads)

    def encode(texts: list[str]) -> NDArray[np.float32]:
        rows = []
        for ids in tokenizer.encode(texts):
            row = np.array([ids], dtype=np.int64)
            mask = np.triu(np.full((len(ids), len(ids)), -np.inf, np.float32), k=1)
            states = session.run(None, {"x": embed_tokens(parameters, row), "mask": mask})[0]
            rows.append(states[0, end_positions(row, sizes.end_token)[0]])
        return unit(np.array(rows))

    return encode


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


def encoder(checkpoint: Checkpoint, engine: str, precision: str, threads: int | None, *, text: bool) -> Any:
    """encode(inputs) of one engine."""
    if engine == "onnxruntime":
        return (onnx_text if text else onnx_vision)(checkpoint, threads)
    load: Any = load_text_tower if text else load_vision_tower
    return load(checkpoint, engine=engine, device="cpu", precision=precision, threads=threads).encode


def installed() -> Iterator[tuple[str, str]]:
    for engine, precision in ENGINES:
        needed = {"onnxruntime": ["onnxruntime", "onnx"], "torch": ["torch", "transformers"], "numpy": []}
        if all(importlib.util.find_spec(package) for package in needed.get(engine, [engine])):
            yield engine, precision


def measure_vision(folder: Path, count: int, repeats: int, threads: int | None) -> list[dict[str, Any]]:
    """Rate of each engine on `count` random pictures, and of transformers' plain loop."""
    checkpoint = open_checkpoint(folder)
    assert checkpoint.vision is not None
    side = checkpoint.vision.image or 448
    pictures = list(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))
    exact = encoder(checkpoint, "numpy", "float32", threads, text=False)(pictures)
    rows = []
    for engine, precision in installed():
        if engine == "onnxruntime" and checkpoint.vision.has_head:
            continue
        started = time.perf_counter()
        encode = encoder(checkpoint, engine, precision, threads, text=False)
        encode(pictures[:1])
        ready = time.perf_counter() - started
        best, vectors = fastest(lambda encode=encode: encode(pictures), repeats)
        cosine = float((vectors * exact).sum(axis=1).min())
        rows.append(
            {"engine": engine, "precision": precision, "rate": count / best, "ready_s": ready, "cosine": cosine}
        )
    if importlib.util.find_spec("transformers"):
        rows.append(plain_loop(checkpoint, pictures, exact, repeats, threads))
    return rows


def plain_loop(
    checkpoint: Checkpoint, pictures: list[Any], exact: NDArray[np.float32], repeats: int, threads: int | None
) -> dict[str, Any]:
    """transformers as its documentation shows it: float32, one picture at a time, its image processor."""
    import torch
    import transformers
    from PIL import Image

    from photoseek.aimv2.torch_engine import vision_model

    if threads:
        torch.set_num_threads(threads)
    started = time.perf_counter()
    model = vision_model(checkpoint, checkpoint.parameters())
    processor = transformers.CLIPImageProcessorPil.from_pretrained(checkpoint.folder)
    ready = time.perf_counter() - started

    def loop() -> NDArray[np.float32]:
        rows = []
        with torch.inference_mode():
            for picture in pictures:
                inputs = processor(images=Image.fromarray(picture), return_tensors="pt")
                states = model(**inputs)
                pooled = states.pooler_output if checkpoint.vision.has_head else states.last_hidden_state.mean(dim=1)  # type: ignore[union-attr]
                rows.append(pooled.flatten().numpy())
        return unit(np.array(rows))

    best, vectors = fastest(loop, repeats)
    same = checkpoint.projection_dim is None
    cosine = float((vectors * exact).sum(axis=1).min()) if same else float("nan")
    return {
        "engine": "transformers loop",
        "precision": "float32",
        "rate": len(pictures) / best,
        "ready_s": ready,
        "cosine": cosine,
    }


def fastest(work: Callable[[], NDArray[np.float32]], repeats: int) -> tuple[float, NDArray[np.float32]]:
    """Best wall time of the repeats, and the last result."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - started)
    return best, result


def measure_query(folder: Path, repeats: int, threads: int | None) -> list[dict[str, Any]]:
    """Cold start to one query's vector, a process each, the engines taking turns; `import torch` beside them."""
    wanted = [("python, nothing else", ""), ("import torch", "")]
    wanted = [row for row in wanted if "torch" not in row[0] or importlib.util.find_spec("torch")]
    wanted += list(installed())
    times: dict[tuple[str, str], list[float]] = {row: [] for row in wanted}
    results: dict[tuple[str, str], dict[str, Any]] = {}
    for _ in range(repeats):
        for row in wanted:
            command = [sys.executable, __file__, "--one-query", *row, "--checkpoint", str(folder)]
            command += ["--threads", str(threads)] if threads else []
            if not row[1]:
                command = [sys.executable, "-c", "import torch" if "torch" in row[0] else "pass"]
            started = time.perf_counter()
            answer = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stdout
            times[row].append(time.perf_counter() - started)
            results[row] = json.loads(answer) if answer.strip() else {}
    exact = np.array(results["numpy", "float32"]["vector"])
    return [
        {
            "engine": engine,
            "precision": precision,
            "cold_s": min(times[engine, precision]),
            "warm_ms": results[engine, precision].get("warm_ms"),
            "cosine": float(exact @ np.array(results[engine, precision]["vector"])) if precision else None,
        }
        for engine, precision in wanted
    ]


def one_query(folder: Path, engine: str, precision: str, threads: int | None) -> None:
    """What a cold process does; prints the vector and the time of the same query once warm."""
    encode = encoder(open_checkpoint(folder), engine, precision, threads, text=True)
    vector = encode([QUERY])[0]
    # The parent's clock stops when this process ends: the warm repeats are few and short.
    warm, _ = fastest(lambda: encode([QUERY]), 2)
    print(json.dumps({"vector": vector.tolist(), "warm_ms": 1000 * warm}))


def random_checkpoint(work: Path, size: str, tower: str) -> Path:
    """A random checkpoint with one tower, made once."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from checkpoints import make_checkpoint

    folder = work / f"{size}-{tower}"
    if not (folder / "tokenizer.json").is_file() and not (folder / "preprocessor_config.json").is_file():
        make_checkpoint(folder, text=tower == "text", vision=tower == "vision", head=False, **SIZES[size][tower])
    return folder


def table(title: str, rows: list[dict[str, Any]]) -> str:
    lines = [f"\n{title}\n", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        lines.append("| " + " | ".join(cell(*item) for item in row.items()) + " |")
    return "\n".join(lines)


def cell(name: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.6f}" if name == "cosine" else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, default=Path("engines-work"), help="where random checkpoints are made")
    parser.add_argument("--size", nargs="+", choices=SIZES, default=["small"])
    parser.add_argument("--checkpoint", type=Path, help="measure this folder instead of random checkpoints")
    parser.add_argument("--pictures", type=int, help="default: 8 for large, 64 otherwise")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", choices=["vision", "query"])
    parser.add_argument("--one-query", nargs=2, metavar=("ENGINE", "PRECISION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_query:
        return one_query(options.checkpoint, *options.one_query, options.threads)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for size in [str(options.checkpoint)] if options.checkpoint else options.size:
        count = options.pictures or (8 if size == "large" else 64)
        vision, text = (
            options.checkpoint or random_checkpoint(options.work, size, part) for part in ("vision", "text")
        )
        if options.only != "query":
            rows = measure_vision(vision, count, options.repeats, options.threads)
            print(table(f"{size}: {count} pictures, pictures a second", rows))
        if options.only != "vision":
            print(table(f"{size}: one query from a cold start", measure_query(text, options.repeats, options.threads)))
    return None


if __name__ == "__main__":
    main()
