"""Step 3, the second door: a candidate's model -> the form that its engine runs.

Takes a RuntimeForm and a BuildJob, gives a RuntimeModel. Raises UnsupportedError where the model has no such form, MissingExtraError where
the library that writes it is absent. Never changes the model that it is given.
"""

from __future__ import annotations

from fairlead.convert.catalog import BUILDERS
from fairlead.core.conversion import MAIN_FILE, BuildJob, RuntimeForm, RuntimeModel
from fairlead.errors import CorruptError, UnsupportedError


def build(form: RuntimeForm, job: BuildJob) -> RuntimeModel:
    """Return `job.model` in `form`; a conversion's own form is what it is already."""
    if form is job.conversion.form:
        return RuntimeModel(form, job.model, {MAIN_FILE[form]: job.model})
    if job.conversion.form is not RuntimeForm.ONNX:
        raise UnsupportedError(f"A model without an ONNX form cannot become {form.value}.")
    job.workspace.mkdir(parents=True, exist_ok=True)
    model: RuntimeModel = BUILDERS.load(form.value)(job)
    if model.files.get(MAIN_FILE[form]) != model.path:
        raise CorruptError(f"The form '{form.value}' lacks its main file {MAIN_FILE[form]}.", hint="Please report this model.")
    return model
