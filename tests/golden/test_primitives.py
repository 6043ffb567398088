"""What a scaffold writes, byte for byte: one file a kind, since what is in it are sources themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from reconciler.primitive.bpmn_compile import Compiled, compile_process
from reconciler.primitive.names import Kind, Primitive
from reconciler.primitive.scaffold import expected_tree
from tests.unit.test_bpmn import V1_LOCK, V1_POLICIES, V1_PROCESS

Compare = Callable[[str, bytes], None]


def joined(files: Mapping[str, bytes]) -> bytes:
    return b"\n".join(b"==== " + path.encode() + b"\n" + raw for path, raw in files.items())


@pytest.mark.parametrize("kind", Kind)
def test_a_primitive_is_written_as_it_always_was(kind: Kind, golden: Compare) -> None:
    tree = expected_tree(Primitive(kind, "order-intake"), None, None, None)
    assert not isinstance(tree, Compiled)
    golden(f"primitive/{kind}.txt", joined(tree.merged()))


def test_the_older_profile_is_compiled_as_it_always_was(golden: Compare) -> None:
    golden("primitive/process-v1.txt", joined(compile_process(V1_PROCESS, V1_LOCK, V1_POLICIES).generated))
