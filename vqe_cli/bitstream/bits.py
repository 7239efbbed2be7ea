"""Reading bits and Exp-Golomb codes out of a few header bytes (H.265, 9.2)."""


class HeaderError(Exception):
    """A header cannot be read: it ends too early, or a value lies outside what the standard allows.

    Never reaches a user: the parser turns it into an unknown QP and a warning.
    """


class BitReader:
    """A cursor over the raw byte sequence payload of a NAL unit (emulation prevention already removed).

    The bytes are held as one integer, which makes a read two shifts instead of a loop over bits.
    """

    __slots__ = ("length", "position", "value")

    def __init__(self, payload: bytes) -> None:
        self.value = int.from_bytes(payload, "big")
        self.length = 8 * len(payload)
        self.position = 0

    def u(self, count: int) -> int:
        """The next `count` bits as an unsigned number; raises HeaderError past the end."""
        end = self.position + count
        if end > self.length:
            raise HeaderError("the header ends too early")
        self.position = end
        return (self.value >> (self.length - end)) & ((1 << count) - 1)

    def flag(self) -> bool:
        """The next bit."""
        end = self.position + 1
        if end > self.length:
            raise HeaderError("the header ends too early")
        self.position = end
        return (self.value >> (self.length - end)) & 1 == 1

    def skip(self, count: int) -> None:
        """Passes over `count` bits."""
        self.position += count
        if self.position > self.length:
            raise HeaderError("the header ends too early")

    def ue(self, most: int, name: str) -> int:
        """An unsigned Exp-Golomb code (9.2); raises HeaderError above `most`, the largest value allowed."""
        left = self.length - self.position
        zeros = left - (self.value & ((1 << left) - 1)).bit_length()
        if zeros > 32 or 2 * zeros + 1 > left:
            raise HeaderError(f"{name} is not a code of the standard, or the header ends in it")
        value = self.u(2 * zeros + 1) - 1
        if value > most:
            raise HeaderError(f"{name} is {value}, more than {most}")
        return value

    def se(self, least: int, most: int, name: str) -> int:
        """A signed Exp-Golomb code (9.2.2); raises HeaderError outside `least` … `most`."""
        code = self.ue(2**32 - 2, name)
        value = (code + 1) >> 1 if code & 1 else -(code >> 1)
        if not least <= value <= most:
            raise HeaderError(f"{name} is {value}, outside {least} … {most}")
        return value

    def at_trailing_bits(self) -> bool:
        """True where only a 1 and zeros are left: rbsp_trailing_bits (7.3.2.11), and perhaps zero bytes."""
        left = self.length - self.position
        rest = self.value & ((1 << left) - 1)
        return rest != 0 and rest & (rest - 1) == 0 and rest.bit_length() == left
