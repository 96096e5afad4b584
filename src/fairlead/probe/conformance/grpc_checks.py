"""Lines 12, 13, 17 and 18: the same over gRPC."""

from __future__ import annotations

from typing import Any

from fairlead.core.dtype import DType
from fairlead.errors import DataError
from fairlead.probe.conformance.judging import first
from fairlead.probe.conformance.outcome import Check, NotOffered, Outcome, Problem, Skipped
from fairlead.probe.conformance.target import Target
from fairlead.probe.grpc_messages import infer_request, make, outputs_of, set_parameters
from fairlead.probe.tensors import are_alike

_NOWHERE = "there-is-no-such-model"


def _says_ok(call: Any, says: str, *, is_required: bool = True) -> Problem | None:
    return None if call.status == "OK" else Problem(call.sent, call.came, says, is_required)


def _gives(target: Target, call: Any, says: str) -> Problem | None:
    if call.status != "OK":
        return Problem(call.sent, call.came, says)
    try:
        same = are_alike(target.outputs or {}, outputs_of(call.message))
    except DataError as error:
        return Problem(call.sent, f"{call.came} ({error.message})", says)
    return None if same else Problem(call.sent, call.came, says)


def _refused(call: Any, status: str, says: str) -> Problem | None:
    if call.status == "OK":
        return Problem(call.sent, call.came, f"{says}: {status}")
    return None if call.status == status else Problem(call.sent, call.came, f"{says}: {status}", is_required=False)


def _infer(target: Target, request: Any) -> Any:
    return target.grpc.call("ModelInfer", request)


def _request(target: Target, *, is_raw: bool = True) -> Any:
    return infer_request(target.model.name, target.inputs, is_raw=is_raw, request_id="42")


def _health(target: Target) -> Outcome:
    found: list[Outcome] = []
    fields: tuple[tuple[str, str, dict[str, str]], ...] = (
        ("ServerLive", "live", {}),
        ("ServerReady", "ready", {}),
        ("ModelReady", "ready", {"name": target.model.name}),
    )
    for name, field, given in fields:
        call = target.grpc.ask(name, **given)
        if call.status != "OK" or not getattr(call.message, field):
            found.append(Problem(call.sent, call.came, f"{field}: true"))
    return first(*found)


def _server(target: Target) -> Outcome:
    call = target.grpc.ask("ServerMetadata")
    if call.status != "OK":
        return Problem(call.sent, call.came, "name, version, extensions")
    same = call.message.name == target.server.get("name") and set(call.message.extensions) == set(target.extensions)
    return None if same else Problem(call.sent, call.came, "the same as GET /v2", is_required=False)


def _metadata(target: Target) -> Outcome:
    call = target.grpc.ask("ModelMetadata", name=target.model.name)
    if call.status != "OK":
        return Problem(call.sent, call.came, "name, versions, platform, inputs, outputs")
    for listed, specs in ((call.message.inputs, target.model.inputs), (call.message.outputs, target.model.outputs)):
        said = [(tensor.name, tensor.datatype, [max(size, -1) for size in tensor.shape]) for tensor in listed]
        want = [(spec.name, spec.dtype.value, [-1 if size is None else size for size in spec.shape]) for spec in specs]
        if said != want:
            return Problem(call.sent, call.came, f"the same as GET {target.model.path}")
    return None


def _raw(target: Target) -> Outcome:
    call = _infer(target, _request(target))
    problem = _gives(target, call, "raw contents mean what JSON means")
    if problem is not None:
        return problem
    has_raw = len(call.message.raw_output_contents) == len(call.message.outputs)
    return None if has_raw else Problem(call.sent, call.came, "a raw request has a raw answer", is_required=False)


def _typed(target: Target) -> Outcome:
    if any(array.dtype == DType.FP16.numpy for array in target.inputs.values()):
        return Skipped("FP16 has no typed form")
    return _gives(target, _infer(target, _request(target, is_raw=False)), "typed contents mean what raw contents mean")


def _echo(target: Target) -> Outcome:
    call = _infer(target, _request(target))
    if call.status != "OK":
        return Problem(call.sent, call.came, "an answer")
    same = call.message.id == "42" and call.message.model_name == target.model.name
    return None if same else Problem(call.sent, call.came, "id and model_name come back")


