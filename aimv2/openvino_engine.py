"""Both towers as OpenVINO graphs, built straight from a checkpoint's tensors; no torch, no exported model.

The fastest engine for pictures on a CPU: float32 at the processor's peak, bfloat16 where it has the hardware
(AVX512-BF16, AMX), and 8-bit integers (AVX512-VNNI, AMX): weights rounded when the graph is built, activations as they
come, both in groups with a scale each. The package brings a module that reports its own import over the network; it is
kept from loading (`import_openvino`).
"""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from photoseek.aimv2.checkpoint import Checkpoint
from photoseek.aimv2.layout import Parameters
from photoseek.aimv2.numpy_engine import embed_tokens, end_positions
from photoseek.aimv2.patches import patch_matrix, patchify, sincos_positions
from photoseek.aimv2.sizes import BlockSizes, TextSizes, VisionSizes

Node: TypeAlias = Any
"""A node of an OpenVINO graph, or one of its outputs."""

REPORTING_MODULE = "openvino.tools.ovc"
INT8_GROUP = 256
"""So many numbers in a row share a scale. Measured on AIMv2-large (AMD Zen 4): 4.1 pictures a second with 256, 3.9 with
128, 3.5 with 64, 2.2 with one scale for a whole row; bfloat16 2.5."""


@functools.cache
def import_openvino() -> Any:
    """The module openvino, without the model converter, whose import sends a usage event over the network.

    openvino's own __init__ tries to import the converter and does without it when that fails; a None in
    sys.modules makes it fail. The entry is removed at once, so that an app may import the converter itself.
    Where an app has imported openvino before, nothing changes.
    """
    if "openvino" in sys.modules or REPORTING_MODULE in sys.modules:
        import openvino

        return openvino
    sys.modules[REPORTING_MODULE] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        del sys.modules[REPORTING_MODULE]
    return openvino


