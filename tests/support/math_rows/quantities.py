"""Numbers with units, with what each setting of `units` makes of them."""

from __future__ import annotations

from random import Random

from math_rows.spelling import Case, swapped

UNITS = {
    "cm": [
        "\\text{ cm}",
        " cm",
        "\\text{cm}",
        "\\mathrm{cm}",
        "\\ \\text{centimeters}",
        "\\,\\mathrm{cm}",
        "\\mathrm{~cm}",
    ],
    "kg": ["\\text{ kg}", " kg", "kg", "\\,\\text{kg}", "\\text{ kilograms}", "~\\mathrm{kg}"],
    "m/s": [
        "\\text{ m/s}",
        " m/s",
        " \\mathrm{~m} / \\mathrm{s}",
        "\\ \\frac{\\text{m}}{\\text{s}}",
        "\\text{ m}/\\text{s}",
    ],
    "km/h": [" km/h", "\\text{ km/h}", "\\mathrm{~km} / \\mathrm{h}", "\\text{ km per hour}"],
    "m/s^2": ["\\text{ m/s}^2", "\\ \\mathrm{m/s^2}", " m/s^2", "\\text{ m}/\\text{s}^2", "\\text{ m/s}^{2}"],
    "cm^2": ["\\text{ cm}^2", " cm^2", "\\text{ cm}^{2}", "\\mathrm{cm}^2", "\\text{ square centimeters}"],
    "hours": ["\\text{ hours}", " hours", "\\text{ h}", "\\text{hours}", " \\text{hr}"],
    "weeks": ["weeks", " weeks", "\\text{ weeks}", "\\text{weeks}"],
    "apples": ["\\text{ apples}", " apples", "\\text{apples}"],
    "dollars": ["\\text{ dollars}", " dollars"],
}
_OTHER = {
    "cm": "kg",
    "kg": "cm",
    "m/s": "kg",
    "m/s^2": "cm",
    "km/h": "cm",
    "cm^2": "cm",
    "hours": "kg",
    "weeks": "cm",
}
_OTHER |= {"apples": "dollars", "dollars": "apples"}


def quantity(rng: Random) -> Case:
    units = rng.choice(["ignore", "require", "if_given"])
    unit, n = rng.choice(list(UNITS)), rng.randint(2, 900)
    right, others = [f"{n}{form}" for form in UNITS[unit]], [f"{n}{form}" for form in UNITS[_OTHER[unit]]]
    wrong = {
        "one off": [f"{n + 1}{rng.choice(UNITS[unit])}", f"{n - 1}"],
        "power of ten": [f"{n}0{rng.choice(UNITS[unit])}"],
        "sign": [f"-{n}{rng.choice(UNITS[unit])}"],
        "thousand": [f"{n} \\text{{ thousand }}{rng.choice(UNITS[unit])}"],
    }
    same = list(right)
    if units == "ignore":
        same += [str(n), *rng.sample(others, 2)]
    else:
        wrong["unit"] = rng.sample(others, 2)
        (same if units == "if_given" else wrong.setdefault("unit missing", [])).append(str(n))
    return Case(right[:2], same, wrong, options={"units": units})


def angle(rng: Random) -> Case:
    degrees = rng.randint(2, 175)
    same = [
        f"{degrees}^\\circ",
        f"{degrees}^{{\\circ}}",
        f"{degrees}°",
        str(degrees),
        f"{degrees} ^ \\circ",
        f"{degrees}\\degree",
    ]
    same += [f"{degrees}\\text{{ degrees}}", f"{degrees} degrees", f"x={degrees}^\\circ"]
    wrong = {
        "one off": [f"{degrees + 1}^\\circ", f"{degrees - 1}"],
        "sign": [f"-{degrees}^\\circ"],
        "function": [f"\\sin {degrees}^\\circ", f"{degrees}\\pi"],
    }
    if rng.random() < 0.5:
        minutes = rng.randint(10, 59)
        same = [
            f"{degrees}^\\circ{minutes}'",
            f"{degrees}^{{\\circ}} {minutes}^{{\\prime}}",
            f"{degrees}^{{\\circ}}{minutes}^{{\\prime}}",
        ]
        same += [
            f"{degrees}^\\circ {minutes}'",
            f"{degrees}^\\circ\\,{minutes}'",
            f"{degrees}^\\circ {minutes}^\\prime",
            f"{degrees}°{minutes}'",
        ]
        wrong = {
            "entry": [f"{degrees}^\\circ {minutes - 1}'", f"{degrees + 1}^\\circ {minutes}'"],
            "minutes dropped": [f"{degrees}^\\circ", str(degrees), f"{minutes}'"],
            "read as a decimal": [f"{degrees}.{minutes}^\\circ"] if minutes * 100 // 60 != minutes else [],
            "sign": [f"-{degrees}^\\circ {minutes}'"],
        }
        if other := swapped(f"00{minutes}"):
            wrong["digits swapped"] = [f"{degrees}^\\circ {other[-2:]}'"]
    return Case(same[:2], same, wrong)


QUANTITIES = {"quantity": quantity, "angle": angle}