def _bad(target: Target) -> Outcome:
    found: list[Outcome] = []
    for what in ("count", "shape", "datatype", "name", "both", "short", "output", "none"):
        request = _request(target, is_raw=what != "count")
        tensor = request.inputs[0]
        if what == "count":
            for field, values in tensor.contents.ListFields():
                del field
                values.append(values[0])
        elif what == "shape":
            tensor.shape[0] = -1
        elif what == "datatype":
            tensor.datatype = "FLOAT"
        elif what == "name":
            tensor.name = "no-such-input"
        elif what == "both":
            tensor.contents.fp32_contents.append(1.0)
        elif what == "short":
            request.raw_input_contents[0] = request.raw_input_contents[0][:-1]
        elif what == "output":
            request.outputs.add(name="no-such-output")
        else:
            del request.raw_input_contents[:]
        found.append(_refused(_infer(target, request), "INVALID_ARGUMENT", f"a request with a wrong {what} is refused"))
    return first(*found)


def _unknown(target: Target) -> Outcome:
    request = _request(target)
    request.model_name = _NOWHERE
    version = _request(target)
    version.model_version = "999999999"
    return first(
        _refused(_infer(target, request), "NOT_FOUND", "an unknown model"),
        _refused(_infer(target, version), "NOT_FOUND", "an unknown version"),
        _refused(target.grpc.ask("ModelMetadata", name=_NOWHERE), "NOT_FOUND", "an unknown model"),
    )


def _unimplemented(target: Target) -> Outcome:
    call = target.grpc.call("NoSuchMethod", make("ServerLiveRequest"), answer="ServerLiveResponse")
    return _refused(call, "UNIMPLEMENTED", "a method that does not exist")


def _deadline(target: Target) -> Outcome:
    call = target.grpc.call("ModelInfer", _request(target), timeout_s=1e-6)
    after = _gives(target, _infer(target, _request(target)), "after a deadline that has passed, the next call is answered")
    if call.status not in {"DEADLINE_EXCEEDED", "OK"}:
        return Problem(call.sent, call.came, "a deadline of 1 us has passed: DEADLINE_EXCEEDED", is_required=False)
    return after


def _cancelled(target: Target) -> Outcome:
    for _ in range(5):
        target.grpc.cancel("ModelInfer", _request(target))
    return _gives(target, _infer(target, _request(target)), "after calls that were cancelled, the next one is answered")


def _parameters(target: Target) -> Outcome:
    request = _request(target)
    kinds = {
        "a_bool": ("bool_param", True),
        "a_number": ("int64_param", -3),
        "a_text": ("string_param", "text"),
        "a_float": ("double_param", 0.5),
        "a_uint": ("uint64_param", 2**63),
    }
    set_parameters(request, kinds)
    return _gives(target, _infer(target, request), "parameters of all five kinds are taken")


def _uint_priority(target: Target) -> Outcome:
    request = _request(target)
    set_parameters(request, {"priority": ("uint64_param", 1), "timeout": ("int64_param", 30_000_000)})
    return _gives(target, _infer(target, request), "tritonclient sends priority as uint64_param")


def _stream(target: Target) -> Outcome:
    good, bad = _request(target), _request(target)
    bad.model_name = _NOWHERE
    sent = "ModelStreamInfer: a good request, one for an unknown model, two good ones"
    try:
        found, status = target.grpc.stream("ModelStreamInfer", [good, bad, good, good], answer="ModelStreamInferResponse")
    except DataError as error:
        says = "Triton's form, ModelStreamInferResponse {error_message, infer_response}: the protocol's required part has no streams"
        return Problem(sent, error.message, says, is_required=False)
    if status.startswith("UNIMPLEMENTED"):
        return NotOffered("ModelStreamInfer is not implemented")
    came = f"{len(found)} answers, then {status}: {' '.join(str(found).split())[:300]}"
    if len(found) != 4 or status != "OK":
        return Problem(sent, came, "four requests, four answers in their order: an error does not end the stream", is_required=False)
    for number, message in enumerate(found):
        if (number == 1) != bool(message.error_message):
            return Problem(sent, came, "the second answer has error_message, the others have none", is_required=False)
        if number != 1 and not are_alike(target.outputs or {}, outputs_of(message.infer_response)):
            return Problem(sent, came, "streamed answers are those of ModelInfer", is_required=False)
    return None


