/* The order of a batch's candidates, those that rules match, and the items of its slates, for `picking.py`, which says
 * what the arrays hold.
 *
 * One call takes the place of some thirty calls of numpy on arrays of one request, and of a loop of Python over what was
 * picked. Both give the same: scores are ordered as numpy's lexsort does it and rounded as its `round` does it.
 */
#include "../module.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "by_score.h"

/* Whether two of n values are equal, 0 aside. `room`: for a power of two of them, of at least 2 * n. */
static int any_again(const uint64_t *values, int64_t n, uint64_t *room) {
    int bits = 1;
    while ((int64_t)1 << bits < 2 * n) bits++;
    uint64_t last = ((uint64_t)1 << bits) - 1;
    memset(room, 0, 8 * (size_t)(last + 1));
    for (int64_t i = 0; i < n; i++) {
        if (!values[i]) continue;
        uint64_t at = values[i] * UINT64_C(0x9E3779B97F4A7C15) >> (64 - bits);
        for (; room[at]; at = (at + 1) & last)
            if (room[at] == values[i]) return 1;
        room[at] = values[i];
    }
    return 0;
}

static int order_all(const int64_t *offsets, int64_t parts, const float *scores, const uint64_t *twins, int64_t *order,
                     uint64_t *room, int64_t most) {
    for (int64_t part = 0; part < parts; part++) {
        int64_t start = offsets[part], n = offsets[part + 1] - start;
        if (any_again(twins + start, n, room)) return 0;
        const uint64_t *places = by_score(scores, start, start + n, room, most);
        for (int64_t i = 0; i < n; i++) order[start + i] = (int64_t)(places[i] & UINT32_MAX);
    }
    return 1;
}

static PyObject *py_order(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer offsets, scores, twins, order;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*y*y*w*", &offsets, &scores, &twins, &order)) return NULL;
    int64_t parts = (int64_t)(offsets.len / 8) - 1, n = (int64_t)(scores.len / 4);
    const int64_t *ends = offsets.buf;
    if (twins.len != n * 8 || order.len != n * 8 || !bounded(ends, parts, n)) {
        PyErr_SetString(PyExc_ValueError, "candidates that do not fit each other");
        goto end;
    }
    int64_t most = largest(ends, parts);
    uint64_t *room = malloc(32 * (size_t)most + 32);
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

static PyObject *py_matched(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer matches, rows, ends;
    long long filters;
    if (!PyArg_ParseTuple(args, "y*Lw*w*", &matches, &filters, &rows, &ends)) return NULL;
    PyObject *result = NULL;
    int64_t width = (filters + 7) / 8, n = width > 0 ? (int64_t)matches.len / width : 0, filled = 0;
    if (filters < 0 || matches.len != n * width || rows.len != n * filters * 8 || ends.len != filters * 8)
        PyErr_SetString(PyExc_ValueError, "candidates that do not fit each other");
    else {
        const uint8_t *bits = matches.buf;
        int64_t *to = rows.buf;
        for (int64_t f = 0; f < filters; f++) {
            for (int64_t i = 0; i < n; i++)
                if (bits[i * width + f / 8] >> f % 8 & 1) to[filled++] = i;
            ((int64_t *)ends.buf)[f] = filled;
        }
        result = Py_NewRef(Py_None);
    }
    RELEASE(&matches, &rows, &ends);
    return result;
}

/* The first `size` of a request's n candidates in their order, with the first that is marked in the place `at`. */
static void pin_one(const int64_t *order, int64_t n, int64_t size, const char *marked, int64_t at, int64_t *slate) {
    int64_t pinned = 0, next = 0;
    while (pinned < n && !marked[order[pinned]]) pinned++;
    for (int64_t i = 0; i < size; i++) {
        if (next == pinned && pinned < n) next++;
        slate[i] = i == at && pinned < n ? order[pinned] : order[next++];
    }
}

static PyObject *py_pinned(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer offsets, order, rows, sizes, slates;
    long long position;
    if (!PyArg_ParseTuple(args, "y*y*y*y*Lw*", &offsets, &order, &rows, &sizes, &position, &slates)) return NULL;
    PyObject *result = NULL;
    int64_t parts = (int64_t)(offsets.len / 8) - 1, n = (int64_t)(order.len / 8), filled = 0;
    const int64_t *ends = offsets.buf, *places = order.buf, *matches = rows.buf, *size = sizes.buf;
    char *marked = calloc((size_t)n + 1, 1);
    int fits = position > 0 && sizes.len == parts * 8 && bounded(ends, parts, n);
    for (int64_t i = 0; fits && i < n; i++) fits = places[i] >= 0 && places[i] < n;
    for (int64_t i = 0; fits && marked && i < (int64_t)(rows.len / 8); i++) {
        fits = matches[i] >= 0 && matches[i] < n;
        if (fits) marked[matches[i]] = 1;
    }
    for (int64_t part = 0; fits && part < parts; part++) {
        fits = size[part] >= 0 && size[part] <= ends[part + 1] - ends[part];
        filled += size[part];
    }
    if (!fits || slates.len != filled * 8) PyErr_SetString(PyExc_ValueError, "candidates that do not fit each other");
    else if (marked == NULL) PyErr_NoMemory();
    else {
        int64_t *slate = slates.buf;
        for (int64_t part = 0; part < parts; slate += size[part++])
            pin_one(places + ends[part], ends[part + 1] - ends[part], size[part], marked,
                    (position < size[part] ? position : size[part]) - 1, slate);
        result = Py_NewRef(Py_None);
    }
    free(marked);
    RELEASE(&offsets, &order, &rows, &sizes, &slates);
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
    if (strings->blob.obj) PyBuffer_Release(&strings->blob);
    if (strings->offsets.obj) PyBuffer_Release(&strings->offsets);
    if (strings->rows.obj) PyBuffer_Release(&strings->rows);
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
    {"matched", py_matched, METH_VARARGS, "matched(matches, filters, rows, ends)"},
    {"order", py_order, METH_VARARGS, "order(offsets, scores, twins, order) -> whether no two are equal"},
    {"pinned", py_pinned, METH_VARARGS, "pinned(offsets, order, rows, sizes, position, slates)"},
    {"slates", py_slates, METH_VARARGS,
     "slates(picked, ends, scores, sources, likeness, width, first, last, liked, ids, titles, names, make, reasons)"},
    {NULL, NULL, 0, NULL},
};

MODULE(picks)
