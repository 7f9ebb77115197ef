/* The scores of a batch's candidates, their order, and the items of its slates, for `blending.py` and `picking.py`, which
 * say what the arrays hold.
 *
 * One call takes the place of some thirty calls of numpy on arrays of one request, and of a loop of Python over what was
 * picked. Both give the same: products are added up as numpy's einsum does it, scores are ordered as its lexsort does it
 * and rounded as its `round` does it.
 */
#include "../module.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 4 /* sums that numpy adds up side by side */

/* A float as a number that is the smaller the better the score; all NaN are the same, and the last. */
static uint32_t place_of(float score) {
    uint32_t bits;
    if (score != score) return UINT32_MAX;
    if (score == 0.0f) score = 0.0f; /* -0.0 is no worse than 0.0 */
    memcpy(&bits, &score, 4);
    return bits & 0x80000000u ? bits : ~bits & 0x7FFFFFFFu;
}

#define VALUE uint64_t
#define BY(value) (value)
#include "../sorting.h"

static int bounded(const int64_t *offsets, int64_t parts, int64_t n) {
    if (parts < 0 || offsets[0] != 0 || offsets[parts] != n || n >= INT32_MAX) return 0;
    for (int64_t part = 0; part < parts; part++)
        if (offsets[part] > offsets[part + 1]) return 0;
    return 1;
}

typedef struct {
    const float *likeness, *others, *weights;
    const int64_t *columns; /* of each signal: in `likeness`; from -2 downwards in `others`; -1: it has no weight */
    int64_t signals, width, other;
} Blend;

static float blended(const Blend *blend, int64_t row, const float *weights) {
    float sums[LANES] = {0};
    for (int64_t s = 0; s < blend->signals; s++) {
        int64_t column = blend->columns[s];
        if (column == -1) continue;
        float value = column >= 0 ? blend->likeness[row * blend->width + column]
                                  : blend->others[row * blend->other - 2 - column];
        if (value != value) continue;
        value = value < -1.0f ? -1.0f : value > 1.0f ? 1.0f : value;
        sums[s % LANES] += value * weights[s];
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static PyObject *py_blend(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer offsets, likeness, others, columns, weights, kinds, scores;
    long long width, other;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*y*Ly*Ly*y*y*w*", &offsets, &likeness, &width, &others, &other, &columns, &weights,
                          &kinds, &scores))
        return NULL;
    int64_t parts = (int64_t)(offsets.len / 8) - 1, n = (int64_t)(scores.len / 4), signals = (int64_t)(columns.len / 8);
    const int64_t *ends = offsets.buf, *own = kinds.buf, *places = columns.buf;
    int fits = bounded(ends, parts, n) && likeness.len == n * width * 4 && others.len == n * other * 4 &&
               kinds.len == parts * 8 && signals > 0 && weights.len % (signals * 4) == 0;
    for (int64_t s = 0; fits && s < signals; s++) fits = places[s] < width && -2 - places[s] < other;
    for (int64_t part = 0; fits && part < parts; part++)
        fits = own[part] >= 0 && own[part] < weights.len / (signals * 4);
    if (fits) {
        Blend blend = {likeness.buf, others.buf, weights.buf, places, signals, width, other};
        float *to = scores.buf;
        for (int64_t part = 0; part < parts; part++)
            for (int64_t row = ends[part]; row < ends[part + 1]; row++)
                to[row] = blended(&blend, row, blend.weights + own[part] * signals);
        result = Py_NewRef(Py_None);
    } else PyErr_SetString(PyExc_ValueError, "candidates that do not fit each other");
    RELEASE(&offsets, &likeness, &others, &columns, &weights, &kinds, &scores);
    return result;
}

