"""The fixed inputs on which every engine has to agree with ONNX Runtime: soft blobs, masks on them, made-up
words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import LanguageReference, MaskReference, ObjectReferences
from .contract import ATTEND, ATTENDED, ENCODE_IMAGE, ENCODE_REFERENCE, NOUN, PLACES, WORDS, Graph
from .graph_runtime import GraphRuntime, shared_inputs, write_object


def fill_example(reference: GraphRuntime, graph: Graph, bucket: int) -> dict[str, Any]:
    """Write the example of a graph into the inputs that `reference` has for its objects; what they share."""
    generator = np.random.default_rng(0)
    inputs = reference.bound(graph.name, bucket).inputs
    image, masks = _image(generator, reference.size), _masks(bucket, reference.size)
    if graph.name == ENCODE_IMAGE:
        return {port.name: image[None] for port in graph.inputs}
    frame = reference.encode_image(image)
    if graph.name == ENCODE_REFERENCE:
        for array in inputs.values():
            array[:, 0] = masks
        return shared_inputs(graph, frame)
    references = reference.encode_reference(frame, masks)
    if graph.name in ATTEND.values():
        for port in graph.object_inputs:
            for row, mask in enumerate(references):
                inputs[port.name][row] = mask.values[port.level]
        return shared_inputs(graph, frame, [references[0]] * len(PLACES))
    objects = [_object(graph, inputs, row, mask, generator) for row, mask in enumerate(references)]
    for row, item in enumerate(objects):
        write_object(graph, inputs, row, item)
    if (ATTENDED, 0) in graph.input_names:
        reference.attend(frame, objects, inputs[graph.input_names[ATTENDED, 0]])
    return shared_inputs(graph, frame)


def _image(generator: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    coarse = generator.integers(0, 256, (8, 14, 3), np.uint8)
    rows = np.linspace(0, 7.999, size[0]).astype(int)
    columns = np.linspace(0, 13.999, size[1]).astype(int)
    return np.ascontiguousarray(coarse[rows][:, columns])


def _masks(count: int, size: tuple[int, int]) -> np.ndarray:
    masks = np.zeros((count, *size), np.float32)
    for row, mask in enumerate(masks):
        top, left = 8 + 4 * row, 16 + 12 * row
        mask[top : top + size[0] // 2, left : left + size[1] // 3] = 1
    return masks


def _object(
    graph: Graph, inputs: Mapping[str, Any], row: int, mask: MaskReference, generator: np.random.Generator
) -> ObjectReferences:
    """With words alone, a mask alone, or both, in turn."""
    words = generator.standard_normal(inputs[graph.input_names[WORDS, 0]].shape[1:]).astype(np.float32)
    open_words = (np.arange(len(words)) < 4 + row).astype(np.float32)
    noun = None
    if (NOUN, 0) in graph.input_names:
        noun = generator.standard_normal(inputs[graph.input_names[NOUN, 0]].shape[1:]).astype(np.float32) / 16
    language = LanguageReference(words, open_words, words[: 4 + row].mean(axis=0), noun=noun)
    kinds = (
        ObjectReferences(language, mask),
        ObjectReferences(first=mask, previous=mask),
        ObjectReferences(language),
    )
    return kinds[row % len(kinds)]
