"""What can go wrong when a network becomes a file: words of the message -> what they mean, and what to write instead.

Tables in order: the first row that fits is taken, so narrow rows stand before wide ones. Texts were read off torch
2.13, ONNX Runtime 1.31, g++ and a disk that was really full; docs/export-errors.md has the same cases at length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vitruvian.hardware import out_of_memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One kind of failure."""

    says: str
    """Regular expression, searched in `Class: message`; its named groups can be used in the two texts below."""
    means: str
    """The cause. `{backend}` is known, too."""
    rewrite: str
    """What to do about it; the same names are known."""
    when: Callable[[BaseException], bool] | None = None
    """A further way to recognise it."""


_SHAPE_RULE = "torch.library.custom_op with register_fake"

_MACHINE = (
    Row(
        says=r"died with <Signals\.SIGKILL|process ended \(signal SIGKILL",
        means="the system killed the process, as it does when memory runs out",
        rewrite="free memory, export on a machine with more, or take --backend eager, which compiles nothing",
    ),
    Row(
        says=r"(?:died with <Signals\.|process ended \(signal )(?P<signal>SIG\w+)",
        means="C++ code of torch or of the exporter ended the process ({signal})",
        rewrite="look whether the disk is full, which ends it so, too; else take another --backend",
    ),
    Row(
        says=r"No space left on device|os error 28\b|Disk quota exceeded|unexpected pos \d+ vs \d+|iostream error",
        means="a file could not be written to its end; as a rule the disk is full",
        rewrite="free space where the artefact goes and in the compiler's cache (TORCHINDUCTOR_CACHE_DIR moves it)",
    ),
    Row(
        says=r"virtual memory exhausted|out of memory allocating|Killed signal terminated program",
        means="memory ran out while {backend} was built",
        rewrite="free memory, export on a machine with more, or take --backend eager, which compiles nothing",
        when=out_of_memory,
    ),
    Row(
        says=r"No working C\+\+ compiler|Failed to find C\+\+ compiler|Compiler: \S+ is not found",
        means="no C++ compiler was found",
        rewrite="install one (Debian: apt install g++) or name it in the environment variable CXX; only the machine "
        "that exports needs it",
    ),
    Row(
        says=r"Cannot find a working triton installation",
        means="Triton, which compiles kernels for this device, is missing",
        rewrite="install the release of triton that belongs to this torch, or take --backend eager",
    ),
    Row(
        says=r"C\+\+ compile error(?:(?s:.*?)\b(?P<said>error: [^\n]{1,160}))?",
        means="the C++ compiler refused the code that torch generated: {said}",
        rewrite="the network is not at fault: name another compiler in CXX (a newer g++, clang++), or take another "
        "--backend",
    ),
    Row(
        says=r"(?:No module named '|import of )(?P<package>[\w.]+)(?:'| halted)",
        means="the package {package} is not installed",
        rewrite="install {package} into this environment",
    ),
)

_FILES = (
    Row(
        says=r"Serialized version (?P<found>\[.*?\]) does not match our current schema version (?P<wanted>\(.*?\))",
        means="another torch wrote this file (schema {found}, this torch reads {wanted})",
        rewrite="keep its weights: vitruvian import OLD_FILE -o NEW.safetensors, and export those",
    ),
    Row(
        says=r"Failed to find a generated cpp file or so file|file in archive is not in a subdirectory",
        means="the file is of another kind than its name says",
        rewrite="keep its weights: vitruvian import OLD_FILE -o NEW.safetensors, and export those",
    ),
    Row(
        says=r"Type 'tensor\((?P<dtype>\w+)\)' of input parameter .*? of operator \((?P<op>\w+)\)",
        means="ONNX Runtime has no {op} for {dtype} here",
        rewrite="export this file with --dtype float32, or take another --backend for {dtype}",
    ),
    Row(
        says=r"Guard failed: (?P<tensor>\S+)\.size\(\)\[(?P<axis>\d+)\] (?P<rule>[<>=!]+ \d+)",
        means="the graph takes an input only where axis {axis} of {tensor} is {rule}",
        rewrite="split or resize the input, or export again with another --max-batch or --size",
    ),
    Row(
        says=r"Expected input at \S+ to be (?P<rule>[<>=]+ \d+), but got (?P<got>\d+)"
        r"|dim value is too large at \d+, expected to be (?P<most><= \d+)",
        means="the batch is larger than what the file was compiled for",
        rewrite="split the batch, or export again with a larger --max-batch",
    ),
    Row(
        says=r"Could not find schema for (?P<op>[\w:]*\w)|failed to resolve torch\.ops\.(?P<name>[\w.]+) to",
        means="an operator of the network is written in Python, which whoever opens the file does not have: {op}{name}",
        rewrite="write it with torch's own operators, or in C++ with TORCH_LIBRARY; or take --backend eager",
    ),
)

