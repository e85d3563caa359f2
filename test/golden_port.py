"""Runs our network as a golden file's case does and collects its tensors under the file's names."""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from golden_reader import Golden

from uniref_model.evaluation import authors
from uniref_model.network.config import ModelConfig
from uniref_model.network.convert import rename
from uniref_model.network.loading import load_weights
from uniref_model.network.model import UniRef
from uniref_model.network.positions import grid_code
from uniref_model.network.two_stage import anchor_logits
from uniref_model.network.value_encoder import MaskReference

DATA = Path(__file__).parent / "golden"
sys.path.insert(0, str(DATA))
import made_up_weights  # noqa: E402

MODELS = {"r50": "uniref_r50", "swinl": "uniref_swin_l"}


@lru_cache(maxsize=1)  # one model at a time: Swin-L in float64 is 2.9 GB
def made_up_model(backbone: str, language: str, shared_query: bool, double: bool) -> UniRef:
    manifest = json.loads((DATA / f"manifest_{backbone}_{language}.json").read_text())
    source = made_up_weights.state_dict(manifest, shared_query=shared_query)
    renamed = rename({key: torch.from_numpy(np.asarray(value)) for key, value in source.items()})
    assert not renamed.unknown
    config = ModelConfig.from_name(MODELS[backbone])
    model = UniRef(config)
    load_weights(model, renamed.weights)
    return (model.double() if double else model).eval()


def model_for(golden: Golden, double: bool) -> UniRef:
    meta = golden.meta
    language = meta.get("lang", "bert-base")
    return made_up_model(meta["backbone"], language, bool(meta["shared_query"]), double)


class Recorder:
    """Keeps what chosen modules get and give, call by call."""

    def __init__(self, **modules: torch.nn.Module):
        self.outputs: dict[str, list[torch.Tensor]] = {name: [] for name in modules}
        self.inputs: dict[str, list[tuple]] = {name: [] for name in modules}
        self.hooks = [module.register_forward_hook(self.hook(name)) for name, module in modules.items()]

    def hook(self, name: str):
        def keep(_module, inputs, output):
            self.inputs[name].append(inputs)
            self.outputs[name].append(output)

        return keep

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()

    def last(self, name: str) -> torch.Tensor:
        return self.outputs[name][-1]


def words(model: UniRef, golden: Golden, name: str):
    ids = torch.from_numpy(golden.whole(f"{name}.ids").astype(np.int64))
    padding_id = model.text_encoder.config.pad_token_id
    return model.encode_text(ids, (ids != padding_id).long())


# ---- single frames ----


@torch.inference_mode()
def run_image_case(golden: Golden, double: bool = False) -> dict[str, np.ndarray]:
    """Cases of one frame: language, two mask references, or both."""
    model = model_for(golden, double)
    recorder = Recorder(**_watched(model))
    try:
        return {key: value.numpy() for key, value in _run_image(model, golden, recorder).items()}
    finally:
        recorder.remove()


def _watched(model: UniRef) -> dict[str, torch.nn.Module]:
    fusion, attention = model.fusion, model.fusion.attn
    encoder, decoder, head = model.encoder, model.decoder, model.mask_head
    watched = {
        "text.layer0": model.text_encoder.encoder.layer[0],
        "text.encoder": model.text_encoder,
        "norm_v": fusion.norm_v,
        "norm_l": fusion.norm_l,
        "q": attention.q_proj,
        "k": attention.k_proj,
        "v": attention.v_proj,
        "attn_out": attention.out_proj,
        "shift_scale_gate": fusion.modulation,
        "encoder": encoder,
        "two_stage.memory": model.two_stage.enc_output_norm,
        "two_stage.class": model.class_embed[-1],
        "two_stage.box": model.bbox_embed[-1],
        "two_stage.pos_trans": model.two_stage.pos_trans_norm,
        "decoder": decoder,
        "dec.layer0.self.out": decoder.layers[0].self_attn,
        "mask.lay2": head.lay2,
        "mask.lateral": head.lateral_conv,
        "mask.output_conv": head.output_conv,
        "mask.feat4x": head.mask_conv,
        "mask.params": head.controller,
    }
    deformable = {
        "enc.layer0.attn": encoder.layers[0].self_attn,
        "dec.layer0.cross": decoder.layers[0].cross_attn,
    }
    for name, module in deformable.items():
        watched[f"{name}.offsets"] = module.sampling_offsets
        watched[f"{name}.weights_logits"] = module.attention_weights
        watched[f"{name}.value"] = module.value_proj
        watched[f"{name}.out"] = module
    watched |= {f"enc.layer{index}": layer for index, layer in enumerate(encoder.layers)}
    values = model.value_encoder
    watched |= {"value.conv1": values.conv1, "value.fuser.l0.cbam": values.fusers[0].attention}
    watched |= {f"value.layer{index + 1}": layer for index, layer in enumerate(values.layers)}
    watched |= {f"value.fuser.l{index}": fuser for index, fuser in enumerate(values.fusers)}
    return watched | {"value.layer5": values.final_layer, "value.fuser.l0.block1": values.fusers[0].block1}