static int order_all(const int64_t *offsets, int64_t parts, const float *scores, const uint64_t *twins, int64_t *order,
                     uint64_t *room, int64_t most) {
    for (int64_t part = 0; part < parts; part++) {
        int64_t start = offsets[part], n = offsets[part + 1] - start;
        for (int64_t i = 0; i < n; i++) room[i] = twins[start + i];
        uint64_t *values = sorted(room, room + most, n);
        for (int64_t i = 1; i < n; i++)
            if (values[i] == values[i - 1] && values[i]) return 0;
        for (int64_t i = 0; i < n; i++) room[i] = (uint64_t)place_of(scores[start + i]) << 32 | (uint64_t)i;
        values = sorted(room, room + most, n);
        for (int64_t i = 0; i < n; i++) order[start + i] = start + (int64_t)(values[i] & UINT32_MAX);
    }
    return 1;
}

static PyObject *py_order(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer offsets, scores, twins, order;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*y*y*w*", &offsets, &scores, &twins, &order)) return NULL;
    int64_t parts = (int64_t)(offsets.len / 8) - 1, n = (int64_t)(scores.len / 4), most = 0;
    const int64_t *ends = offsets.buf;
    if (twins.len != n * 8 || order.len != n * 8 || !bounded(ends, parts, n)) {
        PyErr_SetString(PyExc_ValueError, "candidates that do not fit each other");
        goto end;
    }
    for (int64_t part = 0; part < parts; part++)
        if (ends[part + 1] - ends[part] > most) most = ends[part + 1] - ends[part];
    uint64_t *room = malloc(16 * (size_t)most + 16);
    if (room == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    result = PyBool_FromLong(order_all(ends, parts, scores.buf, twins.buf, order.buf, room, most));
    free(room);
end:
    RELEASE(&offsets, &scores, &twins, &order);
    return result;
}

typedef struct {
    Py_buffer blob, offsets, rows;
    int some; /* whether `rows` names some strings of the column */
} Strings;

/* Reads (blob, offsets, rows or None). */
static int strings_of(PyObject *column, Strings *strings) {
    PyObject *blob, *offsets, *rows;
    memset(strings, 0, sizeof *strings);
    if (!PyArg_ParseTuple(column, "OOO", &blob, &offsets, &rows)) return 0;
    if (PyObject_GetBuffer(blob, &strings->blob, PyBUF_SIMPLE)) return 0;
    if (PyObject_GetBuffer(offsets, &strings->offsets, PyBUF_SIMPLE)) return 0;
    strings->some = rows != Py_None;
    return !strings->some || !PyObject_GetBuffer(rows, &strings->rows, PyBUF_SIMPLE);
}

static void let_go(Strings *strings) {
    RELEASE(&strings->blob, &strings->offsets, &strings->rows);
}

static PyObject *string_at(const Strings *strings, int64_t row) {
    const int64_t *ends = strings->offsets.buf;
    int64_t known = (int64_t)(strings->offsets.len / 8) - 1;
    if (strings->some) row = row < (int64_t)(strings->rows.len / 8) ? ((const int64_t *)strings->rows.buf)[row] : -1;
    if (row < 0 || row >= known || ends[row] < 0 || ends[row] > ends[row + 1] || ends[row + 1] > strings->blob.len) {
        PyErr_SetString(PyExc_ValueError, "strings that do not fit their column");
        return NULL;
    }
    return PyUnicode_DecodeUTF8((const char *)strings->blob.buf + ends[row], ends[row + 1] - ends[row], NULL);
}

typedef struct {
    const float *scores, *likeness;
    const int64_t *sources;
    int64_t n, width, first, last; /* of `likeness`: columns, and those of the likes */
    int64_t liked;                 /* the bit of the source that goes out from them */
    Strings ids, titles;
    PyObject *make, *names;
} Candidates;

/* The column of the likes whose item is the nearest, from 0; NaN is none. */
static int64_t nearest_of(const Candidates *all, int64_t row) {
    const float *alike = all->likeness + row * all->width + all->first;
    int64_t best = 0;
    float most = -INFINITY;
    for (int64_t i = 0; i < all->last - all->first; i++)
        if (alike[i] > most) {
            most = alike[i];
            best = i;
        }
    return best;
}

/* What `reason` gave for the last item is kept in `reasons`, with its `bits` and `nearest`. */
static PyObject *item_of(const Candidates *all, int64_t row, Py_ssize_t rank, PyObject *reason, PyObject **reasons,
                         int64_t *bits, int64_t *nearest) {
    int64_t own = all->sources[row], near = own & all->liked ? nearest_of(all, row) : 0;
    if (*reasons == NULL || own != *bits || near != *nearest) {
        Py_XDECREF(*reasons);
        *reasons = PyObject_CallFunction(reason, "LL", (long long)own, (long long)near);
        if (*reasons == NULL) return NULL;
        *bits = own;
        *nearest = near;
    }
    PyObject *source = PyTuple_GetItem(all->names, own); /* borrowed; IndexError */
    if (source == NULL) return NULL;
    PyObject *id = string_at(&all->ids, row), *title = id == NULL ? NULL : string_at(&all->titles, row), *item = NULL;
    if (title != NULL) {
        double score = rint((double)all->scores[row] * 1e6) / 1e6;
        item = PyObject_CallFunction(all->make, "OOndOO", id, title, rank, score, source, *reasons);
    }
    Py_XDECREF(id);
    Py_XDECREF(title);
    return item;
}

static PyObject *slate_of(const Candidates *all, const int64_t *picked, int64_t many, PyObject *reason) {
    PyObject *slate = PyTuple_New(many), *reasons = NULL;
    int64_t bits = 0, nearest = 0;
    for (int64_t i = 0; slate != NULL && i < many; i++) {
        PyObject *item = NULL;
        if (picked[i] < 0 || picked[i] >= all->n) PyErr_SetString(PyExc_ValueError, "a row that is no candidate");
        else item = item_of(all, picked[i], i + 1, reason, &reasons, &bits, &nearest);
        if (item == NULL || PyTuple_SetItem(slate, i, item)) Py_CLEAR(slate);
    }
    Py_XDECREF(reasons);
    return slate;
}

static PyObject *py_slates(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer picked, ends, scores, sources, likeness;
    PyObject *ids, *titles, *reasons, *slates = NULL;
    Candidates all;
    long long width, first, last, liked;
    memset(&all, 0, sizeof all);
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*LLLLOOO!OO!", &picked, &ends, &scores, &sources, &likeness, &width, &first,
                          &last, &liked, &ids, &titles, &PyTuple_Type, &all.names, &all.make, &PyList_Type, &reasons))
        return NULL;
    int64_t parts = (int64_t)(ends.len / 8) - 1;
    all.n = (int64_t)(scores.len / 4);
    all.width = width, all.first = first, all.last = last, all.liked = liked;
    all.scores = scores.buf, all.likeness = likeness.buf, all.sources = sources.buf;
    int fits = sources.len == all.n * 8 && likeness.len == all.n * width * 4 && first >= 0 && first <= last &&
               last <= width && bounded(ends.buf, parts, (int64_t)(picked.len / 8)) && PyList_Size(reasons) == parts;
    if (!fits) PyErr_SetString(PyExc_ValueError, "candidates that do not fit each other");
    if (fits && strings_of(ids, &all.ids) && strings_of(titles, &all.titles)) slates = PyList_New(parts);
    const int64_t *offsets = ends.buf;
    for (int64_t part = 0; slates != NULL && part < parts; part++) {
        PyObject *slate = slate_of(&all, (const int64_t *)picked.buf + offsets[part], offsets[part + 1] - offsets[part],
                                   PyList_GetItem(reasons, part));
        if (slate == NULL || PyList_SetItem(slates, part, slate)) Py_CLEAR(slates);
    }
    let_go(&all.ids);
    let_go(&all.titles);
    RELEASE(&picked, &ends, &scores, &sources, &likeness);
    return slates;
}

static PyMethodDef methods[] = {
    {"blend", py_blend, METH_VARARGS,
     "blend(offsets, likeness, width, others, other, columns, weights, kinds, scores)"},
    {"order", py_order, METH_VARARGS, "order(offsets, scores, twins, order) -> whether no two are equal"},
    {"slates", py_slates, METH_VARARGS,
     "slates(picked, ends, scores, sources, likeness, width, first, last, liked, ids, titles, names, make, reasons)"},
    {NULL, NULL, 0, NULL},
};

MODULE(picks)