_VALUES = (
    Row(
        says=r"data-dependent expression .*\(Size-like symbols: [^n)]",
        means="Python decides by how many elements a mask or nonzero() finds, which no graph knows",
        rewrite="keep all elements and weigh them with the mask (torch.where), or take a fixed number with topk",
    ),
    Row(
        says=r"Could not extract specialized integer from data-dependent|tolist\(\) with non-integer"
        r"|value computed from its inputs into a Python number",
        means="a tensor's value becomes a Python number (.item(), int(), tolist()), which is known only at run time",
        rewrite="keep it a tensor; where it sets a length, compute for the longest and choose with torch.where, or "
        "make it an argument of __init__",
    ),
    Row(
        says=r"sort with non-constant keys",
        means="Python sorts by values of tensors, which are known only when the network runs",
        rewrite="stack them and write torch.sort, or argsort and index",
    ),
    Row(
        says=r"Could not guard on data-dependent expression|Data-dependent branching|GuardOnDataDependentSymNode"
        r"|[Dd]ynamic control flow is not supported|cannot be used as inputs to control flow",
        means="Python decides by a tensor's value, which is known only when the network runs",
        rewrite="write torch.where(condition, a, b), or torch.cond(condition, f, g, (x,)) for two long branches; "
        "give a loop a fixed number of rounds",
    ),
)

_LENGTHS = (
    Row(
        says=r"specialized it to be a constant \(1\)|0/1 specialized|hint of 1 for dimension",
        means="a sample batch of one was taken for a constant",
        rewrite="export with a sample of two rows or more and a named Dim; if it was, something in forward drops or "
        "repeats an axis of length one",
    ),
    Row(
        says=r"unhashable type: (?:non-nested )?SymInt",
        means="a length is used as a key of a dictionary or a set",
        rewrite="make what the table holds for the largest length and cut it: table[: x.shape[0]]",
    ),
    Row(
        says=r"marked (?P<axis>\w+) as dynamic but your code specialized it to be a constant \((?P<value>\d+)\)",
        means="the code turns the length of {axis} into the number {value}",
        rewrite="write x.shape[0] in place of a number, len(x) or int(): x.view(x.shape[0], -1), x.flatten(1); use no "
        "Python loop over that axis",
    ),
    Row(
        says=r"axis (?P<axis>\d+) of (?P<tensor>\w+) is fixed at (?P<value>\d+)",
        means="the code turns the length of axis {axis} of {tensor} into the number {value}",
        rewrite="write x.shape[{axis}] in place of a number, len(x) or int(); use no Python loop over that axis",
    ),
    Row(
        says=r"Not all values of (?P<axis>\w+) = .*? satisfy the generated guard (?P<guard>[^\n]+?)\.?(?:\n|$)",
        means="the code holds only for some lengths of {axis}, those where {guard}",
        rewrite="remove the condition on x.shape or the fixed number in a reshape, or export for these lengths alone "
        "(--max-batch)",
    ),
    Row(
        says=r"shape '(?P<shape>\[[^']*\])' is invalid for input of size (?P<size>[\w*]+)",
        means="a reshape to {shape} does not fit every length, it would need {size} elements",
        rewrite="write the lengths that vary as x.shape[...], and leave one -1",
    ),
    Row(
        says=r"Constraints violated|conflicts between user-specified ranges",
        means="the code does not hold for all lengths that the file is to take",
        rewrite="remove conditions on x.shape, len(x), int() of a length and Python loops over the batch",
    ),
)

