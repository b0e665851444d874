"""A made-up row in the columns of each bench of images, and a response that is right."""

from __future__ import annotations

from typing import Any

SCENE = "scene:240,1;square,red,7,14,28,42"
OTHER = "scene:240,2;disc,blue,7,7,28,28"
BOX = "So it is \\boxed{B}."
ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "mathvista": (
        {
            "pid": "1",
            "question": "Which colour?",
            "image": "images/1.jpg",
            "decoded_image": SCENE,
            "choices": ["blue", "red"],
            "unit": None,
            "precision": None,
            "answer": "red",
            "question_type": "multi_choice",
            "answer_type": "text",
            "metadata": {"category": "general-vqa"},
            "query": "Hint: ...\nQuestion: Which colour?\nChoices:\n(A) blue\n(B) red",
        },
        BOX,
    ),
    "mathvision": (
        {
            "id": "4",
            "question": "How many squares are in <image1>?",
            "options": ["0", "1", "2"],
            "image": "images/4.jpg",
            "decoded_image": SCENE,
            "answer": "B",
            "solution": None,
            "level": 1,
            "subject": "counting",
        },
        BOX,
    ),
    "mathverse": (
        {
            "sample_index": "1",
            "problem_index": "1",
            "problem_version": "Vision Only",
            "question": "",
            "image": SCENE,
            "answer": "B",
            "question_type": "multi-choice",
            "metadata": {"split": "testmini"},
            "query_wo": "Answer the question in the image.",
            "query_cot": "First reason.",
            "question_for_eval": "Which?",
        },
        BOX,
    ),
    "mmmu": (
        {
            "id": "validation_Art_1",
            "question": "Is <image 1> the square, or <image 2>? Look at <image 1>.",
            "options": "['<image 1>', 'only <image 2>']",
            "explanation": "",
            "image_1": SCENE,
            "image_2": OTHER,
            "image_3": None,
            "img_type": "['Paintings']",
            "answer": "B",
            "topic_difficulty": "Easy",
            "question_type": "multiple-choice",
            "subfield": "Drawing",
        },
        BOX,
    ),
    "chartqa": (
        {"type": "human_test", "question": "How high?", "answer": "1000", "image": SCENE},
        "1,040",
    ),
    "countbench": (
        {"image": SCENE, "text": "a square", "question": "How many squares are there?", "number": 2},
        "two",
    ),
    "refcoco": (
        {
            "question_id": "9",
            "image": SCENE,
            "question": "Please describe the marked region.",
            "answer": ["red square", "the red thing"],
            "segmentation": [1.0],
            "bbox": [7.0, 14.0, 21.0, 28.0],
            "iscrowd": 0,
            "file_name": "COCO_1.jpg",
        },
        '```json\n[{"bbox_2d": [7, 14, 28, 42], "label": "red square"}]\n```',
    ),
    "coco_detection": (
        {
            "image_id": 285,
            "image": SCENE,
            "width": 56,
            "height": 56,
            "objects": {
                "bbox_id": [1, 2],
                "category": [0, 9],
                "bbox": [[7.0, 14.0, 28.0, 42.0], [30.0, 3.0, 40.0, 9.0]],
                "area": [588.0, 60.0],
            },
        },
        '[{"bbox_2d": [30, 3, 40, 9], "label": "traffic light"},'
        ' {"bbox_2d": [7, 14, 28, 42], "label": "person"}]',
    ),
}
