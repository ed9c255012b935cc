"""What a SavedModel would do when loaded or run, read from its graph without TensorFlow running it.

Loading a SavedModel runs parts of it (its main_op, the initializers of its tables), and so does
converting it. Its operators can read and write files and call Python; so every node, in the graphs
and in the nested function libraries, is held against what a plain model needs.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import DecodeError

from slipway.artifacts import describe_tree, digest_bytes
from slipway.errors import IntegrityError, SourceNotFound, UnreadableModel, UntrustedSource
from slipway.exporters.tensorflow_runtime import known_operators, saved_model_message

# TensorFlow looks for other files too (saved_model.pbtxt, saved_model.cpb), which would be loaded
# in place of the one that was looked at.
_ENTRIES: Final = frozenset(
    {"saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables", "assets", "assets.extra"}
)
_MAX_GRAPH_BYTES: Final = 2_000_000_000

# Operators with state that lives in memory and nowhere else. All others with state are refused:
# files, sockets, queues, summaries, Python, other devices.
_HARMLESS_STATE: Final = re.compile(
    r"VarHandleOp|VarIsInitializedOp|Variable(V2|Shape)?|ReadVariableOp|DisableCopyOnRead"
    r"|Assign(Add|Sub)?VariableOp|DestroyResourceOp|GuaranteeConst|Empty|DeepCopy"
    r"|Resource(Gather|GatherNd|Scatter\w+|StridedSliceAssign)"
    r"|StatefulPartitionedCall|If|While|Case|Assert|CheckNumerics(V2)?"
    r"|TensorArray\w*|Stack(V2|PushV2|PopV2|CloseV2)?"
    r"|(Anonymous|Mutable|AnonymousMutable)?(Dense)?HashTable(OfTensors)?(V2)?"
    r"|LookupTable(Find|Import|Insert|Remove|Size|Export)V2|InitializeTableV2"
    r"|Random\w+|Stateful(Random|Standard|Truncated|Uniform)\w+|Rng\w+|Multinomial|TruncatedNormal"
    r"|ParameterizedTruncatedNormal|NonDeterministicInts|StatelessRandomGetAlg"
)
_HARMFUL_STATEFUL: Final = frozenset({"RandomDataset", "RandomDatasetV2"})
# Operators that TensorFlow 2.21 declares to have no state, and that act outside all the same.
_HARMFUL_STATELESS: Final = re.compile(
    r"ReadFile|WriteFile|MatchingFiles|\w*PyFunc\w*|\w*Dataset\w*|\w*Reader\w*|\w*Summary\w*"
    r"|Debug\w+|Copy|CopyHost|InitializeTableFromTextFile|Abort|Snapshot\w*|Xla(CustomCall|Launch)\w*"
    r"|TPU\w*|_\w+|Sleep\w*|\w*(Save|Restore)\w*"
)
# What every SavedModel has for its own checkpoints. Loading one of TensorFlow 1 runs its restoring
# part, so that no operator may write there; nothing that is loaded or converted runs the other.
_RESTORING: Final = frozenset({"RestoreV2"})
_SAVING: Final = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints"})


def check_saved_model(path: Path, *, trusted: bool) -> None:
    """Refuse a folder that is no SavedModel, and one that would act outside when loaded.

    Raises:
        SourceNotFound: when there is none.
        UnreadableModel: when it is no SavedModel or a damaged one.
        UntrustedSource: naming the operators, unless it is trusted.
    """
    message = _read(path)
    if trusted:
        return
    _refuse_strange_files(path)
    found = sorted(
        {operator for meta in message.meta_graphs for operator in _harmful_operators(meta)}
    )
    if found:
        digest = digest_bytes(describe_tree(path).to_json()).removeprefix("sha256:")
        raise UntrustedSource(
            f"{path.name} holds {', '.join(found)}: operators that read or write files, call "
            "Python or reach outside, some as soon as the model is loaded. Export the model "
            f"without them; or, if you trust it, set trusted: true and sha256: {digest}"
        )
    for meta in message.meta_graphs:
        _refuse_escaping_assets(path, meta)


def _read(path: Path) -> Any:  # noqa: ANN401 - a protobuf message of TensorFlow's
    if not path.exists():
        raise SourceNotFound(f"there is no SavedModel at {path}")
    if not path.is_dir():
        raise UnreadableModel(f"{path.name} is a file; a SavedModel is a folder")
    graph = path / "saved_model.pb"
    if not graph.is_file():
        raise UnreadableModel(f"{path.name} holds no saved_model.pb; name the SavedModel's folder")
    if graph.stat().st_size > _MAX_GRAPH_BYTES:
        raise UnreadableModel(f"{path.name}: saved_model.pb is too large to be looked at")
    message = saved_model_message()
    try:
        message.ParseFromString(graph.read_bytes())
    except DecodeError as error:
        raise UnreadableModel(f"{path.name}: saved_model.pb is damaged ({error})") from error
    if not any(meta.graph_def.node for meta in message.meta_graphs):
        raise UnreadableModel(f"{path.name}: saved_model.pb holds no graph")
    return message


def _refuse_strange_files(path: Path) -> None:
    try:
        tree = describe_tree(path)
    except IntegrityError as error:
        raise UntrustedSource(f"{path.name}: {error}") from error
    for file in tree.files:
        if file.path.partition("/")[0] not in _ENTRIES:
            raise UntrustedSource(
                f"{path.name} holds {file.path}, which is not part of a plain SavedModel and may "
                "be loaded in its place; remove it"
            )


def _harmful_operators(meta: Any) -> Iterator[str]:  # noqa: ANN401
    """Operators of one graph and its functions that a plain model does not need."""
    library = {function.signature.name: function for function in meta.graph_def.library.function}
    rights = _checkpoint_rights(meta, library)
    for node in meta.graph_def.node:
        if node.op not in library | rights.get(f"^{node.name}", {}) and not _is_harmless(node.op):
            yield node.op
    for name, function in library.items():
        for node in function.node_def:
            if node.op not in library | rights.get(name, {}) and not _is_harmless(node.op):
                yield node.op


def _is_harmless(operator: str) -> bool:
    known = known_operators()
    if operator not in known:
        return False
    if known[operator]:
        return bool(_HARMLESS_STATE.fullmatch(operator)) and operator not in _HARMFUL_STATEFUL
    return not _HARMFUL_STATELESS.fullmatch(operator)


def _checkpoint_rights(
    meta: Any,  # noqa: ANN401
    library: dict[str, Any],
) -> dict[str, dict[str, None]]:
    """Operators allowed in functions, and in nodes as ^NAME, that only the saver reaches."""
    nodes = {node.name: node for node in meta.graph_def.node}
    saver = meta.saver_def
    restoring = _upstream([saver.restore_op_name, saver.filename_tensor_name], nodes)
    saving = _upstream([saver.save_tensor_name], nodes)
    others = nodes.keys() - restoring - saving
    used = _upstream([*others, *_named_ends(meta)], nodes)
    reached = _functions_of((nodes[name] for name in used), library)
    for name in meta.object_graph_def.concrete_functions:
        if name in library:
            reached |= {name} | _functions_of(library[name].node_def, library)
    rights = {}
    for part, operators in ((saving, _SAVING), (restoring, _RESTORING)):
        functions = _functions_of((nodes[name] for name in part), library)
        for place in (*(f"^{name}" for name in part - used), *(functions - reached)):
            rights[place] = dict.fromkeys(operators)
    return rights


def _named_ends(meta: Any) -> Iterator[str]:  # noqa: ANN401
    """Tensors and operations that a loader runs or returns: signatures and initializers."""
    for signature in meta.signature_def.values():
        for tensor in (*signature.inputs.values(), *signature.outputs.values()):
            yield tensor.name
    for collection in meta.collection_def.values():
        yield from collection.node_list.value


def _upstream(ends: Iterable[str], nodes: dict[str, Any]) -> set[str]:
    """Names of the nodes that these tensors are computed from, their own included."""
    found: set[str] = set()
    pending = [_node_name(end) for end in ends]
    while pending:
        name = pending.pop()
        if name in nodes and name not in found:
            found.add(name)
            pending += [_node_name(other) for other in nodes[name].input]
    return found


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _functions_of(nodes: Iterable[Any], library: dict[str, Any]) -> set[str]:
    """Functions that nodes call, directly or through others."""
    found: set[str] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        called = {node.op} & library.keys()
        for attribute in node.attr.values():
            called |= {attribute.func.name, *(f.name for f in attribute.list.func)}
        for name in (called & library.keys()) - found:
            found.add(name)
            pending += library[name].node_def
    return found


def _refuse_escaping_assets(path: Path, meta: Any) -> None:  # noqa: ANN401
    for asset in meta.asset_file_def:
        parts = asset.filename.replace("\\", "/").split("/")
        if asset.filename.startswith(("/", "\\")) or ".." in parts or ":" in asset.filename:
            raise UntrustedSource(
                f"{path.name}: asset {asset.filename!r} points outside the SavedModel"
            )