_OUTSIDE = (
    Row(
        says=r"builtin operator `(?P<name>print|str|format|repr|open|input)`",
        means="forward calls {name}(), which is no computation",
        rewrite="remove it, or guard it: if not torch.compiler.is_compiling(): ...",
    ),
    Row(
        says=r"logging\.Logger|unsupported format string passed to (?:FakeTensor|SymFloat|SymInt)",
        means="forward writes a log or formats a tensor as text",
        rewrite="remove it, or guard it: if not torch.compiler.is_compiling(): ...",
    ),
    Row(
        says=r"how to trace the builtin `(?:<unknown module>\.)?(?P<name>[^`]+?)\.?`",
        means="forward calls {name}, which torch cannot look into (compiled code, the clock, random numbers of Python)",
        rewrite=f"do it before or after the network, write it with torch's operators, or register it: {_SHAPE_RULE}",
    ),
    Row(
        says=r"\.numpy\(\) is not supported|torch\._numpy|NumpyNdarrayVariable",
        means="forward goes through NumPy, which no graph holds",
        rewrite="write it with torch's operators, or move it before or after the network",
    ),
    Row(
        says=r"torch\._dynamo\.graph_break\(\)|torch\.compiler\.disable",
        means="forward itself asks the compiler to stop (graph_break, torch.compiler.disable)",
        rewrite="remove that call or decorator",
    ),
    Row(
        says=r"Graphs are not fusable\. Expected 1 graph\. Found (?P<count>\d+)",
        means="the network falls into {count} graphs: Python between them cannot be compiled",
        rewrite="torch.compile(module, fullgraph=True) names the first such line; prints, NumPy, .item() and branches "
        "on values are the usual ones",
    ),
)

_OPERATORS = (
    Row(
        says=r"no fake impl registered for <CustomOpDef\((?P<op>[\w:.]+)\)>",
        means="the operator {op} does not say which shape it gives",
        rewrite="register that with @op.register_fake: a function that returns torch.empty_like(x), or whatever fits",
    ),
    Row(
        says=r"unsupported operator: (?P<op>[\w.:]+)|UnsupportedOperatorException: (?P<name>[\w.:]+)",
        means="the operator {op}{name} cannot run on shapes alone",
        rewrite="write it with other operators; for an operator of your own register a shape rule, "
        "torch.library.register_fake",
    ),
    Row(
        says=r"Error when translating node return|Encountering a dict at the output of the tracer"
        r"|Tracer cannot infer type|dictionary of tensors can be output|in output, which is not a known type"
        r"|Encountered unrecognized type \S+ at output",
        means="forward gives something that is no tensor",
        rewrite="return a tensor, a tuple of tensors or {{name: tensor}}, without None, text or objects of your own",
    ),
    Row(
        says=r"No ONNX function found for <(?:OpOverload\(op='|function )(?P<op>[\w.]+)"
        r"|Exporting the operator '(?P<old>[\w:]+)' to ONNX",
        means="the format ONNX has nothing for the operator {op}{old}",
        rewrite="write it with simpler operators, do it after the network, or take another --backend",
    ),
    Row(
        says=r"Error when translating node .*?target=(?:torch\.ops\.)?(?P<op>[\w.]+)\]",
        means="torch's translation to ONNX fails at the operator {op}",
        rewrite="write it with simpler operators, do it after the network, or take another --backend",
    ),
    Row(
        says=r"Could not export Python function call '(?P<name>\w+)'",
        means="a torch.autograd.Function ({name}) is Python, which a TorchScript file cannot hold",
        rewrite="call its computation directly where no gradients are wanted, or take another --backend",
    ),
)

