"""Areas and overlaps of boxes (x1, y1, x2, y2)."""

from __future__ import annotations

Box = tuple[float, float, float, float]
Point = tuple[float, float]


def area(box: Box) -> float:
    """0 for one that is degenerate or turned over: each side is guarded, or two negative ones make a plus."""
    x1, y1, x2, y2 = box
    return max(0.0, x2 - x1) * max(0.0, y2 - y1)


def common(a: Box, b: Box) -> float:
    """Area of the intersection."""
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a: Box, b: Box) -> float:
    """Intersection over union, in [0, 1]; 0 where both have no area."""
    inside = common(a, b)
    union = area(a) + area(b) - inside
    return min(1.0, inside / union) if inside > 0 and union > 0 else 0.0


def giou(a: Box, b: Box) -> float:
    """Generalised IoU (Rezatofighi et al. 2019), in [-1, 1]: less the hull's share that neither covers."""
    inside = common(a, b)
    union = area(a) + area(b) - inside
    hull = area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    if hull <= 0 or union <= 0:
        return -1.0 if hull > 0 else 0.0
    return max(-1.0, min(1.0, iou(a, b) - (hull - union) / hull))


def centre(box: Box) -> Point:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def holds(box: Box, point: Point) -> bool:
    """Whether the point is in the box, its edges included."""
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]
