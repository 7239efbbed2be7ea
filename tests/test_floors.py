"""The walls of the house, read from the imports: rooms use rooms below, and only `cli` talks to people."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

# From the ground up; rooms on one line may not use each other, except that `text` and `errors` serve all.
FLOORS = [
    ["text", "errors", "networks"],
    ["files", "documents", "machine", "pipeline_threads"],
    ["bitstream"],
    ["video"],
    ["weights"],
    ["measure"],
    ["ensemble"],
    ["restore"],
    ["runs"],
    ["training"],
    ["api", "bench"],
    ["cli"],
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted((ROOT / "vqe_cli").rglob("*.py"))
ONLY_CLI = {"typer", "rich"}
MOST_PARAMETERS = 6
# Networks are built from the fields of their configuration, as published; the convolution has torchvision's
# face.
MORE_PARAMETERS = {
    "vqe_cli.networks.basicvsrpp.__init__",
    "vqe_cli.networks.crds.__init__",
    "vqe_cli.networks.deform.modulated_deform_conv2d",
    "vqe_cli.networks.swinir.__init__",
}


def room_of(module: str) -> str | None:
    """The room of a dotted module name, None for other packages and for the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "vqe_cli" and len(parts) > 1 and parts[1] in LEVEL else None


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, whole: bool = True) -> set[str]:
    """Modules that a file imports; `from a import b` counts as a.b. whole: inside functions, too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if whole else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_room_uses_only_rooms_below(path: Path) -> None:
    own = room_of(module_of(path))
    if own is None:
        assert {room_of(name) for name in imports(path)} <= {None, "errors", "api"}, "the face is thin"
        return
    for name in imports(path):
        room = room_of(name)
        assert room in (None, own, "text", "errors") or LEVEL[room] < LEVEL[own], (
            f"{own} uses {name}, which is above it"
        )


@pytest.mark.parametrize("path", [p for p in FILES if room_of(module_of(p)) != "cli"], ids=module_of)
def test_only_cli_talks_to_people(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & ONLY_CLI
    calls = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def parameters(function: ast.FunctionDef) -> list[str]:
    """Names of all that a function takes, but for the object that a method belongs to."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, [given.vararg, given.kwarg])]
    return [each.arg for each in named if each.arg not in ("self", "cls")]


@pytest.mark.parametrize("path", [p for p in FILES if room_of(module_of(p)) != "cli"], ids=module_of)
def test_no_function_takes_many_parameters(path: Path) -> None:
    """Commands of `cli` have an option each; whoever else needs so much takes an object."""
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    many = {f"{module_of(path)}.{each.name}" for each in functions if len(parameters(each)) > MOST_PARAMETERS}
    assert many <= MORE_PARAMETERS


def test_no_circles() -> None:
    """Files import each other in one direction only, as far as they do it when they are imported."""
    known = {module_of(path): path for path in FILES}
    graph = {
        module: {name for name in _known_targets(imports(path, whole=False), known) if name != module}
        for module, path in known.items()
    }
    done: set[str] = set()
    for start in graph:
        _walk(start, graph, [], done)


def _known_targets(names: set[str], known: dict[str, Path]) -> set[str]:
    """Names of files: `a.b.c` is the file a.b.c, or the name c in the file a.b."""
    return {name if name in known else name.rpartition(".")[0] for name in names} & known.keys()


def _walk(module: str, graph: dict[str, set[str]], trail: list[str], done: set[str]) -> None:
    assert module not in trail, f"circle: {' -> '.join([*trail, module])}"
    if module not in done:
        for target in graph[module]:
            _walk(target, graph, [*trail, module], done)
        done.add(module)


def test_files_of_tests_have_names_of_their_own() -> None:
    """pytest imports them by name alone; two of one name end the whole run."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
