"""`vqe doctor`: what this machine offers, and what `auto` will choose here; the block for a report."""

import os
import platform
import shutil
import tempfile
from importlib import metadata
from typing import Any

from vqe_cli import __version__
from vqe_cli.cli.console import check_target, show, write_json
from vqe_cli.cli.options import Debug, JsonFile
from vqe_cli.errors import VqeError
from vqe_cli.machine import usable_cores

EXAMPLE = "Example: vqe doctor --json -"
# What networks run on, slowest first; FFmpeg's decoders and encoders use most of these, too.
INSTRUCTIONS = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "sve", "neon")
# The size of picture for which the automatic sizes are shown.
SIZE = (1080, 1920)


def doctor_command(json_file: JsonFile = None, debug: Debug = False) -> None:
    """Say what this machine offers and what is chosen without any option; put it into a report of a fault."""
    check_target(json_file)
    found = {
        "versions": versions(),
        "system": system(),
        "cpu": cpu(),
        "devices": devices(),
        "memory": memory(),
        "disk_free": disks(),
        "encoders": encoders(),
        "auto": chosen(),
    }
    if str(json_file) != "-":
        show(*lines(found))
    if json_file:
        write_json(found, json_file)


def version_of(package: str) -> str | None:
    """Of a package that may be absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Of vqe and of what it runs on."""
    import av
    import torch

    return {
        "vqe": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "openvino": version_of("openvino"),
        "pyav": av.__version__,
        "ffmpeg": str(av.ffmpeg_version_info),
    }


def system() -> str:
    """The operating system and its kernel."""
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def cpu() -> dict[str, Any]:
    """Its model, the threads that networks may use, and the instructions that matter to them."""
    import torch

    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return {
        "name": str(has.get("cpu_name") or platform.processor() or platform.machine()),
        "threads": torch.get_num_threads(),
        "usable": usable_cores(),
        "cores": os.cpu_count(),
        "instructions": [name for name in INSTRUCTIONS if has.get(name)],
    }


def devices() -> list[dict[str, Any]]:
    """Devices other than the CPU, with their memory in bytes where that is known."""
    import torch

    found: list[dict[str, Any]] = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            found.append({"device": f"cuda:{number}", "name": about.name, "memory": about.total_memory})
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "memory": None})
    return found


def memory() -> dict[str, int | None]:
    """Bytes free and in all, as far as this process may take them."""
    from vqe_cli.video.estimates import machine_memory

    free, total = machine_memory()
    return {"free": free, "total": total}


def disks() -> dict[str, int | None]:
    """Bytes free where temporary files go and in the working folder; None where there is no such place."""
    found: dict[str, int | None] = {}
    for name, folder in (("temporary", tempfile.gettempdir), ("working", os.getcwd)):
        try:
            found[name] = shutil.disk_usage(folder()).free
        except OSError:
            found[name] = None
    return found


def encoders() -> list[str]:
    """Encoders that `--codec` is likely to name, as far as they open here."""
    from vqe_cli.video.encoders import available_encoders

    return available_encoders()


def chosen() -> dict[str, Any]:
    """What `vqe enhance` uses for a video of 1080p when nothing is said; "error" where it could not run."""
    from vqe_cli.restore.choices import NetworkChoice, SizeChoice
    from vqe_cli.restore.ensemble import load_model
    from vqe_cli.video.encoders import DEFAULT_CODEC
    from vqe_cli.video.frame import Colour

    try:
        model = load_model(NetworkChoice(), empty=True)
        sizes = model.start(SizeChoice(), Colour("bt709", False, 8, (2, 2)), SIZE).sizes
    except VqeError as error:
        return {"error": str(error)}
    return {
        "model": model.name,
        "device": str(model.compute.device),
        "device_name": model.compute.name,
        "precision": model.compute.precision,
        "engine": model.compute.engine,
        "warning": model.compute.warning,
        "chunk": sizes.chunks.chunk,
        "overlap": sizes.chunks.overlap,
        "tiles": [tiling.tile for tiling in sizes.tilings],
        "codec": DEFAULT_CODEC,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The same for people, a line for each."""
    about, processor = found["versions"], found["cpu"]
    others = [f"{each['device']} {each['name']}, {_amount(each['memory'])}" for each in found["devices"]]
    disk, ram, auto = found["disk_free"], found["memory"], found["auto"]
    runs = auto.get("error")
    if runs is None:
        tiles = ", ".join(f"tiles of {side}" if side else "whole pictures" for side in auto["tiles"])
        runs = (
            f"{auto['model']} on {auto['device']} by {auto['engine']} in {auto['precision']}; at 1080p "
            f"chunks of {auto['chunk']} frames with {auto['overlap']} on each side, {tiles}; "
            f"written by {auto['codec']}"
        )
    return [
        f"vqe       {about['vqe']}",
        f"Python    {about['python']}, torch {about['torch']}, openvino {about['openvino'] or 'absent'}",
        f"FFmpeg    {about['ffmpeg']}, PyAV {about['pyav']}",
        f"system    {found['system']}",
        f"CPU       {processor['name']}, {processor['threads']} threads on {processor['usable']} of "
        f"{processor['cores']} cores; {' '.join(processor['instructions']) or 'no instructions known'}",
        f"devices   {'; '.join(others) or 'none but the CPU'}",
        f"memory    {_amount(ram['free'])} free of {_amount(ram['total'])}",
        f"disk      {_amount(disk['temporary'])} free for temporary files, {_amount(disk['working'])} in the "
        "working folder",
        f"encoders  {' '.join(found['encoders']) or 'none'}",
        f"auto      {runs}",
    ]


def _amount(count: int | None) -> str:
    from vqe_cli.video.estimates import amount

    return "an unknown amount" if count is None else amount(count)
