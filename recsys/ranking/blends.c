/* The signals of a batch's candidates, blended, and as trees see those of the best, for `blending.py` and `rescoring.py`,
 * which say what the arrays hold.
 *
 * One call takes the place of some twenty calls of numpy over all candidates, and gives the same: products are added up as
 * numpy's einsum does it, and scores are ordered as its lexsort does it.
 */
#include "../module.h"

#include <stdlib.h>

#include "by_score.h"

#define LANES 4 /* sums that numpy adds up side by side */

typedef struct {
    const float *likeness, *others;
    const int64_t *columns; /* of each signal: first and end in `likeness`, whose largest counts; from -2 downwards, its
                             * column in `others`; -1: it has no weight */
    int64_t signals, width, other;
} Signals;

/* A number between -1 and 1; 0 for NaN. Without a branch. */
static inline float within_one(float value) {
    uint32_t bits, known = -(uint32_t)(value == value);
    value = -1.0f > value ? -1.0f : value;
    value = 1.0f < value ? 1.0f : value;
    memcpy(&bits, &value, 4);
    bits &= known;
    memcpy(&value, &bits, 4);
    return value;
}

/* A signal that has a weight, between -1 and 1; 0: not known. */
static inline float value_of(const Signals *all, int64_t row, int64_t signal) {
    int64_t first = all->columns[2 * signal], end = all->columns[2 * signal + 1];
    float value;
    if (first >= 0) {
        const float *own = all->likeness + row * all->width;
        value = own[first];
        for (int64_t i = first + 1; i < end; i++)
            if (own[i] > value || value != value) value = own[i];
    } else value = all->others[row * all->other - 2 - first];
    return within_one(value);
}

/* The same of all signals, which all have a column, for some rows. */
static void fill(const Signals *all, int64_t start, int64_t end, float *restrict values) {
    for (int64_t s = 0; s < all->signals; s++) {
        int64_t first = all->columns[2 * s], many = first >= 0 ? all->columns[2 * s + 1] - first : 1;
        int64_t width = first >= 0 ? all->width : all->other;
        const float *from = first >= 0 ? all->likeness + first : all->others - 2 - first;
        for (int64_t row = start; row < end; row++) {
            float value = from[row * width];
            for (int64_t i = 1; i < many; i++) {
                float other = from[row * width + i];
                value = (other > value) | (value != value) ? other : value;
            }
            values[row * all->signals + s] = within_one(value);
        }
    }
}

static float weighed(const float *values, const float *weights, int64_t signals) {
    float sums[LANES] = {0};
    int64_t s = 0;
    for (; s + LANES <= signals; s += LANES)
        for (int64_t lane = 0; lane < LANES; lane++) sums[lane] += values[s + lane] * weights[s + lane];
    for (; s < signals; s++) sums[s % LANES] += values[s] * weights[s];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static float blended(const Signals *all, int64_t row, const float *weights) {
    float sums[LANES] = {0};
    for (int64_t s = 0; s < all->signals; s++)
        if (all->columns[2 * s] != -1) sums[s % LANES] += value_of(all, row, s) * weights[s];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

typedef struct {
    Py_buffer offsets, likeness, others, columns;
    long long width, other;
} Given;

static int fit(const Given *given, Signals *all, int64_t parts, int64_t n) {
    int64_t signals = (int64_t)(given->columns.len / 16);
    *all = (Signals){given->likeness.buf, given->others.buf, given->columns.buf, signals, given->width, given->other};
    int fits = signals > 0 && given->columns.len == signals * 16 && bounded(given->offsets.buf, parts, n) &&
               given->likeness.len == n * all->width * 4 && given->others.len == n * all->other * 4;
    for (int64_t s = 0; fits && s < signals; s++) {
        int64_t first = all->columns[2 * s], end = all->columns[2 * s + 1];
        fits = first >= 0 ? first < end && end <= all->width : -2 - first < all->other;
    }
    return fits;
}

static void let_go(Given *given) {
    RELEASE(&given->offsets, &given->likeness, &given->others, &given->columns);
}

static PyObject *misfit(void) {
    PyErr_SetString(PyExc_ValueError, "candidates that do not fit each other");
    return NULL;
}

static PyObject *py_blend(PyObject *self, PyObject *args) {
    (void)self;
    Given given;
    Py_buffer weights, kinds, values, scores;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*y*Ly*Ly*y*y*w*w*", &given.offsets, &given.likeness, &given.width, &given.others,
                          &given.other, &given.columns, &weights, &kinds, &values, &scores))
        return NULL;
    int64_t parts = (int64_t)(given.offsets.len / 8) - 1, n = (int64_t)(scores.len / 4);
    const int64_t *ends = given.offsets.buf, *own = kinds.buf;
    Signals all;
    int fits = fit(&given, &all, parts, n) && kinds.len == parts * 8 && weights.len % (all.signals * 4) == 0;
    int every = fits && values.len > 0;
    fits = fits && (!every || values.len == n * all.signals * 4);
    for (int64_t s = 0; fits && every && s < all.signals; s++) fits = all.columns[2 * s] != -1;
    for (int64_t part = 0; fits && part < parts; part++)
        fits = own[part] >= 0 && own[part] < weights.len / (all.signals * 4);
    if (fits) {
        float *to = scores.buf, *filled = values.buf;
        for (int64_t part = 0; part < parts; part++) {
            const float *weigh = (const float *)weights.buf + own[part] * all.signals;
            if (every) fill(&all, ends[part], ends[part + 1], filled);
            for (int64_t row = ends[part]; row < ends[part + 1]; row++)
                to[row] = every ? weighed(filled + row * all.signals, weigh, all.signals) : blended(&all, row, weigh);
        }
        result = Py_NewRef(Py_None);
    } else misfit();
    let_go(&given);
    RELEASE(&weights, &kinds, &values, &scores);
    return result;
}

