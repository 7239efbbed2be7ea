"""What `vqe enhance --dry-run` shows: a run that would start, in a few lines."""

from vqe_cli.cli.display import plan_line
from vqe_cli.restore.memory import Need
from vqe_cli.runs.plan import Plan
from vqe_cli.video.memory import amount


def plan_lines(found: Plan) -> list[str]:
    """Input, networks, what is written, memory; a line each, then warnings."""
    info = found.info
    seconds = f" ({info.duration_s:.1f} s)" if info.duration_s is not None else ""
    frames = found.summary.frames if found.summary.frames is not None else "an unknown number of"
    beside = len(info.streams) - 1
    copied = f", {beside} other stream{'s' if beside > 1 else ''}" if beside > 0 else ""
    return [
        f"reads    {info.path}: {info.codec} {info.width}x{info.height}, {frames} frames{seconds}{copied}",
        f"runs     {plan_line(found.summary)}",
        f"writes   {found.written.target.path}: {written_line(found)}, {amount(found.estimates.free)} free",
        f"takes    {', '.join(map(_need, found.estimates.needs))}",
        "time     is shown after the first chunk",
        *(f"warning: {text}" for text in found.warnings),
    ]


def written_line(found: Plan) -> str:
    """Codec, format, quality and size of what would be written."""
    written = found.written
    quality = f" at CRF {written.crf:g}" if written.crf is not None else ""
    room = found.estimates.room
    if room is None:
        return f"{written.codec} {written.pix_fmt}{quality}"
    low, high = amount(room.low), amount(room.high)
    size = high if low == high else f"{low} to {high}"
    return f"{written.codec} {written.pix_fmt}{quality}, {size}"


def _need(need: Need) -> str:
    there = [
        f"{amount(count)} {word}"
        for count, word in ((need.free, "free"), (need.total, "in all"))
        if count is not None
    ]
    return f"about {amount(need.bytes)} of {need.where}" + (f" ({', '.join(there)})" if there else "")
