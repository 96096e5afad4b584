/* The walk, written once for each format of nodes (NODE, with features compared as REAL) and type of sums (SUM). Part of trees_kernel.c. */
#define NAME(part) JOIN(JOIN(part, SUM), NODE)

/* Make of a row the columns that nodes read. With NaN in a column, `value < threshold` is false: a column as it is sends missing values the
 * one way, a negated one (against a threshold negated likewise) the other way. */
static void NAME(prepare)(const trees *m, const REAL *row, REAL *columns) {
    const int32_t *features = m->column_features;
    int64_t at = 0;
    for (; at < m->column_ends[AS_IT_IS]; at++) columns[at] = row[features[at]];
    for (; at < m->column_ends[NEGATED]; at++) columns[at] = -row[features[at]];
    for (; at < m->column_ends[FILLED]; at++) columns[at] = isnan(row[features[at]]) ? 0 : row[features[at]];
    for (; at < m->column_ends[ZERO_MISSING]; at++) {
        REAL value = row[features[at]];
        columns[at] = value <= (REAL)1e-35f && value >= -(REAL)1e-35f ? (REAL)NAN : value;
    }
    for (; at < m->column_ends[ZERO_MISSING_NEGATED]; at++) {
        REAL value = row[features[at]];
        columns[at] = value <= (REAL)1e-35f && value >= -(REAL)1e-35f ? (REAL)NAN : -value;
    }
    columns[at] = (REAL)NAN;
}

ALWAYS uint32_t NAME(step)(const trees *m, const NODE *tree, const REAL *columns, uint32_t at, int has_special) {
    const NODE *node = tree + at;
    if (has_special && node->column >= m->special_start) {
        const special *kind = m->specials + (node->column - m->special_start);
        return node->child + (special_goes_left(m, kind, columns[kind->column], sizeof(REAL) == 8) != 0);
    }
    return node->child + (columns[node->column] < node->threshold);
}

/* One row through LANES trees at a time; leaves (trees) are positions among all nodes. */
ALWAYS void NAME(walk_trees)(const trees *m, const REAL *columns, int64_t *leaves, int has_special) {
    const NODE *nodes = m->nodes;
    for (int64_t first = 0; first < m->tree_count; first += LANES) {
        uint32_t at[LANES];
        const NODE *tree[LANES];
        int depth = 0;
        EACH_LANE {
            int64_t number = first + lane < m->tree_count ? first + lane : first; /* spare lanes repeat a tree */
            tree[lane] = nodes + m->starts[number];
            depth = depth < m->depths[number] ? m->depths[number] : depth;
            at[lane] = 0;
        }
        for (; depth > 0; depth--) EACH_LANE at[lane] = NAME(step)(m, tree[lane], columns, at[lane], has_special);
        EACH_LANE if (first + lane < m->tree_count) leaves[first + lane] = m->starts[first + lane] + at[lane];
    }
}

/* LANES rows through one tree. */
ALWAYS void NAME(walk_rows)(const trees *m, int64_t number, const REAL *columns, uint32_t *leaves, int has_special) {
    const NODE *tree = (const NODE *)m->nodes + m->starts[number];
    uint32_t at[LANES] = {0};
    for (int depth = m->depths[number]; depth > 0; depth--)
        EACH_LANE at[lane] = NAME(step)(m, tree, columns + lane * m->column_count, at[lane], has_special);
    EACH_LANE leaves[lane] = at[lane];
}

ALWAYS void NAME(add)(const trees *m, int64_t number, int64_t leaf, SUM *sums) {
    const SUM *values = (const SUM *)m->values + leaf * m->width;
    if (m->width == 1) sums[m->groups[number]] += values[0];
    else
        for (int64_t output = 0; output < m->output_count; output++) sums[output] += values[output];
}

static void NAME(begin)(const trees *m, int64_t count, SUM *sums) {
    const SUM *base = m->base;
    for (int64_t row = 0; row < count; row++)
        for (int64_t output = 0; output < m->output_count; output++) sums[row * m->output_count + output] = base[output];
}

ALWAYS void NAME(one_row)(const trees *m, const REAL *columns, int64_t *leaves, SUM *sums, int has_special) {
    NAME(walk_trees)(m, columns, leaves, has_special);
    if (m->output_count == 1) {
        const SUM *values = m->values;
        SUM sum = sums[0];
        for (int64_t number = 0; number < m->tree_count; number++) sum += values[leaves[number]];
        sums[0] = sum;
    } else
        for (int64_t number = 0; number < m->tree_count; number++) NAME(add)(m, number, leaves[number], sums);
}

/* `count` is a multiple of LANES. */
ALWAYS void NAME(many_rows)(const trees *m, int64_t count, const REAL *columns, SUM *sums, int has_special) {
    uint32_t leaves[BLOCK_ROWS];
    for (int64_t number = 0; number < m->tree_count; number++) {
        for (int64_t row = 0; row < count; row += LANES)
            NAME(walk_rows)(m, number, columns + row * m->column_count, leaves + row, has_special);
        if (m->output_count == 1) {
            const SUM *values = (const SUM *)m->values + m->starts[number];
            for (int64_t row = 0; row < count; row++) sums[row] += values[leaves[row]];
        } else
            for (int64_t row = 0; row < count; row++)
                NAME(add)(m, number, m->starts[number] + leaves[row], sums + row * m->output_count);
    }
}

static int NAME(sums)(const trees *m, const void *given, int64_t count, void *found) {
    const REAL *rows = given;
    SUM *sums = found;
    int64_t at_once = count < BLOCK_ROWS ? count : BLOCK_ROWS;
    REAL *columns = malloc(sizeof(REAL) * m->column_count * at_once);
    if (!columns) return -1;
    int64_t *leaves = malloc(sizeof(int64_t) * (m->tree_count + 1));
    if (!leaves) {
        free(columns);
        return -1;
    }
    NAME(begin)(m, count, sums);
    while (count > 0) {
        int64_t block = count < BLOCK_ROWS ? count : BLOCK_ROWS, together = block - block % LANES;
        for (int64_t row = 0; row < block; row++) NAME(prepare)(m, rows + row * m->feature_count, columns + row * m->column_count);
        if (m->special_count) NAME(many_rows)(m, together, columns, sums, 1);
        else NAME(many_rows)(m, together, columns, sums, 0);
        for (int64_t row = together; row < block; row++) {
            const REAL *own = columns + row * m->column_count;
            SUM *sum = sums + row * m->output_count;
            if (m->special_count) NAME(one_row)(m, own, leaves, sum, 1);
            else NAME(one_row)(m, own, leaves, sum, 0);
        }
        rows += block * m->feature_count, sums += block * m->output_count, count -= block;
    }
    free(leaves);
    free(columns);
    return 0;
}
#undef NAME
