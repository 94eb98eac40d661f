"""Colours of CSS that may stand in an attribute."""

import re
from typing import Final

from emogg_async._text import shown
from emogg_async.errors import InvalidArgumentError

__all__ = ["css_colour"]

_WORDS: Final = """
aliceblue antiquewhite aqua aquamarine azure beige bisque black blanchedalmond blue
blueviolet brown burlywood cadetblue chartreuse chocolate coral cornflowerblue cornsilk
crimson cyan darkblue darkcyan darkgoldenrod darkgray darkgreen darkgrey darkkhaki
darkmagenta darkolivegreen darkorange darkorchid darkred darksalmon darkseagreen
darkslateblue darkslategray darkslategrey darkturquoise darkviolet deeppink deepskyblue
dimgray dimgrey dodgerblue firebrick floralwhite forestgreen fuchsia gainsboro
ghostwhite gold goldenrod gray green greenyellow grey honeydew hotpink indianred indigo
ivory khaki lavender lavenderblush lawngreen lemonchiffon lightblue lightcoral lightcyan
lightgoldenrodyellow lightgray lightgreen lightgrey lightpink lightsalmon lightseagreen
lightskyblue lightslategray lightslategrey lightsteelblue lightyellow lime limegreen
linen magenta maroon mediumaquamarine mediumblue mediumorchid mediumpurple
mediumseagreen mediumslateblue mediumspringgreen mediumturquoise mediumvioletred
midnightblue mintcream mistyrose moccasin navajowhite navy oldlace olive olivedrab
orange orangered orchid palegoldenrod palegreen paleturquoise palevioletred papayawhip
peachpuff peru pink plum powderblue purple rebeccapurple red rosybrown royalblue
saddlebrown salmon sandybrown seagreen seashell sienna silver skyblue slateblue
slategray slategrey snow springgreen steelblue tan teal thistle tomato transparent
turquoise violet wheat white whitesmoke yellow yellowgreen
"""
_NAMES: Final = frozenset(_WORDS.split())

_NUMBER: Final = r"(?:[0-9]{1,3}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})"
_PARTS: Final = (
    ("rgba?", (_NUMBER, _NUMBER, _NUMBER)),
    ("rgba?", (f"{_NUMBER}%", f"{_NUMBER}%", f"{_NUMBER}%")),
    ("hsla?", (f"{_NUMBER}(?:deg)?", f"{_NUMBER}%", f"{_NUMBER}%")),
)
_SPELLINGS: Final = ((" *, *", " *, *"), (" +", " */ *"))
"""Separators of the parts, and of the opacity, in CSS 3 and in CSS 4."""

_COLOUR: Final = re.compile(
    "|".join(
        [
            "#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})",
            *(
                rf"{name}\( *{between.join(parts)}(?:{before}{_NUMBER}%?)? *\)"
                for name, parts in _PARTS
                for between, before in _SPELLINGS
            ),
        ]
    )
)


def css_colour(name: str, value: object) -> str:
    """Return *value*, in lower case, if it is a colour of CSS.

    A colour is a name, `#` before 3, 4, 6 or 8 hex digits, or `rgb(…)` or `hsl(…)`.

    Raises:
        InvalidArgumentError: It is not; the error calls the argument *name*.
    """
    if isinstance(value, str):
        colour = value.lower()
        if colour in _NAMES or _COLOUR.fullmatch(colour):
            return colour
    raise InvalidArgumentError(
        f"{name}: expected a colour of CSS, such as white, #fff or "
        f"rgb(255, 255, 255), got {shown(value)}"
    )