_STATE = (
    Row(
        says=r"expected to have an entirely functional graph, but found .*?target=torch\.ops\.(?P<op>[\w.]+)\]"
        r"|Constant (?P<name>\S+) is mutated in the forward method|tensor attributes? (?P<attribute>\S+) (?:was|were) "
        r"assigned",
        means="forward changes a tensor that is no buffer of the module: {op}{name}{attribute}",
        rewrite="register it in __init__ with self.register_buffer(name, tensor), or return the new value instead",
    ),
    Row(
        says=r"attempting to expand a dimension(?s:.*?)aten\.copy_\.default\]\(args = \(%(?P<buffer>\w+),",
        means="the buffer {buffer} is given a value of another shape, which is made here",
        rewrite="return what grows with the batch instead of keeping it; a buffer keeps its shape",
    ),
    Row(
        says=r"x\.set_\(y\)|metadata mutating ops|aten\.set_",
        means="forward replaces the data of a weight",
        rewrite="compute with a new tensor instead: torch.nn.functional.linear(x, weight * scale)",
    ),
    Row(
        says=r"inplace view on a graph input",
        means="forward changes the shape of an input in place",
        rewrite="work on a tensor of your own: x = x.reshape(...)",
    ),
    Row(
        says=r"Tracing failed sanity checks|Graphs differed across invocations",
        means="forward does something else at each call (it counts, or draws random numbers in Python), and a trace "
        "keeps the first",
        rewrite="move the counter or the random number out of forward and hand it in as a tensor",
    ),
    Row(
        says=r"Cannot insert a Tensor that requires grad as a constant",
        means="forward uses a tensor made from weights in __init__, which is neither weight nor buffer",
        rewrite="compute it in forward, or register it: self.register_buffer(name, tensor.detach())",
    ),
)

_NETWORK = (
    Row(
        says=r"the same dtype, but got:? (?P<first>[\w.:]+) (?:and|!=) (?P<second>[\w.:]+)",
        means="tensors of two types meet: {first} and {second}",
        rewrite="convert where the other one is made: table.to(x.dtype)",
    ),
    Row(
        says=r"\"(?P<kernel>\w+)\" not implemented for '(?P<dtype>\w+)'",
        means="torch has no {kernel} for {dtype} on this device",
        rewrite="keep that module in float32 (an island), or take another --dtype",
    ),
    Row(
        says=r"is not on the expected device|Expected all tensors to be on the same device",
        means="forward makes or keeps a tensor on another device",
        rewrite="make it with device=x.device, or register it with self.register_buffer",
    ),
    Row(
        says=r"Expected more than 1 value per channel when training",
        means="the network is in training mode",
        rewrite="call module.eval() before exporting it",
    ),
    Row(
        says=r"with fake tensors(?s:.*?)got (?P<said>\w+\([^\n]{1,200}\))(?:\n|$)"
        r"|raised exception (?P<own>\w+\([^\n]*\))",
        means="forward itself fails: {said}{own}",
        rewrite="run module(*example_inputs) with two rows and more; what fails there fails here",
    ),
    Row(
        says=r"^Unsupported: (?P<said>[^\n]{1,200})",
        means="forward does something that torch cannot record: {said}",
        rewrite="write that line with torch's operators, or move it out of forward",
    ),
)

ELSEWHERE: tuple[Row, ...] = (*_MACHINE, *_FILES)
"""Rows whose cause is not in the network's code; tried first."""
IN_CODE: tuple[Row, ...] = (*_VALUES, *_LENGTHS, *_OUTSIDE, *_OPERATORS, *_STATE, *_NETWORK)
"""Rows whose cause is a line of it."""
