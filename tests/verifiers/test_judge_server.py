"""V-Triune's `/judge` beside `/verify`: its payloads, its rewards, refusals, order under load, progress."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rlvr_cli.core.types import Reason
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.boxes.thresholds import Count
from rlvr_cli.verifiers.boxes.units import Unit
from rlvr_cli.verifiers.iou import Iou
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.remote import Remote
from rlvr_cli.verifiers.server import Limits, Server, serving
from rlvr_cli.verifiers.user_code.case import Surroundings
from rlvr_cli.verifiers.vtriune import Vtriune

pytestmark = pytest.mark.slow

TWO = [{"bbox_2d": [0, 0, 10, 10], "label": "cat"}, {"bbox_2d": [50, 50, 60, 60], "label": "dog"}]
NINE = [{"bbox_2d": [0, 0, 10, 9], "label": "cat"}]
SHARES = {"det_reward_ratio": {"iou_max_iou_first": 1.0, "iou_completeness": 0.3, "map": None}}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    verifiers = {"row": Vtriune(), "match": Match(), "box": Iou(boxes=Unit.pixels, count=Count.dynamic)}
    with serving(verifiers, Verification(workers=2), limits=Limits(max_requests=600)) as running:
        yield running


def asked(server: Server, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=120)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    found: dict[str, Any] = json.loads(reply.read())
    connection.close()
    return reply.status, found


def payload(answer: Any, gold: Any, verifier: str, parm: dict[str, Any], **more: Any) -> dict[str, Any]:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return {
        "response": f"<think>\nso\n</think>\n<answer>\n{text}\n</answer>",
        "prompt": "user: look",
        "answer": "",
        "solution": f"<answer>{gold if isinstance(gold, str) else json.dumps(gold)}</answer>",
        "data_source": "coco",
        "reward_verifier": verifier,
        "reward_verifier_parm": json.dumps({"is_training": True, "step": 10, "total_steps": 100} | parm),
        **more,
    }


def test_worked_rewards(server: Server) -> None:
    status, found = asked(server, "/judge", payload(NINE, TWO, "detection", SHARES))
    rewards = found["rewards"]
    assert (status, rewards["accuracy_reward"], rewards["format_reward"]) == (200, pytest.approx(0.324), 1.0)
    assert rewards["final_reward"] == pytest.approx((0.324 + 0.1) / 1.1) and rewards["reflection_reward"] == 0
    assert (rewards["threshold_reward"], rewards["mean_iou_reward"]) == (0.85, 0.45)
    late = payload(NINE, TWO, "detection", SHARES | {"step": 11})
    assert asked(server, "/judge", late)[1]["rewards"]["accuracy_reward"] == 0
    evaluated = payload(NINE, TWO, "detection", SHARES | {"is_training": False})
    assert asked(server, "/judge", evaluated)[1]["rewards"]["threshold_reward"] == 0.99
    quarter = payload(r"\boxed{5}", r"\boxed{5}", "mathverify", {"image_path": None}, accuracy_ratio=0.5)
    quarter["response"], quarter["format_ratio"] = "<think>\n" + quarter["response"], 0.5
    assert asked(server, "/judge", quarter)[1]["rewards"]["final_reward"] == 0.875
    grid = SHARES | {
        "det_verifier_normalized": True,
        "image_grid_thw": [[1, 364, 532]],
        "image_path": ["a.jpg"],
    }
    seen = [{"bbox_2d": [121, 116, 511, 353], "label": "cat"}]
    thousand = [{"bbox_2d": [228, 320, 961, 970], "label": "cat"}]
    assert (
        asked(server, "/judge", payload(seen, thousand, "detection", grid))[1]["rewards"]["accuracy_reward"]
        > 0.98
    )


def test_what_is_refused_and_why(server: Server) -> None:
    """V-Triune's client counts an error as zeros."""
    good = payload(NINE, TWO, "detection", SHARES)
    for change, status, says in (
        ({"solution": 3}, 400, "solution must be there, and text"),
        ({"reward_verifier": "detektion"}, 400, "there is no verifier 'detektion'"),
        ({"reward_verifier_parm": "[]"}, 400, "reward_verifier_parm must be the JSON text of an object"),
        ({"reward_verifier_parm": json.dumps(SHARES | {"is_training": True})}, 400, "has no step"),
        (
            {"reward_verifier_parm": json.dumps(SHARES | {"image_grid_thw": [[1, 2]]})},
            400,
            "image_grid_thw must",
        ),
        ({"reward_verifier_parm": "{}"}, 400, "`det_reward_ratio` of its row has no weight"),
        ({"solution": "nothing"}, 500, "no verdict (crash): the gold has no box"),
    ):
        found = asked(server, "/judge", good | change)
        assert found[0] == status and says in found[1]["error"], (change, found)
    with serving({"match": Match()}, Verification(workers=1)) as other:
        status, found = asked(other, "/judge", good)
        assert status == 404 and "this server has 0" in found["error"]