def _run_image(model: UniRef, golden: Golden, recorder: Recorder) -> dict[str, torch.Tensor]:
    got: dict[str, torch.Tensor] = {}
    language = reference = None
    if "text.ids" in golden:
        language = words(model, golden, "text")
        got["text.layer0"] = _first(recorder.last("text.layer0"))
        got["text.last_hidden"] = recorder.last("text.encoder").last_hidden_state
        got["text.resized"], got["text.sentence"] = language.words, language.sentence
    if "in.image0" in golden:
        templates = []
        for index, prefix in enumerate(("init.", "prev.")):
            features = authors.encode(model, golden.whole(f"in.image{index}"))
            mask = torch.from_numpy(golden.whole(f"in.mask{index}"))
            templates.append(model.encode_reference(features, authors.pad_mask_to(mask, features)))
            got |= _frame(model, features, prefix) | _template(recorder, templates[-1], prefix)
        reference = MaskReference.join(templates)
        got |= {f"ref_embed.l{level}": embed for level, embed in enumerate(reference.embeds)}
    _, got["in.pad_mask"] = authors.prepare_image(
        golden.whole("in.image"), model.config.input, model.level_embed
    )
    features = authors.encode(model, golden.whole("in.image"))
    got["backbone.in"] = features.images
    got |= _frame(model, features, "")
    output = model.segment(features, language, reference, masks="all")
    kinds = [kind for kind, given in (("L", language), ("M", reference)) if given is not None]
    got |= (
        _fusion(recorder, kinds)
        | _transformer(recorder, features, output)
        | _masks(recorder, features, output)
    )
    got |= _final(golden, output)
    return got


def _first(output):
    return output[0] if isinstance(output, tuple) else output


def _frame(model, features, prefix) -> dict:
    got = {f"{prefix}backbone.res{index + 2}": x for index, x in enumerate(model.backbone(features.images))}
    for level, (src, padding) in enumerate(zip(features.levels, features.padding, strict=True)):
        got[f"{prefix}src.l{level}"] = src
        got[f"{prefix}pos.l{level}"] = grid_code(*src.shape[-2:], src.shape[1], padding, src)
    return got


def _template(recorder, reference, prefix) -> dict:
    got = {f"{prefix}ref_embed.l{level}": embed for level, embed in enumerate(reference.embeds)}
    got |= {f"{prefix}ref_mask.l{level}": padding for level, padding in enumerate(reference.padding)}
    names = [name for name in recorder.outputs if name.startswith("value.")]
    got |= {prefix + name: recorder.last(name) for name in names}
    got[f"{prefix}value.maxpool"] = recorder.inputs["value.layer1"][-1][0]
    return got


def _fusion(recorder, kinds) -> dict:
    got = {}
    for level in range(4):
        for index, kind in enumerate(kinds):
            call, prefix = level * len(kinds) + index, f"fuse.l{level}.{kind}."
            for name in ("norm_v", "norm_l", "q", "k", "v", "attn_out", "shift_scale_gate"):
                got[prefix + name] = recorder.outputs[name][call]
            # before out_proj, as [queries, heads, head channels]
            got[prefix + "attn"] = recorder.inputs["attn_out"][call][0][0].unflatten(-1, (8, -1))
        got[f"fused.l{level}"] = recorder.inputs["encoder"][0][0][level]
    return got


def _transformer(recorder, features, output) -> dict:
    names = [name for name in recorder.outputs if name.startswith(("enc.", "dec."))]
    got = {name: recorder.last(name) for name in names}
    got["enc.memory"] = torch.cat([level.flatten(2).transpose(1, 2) for level in output.memory], 1)
    for name in ("two_stage.memory", "two_stage.class", "two_stage.pos_trans"):
        got[name] = recorder.last(name)
    shapes = [tuple(level.shape[-2:]) for level in output.memory]
    anchors, _ = anchor_logits(shapes, 0, features.padding, output.memory[0])
    got["two_stage.coord_unact"] = recorder.last("two_stage.box") + anchors
    got["two_stage.topk_index"] = got["two_stage.class"][..., 0].topk(300, 1).indices
    decoded = recorder.last("decoder")
    got["two_stage.init_reference"] = decoded.references[0]
    for index, (hidden, boxes) in enumerate(zip(decoded.hidden, decoded.boxes, strict=True)):
        got[f"dec.layer{index}.hs"], got[f"dec.layer{index}.reference_out"] = hidden, boxes
    return got