class OpenVinoVision:
    """A vision tower with its projection. Threads may share one; they take turns.

    Args:
        precision: "float32", "bfloat16" or "int8"; weights, too, are rounded to it. In "int8" that is the products with
            the blocks' weights, which are nearly all of the work; the rest is bfloat16, or float32 without hardware.
        threads: how many the computation may use; None for all cores.
    """

    name, device = "openvino", "cpu"
    tokens_per_batch, batches_at_once = 2048, 1

    def __init__(
        self, checkpoint: Checkpoint, sizes: VisionSizes, *, precision: str = "float32", threads: int | None = None
    ) -> None:
        self.sizes, self.precision = sizes, precision
        graph = Graph(checkpoint.parameters(), sizes, precision)
        self._compiled = Compiled(graph.vision(checkpoint, sizes), precision, threads)

    def run(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed pictures of one shape, (batch, height, width, 3) uint8; returns (batch, dim), any length."""
        patches = patchify(pictures, self.sizes.patch)
        if not self.sizes.native:
            return self._compiled.run(patches)
        rows, columns = (side // self.sizes.patch for side in pictures.shape[1:3])
        return self._compiled.run(patches, sincos_positions(rows, columns, self.sizes.width))


class OpenVinoText:
    """A text tower with its projection. Threads may share one; they take turns. Arguments as for OpenVinoVision.

    Token embeddings are looked up outside the graph, so that the table, a third of the weights, stays on disk.
    """

    name, device = "openvino", "cpu"
    tokens_per_batch = 2048

    def __init__(
        self, checkpoint: Checkpoint, sizes: TextSizes, *, precision: str = "float32", threads: int | None = None
    ) -> None:
        self.sizes, self.precision = sizes, precision
        self._parameters = checkpoint.parameters()
        self._compiled = Compiled(Graph(self._parameters, sizes, precision).text(sizes), precision, threads)

    def run(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embed texts of one length, (batch, tokens); returns (batch, dim), any length."""
        ends = end_positions(token_ids, self.sizes.end_token)
        return self._compiled.run(embed_tokens(self._parameters, token_ids), ends)


class Compiled:
    """A graph compiled for the CPU.

    The precision is always stated: left alone, OpenVINO takes bfloat16 wherever the processor has it.
    """

    def __init__(self, model: Any, precision: str, threads: int | None) -> None:
        core = import_openvino().Core()
        short = precision == "bfloat16" or (precision == "int8" and has_bfloat16(core))
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if short else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if precision == "int8":
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = INT8_GROUP
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        self._turn = threading.Lock()

    def run(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Run once and copy the only output, which the next run would overwrite."""
        with self._turn:
            output = self._request.infer(list(inputs), share_inputs=True)[0]
            result: NDArray[np.float32] = np.array(output, dtype=np.float32)
        return result


def has_bfloat16(core: Any) -> bool:
    """Whether the processor computes in bfloat16 by hardware."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class Graph:
    """Builds the graph of one tower; every method adds nodes and returns the last of them."""

    def __init__(self, parameters: Parameters, sizes: BlockSizes, precision: str) -> None:
        self.openvino = import_openvino()
        from openvino import opset13

        self.op = opset13
        self.parameters, self.sizes = parameters, sizes
        self.block_weight = self.int8_weight if precision == "int8" else self.weight

    def vision(self, checkpoint: Checkpoint, sizes: VisionSizes) -> Any:
        """Model: patches uint8 (batch, patches, patch * patch * 3) and, if native, positions (patches, width)
        to (batch, dim)."""
        op, tower = self.op, "vision_model"
        count = -1 if sizes.image is None else (sizes.image // sizes.patch) ** 2
        patches = op.parameter([-1, count, 3 * sizes.patch**2], self.openvino.Type.u8)
        scale, shift = (np.tile(part, sizes.patch**2) for part in checkpoint.preprocessing.affine())
        x = op.add(op.multiply(op.convert(patches, "f32"), scale), shift)
        kernel = patch_matrix(self.parameters.read(f"{tower}.embeddings.patch_embed.weight"))
        x = self.product(x, self.weight(kernel), f"{tower}.embeddings.patch_embed")
        x = self.rms_norm(x, f"{tower}.embeddings.rms_norm")
        inputs = [patches]
        if sizes.native:
            inputs.append(op.parameter([-1, sizes.width], self.openvino.Type.f32))
            x = op.add(x, inputs[1])
        else:
            x = op.add(x, self.constant(f"{tower}.embeddings.position_embedding.weight"))
        x = self.blocks(x, tower, causal=False)
        x = self.head(x) if sizes.has_head else op.reduce_mean(x, np.array([1]), keep_dims=False)
        return self.model(self.project(x, "visual_projection"), inputs)

    def text(self, sizes: TextSizes) -> Any:
        """Model: embedded tokens (batch, tokens, width) and end positions (batch,) int64 to (batch, dim)."""
        op = self.op
        embedded = op.parameter([-1, -1, sizes.width], self.openvino.Type.f32)
        ends = op.parameter([-1], self.openvino.Type.i64)
        x = self.blocks(embedded, "text_model", causal=True)
        # One index for each text, along its tokens.
        x = op.gather(x, op.unsqueeze(ends, np.array([1])), np.array(1), batch_dims=1)
        x = op.squeeze(x, np.array([1]))
        return self.model(self.project(x, "text_projection"), [embedded, ends])

    def blocks(self, x: Node, tower: str, *, causal: bool) -> Node:
        op = self.op
        for layer in range(self.sizes.layers):
            prefix = f"{tower}.encoder.layers.{layer}"
            y = self.rms_norm(x, f"{prefix}.rms_norm1")
            query, key, value = (self.heads(self.block_linear(y, f"{prefix}.attention.{part}_proj")) for part in "qkv")
            mixed = op.scaled_dot_product_attention(query, key, value, causal=causal)
            x = op.add(x, self.block_linear(self.merged(mixed), f"{prefix}.attention.out_proj"))
            y = self.rms_norm(x, f"{prefix}.rms_norm2")
            gate, up = (self.block_linear(y, f"{prefix}.ffn.{part}_proj") for part in ("gate", "up"))
            x = op.add(x, self.block_linear(op.multiply(op.swish(gate), up), f"{prefix}.ffn.down_proj"))
        return self.rms_norm(x, f"{tower}.rms_norm")

    def head(self, x: Node) -> Node:
        """Attention pooling with one learned query: (batch, patches, width) to (batch, width)."""
        op, name, heads = self.op, "vision_model.head", self.sizes.heads
        head_width = self.sizes.width // heads
        query = self.parameters.read(f"{name}.cls_token").reshape(1, heads, 1, head_width)
        key, value = (self.heads(self.linear(x, f"{name}.{part}_proj")) for part in "kv")
        logits = op.matmul(op.constant(query * np.float32(head_width**-0.5)), key, False, True)
        mixed = op.matmul(op.softmax(logits, axis=-1), value, False, False)  # (batch, heads, 1, head width)
        return self.linear(op.squeeze(self.merged(mixed), np.array([1])), f"{name}.output_proj")

    def project(self, x: Node, name: str) -> Node:
        return self.linear(x, name) if f"{name}.weight" in self.parameters else x

    def linear(self, x: Node, name: str) -> Node:
        return self.product(x, self.weight(self.parameters.read(f"{name}.weight")), name)

    def block_linear(self, x: Node, name: str) -> Node:
        return self.product(x, self.block_weight(self.parameters.read(f"{name}.weight")), name)

    def product(self, x: Node, weight: Node, name: str) -> Node:
        """x times the transposed weight, and the bias of this name if there is one."""
        return self.bias(self.op.matmul(x, weight, False, True), name)

    def weight(self, values: NDArray[np.float32]) -> Node:
        """A weight that stays mapped from disk until it is compiled."""
        return self.op.constant(values, shared_memory=True)

    def int8_weight(self, values: NDArray[np.float32]) -> Node:
        """A weight (rows, columns) in 8 bits, with a scale for each `INT8_GROUP` numbers of a row, or for each row."""
        op = self.op
        groups = values.reshape(len(values), -1, INT8_GROUP if values.shape[1] % INT8_GROUP == 0 else values.shape[1])
        scales = np.maximum(np.abs(groups).max(axis=2, keepdims=True), np.finfo(np.float32).tiny) / np.float32(127)
        codes = np.rint(groups / scales).astype(np.int8)
        spread = op.multiply(op.convert(op.constant(codes), "f32"), op.constant(scales))
        return op.reshape(spread, np.array(values.shape), False)

    def bias(self, x: Node, name: str) -> Node:
        return self.op.add(x, self.constant(f"{name}.bias")) if f"{name}.bias" in self.parameters else x

    def rms_norm(self, x: Node, name: str) -> Node:
        op = self.op
        mean_square = op.reduce_mean(op.power(x, np.float32(2)), np.array([-1]), keep_dims=True)
        inverse = op.divide(np.float32(1), op.sqrt(op.add(mean_square, np.float32(self.sizes.eps))))
        return op.multiply(op.multiply(x, inverse), self.constant(f"{name}.weight"))

    def heads(self, x: Node) -> Node:
        """(batch, tokens, width) to (batch, heads, tokens, head width)."""
        heads, width = self.sizes.heads, self.sizes.width
        split = self.op.reshape(x, np.array([0, 0, heads, width // heads]), special_zero=True)
        return self.op.transpose(split, np.array([0, 2, 1, 3]))

    def merged(self, x: Node) -> Node:
        """Back to (batch, tokens, width)."""
        joined = self.op.transpose(x, np.array([0, 2, 1, 3]))
        return self.op.reshape(joined, np.array([0, 0, self.sizes.width]), special_zero=True)

    def constant(self, name: str) -> Node:
        return self.op.constant(self.parameters.read(name))

    def model(self, output: Node, inputs: list[Node]) -> Any:
        return self.openvino.Model([self.op.result(output)], inputs)
