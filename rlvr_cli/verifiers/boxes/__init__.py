"""Boxes and points in answers: their forms and units, overlap, matching, average precision, thresholds.

Boxes are half-open reals (x1, y1, x2, y2): the area is (x2 - x1)(y2 - y1), and no pixel is added anywhere.
"""
