"""HDR10 metadata: mastering display (SMPTE ST 2086) and content light level (CTA-861.3), from FFmpeg's side
data.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

# Encoders that take the metadata as parameters, and under which option.
PARAMETER_OPTIONS = {"libx265": "x265-params", "libx264": "x264-params", "libsvtav1": "svtav1-params"}

# Names of the two parameters there.
PARAMETER_NAMES = {
    "libx265": ("master-display", "max-cll"),
    "libx264": ("mastering-display", "cll"),
    "libsvtav1": ("mastering-display", "content-light"),
}


@dataclass(frozen=True)
class MasteringDisplay:
    """The display that a video was graded on. red, green, blue, white: CIE 1931 x and y; luminances in
    cd/m².
    """

    red: tuple[Fraction, Fraction]
    green: tuple[Fraction, Fraction]
    blue: tuple[Fraction, Fraction]
    white: tuple[Fraction, Fraction]
    minimum: Fraction
    maximum: Fraction


def mastering_display(side_data: Mapping[str, bytes]) -> MasteringDisplay | None:
    """The mastering display of a stream, None where it is incomplete (AVMasteringDisplayMetadata)."""
    data = side_data.get("MASTERING_DISPLAY_METADATA", b"")
    if len(data) < 88:
        return None
    numbers = struct.unpack_from("22i", data)
    has_primaries, has_luminance = numbers[20:22]
    if not has_primaries or not has_luminance or not all(numbers[1:20:2]):
        return None
    red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y, minimum, maximum = (
        Fraction(numbers[at], numbers[at + 1]) for at in range(0, 20, 2)
    )
    return MasteringDisplay(
        (red_x, red_y), (green_x, green_y), (blue_x, blue_y), (white_x, white_y), minimum, maximum
    )


def content_light(side_data: Mapping[str, bytes]) -> tuple[int, int] | None:
    """(MaxCLL, MaxFALL) in cd/m², None where the stream does not tell (AVContentLightMetadata)."""
    data = side_data.get("CONTENT_LIGHT_LEVEL", b"")
    return struct.unpack_from("2I", data) if len(data) >= 8 else None


def encoder_parameters(codec: str, side_data: Mapping[str, bytes]) -> tuple[str, list[str]]:
    """The option of the encoder and the "name=value" parameters that write the metadata into the stream,
    maybe none.
    """
    if codec not in PARAMETER_OPTIONS:
        return "", []
    display_name, light_name = PARAMETER_NAMES[codec]
    parameters = []
    display = mastering_display(side_data)
    if display is not None:
        parameters.append(f"{display_name}={_display_text(display, exact=codec != 'libsvtav1')}")
    light = content_light(side_data)
    if light is not None:
        parameters.append(f"{light_name}={light[0]},{light[1]}")
    return PARAMETER_OPTIONS[codec], parameters


def _display_text(display: MasteringDisplay, exact: bool) -> str:
    """G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min): in steps of 0.00002 and 0.0001 cd/m², or (exact False) as
    decimals.
    """

    def pair(one: Fraction, other: Fraction, steps: int) -> str:
        if exact:
            return f"({round(one * steps)},{round(other * steps)})"
        return f"({float(one):.5f},{float(other):.5f})"

    return (
        f"G{pair(*display.green, 50000)}B{pair(*display.blue, 50000)}R{pair(*display.red, 50000)}"
        f"WP{pair(*display.white, 50000)}L{pair(display.maximum, display.minimum, 10000)}"
    )
