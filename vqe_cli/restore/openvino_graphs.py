"""Graphs of networks, made of their weights by OpenVINO's own operations, for pictures of any size.

Each gives the residual of one picture, and its parameters: the picture and what the QP does to features, so
that one graph serves all QPs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from vqe_cli.networks.motion_fusion import FoldedBlocks
from vqe_cli.networks.qecnn import QECNN
from vqe_cli.networks.swinir import SwinBlock, SwinIR
from vqe_cli.networks.windows import WindowAttention

Node = Any  # an operation; OpenVINO is loaded only where it computes
ANY = -1  # of a side: any length; in a reshape: what is left
KEPT = 0  # in a reshape: as before
DEEP = "depth_first"  # as pixel-shuffle orders channels


def qecnn_graph(network: QECNN) -> tuple[Node, list[Node]]:
    """Of pictures (1, 3, H, W) and modulation (1, 2 * blocks * C, 1, 1), for each block C scales, then C
    shifts, the residual (1, 3, scale*H, scale*W)."""
    from openvino import opset13 as op

    picture = parameter([1, 3, ANY, ANY])
    modulation = parameter([1, 2 * len(network.body) * network.head.out_channels, 1, 1])
    factors = op.split(modulation, constant([1], scalar=True), 2 * len(network.body)).outputs()
    features = layer(network.head, op.space_to_depth(picture, DEEP, network.multiple))
    for block, scale, shift in zip(network.body, factors[::2], factors[1::2], strict=True):
        inner = op.add(op.multiply(layer(block.conv1, features), scale), shift)
        features = op.add(features, layer(block.conv2, op.relu(inner)))
    tail = layer(network.tail, features)
    return op.depth_to_space(tail, DEEP, network.multiple * network.scale), [picture, modulation]


def swinir_graph(network: SwinIR) -> tuple[Node, list[Node]]:
    """Of normalised pictures (1, C, H, W) whose sides are multiples of the network's, modulation (1, 1, 1,
    2 * groups * C), for each group C scales, then C shifts, and masks of the attention in shifted windows
    (windows, 1, L, L) the residual before its step."""
    from openvino import opset13 as op

    width, length = network.conv_first.out_channels, network.window**2
    folded = network.conv_first.in_channels
    picture = parameter([1, folded // network.unshuffle**2, ANY, ANY])
    modulation = parameter([1, 1, 1, 2 * len(network.layers) * width])
    masks = parameter([ANY, 1, length, length])
    factors = op.split(modulation, constant([3], scalar=True), 2 * len(network.layers)).outputs()
    first = layer(network.conv_first, op.space_to_depth(picture, DEEP, network.unshuffle))
    features = layer(network.patch_embed.norm, to_last(first))
    for group, scale, shift in zip(network.layers, factors[::2], factors[1::2], strict=True):
        features = op.add(op.multiply(features, scale), shift)
        inner = features
        row: Any = group.residual_group
        for block in row.blocks:
            inner = swin_block(block, inner, masks)
        features = op.add(features, to_last(layer(group.conv, to_first(inner))))
    features = op.add(layer(network.conv_after_body, to_first(layer(network.norm, features))), first)
    out = op.depth_to_space(layer(network.conv_last, features), DEEP, network.unshuffle)
    return out, [picture, modulation, masks]


def blocks_graph(blocks: FoldedBlocks, precision: str) -> tuple[Node, list[Node]]:
    """Of planes (1, h, w, C) the residual before it is unfolded, (1, 3 * FOLD**2, h, w).

    precision: "fp32" or "bf16", the type of the planes.
    """
    from openvino import opset13 as op

    main: Any = blocks.body.main
    head, slope, body = main
    picture = parameter([1, ANY, ANY, head.in_channels], precision == "bf16")
    features = layer(slope, layer(head, to_first(op.convert(picture, "f32"))))
    for block in body:
        features = op.add(features, layer(block.conv2, op.relu(layer(block.conv1, features))))
    return layer(blocks.last, features), [picture]


def swin_block(block: SwinBlock, x: Node, masks: Node) -> Node:
    """A SwinBlock on x (1, H, W, C)."""
    from openvino import opset13 as op

    def rolled(y: Node, by: int) -> Node:
        return op.roll(y, constant([by, by]), constant([1, 2])) if block.shift else y

    y = windows(rolled(layer(block.norm1, x), -block.shift), block.window)
    y = attention(block.attn, y, masks if block.shift else None)
    x = op.add(x, rolled(merged(y, block.window), block.shift))
    inner = op.gelu(layer(block.mlp.fc1, layer(block.norm2, x)), "erf")
    return op.add(x, layer(block.mlp.fc2, inner))


def attention(attend: WindowAttention, x: Node, masks: Node | None) -> Node:
    """A WindowAttention on windows x (rows, columns, L, C), whose pixels are numbered column by column."""
    from openvino import opset13 as op

    table, index = attend.relative_position_bias_table, attend.relative_position_index
    length, heads = len(index), attend.heads
    width = attend.proj.in_features
    order = transposed_order(length)
    bias = table[index[order][:, order]].permute(2, 0, 1)[None]
    qkv = op.reshape(
        layer(attend.qkv, x), constant([ANY, length, 3, heads, width // heads]), special_zero=False
    )
    parts = op.split(qkv, constant([2], scalar=True), 3).outputs()
    query, key, value = (
        op.transpose(op.squeeze(part, constant([2])), constant([0, 2, 1, 3])) for part in parts
    )
    query = op.multiply(query, weights((width // heads) ** -0.5))
    scores = op.add(op.matmul(query, key, False, True), weights(bias))
    if masks is not None:
        scores = op.add(scores, masks)
    mixed = op.transpose(op.matmul(op.softmax(scores, -1), value, False, False), constant([0, 2, 1, 3]))
    return layer(attend.proj, op.reshape(mixed, op.shape_of(x), special_zero=False))


def transposed_order(length: int) -> np.ndarray:
    """Where the pixels of a window that is numbered column by column stand in one numbered row by row."""
    side = round(length**0.5)
    return np.arange(length).reshape(side, side).T.reshape(-1)


def windows(x: Node, size: int) -> Node:
    """(1, H, W, C) to (rows, columns, size², C), pixels of a window numbered column by column."""
    from openvino import opset13 as op

    x = op.reshape(x, constant([ANY, size, KEPT, KEPT]), special_zero=True)  # rows, size, W, C
    x = op.transpose(x, constant([0, 2, 1, 3]))
    return op.reshape(x, constant([KEPT, ANY, size * size, KEPT]), special_zero=True)


def merged(x: Node, size: int) -> Node:
    """The inverse of `windows`."""
    from openvino import opset13 as op

    x = op.reshape(x, constant([KEPT, ANY, size, KEPT]), special_zero=True)  # rows, W, size, C
    x = op.transpose(x, constant([0, 2, 1, 3]))
    return op.reshape(x, constant([1, ANY, KEPT, KEPT]), special_zero=True)


def layer(module: Any, x: Node) -> Node:
    """A layer of PyTorch on x; convolutions take (1, C, H, W), linear layers and norms (..., C)."""
    from openvino import opset13 as op

    if isinstance(module, nn.Sequential):
        for part in module:
            x = layer(part, x)
        return x
    if isinstance(module, nn.LeakyReLU):
        return op.prelu(x, weights(module.negative_slope))
    if isinstance(module, nn.Linear):
        return op.add(op.matmul(x, weights(module.weight), False, True), weights(module.bias))
    if isinstance(module, nn.LayerNorm):
        normal = op.mvn(x, constant([-1]), True, module.eps, "inside_sqrt")
        return op.add(op.multiply(normal, weights(module.weight)), weights(module.bias))
    assert isinstance(module, nn.Conv2d) and module.bias is not None
    pads = list(module.padding)
    found = op.convolution(x, weights(module.weight), [1, 1], pads, pads, [1, 1])
    return op.add(found, weights(module.bias.view(1, -1, 1, 1)))


def to_last(x: Node) -> Node:
    """(1, C, H, W) to (1, H, W, C)."""
    from openvino import opset13 as op

    return op.transpose(x, constant([0, 2, 3, 1]))


def to_first(x: Node) -> Node:
    """(1, H, W, C) to (1, C, H, W)."""
    from openvino import opset13 as op

    return op.transpose(x, constant([0, 3, 1, 2]))


def parameter(shape: Sequence[int], bf16: bool = False) -> Node:
    """An input of the graph, float32 or bfloat16."""
    from openvino import PartialShape, Type
    from openvino import opset13 as op

    return op.parameter(PartialShape(list(shape)), Type.bf16 if bf16 else Type.f32)


def weights(values: Tensor | float) -> Node:
    """Numbers of the network, float32."""
    from openvino import opset13 as op

    if isinstance(values, Tensor):
        return op.constant(values.detach().float().contiguous().numpy())
    return op.constant(np.float32(values))


def constant(values: Sequence[int], scalar: bool = False) -> Node:
    """Axes, orders and shapes."""
    from openvino import opset13 as op

    return op.constant(np.array(values[0] if scalar else values, np.int64))
