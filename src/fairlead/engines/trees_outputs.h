/* From sums to what the library's own predict gives: step by step what engines/tree_ensemble_outputs.py does, for each type of sums (SUM).
 * Single precision takes exponentials in double and rounds them once. Part of trees_kernel.c. */
#define NAME(part) JOIN(part, SUM)

ALWAYS SUM NAME(sigmoid)(const trees *m, SUM sum) {
    if (sizeof(SUM) == 8) return (SUM)(1.0 / (1.0 + exp(-m->scale * (double)sum)));
    float negated = -(float)sum;
    if (negated > 88.7f) negated = 88.7f; /* XGBoost's own bound */
    return (SUM)(1.0f / ((float)exp((double)negated) + 1.0f));
}

/* What is not a number counts as the largest, as in numpy. */
ALWAYS int NAME(exceeds)(SUM value, SUM other) { return value > other || (isnan(value) && !isnan(other)); }

static void NAME(softmax)(int64_t count, const SUM *sums, SUM *values) {
    SUM largest = sums[0];
    double total = 0;
    for (int64_t output = 1; output < count; output++)
        if (sums[output] > largest) largest = sums[output];
    for (int64_t output = 0; output < count; output++) {
        SUM difference = sums[output] - largest;
        values[output] = (SUM)exp((double)difference);
        total += (double)values[output];
    }
    for (int64_t output = 0; output < count; output++) values[output] /= (SUM)total;
}

static void NAME(transform)(const trees *m, const SUM *sums, SUM *values) {
    int64_t count = m->output_count;
    if (m->transform == SOFTMAX) {
        NAME(softmax)(count, sums, values);
        return;
    }
    for (int64_t output = 0; output < count; output++) {
        SUM sum = sums[output];
        switch (m->transform) {
        case EXP: values[output] = (SUM)exp((double)sum); break;
        case HINGE: values[output] = sum > 0; break;
        case SIGMOID: values[output] = NAME(sigmoid)(m, sum); break;
        default: values[output] = sum;
        }
    }
}

static void NAME(outputs)(const trees *m, int64_t count, SUM *sums, int64_t *labels) {
    int64_t outputs = m->output_count;
    SUM *values = sums + count * outputs, *pairs = values + count * outputs;
    for (int64_t row = 0; row < count; row++, sums += outputs, values += outputs) {
        if (m->is_averaged) /* divided in double and rounded, as numpy does it */
            for (int64_t output = 0; output < outputs; output++) sums[output] = (SUM)((double)sums[output] / (double)m->divisors[output]);
        NAME(transform)(m, sums, values);
        const SUM *decisive = m->is_decided_by_sum ? sums : values;
        if (outputs == 1) labels[row] = decisive[0] > (m->is_decided_by_sum ? (SUM)0 : (SUM)0.5);
        else {
            labels[row] = 0;
            for (int64_t output = 1; output < outputs; output++)
                if (NAME(exceeds)(decisive[output], decisive[labels[row]])) labels[row] = output;
        }
        if (outputs == 1) pairs[2 * row] = 1 - values[0], pairs[2 * row + 1] = values[0];
    }
}
#undef NAME