def _masks(recorder, features, output) -> dict:
    got = {name: recorder.last(name) for name in ("mask.lateral", "mask.feat4x", "mask.params")}
    got["mask.head8x"] = recorder.last("mask.lay2").relu()
    got["mask.output_conv"] = recorder.last("mask.output_conv").relu()
    height, width = features.image_size
    got["mask.reference_px"] = output.references[-1][..., :2] * output.references[-1].new_tensor(
        [width, height]
    )
    return got


def _final(golden, output) -> dict:
    vos, size = golden.meta["task"] == "vos", (golden.meta["OH"], golden.meta["OW"])
    got = {"pred_logits": output.logits[..., None], "pred_boxes": output.boxes}
    order = output.logits[0].topk(4).indices
    got["pred_masks.top_index"] = order
    for rank, query in enumerate(order):
        logits = output.mask_logits[:, query]
        got[f"pred_masks.top{rank}"] = (authors.full_logits(logits, True) if vos else logits)[0]
    output.mask_logits = output.mask_logits[:, output.best[0]]
    p = authors.probability(output, vos, size)
    got |= {"final.score": output.scores, "final.index": output.best, "final.prob": p, "final.mask": p > 0.5}
    x, y, w, h = output.boxes[0, output.best[0]]
    corners = torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    got["grounding.score"] = output.scores
    limit = corners.new_tensor([size[1], size[0]] * 2)
    got["grounding.box"] = (corners * limit).clamp(min=0).minimum(limit)[None]
    got["grounding.mask"] = authors.image_mask(output, size)[None]
    return got


# ---- videos ----


class CallRecorder:
    """Keeps every segment and encode_reference call a protocol makes."""

    def __init__(self, model: UniRef, vos: bool):
        self.model, self.vos = model, vos
        self.calls: list[dict[str, np.ndarray]] = []
        self.templates: list[dict[str, float]] = []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def segment(self, features, language=None, mask=None):
        output = self.model.segment(features, language, mask)
        logits = output.mask_logits
        self.calls.append(
            {
                "top2_logits": output.logits[0].topk(2).values.numpy(),
                "box": output.boxes[0, output.best[0]].numpy(),
                "mask_logits": (authors.full_logits(logits, True) if self.vos else logits)[0].numpy(),
            }
        )
        return output

    def encode_reference(self, features, masks):
        self.templates.append({"after_call": len(self.calls), "mask_area": float(masks.sum())})
        return self.model.encode_reference(features, masks)


@torch.inference_mode()
def run_video_case(golden: Golden, double: bool = False) -> dict[str, tuple[np.ndarray, CallRecorder]]:
    """Each tag of a video case -> its label maps [T, H, W] and the calls that made them."""
    model = model_for(golden, double)
    images, size = golden.whole("in.images"), (golden.meta["OH"], golden.meta["OW"])
    if any(name.startswith("in.gt_masks") for name in golden.names()):
        return {tag: _vos(model, golden, images, size, tag) for tag in ("ytbvos18", "davis17")}
    texts = [words(model, golden, f"text{index}") for index in range(len(golden.meta["texts"]))]
    results = {}
    for index, text in enumerate(texts):
        calls = CallRecorder(model, vos=False)
        masks = [mask for mask, _ in authors.rvos_vl(calls, images, text, size)]
        results[f"refytvos_vl.exp{index}"] = np.stack(masks), calls
    calls = CallRecorder(model, vos=False)
    maps = [[p for _, p in authors.rvos_vl(calls, images, text, size, threshold=None)] for text in texts]
    results["refdavis_vl"] = np.stack(list(authors.merge_expressions(maps))), calls
    calls = CallRecorder(model, vos=False)
    maps = [list(authors.refdavis(calls, images, text, size)) for text in texts]
    results["refdavis"] = np.stack(list(authors.merge_expressions(maps))), calls
    return results


def _vos(model, golden, images, size, tag):
    calls, frames, known = CallRecorder(model, vos=True), [], 0
    for index, image in enumerate(images):
        name, given = f"in.gt_masks.frame{index}", {}
        if name in golden:
            for mask in golden.whole(name):  # objects are numbered in the order they are given
                known += 1
                given[known] = mask
        frames.append(authors.VideoFrame(image, given))
    labels = authors.vos(calls, frames, size, authors.THRESHOLDS[tag])
    blank = np.zeros(size, np.uint16)
    return np.stack([blank if frame is None else frame for frame in labels]), calls
