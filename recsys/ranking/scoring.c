/* Trees over a table of features, for `quickscorer.py`, which has the idea and does the same in numpy.
 *
 * A row's masks are combined and its leaves added up before the next row is looked at, so nothing leaves the cache. Leaves
 * are added in numpy's order (pairwise, in blocks of up to 128), so that sums are the same to the last bit.
 */
#include "../module.h"

#include <stdint.h>
#include <stdlib.h>

#define LEAVES 16
#define BLOCK 128

typedef struct {
    const int64_t *features; /* columns of the table, one for each list of thresholds */
    const int64_t *starts;   /* where each list begins among the thresholds; its masks begin as many rows later as */
    const float *edges;      /* there are lists before it, for a list has a row more than thresholds */
    const uint16_t *masks;
    const float *values; /* LEAVES for each tree */
    int64_t lists, trees, width;
} Forest;

static float added(const float *values, int64_t n) {
    if (n < 8) {
        float sum = 0.0f;
        for (int64_t i = 0; i < n; i++) sum += values[i];
        return sum;
    }
    if (n <= BLOCK) {
        float part[8];
        int64_t i;
        for (i = 0; i < 8; i++) part[i] = values[i];
        for (; i + 8 <= n; i += 8)
            for (int j = 0; j < 8; j++) part[j] += values[i + j];
        float sum = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
        for (; i < n; i++) sum += values[i];
        return sum;
    }
    int64_t half = n / 2;
    half -= half % 8;
    return added(values, half) + added(values + half, n - half);
}

/* Thresholds under the value: their number is the row of masks. No step is guessed, for half of the guesses would be
 * wrong.
 */
static inline int64_t passed(const float *edges, int64_t n, float value) {
    if (n == 0) return 0;
    const float *at = edges;
    for (; n > 1; n -= n / 2) at += n / 2 * (at[n / 2 - 1] < value);
    return at - edges + (*at < value);
}

static inline __attribute__((always_inline)) void score_rows(const Forest *forest, const float *table, int64_t rows,
                                                             uint16_t *left, float *leaves, float *sums) {
    int64_t trees = forest->trees;
    for (int64_t row = 0; row < rows; row++, table += forest->width) {
        for (int64_t t = 0; t < trees; t++) left[t] = 0xFFFF;
        for (int64_t l = 0; l < forest->lists; l++) {
            int64_t start = forest->starts[l];
            int64_t place = passed(forest->edges + start, forest->starts[l + 1] - start, table[forest->features[l]]);
            const uint16_t *masks = forest->masks + (start + l + place) * trees;
            for (int64_t t = 0; t < trees; t++) left[t] &= masks[t];
        }
        for (int64_t t = 0; t < trees; t++) leaves[t] = forest->values[t * LEAVES + __builtin_ctz(left[t] | 0x10000u) % LEAVES];
        sums[row] = added(leaves, trees);
    }
}

static void score_plain(const Forest *forest, const float *table, int64_t rows, uint16_t *left, float *leaves,
                        float *sums) {
    score_rows(forest, table, rows, left, leaves, sums);
}

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx2,bmi"))) static void score_avx2(const Forest *forest, const float *table, int64_t rows,
                                                           uint16_t *left, float *leaves, float *sums) {
    score_rows(forest, table, rows, left, leaves, sums);
}
#endif

static PyObject *py_score(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer features, starts, edges, masks, values, table, sums;
    int width;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*iw*", &features, &starts, &edges, &masks, &values, &table, &width, &sums))
        return NULL;
    PyObject *result = NULL;
    uint16_t *left = NULL;
    float *leaves = NULL;
    Forest forest = {features.buf, starts.buf, edges.buf, masks.buf, values.buf, (int64_t)(features.len / 8),
                     (int64_t)(values.len / 4 / LEAVES), width};
    int64_t rows = (int64_t)(sums.len / 4), thresholds = (int64_t)(edges.len / 4);
    int good = width > 0 && forest.trees > 0 && table.len == rows * width * 4 && starts.len == features.len + 8 &&
               forest.starts[0] == 0 && forest.starts[forest.lists] == thresholds &&
               masks.len == (thresholds + forest.lists) * forest.trees * 2;
    for (int64_t l = 0; good && l < forest.lists; l++)
        good = forest.starts[l] <= forest.starts[l + 1] && forest.features[l] >= 0 && forest.features[l] < width;
    if (!good) {
        PyErr_SetString(PyExc_ValueError, "arrays of trees that do not fit each other");
        goto end;
    }
    left = malloc(sizeof(uint16_t) * (size_t)forest.trees);
    leaves = malloc(sizeof(float) * (size_t)forest.trees);
    if (!left || !leaves) {
        PyErr_NoMemory();
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS;
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
        score_avx2(&forest, table.buf, rows, left, leaves, sums.buf);
    else
#endif
        score_plain(&forest, table.buf, rows, left, leaves, sums.buf);
    Py_END_ALLOW_THREADS;
    result = Py_NewRef(Py_None);
end:
    free(left);
    free(leaves);
    RELEASE(&features, &starts, &edges, &masks, &values, &table, &sums);
    return result;
}

static PyMethodDef methods[] = {
    {"score", py_score, METH_VARARGS, "score(features, starts, edges, masks, values, table, width, sums)"},
    {NULL, NULL, 0, NULL},
};

MODULE(scoring)
