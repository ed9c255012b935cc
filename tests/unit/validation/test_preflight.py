"""The static rules refuse what can never be right, and let sound models pass."""

import os
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

from slipway.errors import CheckFailed, SourceNotFound, UnreadableModel
from slipway.providers.sessions import Session
from slipway.validation.preflight import inspect_model, preflight
from slipway.validation.versions import MAX_IR_VERSION, MAX_OPSETS
from tests.unit.validation.graphs import HEAD, external, graph, linear, point_at, save

HERE = Path()


def codes(model: onnx.ModelProto, folder: Path = HERE) -> set[str]:
    return {f.code for f in inspect_model(model, folder=folder) if f.level == "error"}


def warnings(model: onnx.ModelProto) -> set[str]:
    return {f.code for f in inspect_model(model, folder=HERE) if f.level == "warning"}


def test_a_sound_model_has_no_findings(tmp_path: Path) -> None:
    assert preflight(save(linear(), tmp_path)) == ()


class TestFiles:
    def test_a_missing_file_is_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(SourceNotFound):
            preflight(tmp_path / "nothing.onnx")

    @pytest.mark.parametrize("data", [b"", b"\0" * 64, bytes(range(256)) * 8, b"PK\x03\x04zip"])
    def test_what_is_no_model_is_unreadable(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        with pytest.raises(UnreadableModel):
            preflight(path)

    def test_a_folder_is_unreadable(self, tmp_path: Path) -> None:
        with pytest.raises(UnreadableModel):
            preflight(tmp_path)

    def test_every_truncation_is_unreadable_or_has_an_error(self, tmp_path: Path) -> None:
        data = linear().SerializeToString()
        for length in range(len(data)):
            path = tmp_path / "model.onnx"
            path.write_bytes(data[:length])
            try:
                found = preflight(path)
            except UnreadableModel:
                continue
            assert any(finding.level == "error" for finding in found), length

    def test_a_suffix_does_not_choose_a_text_parser(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnxtxt"
        path.write_text(f"{HEAD} g (float[n] x) => (float[n] y) {{ y = Relu(x) }}")
        with pytest.raises(UnreadableModel):
            preflight(path)


class TestVersions:
    def test_an_opset_that_the_runtime_lacks_is_refused(self) -> None:
        found = inspect_model(linear(head=HEAD.replace("18", "99")), folder=HERE)
        assert next(f.code for f in found if f.level == "error") == "opset-version"
        assert "opset 18" in found[0].message

    def test_an_ir_version_that_the_runtime_lacks_is_refused(self) -> None:
        model = linear()
        model.ir_version = onnx.IR_VERSION
        assert codes(model) == {"ir-version"}

    def test_no_operator_set_is_refused(self) -> None:
        model = linear()
        del model.opset_import[:]
        assert "opset-missing" in codes(model)

    def test_one_domain_at_two_opsets_is_refused(self) -> None:
        model = linear()
        model.opset_import.add(domain="ai.onnx", version=17)
        assert codes(model) == {"opset-twice"}

    def test_the_same_import_twice_is_fine(self) -> None:
        model = linear()
        model.opset_import.add(domain="", version=18)
        assert codes(model) == set()

    @pytest.mark.parametrize("domain", MAX_OPSETS)
    def test_the_newest_opsets_are_those_of_the_installed_runtime(
        self, tmp_path: Path, domain: str
    ) -> None:
        newest = MAX_OPSETS[domain]
        assert loads(tmp_path, **{domain: newest})
        if domain != "com.microsoft.nchwc":  # which the runtime does not look at
            assert not loads(tmp_path, **{domain: newest + 1})

    def test_the_newest_ir_version_is_that_of_the_installed_runtime(self, tmp_path: Path) -> None:
        assert loads(tmp_path, ir_version=MAX_IR_VERSION)
        assert not loads(tmp_path, ir_version=MAX_IR_VERSION + 1)


def loads(folder: Path, *, ir_version: int = 10, **opsets: int) -> bool:
    model = graph("g (float[n] x) => (float[n] y) { y = Identity(x) }")
    model.ir_version = ir_version
    del model.opset_import[:]
    for domain, version in {"": 18, **opsets}.items():
        model.opset_import.add(domain=domain, version=version)
    try:
        Session(save(model, folder))
    except CheckFailed:
        return False
    return True


class TestOperators:
    def test_an_operator_of_another_framework_is_named(self) -> None:
        model = graph("g (float[n] x) => (float[n] y) { y = Erfc(x) }")
        (found,) = inspect_model(model, folder=HERE)
        assert found.code == "unknown-operator"
        assert "'Erfc'" in found.message
        assert found.place is not None
        assert "giving 'y'" in found.place

    def test_an_operator_of_a_later_opset_is_refused(self) -> None:
        model = graph("g (float[n] x) => (float[n] y) { y = Gelu(x) }")
        (found,) = inspect_model(model, folder=HERE)
        assert "does not exist in opset 18 yet" in found.message

    def test_a_withdrawn_operator_is_refused(self) -> None:
        model = graph("g (float[n] x, float[n] s) => (float[n] y) { y = Upsample(x, s) }")
        (found,) = inspect_model(model, folder=HERE)
        assert "withdrawn" in found.message

    def test_an_unknown_domain_is_refused(self) -> None:
        head = '<ir_version: 10, opset_import: ["": 18, "org.example": 1]>'
        model = graph("g (float[n] x) => (float[n] y) { y = org.example.Magic(x) }", head=head)
        assert codes(model) == {"unknown-domain"}

    def test_a_domain_without_an_import_is_refused(self) -> None:
        model = graph("g (float[n] x) => (float[n] y) { y = com.microsoft.Gelu(x) }")
        assert codes(model) == {"undeclared-domain"}

    def test_the_runtimes_own_operators_pass(self) -> None:
        head = '<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>'
        text = "g (float[n] x) => (float[n] y) { t = com.microsoft.Gelu(x) y = Relu(t) }"
        assert codes(graph(text, head=head)) == set()

    def test_an_operator_that_the_runtime_lacks_in_its_own_domain_is_refused(self) -> None:
        head = '<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>'
        model = graph("g (float[n] x) => (float[n] y) { y = com.microsoft.Nope(x) }", head=head)
        assert codes(model) == {"unknown-operator"}

    def test_a_model_local_function_is_known(self) -> None:
        head = '<ir_version: 10, opset_import: ["": 18, "local": 1]>'
        body = '<domain: "local", opset_import: ["": 18]> twice (a) => (b) { b = Add(a, a) }'
        model = graph(f"g (float[n] x) => (float[n] y) {{ y = local.twice(x) }} {body}", head=head)
        assert codes(model) == set()

    def test_an_unknown_operator_inside_a_subgraph_is_found(self) -> None:
        model = graph(
            "g (bool c, float[n] x) => (float[n] y) { y = If (c) <"
            "then_branch = t () => (float[n] a) { a = EagerPyFunc(x) },"
            "else_branch = e () => (float[n] b) { b = Relu(x) }> }"
        )
        assert codes(model) == {"unknown-operator"}


class TestNames:
    def test_an_undefined_name_is_found(self) -> None:
        model = graph("g (float[n] x) => (float[n] y) { y = Add(x, nowhere) }")
        (found,) = inspect_model(model, folder=HERE)
        assert found.code == "undefined-name"
        assert "'nowhere'" in found.message

    def test_an_output_that_nothing_gives_is_found(self) -> None:
        model = graph("g (float[n] x) => (float[n] y, float[n] z) { y = Relu(x) }")
        (found,) = inspect_model(model, folder=HERE)
        assert (found.code, found.place) == ("undefined-name", "outputs of graph")

    def test_a_cycle_is_told_from_nodes_out_of_order(self) -> None:
        cyclic = graph("g (float[n] x) => (float[n] y) { y = Add(x, z) z = Relu(y) }")
        unsorted = graph("g (float[n] x) => (float[n] y) { y = Relu(z) z = Relu(x) }")
        assert codes(cyclic) == {"cycle"}
        assert codes(unsorted) == {"unsorted"}

    def test_a_cycle_through_a_subgraph_is_found(self) -> None:
        model = graph(
            "g (bool c, float[n] x) => (float[n] y) { y = If (c) <"
            "then_branch = t () => (float[n] a) { a = Relu(y) },"
            "else_branch = e () => (float[n] b) { b = Relu(x) }> }"
        )
        assert codes(model) == {"cycle"}

    def test_a_subgraph_may_use_what_surrounds_it(self) -> None:
        model = graph(
            "g (bool c, float[n] x) => (float[n] y) { z = Relu(x) y = If (c) <"
            "then_branch = t () => (float[n] a) { a = Relu(z) },"
            "else_branch = e () => (float[n] b) { b = Add(x, z) }> }"
        )
        assert codes(model) == set()

    def test_a_value_made_twice_is_found(self) -> None:
        model = graph("g (float[n] x) => (float[n] y) { y = Relu(x) y = Neg(x) }")
        assert codes(model) == {"duplicate-name"}

    def test_an_initializer_given_twice_is_found(self) -> None:
        model = linear()
        model.graph.initializer.append(model.graph.initializer[0])
        assert codes(model) == {"duplicate-name"}

    def test_no_outputs_are_refused(self) -> None:
        model = linear()
        del model.graph.output[:]
        assert codes(model) == {"no-outputs"}


class TestFunctions:
    def bomb(self, levels: int, calls: int) -> onnx.ModelProto:
        head = '<ir_version: 10, opset_import: ["": 18, "local": 1]>'
        text = "g (float[n] x) => (float[n] y) { y = local.f0(x) }"
        for level in range(levels):
            last = level == levels - 1
            step = "Relu" if last else f"local.f{level + 1}"
            names = ["a", *(f"t{i}" for i in range(calls - 1)), "b"]
            body = " ".join(f"{made} = {step}({given})" for given, made in pairwise(names))
            text += (
                f'<domain: "local", opset_import: ["": 18, "local": 1]> '
                f"f{level} (a) => (b) {{ {body} }}"
            )
        return graph(text, head=head)

    def test_a_bomb_of_four_kilobytes_is_refused_in_milliseconds(self) -> None:
        model = self.bomb(levels=14, calls=12)
        assert model.ByteSize() < 8192
        start = time.process_time()
        found = inspect_model(model, folder=HERE)
        assert time.process_time() - start < 0.1
        assert [f.code for f in found] == ["function-expansion"]
        assert "10^15" in found[0].message

    def test_functions_of_real_size_pass(self) -> None:
        assert codes(self.bomb(levels=4, calls=5)) == set()

    def test_a_long_chain_of_calls_is_refused(self) -> None:
        assert codes(self.bomb(levels=200, calls=1)) == {"function-depth"}

    def test_a_function_that_calls_itself_is_refused(self) -> None:
        model = self.bomb(levels=2, calls=1)
        model.functions[1].node[0].op_type = "f0"
        model.functions[1].node[0].domain = "local"
        assert codes(model) == {"recursive-function"}

    def test_a_function_given_twice_is_refused(self) -> None:
        model = self.bomb(levels=1, calls=1)
        model.functions.append(model.functions[0])
        assert codes(model) == {"duplicate-function"}

    def test_subgraphs_nested_without_end_are_refused(self) -> None:
        inner = graph("g () => (float[1] a) { a = Constant<value_float = 1.0>() }").graph
        for _ in range(20):
            outer = onnx.GraphProto(name="g", output=inner.output)
            node = outer.node.add(op_type="If", input=["c"], output=["a"])
            for branch in ("then_branch", "else_branch"):
                attribute = node.attribute.add(name=branch, type=onnx.AttributeProto.GRAPH)
                if branch == "then_branch":
                    attribute.g.CopyFrom(inner)
            inner = outer
        inner.input.add(name="c")
        model = linear()
        model.graph.CopyFrom(inner)
        assert "subgraph-depth" in codes(model)


class TestWeights:
    def test_a_nan_weight_is_refused(self) -> None:
        weight = np.ones((4, 2), np.float32)
        weight[1, 1] = np.nan
        (found,) = inspect_model(linear(weight), folder=HERE)
        assert (found.code, found.place) == ("nan-weight", "initializer 'w'")
        assert "holds 1 NaN" in found.message

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_a_nan_of_any_width_is_refused(self, dtype: type[np.floating]) -> None:
        model = graph(
            "g (float[n, 4] x) => (float[n, 4] y) { c = Cast<to = 1>(w) y = Mul(x, c) }",
            w=np.array([1, np.nan, 3, 4], dtype),
        )
        assert codes(model) == {"nan-weight"}

    def test_a_nan_in_typed_fields_is_refused(self) -> None:
        model = linear()
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.float_data.extend([0.0] * 7 + [float("nan")])
        assert codes(model) == {"nan-weight"}

    def test_a_bfloat16_nan_in_typed_fields_is_refused(self) -> None:
        model = graph("g (float[n] x) => (float[n] y) { c = Cast<to = 1>(w) y = Mul(x, c) }")
        tensor = model.graph.initializer.add(
            name="w", dims=[2], data_type=onnx.TensorProto.BFLOAT16, int32_data=[0x3F80, 0x7FC0]
        )
        assert codes(model) == {"nan-weight"}
        tensor.int32_data[1] = 0x4000
        assert codes(model) == set()

    def test_a_large_finite_weight_whose_sum_overflows_passes(self) -> None:
        assert codes(linear(np.full((4, 2), 3e38, np.float32))) == set()

    def test_infinity_that_feeds_a_product_is_refused(self) -> None:
        weight = np.full((2, 4), np.inf, np.float32)
        text = "g (float[n, 4] x) => (float[n, 2] y) { t = Transpose(w) y = MatMul(x, t) }"
        assert codes(graph(text, w=weight)) == {"infinite-weight"}

    def test_infinity_in_a_mask_is_legitimate(self) -> None:
        mask = np.array([0, -np.inf, np.finfo(np.float32).min, 0], np.float32)
        text = "g (float[n, 4] x) => (float[n, 4] y) { m = Add(x, mask) y = Softmax(m) }"
        assert codes(graph(text, mask=mask)) == set()

    def test_a_lone_nan_constant_is_a_marker(self) -> None:
        model = graph(
            "g (float[n] x, bool[n] c) => (float[n] y) "
            "{ m = Constant<value = float {1.0}>() y = Where(c, x, m) }"
        )
        model.graph.node[0].attribute[0].t.float_data[0] = float("nan")
        assert (codes(model), warnings(model)) == (set(), {"nan-weight"})

    def test_bytes_that_do_not_fill_the_shape_are_refused(self) -> None:
        model = linear()
        model.graph.initializer[0].raw_data = b"\0" * 31
        (found,) = inspect_model(model, folder=HERE)
        assert found.message == "holds 31 bytes, its shape [4, 2] needs 32"

    @pytest.mark.parametrize("dims", [[1 << 32, 1 << 32], [-4, -2], [1 << 62, 1 << 62, 4]])
    def test_sizes_that_overflow_are_refused(self, dims: list[int]) -> None:
        model = linear()
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        del tensor.dims[:]
        tensor.dims.extend(dims)
        assert codes(model) == {"tensor-size"}

    def test_packed_types_have_their_own_lengths(self) -> None:
        model = graph("g (float[n] x) => (float[n] y) { y = Relu(x) }")
        model.graph.initializer.add(
            name="w", dims=[3], data_type=onnx.TensorProto.INT4, raw_data=b"\x21\x03"
        )
        assert codes(model) == set()
        model.graph.initializer[0].raw_data = b"\x21"
        assert codes(model) == {"tensor-size"}

    def test_a_sparse_tensor_that_unfolds_to_exabytes_is_refused(self) -> None:
        model = linear()
        sparse = model.graph.sparse_initializer.add(dims=[1 << 31, 1 << 31])
        sparse.values.name, sparse.values.data_type = "s", onnx.TensorProto.FLOAT
        assert codes(model) == {"tensor-size"}


class TestBehaviour:
    def test_training_mode_is_refused(self) -> None:
        dropout = graph(
            "g (float[n] x) => (float[n] y) { r = Constant<value_float = 0.5>()"
            "t = Constant<value = bool {1}>() y = Dropout(x, r, t) }"
        )
        norm = graph(
            "g (float[n,3] x, float[3] s, float[3] b, float[3] m, float[3] v) => (float[n,3] y)"
            "{ y, rm, rv = BatchNormalization<training_mode = 1>(x, s, b, m, v) }"
        )
        assert codes(dropout) == codes(norm) == {"training-mode"}

    def test_evaluation_mode_passes(self) -> None:
        model = graph(
            "g (float[n] x) => (float[n] y) { r = Constant<value_float = 0.5>()"
            "t = Constant<value = bool {0}>() d = Dropout(x, r, t) y = Dropout(d) }"
        )
        assert codes(model) == set()

    def test_random_numbers_are_refused(self) -> None:
        model = graph("g (float[n] x) => (float[n] y) { r = RandomUniformLike(x) y = Add(x, r) }")
        assert codes(model) == {"non-deterministic"}

    def loop(self, going_on: str, *, trips: str = "", cond: str = "") -> onnx.ModelProto:
        return graph(
            f"g (int64 limit, float[n] x, bool c0) => (float[n] y) {{"
            f"always = Constant<value = bool {{1}}>()"
            f"most = Constant<value_int = 9223372036854775807>()"
            f"y = Loop ({trips}, {cond}, x) <body = b (int64 i, bool c, float[n] s) => "
            f"(bool go, float[n] t) {{ {going_on} t = Add(s, s) }}> }}"
        )

    def test_a_loop_that_never_ends_is_refused(self) -> None:
        assert codes(self.loop("go = Identity(c)")) == {"endless-loop"}
        assert codes(self.loop("go = Constant<value = bool {1}>()", trips="most")) == {
            "endless-loop"
        }
        assert codes(self.loop("go = Identity(c)", cond="always")) == {"endless-loop"}

    def test_a_loop_that_data_ends_is_a_warning(self) -> None:
        going = "k = Constant<value_float = 9.0>() m = ReduceMax<keepdims=0>(s) go = Less(m, k)"
        model = self.loop(going)
        assert (codes(model), warnings(model)) == (set(), {"open-loop"})

    def test_a_counted_loop_passes(self) -> None:
        model = self.loop("go = Identity(c)", trips="limit", cond="always")
        assert (codes(model), warnings(model)) == (set(), set())

    def test_a_constant_of_all_memory_is_refused(self) -> None:
        model = graph(
            "g (float[n] x) => (float[n] y) { s = Constant<value_ints = [1000000, 1000000]>()"
            "z = ConstantOfShape(s) m = ReduceMax<keepdims=0>(z) y = Add(x, m) }"
        )
        assert codes(model) == {"huge-constant"}


class TestExternalData:
    def test_weights_beside_the_model_pass(self, tmp_path: Path) -> None:
        assert preflight(external(linear(), tmp_path)) == ()

    def test_a_nan_in_external_data_is_found(self, tmp_path: Path) -> None:
        weight = np.full((4, 2), np.nan, np.float32)
        (found,) = preflight(external(linear(weight), tmp_path))
        assert "holds 8 NaN" in found.message

    @pytest.mark.parametrize(
        "location",
        ["../weights.bin", "/etc/passwd", "a/../../w", "", ".", "*/_ORT_MEM_ADDR_/*", "C:\\w"],
    )
    def test_a_place_outside_the_folder_is_refused(self, tmp_path: Path, location: str) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        (tmp_path / "weights.bin").write_bytes(b"\0" * 32)
        (found,) = preflight(external(linear(), folder, location=location))
        assert found.code == "external-data"

    def test_a_symbolic_link_is_refused(self, tmp_path: Path) -> None:
        path = external(linear(), tmp_path, location="link.bin")
        (tmp_path / "link.bin").symlink_to("weights.bin")
        (found,) = preflight(path)
        assert "symbolic link" in found.message

    def test_a_link_on_the_way_is_refused(self, tmp_path: Path) -> None:
        path = external(linear(), tmp_path, location="way/weights.bin")
        (tmp_path / "way").symlink_to(".", target_is_directory=True)
        (found,) = preflight(path)
        assert "symbolic link" in found.message

    def test_a_hard_link_is_refused(self, tmp_path: Path) -> None:
        path = external(linear(), tmp_path)
        os.link(tmp_path / "weights.bin", tmp_path / "other.bin")
        (found,) = preflight(path)
        assert "2 hard links" in found.message

    def test_a_pipe_is_refused_without_waiting_for_it(self, tmp_path: Path) -> None:
        path = external(linear(), tmp_path, location="pipe")
        os.mkfifo(tmp_path / "pipe")
        (found,) = preflight(path)
        assert "not a plain file" in found.message

    def test_a_missing_file_says_what_to_do(self, tmp_path: Path) -> None:
        (found,) = preflight(external(linear(), tmp_path, location="gone.bin"))
        assert "copy the model together with its external data" in found.message

    @pytest.mark.parametrize(
        ("offset", "length"),
        [("1", "32"), ("-1", "32"), ("0", "31"), ("0", "1e9"), (str(1 << 63), "32"), ("x", "32")],
    )
    def test_bounds_outside_the_file_are_refused(
        self, tmp_path: Path, offset: str, length: str
    ) -> None:
        model = linear()
        external(model, tmp_path)
        point_at(model.graph.initializer[0], location="weights.bin", offset=offset, length=length)
        (found,) = preflight(save(model, tmp_path))
        assert found.code == "external-data"

    def test_many_chunks_are_all_read(self, tmp_path: Path) -> None:
        weight = np.ones((3_000_000, 1), np.float32)
        weight[-1] = np.nan
        model = graph("g (float[n, 3000000] x) => (float[n, 1] y) { y = MatMul(x, w) }", w=weight)
        (found,) = preflight(external(model, tmp_path))
        assert found.code == "nan-weight"


def test_findings_of_one_rule_are_bounded_and_names_are_cut() -> None:
    model = linear()
    for index in range(500):
        model.graph.node.add(op_type="Relu", input=[f"{index}" + "u" * 9999], output=[f"o{index}"])
    found = inspect_model(model, folder=HERE)
    assert len(found) == 20
    assert all(len(finding.message) < 300 for finding in found)


def test_the_preflight_of_a_thousand_nodes_takes_milliseconds() -> None:
    steps = " ".join(f"v{i + 1} = Relu(v{i})" for i in range(1000))
    model = graph(f"g (float[n] v0) => (float[n] v1000) {{ {steps} }}")
    inspect_model(model, folder=HERE)
    start = time.process_time()
    assert inspect_model(model, folder=HERE) == ()
    assert time.process_time() - start < 0.1
