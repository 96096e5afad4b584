"""Writes src/fairlead/security/tensorflow_operators.txt: every TensorFlow operator that a SavedModel may use, by exact name.

Run it where the supported TensorFlow is installed, and read the difference before committing it: each line is a thing that a foreign file
may have run. It starts from the operators that TensorFlow offers publicly, leaves out whatever reaches files, processes, the network,
Python, other devices or parsers of foreign bytes, and takes of those with state only the ones named here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

TARGET = Path(__file__).parent.parent / "src" / "fairlead" / "security" / "tensorflow_operators.txt"

# Left out by what their names say, though TensorFlow marks them as without state.
LEFT_OUT = re.compile(
    # input pipelines: files, threads, Python; then files alone
    "Dataset|Iterator|^Experimental|Optional|ompressElement|GetOptions|File|Reader|Sharded|ImmutableConst|Vocab|Snapshot|Remap|"
    # Python, the process, training
    "PyFunc|CustomAggregator|^Abort$|Sleep|BatchFunction|SymbolicGradient|^Sdca|^BoostedTrees|KMC2|Kmeans|Summary|^Debug|^Print|Deadline|"
    # other devices, other processes, other compilers
    "^Copy|^CheckPinned|MlirPassthroughOp|CompositeTensorVariant|TPU|Tpu|^Xla|SparseCore|^DTensor|Relayout|Dedup|Prelinearize|Infeed|"
    "Outfeed|Collective|^Risc|Queue|Barrier|Accumulator|^RegisterDataset|CudnnRNN.*(Canonical|ParamsSize)|"
    # parsers of foreign bytes
    "^Decode(?!Raw$|Base64$)|^Encode(?!Base64$)|^ExtractJpeg|^Parse|^DeserializeManySparse$|^DeserializeSparse$|^SerializeTensor$|"
    # old forms with references to memory, and what no model for inference has
    "^Ref[A-Z]|^Apply|^SparseApply|^CTC|^GenerateBoundingBox|^Batch(Cholesky|FFT|IFFT|Matrix|S)|^Quantized.*(And|With|Per)|^UniformQuant|"
    "^UniformDequant|^UniformRequant|^Assign|^Scatter(Add|Sub|Mul|Div|Min|Max|Update)$|^ScatterNd(Add|Sub|Min|Max|Update)$|^LookupTable|"
    "^InitializeTable|^Stack|^TensorArray(Close|Concat|Gather|Pack|Read|Scatter|Size|Split|Unpack|Write)(V2)?$|^StridedSliceAssign$|"
    "^(CountUpTo|IsVariableInitialized|DestroyTemporaryVariable|For|HostConst|FakeParam|Batch|Fact|AudioMicrofrontend|GetElementAtIndex)$|"
    "TensorMap|^Unbatch"
)
# With state, and needed: variables, calls, loops, lists, tables in memory, and the drawing of random numbers (which training functions do).
WITH_STATE = """
Assert AssignAddVariableOp AssignSubVariableOp AssignVariableOp AnonymousHashTable AnonymousMutableHashTable AnonymousMutableDenseHashTable
Case CudnnRNN CudnnRNNBackprop CudnnRNNBackpropV2 CudnnRNNBackpropV3 CudnnRNNV2 CudnnRNNV3 DisableCopyOnRead HashTableV2 If
IteratorGetNext LookupTableExportV2 LookupTableFindV2 LookupTableImportV2 LookupTableInsertV2 LookupTableSizeV2 Multinomial
InitializeTableV2 MutableDenseHashTableV2 MutableHashTableV2 RandomGamma RandomPoissonV2 RandomShuffle RandomStandardNormal RandomUniform
RandomUniformInt
ReadVariableOp ResourceApplyAdaMax ResourceApplyAdadelta ResourceApplyAdagrad ResourceApplyAdagradV2 ResourceApplyAdam
ResourceApplyAdamWithAmsgrad ResourceApplyCenteredRMSProp ResourceApplyFtrlV2 ResourceApplyGradientDescent ResourceApplyKerasMomentum
ResourceApplyMomentum ResourceApplyRMSProp ResourceGather ResourceGatherNd ResourceScatterAdd ResourceScatterNdUpdate
ResourceScatterUpdate RngReadAndSkip StatefulPartitionedCall StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform
StatefulUniformInt StatelessRandomGetAlg TensorArrayCloseV3 TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3
TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3 TensorArrayV3 TensorArrayWriteV3 TruncatedNormal VarHandleOp
VarIsInitializedOp VariableShape While
""".split()  # noqa: SIM905 - the list reads like the file that it makes


def main() -> None:
    """Write the list."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import tensorflow as tf
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    registered = op_def_pb2.OpList()
    registered.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    public = {op.name: op.is_stateful for op in registered.op if hasattr(tf.raw_ops, op.name) and not op.name.startswith("_")}
    names = {name for name, is_stateful in public.items() if not is_stateful and not LEFT_OUT.search(name)}
    names |= set(WITH_STATE) & set(public)
    print(f"not registered: {sorted(set(WITH_STATE) - set(public))}")
    head = f"# Written by scripts/list_tensorflow_operators.py with TensorFlow {tf.__version__}: exact names, no patterns.\n"
    TARGET.write_text(head + "\n".join(sorted(names)) + "\n", encoding="ascii")
    print(f"{len(names)} of {len(public)} operators in {TARGET.name}")


if __name__ == "__main__":
    main()
