"""Units: which words are one, what they measure, and how many of the dimension's own unit they are."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

# What they measure, their size (exact by definition), their names. Months and days, gallons and litres,
# degrees and radians, euros and dollars do not convert exactly, and so measure different things.
_TABLE = """
length            1            m meter meters metre metres
length            1/1000       mm millimeter millimeters millimetre millimetres
length            1/100        cm centimeter centimeters centimetre centimetres
length            1/10         dm decimeter decimeters decimetre decimetres
length            1000         km kilometer kilometers kilometre kilometres
length            1/1000000    μm um micron microns micrometer micrometers
length            1/1000000000 nm nanometer nanometers nanometre nanometres
length            254/10000    in inch inches
length            3048/10000   ft foot feet
length            9144/10000   yd yds yard yards
length            1609344/1000 mi mile miles
mass              1            kg kilogram kilograms
mass              1/1000       g gram grams
mass              1/1000000    mg milligram milligrams
mass              1000         tonne tonnes
mass              45359237/100000000   lb lbs
mass              45359237/1600000000  oz ounce ounces
time              1            s sec secs second seconds
time              1/1000       ms millisecond milliseconds
time              60           min mins minute minutes
time              3600         h hr hrs hour hours
time              86400        day days
time              604800       week weeks
months            1            month months
months            12           year years yr yrs
volume            1/1000       l L liter liters litre litres
volume            1/1000000    ml mL milliliter milliliters millilitre millilitres
gallons           1            gal gallon gallons
gallons           1/4          qt quart quarts
gallons           1/8          pint pints
gallons           1/16         cup cups
degrees           1            degree degrees deg
radians           1            rad radian radians
dollars           1            $ dollar dollars usd USD bucks
dollars           1/100        ¢ cent cents
euros             1            € euro euros EUR
pounds            1            £ pound pounds GBP
speed             1609344/3600000      mph
speed             1000/3600            kph kmh kmph
force             1            N newton newtons
force             1000         kN
energy            1            J joule joules
energy            1000         kJ
energy            1000000      MJ
power             1            W watt watts
power             1000         kW
power             1000000      MW
voltage           1            V volt volts
voltage           1000         kV
voltage           1/1000       mV
current           1            A amp amps
current           1/1000       mA
frequency         1            Hz hz hertz
frequency         1000         kHz
frequency         1000000      MHz
pressure          1            Pa pascal pascals
pressure          1000         kPa
particle-energy   1            eV
particle-energy   1000         keV
particle-energy   1000000      MeV
particle-energy   1000000000   GeV
"""
_COUNTED = """
K C F atm mol cal kcal ohm ohms kelvin ton tons rpm fps unit units person persons people apples eggs point
points time times way ways item items coins marbles students cars books balls pages steps problems questions
games pieces sq square cubic digits terms sides rev revolutions dozen pair pairs cards tiles triangles
squares vertices edges
"""
_SIZES = {
    name: (dimension, Fraction(size))
    for dimension, size, *names in (line.split() for line in _TABLE.strip().splitlines())
    for name in names
}
_COMPOUND = {"speed": (("length", 1), ("time", -1)), "volume": (("length", 3),)}
WORDS = frozenset(name for name in (*_SIZES, *_COUNTED.split()) if len(name) > 1) | {
    "per",
    "squared",
    "cubed",
}
"""Bare runs of letters that are a unit behind a number."""
LETTERS = frozenset("mghsLlJNWVAKCF")
"""Single letters that can be one, where a slash, \\text or the options say that it is no symbol."""
CERTAIN = frozenset(["cm", "mm", "km", "kg", "mph", "kph", "lb", "lbs", "min", "sec", "hrs", "ft"])
"""Short bare units that no product of symbols looks like; they may stand at the number without a space."""
SYMBOLS_TOO = frozenset(["mg", "ms", "mV", "mA", "kV", "kJ", "kN"])
"""Short bare units that are a product of symbols unless the options say that units are meant."""
MULTIPLES = {
    **dict.fromkeys(("hundred", "hundreds"), 10**2),
    **dict.fromkeys(("thousand", "thousands"), 10**3),
    **dict.fromkeys(("million", "millions"), 10**6),
    **dict.fromkeys(("billion", "billions"), 10**9),
    **dict.fromkeys(("trillion", "trillions"), 10**12),
    **{"dozen": 12},
}
_ATOM = re.compile(r"([^\s/*^.0-9-]+)\.?\s*(?:\^\s*(-?[0-9]))?")
_SPELT = (
    (re.compile(r"(?:degrees?|°)\s*(C|F)(?:elsius|ahrenheit)?\b"), r"deg\1"),
    (re.compile(r"\b(?:square|sq)\.?\s+([A-Za-z]+)"), r"\1^2"),
    (re.compile(r"\bcubic\s+([A-Za-z]+)"), r"\1^3"),
    (re.compile(r"\s+squared\b"), "^2"),
    (re.compile(r"\s+cubed\b"), "^3"),
    (re.compile(r"\s+per\s+"), "/"),
)

Measured = tuple[Fraction, tuple[tuple[str, int], ...]]


def _base(name: str) -> Measured:
    """A word that nobody knows measures itself, as do apples."""
    known = _SIZES.get(name) or _SIZES.get(name.lower())
    if known is None:
        return Fraction(1), ((_singular(name.lower()), 1),)
    dimension, size = known
    return size, _COMPOUND.get(dimension, ((dimension, 1),))


def _singular(name: str) -> str:
    return name[:-1] if len(name) > 3 and name.endswith("s") and not name.endswith("ss") else name


@lru_cache(maxsize=1024)
def measured(unit: str) -> Measured:
    """(size, powers of the dimensions) of a unit such as `km/h`."""
    size, powers, text = Fraction(1), dict[str, int](), unit.strip()
    for pattern, spelt in _SPELT:
        text = pattern.sub(spelt, text)
    sign = 1
    for part in re.split(r"(/)", text):
        if part == "/":
            sign = -1
            continue
        for name, exponent in _ATOM.findall(part):
            power = sign * int(exponent or 1)
            base, dimensions = _base(name)
            size *= base**power
            for dimension, of in dimensions:
                powers[dimension] = powers.get(dimension, 0) + of * power
    return size, tuple(sorted((name, power) for name, power in powers.items() if power))


def known(unit: str) -> bool:
    """Whether a word of it is in the tables."""
    found = [name for name, _ in _ATOM.findall(unit)]
    return any(name in WORDS or name in LETTERS or name.lower() in WORDS for name in found)


def factor(said: str, meant: str) -> Fraction | None:
    """How many of `meant` one of `said` is; None where they measure different things."""
    (mine, what), (other, wanted) = measured(said), measured(meant)
    return mine / other if what == wanted else None
