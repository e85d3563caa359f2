"""A back end in numpy: it sees a pixel as the object where its colour is near the reference's."""

from __future__ import annotations

import numpy as np

from uniref_model.runtime import contract as c
from uniref_model.runtime.graph_runtime import Backend, BoundGraph
from uniref_model.runtime.loans import HOST


class NumpyBackend(Backend):
    name = "numpy"

    def __init__(self, size: tuple[int, int]) -> None:
        self.roles = {f"{role}{level}": 1 for role in "Thw" for level in c.LEVELS}
        self.roles |= {"H": size[0], "W": size[1], "h0": size[0] // 4, "w0": size[1] // 4}
        self.roles |= {"H/4": size[0] // 4, "W/4": size[1] // 4, "C": 3, "K": 3, "L": 1}

    def bind(self, graph: c.Graph, bucket: int) -> BoundGraph:
        return NumpyGraph(graph, self.roles | {"N": bucket})


class NumpyGraph:
    memory = HOST

    def __init__(self, graph: c.Graph, roles: dict[str, int]) -> None:
        def arrays(ports):
            sized = ((port, [roles.get(side, side) for side in port.shape]) for port in ports)
            return {port.name: np.zeros(shape, port.dtype) for port, shape in sized}

        self.graph, self.inputs, self.outputs = graph, arrays(graph.object_inputs), arrays(graph.outputs)

    def run(self, shared):
        given = {port.part: (self.inputs | dict(shared))[port.name] for port in self.graph.inputs}
        for part, answer in getattr(self, self.graph.name)(given).items():
            self.outputs[self.graph.output_names[part]][...] = answer
        return self.outputs

    def encode_text(self, given):
        return {(c.SENTENCE, 0): given[c.TOKENS, 0][0, 0] >> np.array([16, 8, 0]) & 255}

    def encode_image(self, given):
        small = given[c.IMAGE, 0][0].astype(np.float32)
        small = small.reshape(small.shape[0] // 4, 4, small.shape[1] // 4, 4, 3).mean((1, 3))
        return {(c.SOURCE, 0): small.transpose(2, 0, 1)}

    def encode_reference(self, given):
        weight = given[c.MASKS, 0].transpose(0, 2, 3, 1)
        colours = (given[c.IMAGE, 0] * weight).sum((1, 2), keepdims=True)
        return {(c.VALUE, 0): colours[:, 0] / np.maximum(weight.sum((1, 2)), 1)[:, None]}

    def segment(self, given):
        use = given[c.USE_REFERENCE, 0]
        colours = np.concatenate((given[c.VALUE, 0][:, :, 0], given[c.SENTENCE, 0][:, None]), 1)  # [N,3,C]
        use = np.concatenate((use, given[c.USE_LANGUAGE, 0][:, None] * (use.max(1) == 0)[:, None]), 1)
        far = np.linalg.norm(given[c.SOURCE, 0][:, None] - colours[..., None, None], axis=2)
        far[use == 0] = np.inf
        logits = 8.0 - 16.0 * (far.min(1) > 60)
        return {(c.MASK_LOGITS, 0): logits, (c.SCORE, 0): 0.05 + 0.85 * (logits > 0).any((1, 2))}
