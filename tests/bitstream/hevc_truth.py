"""Truth of the HEVC streams: the copies in this repository, and the shared set where it is there."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import av
from conftest import DATA, SHARED, shared_path

from vqe_cli.bitstream.headers import Picture
from vqe_cli.bitstream.packets import PacketParser

COPIES = DATA / "hevc"
COPIED: dict[str, Any] = json.loads((COPIES / "truth.json").read_text())

# A CRA picture after an end of sequence starts a coded video sequence (H.265, 8.1.3); the truth counts on.
COUNTED_ON = ("streams/hm_ra_eos.hevc", "streams/hm_ra_eob.hevc")


class Shown(NamedTuple):
    """A shown picture as the truth tells it."""

    poc: int
    kind: str
    nal_type: int
    temporal_id: int
    sequence: int
    decode_index: int
    slice_qps: tuple[int | None, ...]


def described(picture: Picture) -> Shown:
    return Shown(
        *(picture.poc, picture.kind, picture.nal_type, picture.temporal_id, picture.sequence),
        *(picture.decode_index, picture.slice_qps),
    )


def names(folder: str) -> list[str]:
    """Files of a folder ("streams/…") that can be tested here, those with truth only."""
    shared = {f"{folder}/{_described_file(path)}" for path in (SHARED / "hevc" / folder).glob("*.json")}
    return sorted(shared | {name for name in COPIED if name.startswith(folder) and (COPIES / name).exists()})


def _described_file(path: Path) -> str:
    return str(json.loads(path.read_text())["file"])


def file(name: str) -> Path:
    """The file of that name, the copy in this repository first."""
    copy = COPIES / name
    return copy if copy.exists() else shared_path(f"hevc/{name}")


def truth(name: str) -> tuple[int | None, list[Shown]]:
    """(number of coded pictures, shown pictures in display order)."""
    if name in COPIED:
        entry = COPIED[name]
        return entry.get("coded"), [Shown(*row[:6], tuple(row[6])) for row in entry["frames"]]
    path = shared_path(f"hevc/{name}")
    described_by = path.with_suffix(".json") if name.startswith("streams") else Path(f"{path}.json")
    entry = json.loads(described_by.read_text())
    return entry.get("coded_pictures"), [
        Shown(
            *(f["poc"], f["type"], f["nal_type"], f["temporal_id"], f["sequence"], f["decode_index"]),
            tuple(f["slice_qps"]),
        )
        for f in entry["frames"]
    ]


def first_slice_qps(name: str) -> list[int | None]:
    return [frame.slice_qps[0] for frame in truth(name)[1]]


def coded(path: Path) -> tuple[list[Picture], list[str]]:
    """The pictures of a whole stream in coding order from its headers, and the parser's warnings."""
    parser = PacketParser()
    return parser.parse(path.read_bytes()), parser.warnings


def decoded(path: Path) -> tuple[list[list[Picture]], list[str]]:
    """What the packet of each decoded frame says, in the decoder's order, and the parser's warnings."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        context.copy_opaque = True
        context.flags |= av.codec.context.Flags.output_corrupt
        parser = PacketParser(context.extradata)
        found = []
        for packet in container.demux(stream):
            if packet.size:
                packet.opaque = parser.parse(bytes(packet))
                if packet.opaque and all(picture.skipped for picture in packet.opaque):
                    continue
            found += [frame.opaque for frame in packet.decode()]
    return found, parser.warnings
