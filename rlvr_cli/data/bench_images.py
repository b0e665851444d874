"""Benchmarks of images: which column holds them, where they stand in a question, golds in one unit."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from random import Random
from typing import Any

from rlvr_cli.data.bench_layouts import LETTERS, Row, arrange, layout
from rlvr_cli.vision.marks import MARK

__all__ = ["arrange"]  # of all layouts, those of texts too

NUMBERED = re.compile(r"<image ?([1-9])>")
COCO = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire "
    "hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, "
    "zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports "
    "ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine "
    "glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot "
    "dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, "
    "mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, "
    "vase, scissors, teddy bear, hair drier, toothbrush"
)
"""The 80 classes, by their numbers from 0 on."""
CLASSES = COCO.split(", ")


def chosen(options: list[str], answer: str) -> str:
    """The letter of the option that is the answer; the answer itself where it is none of them."""
    return LETTERS[options.index(answer)] if answer in options else answer


def marked(text: str) -> tuple[str, list[int]]:
    """(text with a mark where each `<image 2>` or `<image2>` stands first, their numbers in that order).

    Further mentions of an image become words, as harnesses give each image once.
    """
    order: list[int] = []

    def mark(found: re.Match[str]) -> str:
        if (number := int(found[1])) in order:
            return f"image {number}"
        order.append(number)
        return MARK

    return NUMBERED.sub(mark, text), order


@layout
def mathvista(raw: Row, rng: Random) -> Row:
    """AI4Math/MathVista: `query` has the question, its options and a hint for the form of the answer."""
    options = [str(option) for option in raw["choices"] or ()]
    return {
        "prompt": raw["query"],
        "answer": chosen(options, str(raw["answer"])),
        "id": raw["pid"],
        "images": [raw["decoded_image"]],
        "subject": raw["question_type"],
    }


@layout
def mathvision(raw: Row, rng: Random) -> Row:
    """MathLLMs/MathVision: options, if any, below the question; `<image1>` in it is the one image."""
    question, order = marked(raw["question"])
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, raw["options"] or (), strict=False)]
    return {
        "prompt": "\n".join([question, *(["Choices: " + "\n".join(lines)] if lines else [])]),
        "answer": str(raw["answer"]),
        "id": raw["id"],
        "images": [raw["decoded_image"]] * max(1, len(order)),
        "subject": raw["subject"],
        "level": raw["level"],
    }


@layout
def mathverse(raw: Row, rng: Random) -> Row:
    """AI4Math/MathVerse: `query_wo` asks without steps; `problem_version` says what of it is in the image."""
    return {
        "prompt": raw["query_wo"],
        "answer": str(raw["answer"]),
        "id": raw["sample_index"],
        "images": [raw["image"]],
        "subject": raw["problem_version"],
    }


@layout
def mmmu(raw: Row, rng: Random) -> Row:
    """lmms-lab/MMMU, MMMU/MMMU: options and golds of open questions are texts that hold lists."""
    options = [str(option) for option in literal_eval(raw["options"])]
    lines = [f"({letter}) {text}" for letter, text in zip(LETTERS, options, strict=False)]
    text, order = marked("\n".join([raw["question"], *lines]))
    answer: Any = raw["answer"]
    if not options and str(answer).startswith("["):
        answer = [str(each) for each in literal_eval(answer)]
    return {
        "prompt": text,
        "answer": answer,
        "id": raw["id"],
        "images": [raw[f"image_{number}"] for number in order or (1,)],
        "options": options,
        "subject": raw["subfield"],
    }


@layout
def chartqa(raw: Row, rng: Random) -> Row:
    """lmms-lab/ChartQA: half of the questions are people's, half made from the chart's summary (`type`)."""
    return {
        "prompt": raw["question"],
        "answer": str(raw["answer"]),
        "images": [raw["image"]],
        "subject": raw["type"],
    }


@layout
def countbench(raw: Row, rng: Random) -> Row:
    """vikhyatk/CountBenchQA: how many of something, from 2 to 10."""
    return {"prompt": raw["question"], "answer": str(raw["number"]), "images": [raw["image"]]}


@layout
def refcoco(raw: Row, rng: Random) -> Row:
    """lmms-lab/RefCOCO, RefCOCOplus, RefCOCOg: an object of a photograph and expressions for it, of which the
    first is asked; `bbox` is left, top, width, height in pixels."""
    left, top, width, height = (float(number) for number in raw["bbox"])
    return {
        "prompt": str(raw["answer"][0]),
        "answer": f"{left:g} {top:g} {left + width:g} {top + height:g}",
        "id": raw["question_id"],
        "images": [raw["image"]],
    }


@layout
def coco(raw: Row, rng: Random, *, sides: bool = False) -> Row | None:
    """detection-datasets/coco: the objects of a photograph, asked for by the classes that are there. `sides`:
    boxes are left, top, width, height, and not two corners."""
    objects = raw["objects"]
    golds = []
    for kind, (a, b, c, d) in zip(objects["category"], objects["bbox"], strict=True):
        right, bottom = (a + c, b + d) if sides else (c, d)
        label = kind if isinstance(kind, str) else CLASSES[kind]
        golds.append({"bbox_2d": [a, b, right, bottom], "label": label})
    if not golds:
        return None
    return {
        "prompt": ", ".join(dict.fromkeys(str(each["label"]) for each in golds)),
        "answer": json.dumps(golds),
        "id": raw["image_id"],
        "images": [raw["image"]],
    }