def test_five_hundred_at_once_keep_their_order(server: Server) -> None:
    def ask(n: int) -> tuple[int, float]:
        answer = {
            "response": f"<answer>{n}</answer>",
            "answer": f"<answer>{n - n % 2}</answer>",
            "verifier": "match",
        }
        verified = asked(server, "/verify", answer)
        judged = asked(server, "/judge", payload(f"\\boxed{{{n}}}", f"{n - n % 2}", "mathverify", {}))
        return verified[0], verified[1]["score"] + 10 * judged[1]["rewards"]["accuracy_reward"]

    with ThreadPoolExecutor(500) as threads:
        assert list(threads.map(ask, range(500))) == [(200, 0.0 if n % 2 else 11.0) for n in range(500)]
    remote = {"m": Remote(url=server.url, verifier="match", connections=32)}
    with Pool(remote, Verification(workers=1)) as pool:
        futures = [pool.submit("m", f"{n}", f"{n - n % 2}", {}) for n in range(500)]
        assert [future.result(120).score for future in futures] == [float(n % 2 == 0) for n in range(500)]


def of_image(n: int) -> tuple[dict[str, Any], dict[str, Any], float]:
    """(/judge's request, /verify's, accuracy) of one of 500 rows, a box in an image of its own size each:
    the policy writes pixels of what it sees, 28 (n % 40 + 10) wide, and the gold is in thousandths."""
    wide, tall, share = 28 * (n % 40 + 10), 28 * (n % 7 + 10), 1 - 0.02 * (n % 5)
    said = [{"bbox_2d": [0, 0, wide * share / 2, tall / 2], "label": "cat"}]
    gold = [{"bbox_2d": [0, 0, 500, 500], "label": "cat"}]
    parm = {"det_verifier_normalized": True, "image_grid_thw": [[1, tall, wide]]}  # in pixels, by its client
    weights = {"det_reward_ratio": {"iou_max_iou_first": 1.0}}
    judged = payload(said, gold, "detection", parm | weights | {"image_path": [f"{n}.jpg"]})
    box = said[0]["bbox_2d"]
    verified = {
        "response": f"<answer>{box}</answer>",
        "answer": "0 0 500 500",
        "verifier": "seen",
        "extra": {"image_size": [wide + 3, tall + 5], "image_grid_thw": [1, tall // 14, wide // 14]},
    }
    return judged, verified, share


def test_five_hundred_images_at_once_keep_their_order() -> None:
    """An answer of another row has another size of its image, and mostly another overlap."""
    seen = Iou(boxes=Unit.seen, gold=Unit.per_mille, count=Count.soft)

    def ask(n: int) -> tuple[float, float, float]:
        judged, verified, share = of_image(n)
        first, second = asked(server, "/judge", judged), asked(server, "/verify", verified)
        assert (first[0], second[0]) == (200, 200), (first, second)
        return first[1]["rewards"]["accuracy_reward"], second[1]["score"], share

    verifiers = {"row": Vtriune(), "seen": seen}
    with serving(verifiers, Verification(workers=2), limits=Limits(max_requests=600)) as server:
        with ThreadPoolExecutor(500) as threads:
            for judged, verified, share in threads.map(ask, range(500)):
                assert judged == pytest.approx(share, abs=0.006) and verified == pytest.approx(
                    share, abs=1e-6
                )
        remote = {"far": Remote(url=server.url, verifier="seen", connections=32)}
        with Pool(remote, Verification(workers=1)) as pool:
            rows = [of_image(n)[1:] for n in range(500)]
            futures = [pool.submit("far", r["response"], r["answer"], r["extra"]) for r, _ in rows]
            found = [future.result(120).score for future in futures]
        assert found == pytest.approx([share for _, share in rows], abs=1e-6)


def test_progress_travels_to_a_server(server: Server) -> None:
    box, gold = "<answer>[0, 0, 10, 9]</answer>", "0 0 10 10"
    around = Surroundings(steps=100, trained_by=frozenset({"far"}))
    remote = Remote(url=server.url, verifier="box", connections=1)
    with Pool({"far": remote, "bench": remote}, Verification(workers=1), around=around) as pool:
        for finished, stage in ((9, 0.85), (10, 0.95), (25, 0.99)):
            around.step = finished
            assert pool.submit("far", box, gold, {}).result(60).more["threshold"] == stage
        assert pool.submit("bench", box, gold, {"rlvr.progress": 1}).result(60).more["threshold"] == 0.99
    item = {"response": box, "answer": gold, "verifier": "box"}
    assert (
        asked(server, "/verify", item | {"progress": {"step": 1, "total_steps": 10}})[1]["more"]["iou"] == 0.9
    )
    for bad in ({"step": 1}, {"step": 11, "total_steps": 10}, {"step": True, "total_steps": 1}, 5):
        status, found = asked(server, "/verify", item | {"progress": bad})
        assert status == 400 and "progress must be {step, total_steps}" in found["error"]


def test_answers_of_ten_thousand_boxes_come_back_in_time(server: Server) -> None:
    many = [{"bbox_2d": [n, 0, n + 5, 5], "label": "cat"} for n in range(10_000)]
    status, found = asked(server, "/judge", payload(many, TWO, "detection", SHARES))
    assert (status, found["rewards"]["final_reward"]) == (200, 0.0)
    gold = {"response": f"<answer>{json.dumps(many)}</answer>", "answer": "0 0 10 10", "verifier": "box"}
    assert asked(server, "/verify", gold)[1]["reason"] == Reason.refused.value
