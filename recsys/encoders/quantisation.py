"""float32 graph to int8: a quarter of torch's time, at a cosine of 0.999.

What costs accuracy in int8 is the activations: onnxruntime's MatMulInteger has one scale for a whole tensor, and a
few channels are far larger than the rest. So, for each product with a weight matrix:
1. SmoothQuant (Xiao et al. 2023) moves the spread from the activations into the weights, which have a scale a column.
2. Products that narrow (the second half of a feed-forward block, whose input after GELU is the widest and spikiest)
   become MatMulNBits: 8 bits, a scale for each row and block of 64.
3. The others become MatMulInteger, with activations scaled as they come: of a whole batch, so that the vector of a
   text depends a little on the texts beside it (cosine 0.9988 on average between alone and in company).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer  # type: ignore[import-untyped]

from recsys.encoders.batches import padded

_ALPHA = 0.8
"""Share of the spread that moves into the weights: of 0.3 to 1.0, those around 0.8 kept most neighbours."""
_BLOCK = 64
"""Values that share a scale: 32 is more exact and slower, 128 less exact and not faster."""


def quantise(source: onnx.ModelProto, samples: Sequence[Sequence[int]], target: Path) -> None:
    """Write the int8 form of a graph. `samples`: token ids of texts that show how large activations get."""
    model = onnx.ModelProto()
    model.CopyFrom(source)
    _smooth(model, _peaks(source, samples))
    weights = {weight.name: weight for weight in model.graph.initializer}
    widening = [n.name for n in _products(model) if weights[n.input[1]].dims[0] <= weights[n.input[1]].dims[1]]
    narrow = MatMulNBitsQuantizer(
        model, bits=8, block_size=_BLOCK, is_symmetric=True, accuracy_level=4, nodes_to_exclude=widening
    )
    narrow.process()
    # All 8 bits of the weights: 7 (`reduce_range`) are for processors without VNNI, whose sums of two products can
    # saturate, but cost a fifth more of the neighbours. The check at load sees if it matters there.
    quantize_dynamic(
        narrow.model.model,
        target,
        op_types_to_quantize=["MatMul"],
        weight_type=QuantType.QInt8,
        per_channel=True,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def _products(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The multiplications by a matrix of weights."""
    weights = {weight.name for weight in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]


def _peaks(source: onnx.ModelProto, samples: Iterable[Sequence[int]]) -> dict[str, NDArray[np.float32]]:
    """The largest magnitude of each channel of each product's input over the samples."""
    names = list(dict.fromkeys(node.input[0] for node in _products(source)))
    watched = onnx.ModelProto()
    watched.CopyFrom(source)
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    peaks: dict[str, NDArray[np.float32]] = {}
    for sample in samples:
        ids, mask = padded([sample])
        for name, values in zip(names, session.run(names, {"input_ids": ids, "attention_mask": mask}), strict=True):
            here = np.abs(values).reshape(-1, values.shape[-1]).max(0)
            peaks[name] = np.maximum(peaks.get(name, here), here)
    return peaks


def _smooth(model: onnx.ModelProto, peaks: dict[str, NDArray[np.float32]]) -> None:
    """Divide each product's input by a factor a channel, and multiply the rows of its weights by the same."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    sharing: dict[str, list[onnx.NodeProto]] = {}
    for product in _products(model):
        sharing.setdefault(product.input[0], []).append(product)
    before: dict[str, onnx.NodeProto] = {}  # the division, by the name of the first product that needs it
    for name, products in sharing.items():
        matrices = [onnx.numpy_helper.to_array(weights[product.input[1]]) for product in products]
        factors = smoothing(peaks[name], np.max([np.abs(matrix).max(1) for matrix in matrices], axis=0))
        divisor = onnx.numpy_helper.from_array(1 / factors, f"{name}_divisor")
        model.graph.initializer.append(divisor)
        smooth = f"{name}_smooth"
        before[products[0].name] = onnx.helper.make_node("Mul", [name, divisor.name], [smooth], smooth)
        for product, matrix in zip(products, matrices, strict=True):
            weight = weights[product.input[1]]
            weight.CopyFrom(onnx.numpy_helper.from_array(matrix * factors[:, None], weight.name))
            product.input[0] = smooth
    nodes = [each for node in model.graph.node for each in (before.get(node.name), node) if each is not None]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def smoothing(inputs: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Around 1 for each channel, from the peaks of both sides."""
    factors = np.maximum(inputs, 1e-5) ** _ALPHA / np.maximum(weights, 1e-5) ** (1 - _ALPHA)
    return np.asarray(factors / np.exp(np.log(factors).mean()), np.float32)