def _index(target: Target) -> Outcome:
    call = target.grpc.ask("RepositoryIndex")
    if call.status != "OK":
        return Problem(call.sent, call.came, "the index, as over HTTP")
    names = {entry.name for entry in call.message.models}
    return None if target.model.name in names else Problem(call.sent, call.came, f"'{target.model.name}' is listed")


def _statistics(target: Target) -> Outcome:
    call = target.grpc.ask("ModelStatistics", name=target.model.name)
    return _says_ok(call, "statistics, as over HTTP")


def _config(target: Target) -> Outcome:
    return _says_ok(target.grpc.ask("ModelConfig", name=target.model.name), "the configuration, as over HTTP")


def _kserve_form(target: Target) -> Outcome:
    """KServe's messages have the model's name in field 1, which is repository_name here."""
    call = target.grpc.ask("RepositoryModelLoad", repository_name=target.model.name)
    if call.status == "PERMISSION_DENIED":
        return NotOffered(f"the server does not let clients load: {call.text}")
    problem = _says_ok(call, "KServe's client names the model in field 1", is_required=False)
    return problem if problem is not None else _gives(target, _infer(target, _request(target)), "the model answers as before")


def _unloaded(target: Target) -> Outcome:
    """Unloaded, the model is not ready and does not answer; it is loaded again at the end."""
    unload = target.grpc.ask("RepositoryModelUnload", model_name=target.model.name)
    if unload.status == "PERMISSION_DENIED":
        return NotOffered(f"the server does not let clients unload: {unload.text}")
    ready, asked = target.grpc.ask("ModelReady", name=target.model.name), _infer(target, _request(target))
    load = target.grpc.ask("RepositoryModelLoad", model_name=target.model.name)
    not_ready = ready.status != "OK" or not ready.message.ready
    return first(
        _says_ok(unload, "a loaded model can be unloaded"),
        _says_ok(load, "an unloaded model can be loaded"),
        None if not_ready else Problem(ready.sent, ready.came, "an unloaded model is not ready"),
        None if asked.status in {"UNAVAILABLE", "NOT_FOUND"} else _refused(asked, "UNAVAILABLE", "an unloaded model"),
        _gives(target, _infer(target, _request(target)), "loaded again, it answers as before"),
    )


CHECKS = (
    Check(12, "live, ready, model ready", _health, needs="grpc"),
    Check(12, "server metadata", _server, needs="grpc"),
    Check(12, "model metadata", _metadata, needs="grpc"),
    Check(12, "raw contents", _raw, needs="grpc"),
    Check(12, "typed contents", _typed, needs="grpc"),
    Check(12, "id and model_name", _echo, needs="grpc"),
    Check(12, "INVALID_ARGUMENT", _bad, needs="grpc"),
    Check(12, "NOT_FOUND", _unknown, needs="grpc"),
    Check(12, "UNIMPLEMENTED", _unimplemented, needs="grpc"),
    Check(12, "DEADLINE_EXCEEDED", _deadline, needs="grpc"),
    Check(12, "CANCELLED", _cancelled, needs="grpc"),
    Check(12, "repository index", _index, "model_repository", needs="grpc"),
    Check(12, "statistics", _statistics, "statistics", needs="grpc"),
    Check(12, "configuration", _config, "model_configuration", needs="grpc"),
    Check(12, "UNAVAILABLE", _unloaded, "model_repository", needs="grpc unload"),
    Check(13, "all five kinds", _parameters, needs="grpc"),
    Check(13, "priority as uint64", _uint_priority, "schedule_policy", needs="grpc"),
    Check(17, "a stream, and an error in it", _stream, needs="grpc"),
    Check(18, "load by field 1", _kserve_form, "model_repository", needs="grpc unload"),
)
