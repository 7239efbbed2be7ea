"""Files of weights whose headers lie: one sentence, soon, and no memory for what they ask for."""

import inspect
import json
import pickle
import random
import resource
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DATA
from safetensors.torch import save_file
from tiny_weights import write_tiny

from vqe_cli import networks
from vqe_cli.errors import VqeError
from vqe_cli.networks.bounds import RANGES, kinds_of
from vqe_cli.weights.load import build_network, load_network, load_stages
from vqe_cli.weights.public_checkpoints import read_checkpoint
from vqe_cli.weights.registry import StageSpec, from_files

BIG = 10**9
GROWN = {"spatial": {"channels": 8, "blocks": 2}, "prop_channels": 12, "num_blocks": 1, "deform_groups": 2}
SWINIR = {"embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 4}
VALUES = (0, -1, BIG, 10**18, 1.5, "4", True, None, [], [BIG], {}, [[1]])
# Settings that are whole numbers in every architecture, each with what no network can be.
ABSURD = [
    (arch, {key: value})
    for arch, keys in {
        "qecnn": ("channels", "blocks", "unshuffle", "scale"),
        "gate": ("channels", "blocks", "unshuffle"),
        "spynet": ("levels",),
        "swinir": ("in_chans", "embed_dim", "depths", "num_heads", "window_size", "upscale", "mlp_ratio"),
        "basicvsrpp": ("mid_channels", "num_blocks", "reconstruction_blocks", "deform_groups", "flow_stride"),
        "crds": ("channels", "steps", "candidates", "heads", "encoder_blocks"),
    }.items()
    for key in keys
    for value in VALUES
]
ABSURD += [
    ("motion_fusion", {"spatial": {"channels": 8}, "channels": BIG}),
    ("motion_fusion", {"spatial": {"unshuffle": 3}}),
    ("pqf_basicvsrpp", {**GROWN, "spatial": {"blocks": BIG}}),
    ("pqf_basicvsrpp", {**GROWN, "spatial": {"chanels": 8}}),
    ("pqf_basicvsrpp", {**GROWN, "spatial": [1]}),
    ("pqf_basicvsrpp", {**GROWN, "reconstruction_channels": BIG}),
    ("swinir", {"depths": [64] * 32, "num_heads": [1] * 32}),
    ("swinir", {"depths": [10**9] * 4, "num_heads": [6] * 4}),
    ("swinir", {"upsampler": "x" * 10_000}),
    ("swinir", {"resi_connection": ["1conv"]}),
    ("qecnn", {"x" * 10_000: 1}),
    ("x" * 10_000, {}),
]


@contextmanager
def bounded() -> Iterator[pytest.ExceptionInfo[VqeError]]:
    """What happens inside ends with one bearable sentence, within a second and 200 MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    with pytest.raises(VqeError) as caught:
        yield caught
    assert time.monotonic() - began < 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    said = str(caught.value)
    assert said.isprintable() and len(said) < 700, said


def write_header(path: Path, header: str, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    save_file(tensors or {"a": torch.zeros(1)}, path, metadata={"vqe": header})
    return path


@pytest.fixture(scope="module", autouse=True)
def warmed_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the first network loads is not what is measured."""
    path = tmp_path_factory.mktemp("warm") / "tiny.safetensors"
    write_tiny(path)
    load_network(StageSpec(str(path)))


@pytest.mark.parametrize("name", ["w_blocks1e9.safetensors", "w_unshuffle0.safetensors"])
def test_the_reported_files_are_refused(name: str) -> None:
    path = DATA / "cases" / name
    with bounded() as caught:
        load_stages(from_files([path], 1))
    assert name in str(caught.value)


def test_absurd_settings_are_refused_for_every_network(tmp_path: Path) -> None:
    for number, (arch, config) in enumerate(ABSURD):
        path = write_header(tmp_path / f"{number}.safetensors", json.dumps({"arch": arch, "config": config}))
        with bounded() as caught:
            build_network(StageSpec(str(path)))
        assert path.name in str(caught.value)


def test_an_absurd_network_with_fitting_tensors_is_refused(tmp_path: Path) -> None:
    """Shapes of nothing fit a fold by nothing: what would run must make sense, too."""
    tensors = {
        "head.weight": torch.zeros(4, 0, 3, 3),
        "head.bias": torch.zeros(4),
        "tail.weight": torch.zeros(0, 4, 3, 3),
        "tail.bias": torch.zeros(0),
    }
    config = {"channels": 4, "blocks": 0, "unshuffle": 0, "qp_conditioning": False}
    path = write_header(tmp_path / "n.safetensors", json.dumps({"arch": "qecnn", "config": config}), tensors)
    with bounded():
        build_network(StageSpec(str(path)))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "[]",
        "3",
        '{"arch": 3, "config": {}}',
        '{"arch": "qecnn", "config": []}',
        '{"arch": "qecnn", "config": {}, "card": "x"}',
        '{"arch": "qecnn"}',
        '{"arch": "qecnn", "config": {"blocks": NaN}}',
        '{"arch": "qecnn", "config": {"blocks": 1e999}}',
        '{"arch": "qecnn", "config": {"blocks": ' + "9" * 5000 + "}}",
        '{"arch": "qecnn", "config": ' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "}",
        "[" * 100_000,
        '{"arch": "\\u001b[2J[/b]\\ud800", "config": {}}',
        '{"arch": "qecnn", "config": {}, "card": {"x": "' + "x" * 2_000_000 + '"}}',
    ],
    ids=lambda header: header[:40],
)
def test_a_header_that_is_none_is_refused(tmp_path: Path, header: str) -> None:
    path = write_header(tmp_path / "n.safetensors", header)
    with bounded():
        build_network(StageSpec(str(path)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08\0\0\0\0\0\0\0{}",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 50) + b"[" * 50,
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        struct.pack("<Q", 100_000) + b'{"a":' * 20_000,
    ],
    ids=["nothing", "longer than the file", "endless", "lists", "deep lists", "deep mappings"],
)
def test_a_damaged_safetensors_header_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "n.safetensors"
    path.write_bytes(content)
    with bounded():
        build_network(StageSpec(str(path)))
    with bounded():
        read_checkpoint(path)


def test_every_numeric_setting_has_a_range() -> None:
    numeric = set()
    for network in networks.ARCHITECTURES.values():
        hints = kinds_of(network)
        numeric |= {
            key
            for key in inspect.signature(network).parameters
            if any(kind in str(hints.get(key)) for kind in ("int", "float"))
        }
    assert numeric <= RANGES.keys()


# --- public checkpoints -----------------------------------------------------------------------------------


def swinir() -> dict[str, torch.Tensor]:
    return dict(networks.build("swinir", SWINIR).state_dict())


def renamed(old: str, new: str) -> Callable[[], dict[str, torch.Tensor]]:
    return lambda: swinir() | {key.replace(old, new): value for key, value in swinir().items() if old in key}


STATES: dict[str, Callable[[], Any]] = {
    "10^9 groups": renamed("layers.0.", "layers.999999999."),
    "10^9 blocks": renamed("blocks.1.", "blocks.999999999."),
    "5,000 digits": renamed("blocks.1.", f"blocks.{'9' * 5000}."),
    "10^9 levels": lambda: (
        {"basic_module.0.basic_module.0.conv.weight": torch.zeros(1)}
        | {"basic_module.999999999.x": torch.zeros(1)}
    ),
    "no channels": lambda: swinir() | {"conv_first.weight": torch.zeros(0, 0, 3, 3)},
    "one axis": lambda: swinir() | {"conv_first.weight": torch.zeros(12)},
    "no window": lambda: (
        swinir() | {"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.zeros(0, 2)}
    ),
    "a large window": lambda: (
        swinir()
        | {"layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.zeros(499**2, 2)}
    ),
    "a step of nothing": lambda: (
        swinir() | {"conv_before_upsample.0.weight": torch.zeros(1), "upsample.0.weight": torch.zeros(0, 0)}
    ),
    "one number as 10^12": lambda: swinir() | {"norm.bias": torch.zeros(1).expand(10**6, 10**6)},
    "many views": lambda: {str(n): BASE.view(-1) for n in range(2000)},
    "meta": lambda: swinir() | {"norm.bias": torch.zeros(10**6, 10**6, device="meta")},
    "sparse": lambda: swinir() | {"norm.bias": torch.zeros(12).to_sparse()},
    "numbers": lambda: {1: 2, "a": None},
    "text": lambda: "text",
    "itself": lambda: in_itself(),
}
BASE = torch.zeros(1 << 18)


def in_itself() -> list[Any]:
    tree: list[Any] = []
    tree.append(tree)
    return tree


@pytest.mark.parametrize("name", STATES)
def test_a_checkpoint_that_lies_is_refused(tmp_path: Path, name: str) -> None:
    torch.save(STATES[name](), tmp_path / "a.pth")
    with bounded() as caught:
        read_checkpoint(tmp_path / "a.pth")
    assert "a.pth" in str(caught.value)


def test_an_archive_that_would_swell_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(4)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in plain.namelist():
            bomb.writestr(member, plain.read(member))
        with bomb.open("plain/data/1", "w", force_zip64=True) as member:
            for _ in range(64):
                member.write(bytes(1 << 20))
    with bounded() as caught:
        read_checkpoint(tmp_path / "bomb.pth")
    assert "would become" in str(caught.value)


CALLS = {
    "bytearray": b"cbuiltins\nbytearray\n",
    "bytearray of Python 2": b"c__builtin__\nbytearray\n",
    "a tensor of a size": b"ctorch\nTensor\n",
    "text to bytes": b"c_codecs\nencode\n",
    "a sparse tensor": b"ctorch._utils\n_rebuild_sparse_tensor\n",
    "the system": b"cos\nsystem\n",
}


@pytest.mark.parametrize("name", CALLS)
def test_a_pickle_that_calls_what_makes_no_tensor_is_refused(tmp_path: Path, name: str) -> None:
    """Also what PyTorch takes and needs no tensors: ten bytes could ask for any amount of memory."""
    call = b"\x80\x02" + CALLS[name] + pickle.dumps(10**8, 2)[2:-1] + b"\x85R."
    torch.save({"a": torch.zeros(4)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "call.pth", "w") as changed,
    ):
        for member in plain.namelist():
            changed.writestr(member, call if member.endswith("data.pkl") else plain.read(member))
    (tmp_path / "old.pth").write_bytes(call)
    for path in (tmp_path / "call.pth", tmp_path / "old.pth"):
        with bounded() as caught:
            read_checkpoint(path)
        assert "does not run" in str(caught.value)


def test_a_checkpoint_of_old_pytorch_is_read(tmp_path: Path) -> None:
    state = swinir()
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found = read_checkpoint(tmp_path / "old.pth").weights
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in found)
    content = (tmp_path / "old.pth").read_bytes()
    (tmp_path / "huge.pth").write_bytes(content.replace(b"K\x0c", pickle.dumps(10**12, 2)[2:-1]))
    with bounded():
        read_checkpoint(tmp_path / "huge.pth")


# --- chance -----------------------------------------------------------------------------------------------


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The content with some bytes changed, left out, doubled or cut off."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(found))
        kind = chance.randrange(5)
        if kind == 0:
            found[place] = chance.randrange(256)
        elif kind == 1:
            found[place] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del found[place : place + chance.randint(1, 40)]
        elif kind == 3:
            found[place:place] = found[place : place + chance.randint(1, 40)]
        else:
            found[place : place + 1] = str(chance.choice((0, -1, BIG, 10**30, 1.5))).encode()
        if not found:
            break
    return bytes(found)


def test_mutated_safetensors_are_loaded_or_refused(tmp_path: Path) -> None:
    write_tiny(tmp_path / "good.safetensors", channels=4)
    good = (tmp_path / "good.safetensors").read_bytes()
    length = 8 + struct.unpack("<Q", good[:8])[0]
    chance = random.Random(24)
    path = tmp_path / "n.safetensors"
    for _ in range(300):
        header = mutated(good[8:length], chance)
        path.write_bytes(struct.pack("<Q", len(header)) + header + good[length:])
        load_or_refuse(lambda: load_network(StageSpec(str(path))))
    for _ in range(100):
        path.write_bytes(mutated(good, chance))
        load_or_refuse(lambda: load_network(StageSpec(str(path))))


def test_mutated_checkpoints_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(swinir(), path)
    good = path.read_bytes()
    chance = random.Random(24)
    for _ in range(150):
        path.write_bytes(mutated(good, chance))
        load_or_refuse(lambda: read_checkpoint(path))


def load_or_refuse(read: Callable[[], object]) -> None:
    """Nothing but VqeError, and soon."""
    began = time.monotonic()
    try:
        read()
    except VqeError as error:
        assert len(str(error)) < 1000
    assert time.monotonic() - began < 4
