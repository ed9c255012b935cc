"""Equal graphs become equal bytes, whatever order and counters a converter gave them."""

import onnx

from slipway.exporters.canonical import canonicalize
from slipway.exporters.renaming import walk_graphs

ONE = """<ir_version: 10, opset_import: ["": 18]>
g (float[n] x) => (float[n] y)
<float two__7 = {2.0}, float three = {3.0}, float unused = {1.0}> {
  a__3 = Mul(x, two__7)
  b__9 = Add(x, three)
  dead = Neg(x)
  y = Sub(a__3, b__9)
}"""
OTHER = """<ir_version: 10, opset_import: ["": 18]>
g (float[n] x) => (float[n] y)
<float trois = {3.0}, float deux__1 = {2.0}> {
  b__4 = Add(x, trois)
  a__8 = Mul(x, deux__1)
  y = Sub(a__8, b__4)
}"""
NESTED = """<ir_version: 10, opset_import: ["": 18]>
g (bool c, float[n] x) => (float[n] y)
<float two__5 = {2.0}> {
  doubled__9 = Mul(x, two__5)
  y = If (c) <
    then_branch = t () => (float[n] r__2) { r__2 = Neg(doubled__9) },
    else_branch = e () => (float[n] s__1) { s__1 = Add(doubled__9, two__5) }
  >
}"""


def canonical(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    canonicalize(model)
    onnx.checker.check_model(model)
    return model


def test_equal_graphs_become_equal_bytes() -> None:
    assert canonical(ONE).SerializeToString() == canonical(OTHER).SerializeToString()


def test_what_is_not_used_is_dropped() -> None:
    graph = canonical(ONE).graph
    assert [node.op_type for node in graph.node] == ["Mul", "Add", "Sub"]
    assert len(graph.initializer) == 2


def test_names_reach_into_branches() -> None:
    once = canonical(NESTED)
    assert [node.op_type for node in once.graph.node] == ["Mul", "If"]
    twice = onnx.ModelProto()
    twice.CopyFrom(once)
    canonicalize(twice)
    onnx.checker.check_model(twice)
    assert [value.name for value in once.graph.output] == ["y"]


def test_loops_are_called_by_their_operators() -> None:
    renamed = NESTED.replace("doubled__9", "while_77").replace("r__2", "branch_4")
    assert canonical(NESTED).SerializeToString() == canonical(renamed).SerializeToString()
    assert [node.name for node in canonical(renamed).graph.node] == ["Mul__1", "If__1"]
    graphs = walk_graphs(canonical(renamed).graph)
    names = [node.name for graph in graphs for node in graph.node]
    assert len(names) == len(set(names)) == 4


COPIED = """<ir_version: 10, opset_import: ["": 18]>
g (int64 n, bool go, float[k] x) => (float[k] y, float[k] z) {
  y, z = Loop (n, go, x, x) <
    body = b (int64 i, bool c, float[k] first, float[k] second)
      => (bool d, float[k] FIRST, float[k] SECOND) {
        d = Identity(c)
        sum = Add(first, second)
        copy = Identity(sum)
      }
  >
}"""


def test_of_equal_results_the_later_is_the_copy() -> None:
    one = canonical(COPIED.replace("FIRST", "sum").replace("SECOND", "copy"))
    other = canonical(COPIED.replace("FIRST", "copy").replace("SECOND", "sum"))
    assert one.SerializeToString() == other.SerializeToString()
