/* Tree ensembles, walked. A constant file: a model comes in as arrays (engines/trees_layout.py), never as code.
 *
 * Takes a `trees`, rows in the type that features are compared in, and memory for the answers. Gives each row's sums, in the type and the
 * order in which the library that trained the trees adds them, what the transform makes of them, and the class. Rows are independent, so
 * callers may split them between threads. All indices were checked by core.tree_ensemble before they came here.
 *
 * Why it is fast: the children of a node lie side by side, so that the next node is `child + (value < threshold)`, without a branch; a leaf
 * leads to itself; and several walks (rows of one tree, or trees of one row) are interleaved, so that their loads overlap. What a node does
 * about missing values lies in the column that it reads (`prepare` in trees_walk.h), not in the walk.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#if FLT_EVAL_METHOD != 0
#error "sums would not be rounded as the library rounds them"
#endif

#define LANES 8
#define BLOCK_ROWS 32
#define ALWAYS static inline __attribute__((always_inline))
#define EACH_LANE _Pragma("GCC unroll 16") for (int lane = 0; lane < LANES; lane++)

enum { FLOAT_NARROW, FLOAT_WIDE, DOUBLE_WIDE };             /* formats of nodes: engines/trees_layout.py writes them */
enum { LESS = 1, LESS_OR_EQUAL, CATEGORY, EQUAL, GREATER }; /* core.tree_ensemble.Split */
enum { MISSING_NAN, MISSING_NEVER, MISSING_ZERO };          /* core.tree_ensemble.Missing */
enum { AS_IT_IS, NEGATED, FILLED, ZERO_MISSING, ZERO_MISSING_NEGATED, COLUMN_KINDS };
enum { IDENTITY, SIGMOID, SOFTMAX, EXP, HINGE };            /* of core.tree_ensemble.Transform: the usual ones; others stay with numpy */

typedef struct { float threshold; uint16_t column, child; } float_narrow;
typedef struct { float threshold; uint32_t column, child; } float_wide;
typedef struct { double threshold; uint32_t column, child; } double_wide;

/* A node that one comparison by "less" cannot express: a set of categories, one value, an infinite threshold. */
typedef struct {
    double threshold;
    int32_t column, split, missing, missing_left, unknown_left, first, last, unused;
} special;

typedef struct {
    int64_t node_format, sums_in_double, transform, is_averaged, is_decided_by_sum;
    int64_t tree_count, output_count, width, feature_count, column_count, special_start, special_count;
    double scale;
    const int64_t *column_ends;     /* (COLUMN_KINDS): where the columns of each kind end */
    const int32_t *column_features; /* (columns - 1): the feature that each is made of; the last column is NaN, for leaves */
    const void *nodes;              /* those of each tree together, breadth first */
    const int64_t *starts;          /* (trees): each tree's root */
    const int32_t *depths;          /* (trees): steps until every walk stands on a leaf */
    const int32_t *groups;          /* (trees): the output that it adds to */
    const void *values;             /* (nodes, width) in the type of the sums */
    const void *base;               /* (outputs) likewise */
    const int64_t *divisors;        /* (outputs): what averaged sums are divided by */
    const special *specials;
    const int32_t *categories;      /* sorted within a node */
} trees;

/* Whether a row goes left at a special node. `value` is the feature, rounded to the type in which features are compared. */
static int special_goes_left(const trees *m, const special *node, double value, int in_double) {
    /* LightGBM's kZeroThreshold is a number in single precision */
    int is_missing = node->missing == MISSING_ZERO ? isnan(value) || fabs(value) <= (double)1e-35f
                                                   : node->missing == MISSING_NAN && isnan(value);
    if (is_missing) return node->missing_left;
    if (isnan(value)) value = 0;
    switch (node->split) {
    case LESS: return value < node->threshold;
    case LESS_OR_EQUAL: return value <= node->threshold;
    case EQUAL: return value == node->threshold;
    case GREATER: return value > node->threshold;
    }
    /* XGBoost (single precision) takes no value below 0 for a category, LightGBM (double) none at or below -1. */
    if (!((in_double ? value > -1 : value >= 0) && value < 2147483648.0)) return node->unknown_left;
    int32_t wanted = (int32_t)value, first = node->first, last = node->last;
    while (first < last) {
        int32_t middle = first + (last - first) / 2;
        if (m->categories[middle] < wanted) first = middle + 1;
        else last = middle;
    }
    return first < node->last && m->categories[first] == wanted;
}

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

#define SUM float
#define NODE float_narrow
#define REAL float
#include "trees_walk.h"
#undef NODE
#define NODE float_wide
#include "trees_walk.h"
#undef NODE
#undef REAL
#define NODE double_wide
#define REAL double
#include "trees_walk.h"
#undef NODE
#undef REAL
#include "trees_outputs.h"
#undef SUM

#define SUM double
#define NODE float_narrow
#define REAL float
#include "trees_walk.h"
#undef NODE
#define NODE float_wide
#include "trees_walk.h"
#undef NODE
#undef REAL
#define NODE double_wide
#define REAL double
#include "trees_walk.h"
#undef NODE
#undef REAL
#include "trees_outputs.h"
#undef SUM

/* Fill `answers` with labels (rows) as int64, then in the type of the sums: sums and values (rows, outputs each) and, for one output, pairs
 * (rows, 2). Returns 0, or -1 where memory is short. */
int fairlead_trees_run(const trees *m, const void *rows, int64_t count, void *answers) {
    static int (*const add_up[2][3])(const trees *, const void *, int64_t, void *) = {
        {sums_float_float_narrow, sums_float_float_wide, sums_float_double_wide},
        {sums_double_float_narrow, sums_double_float_wide, sums_double_double_wide},
    };
    int64_t *labels = answers;
    void *sums = labels + count;
    if (add_up[m->sums_in_double != 0][m->node_format](m, rows, count, sums)) return -1;
    if (m->sums_in_double) outputs_double(m, count, sums, labels);
    else outputs_float(m, count, sums, labels);
    return 0;
}

const char *fairlead_trees_key(void) { return FAIRLEAD_KEY; }