/* What trees may look at, in this order: the signals; then the score, its distance to the request's best, the log of the
 * place by it, and the number of sources; then what is known of the request.
 */
enum { SCORE, GAP, RANK, SOURCES, OWN };

typedef struct {
    const float *values, *scores, *logs, *facts;
    const int64_t *sources, *wanted;
    int64_t signals, most, fact, columns; /* rows of a request; what is known of it; columns of the table */
} Best;

/* Fills rows and table with the best of a request, in order. Returns how many they are. `values`: room for all that trees
 * may look at.
 */
static int64_t best_of(const Best *best, int64_t request, const uint64_t *order, int64_t n, float *values, int64_t *rows,
                       float *table) {
    float *own = values + best->signals;
    if (n > best->most) n = best->most;
    if (best->fact) memcpy(own + OWN, best->facts + request * best->fact, (size_t)best->fact * 4);
    for (int64_t i = 0; i < n; i++, table += best->columns) {
        int64_t row = rows[i] = (int64_t)(order[i] & UINT32_MAX);
        memcpy(values, best->values + row * best->signals, (size_t)best->signals * 4);
        own[SCORE] = best->scores[row];
        own[GAP] = best->scores[row] - best->scores[rows[0]];
        own[RANK] = best->logs[i];
        own[SOURCES] = (float)__builtin_popcountll((unsigned long long)best->sources[row]);
        for (int64_t c = 0; c < best->columns; c++) table[c] = values[best->wanted[c]];
    }
    return n;
}

static PyObject *py_best(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer offsets, values, scores, sources, enabled, facts, logs, wanted, own, rows, at, table;
    long long signals;
    if (!PyArg_ParseTuple(args, "y*y*Ly*y*y*y*y*y*y*w*w*w*", &offsets, &values, &signals, &scores, &sources, &enabled,
                          &facts, &logs, &wanted, &own, &rows, &at, &table))
        return NULL;
    PyObject *result = NULL;
    int64_t parts = (int64_t)enabled.len, n = (int64_t)(scores.len / 4), most = 0, room = (int64_t)(rows.len / 8);
    Best best = {values.buf, scores.buf, logs.buf, facts.buf, sources.buf, wanted.buf, signals, (int64_t)(logs.len / 4),
                 parts ? (int64_t)(facts.len / 4) / parts : 0, (int64_t)(wanted.len / 8)};
    const int64_t *ends = offsets.buf;
    int fits = offsets.len == (parts + 1) * 8 && bounded(ends, parts, n) && signals > 0 &&
               values.len == n * signals * 4 && sources.len == n * 8 && own.len == parts * 8 && at.len == rows.len &&
               facts.len == parts * best.fact * 4 && best.most > 0 && table.len == room * best.columns * 4;
    for (int64_t c = 0; fits && c < best.columns; c++)
        fits = best.wanted[c] >= 0 && best.wanted[c] < signals + OWN + best.fact;
    int64_t needed = 0;
    for (int64_t part = 0; fits && part < parts; part++)
        if (((const char *)enabled.buf)[part])
            needed += ends[part + 1] - ends[part] < best.most ? ends[part + 1] - ends[part] : best.most;
    if (!fits || needed > room) {
        misfit();
        goto end;
    }
    most = largest(ends, parts);
    uint64_t *places = malloc(16 * (size_t)most + 16);
    float *one = malloc((size_t)(signals + OWN + best.fact) * 4);
    if (places != NULL && one != NULL) {
        int64_t filled = 0, *numbers = at.buf;
        for (int64_t part = 0; part < parts; part++) {
            if (!((const char *)enabled.buf)[part]) continue;
            const uint64_t *order = by_score(scores.buf, ends[part], ends[part + 1], places, most);
            int64_t found = best_of(&best, part, order, ends[part + 1] - ends[part], one, (int64_t *)rows.buf + filled,
                                    (float *)table.buf + filled * best.columns);
            for (int64_t i = 0; i < found; i++) numbers[filled++] = ((const int64_t *)own.buf)[part] * best.most + i;
        }
        result = PyLong_FromLongLong(filled);
    } else PyErr_NoMemory();
    free(places);
    free(one);
end:
    RELEASE(&offsets, &values, &scores, &sources, &enabled, &facts, &logs, &wanted, &own, &rows, &at, &table);
    return result;
}

static PyMethodDef methods[] = {
    {"blend", py_blend, METH_VARARGS,
     "blend(offsets, likeness, width, others, other, columns, weights, kinds, values, scores)"},
    {"best", py_best, METH_VARARGS,
     "best(offsets, values, signals, scores, sources, enabled, facts, logs, wanted, places, rows, at, table)"
     " -> how many rows"},
    {NULL, NULL, 0, NULL},
};

MODULE(blends)
