/* What a walk found, without what its request excludes, what was proposed, each item once, and which filters match it,
 * for `chosen_rows.py`.
 *
 * One call takes the place of some ten calls of numpy on arrays of one request, and gives the same.
 */
#include "../module.h"

#include <stdint.h>
#include <stdlib.h>

#define KEY_BITS 48

static int contains(const uint64_t *sorted, int64_t n, uint64_t wanted) {
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (sorted[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    return low < n && sorted[low] == wanted;
}

typedef struct {
    const uint64_t *keys, *excluded;
    const char *alive; /* NULL: all are */
    int64_t n, many;   /* rows, and keys that are excluded */
} Table;

/* Fills `places` with the first `wanted` of each line's `width` rows that are rows, alive and not excluded. Returns how
 * many they are; -1: a line has fewer, -2: a row that is not there.
 */
static int64_t first_of(const Table *table, const int64_t *rows, int64_t lines, int64_t width, const int64_t *requests,
                        const int64_t *wanted, int64_t *places) {
    int64_t filled = 0;
    for (int64_t line = 0; line < lines; line++) {
        const int64_t *own = rows + line * width;
        uint64_t tag = (uint64_t)requests[line] << KEY_BITS;
        int64_t left = wanted[line];
        for (int64_t i = 0; i < width; i++) {
            if (own[i] < 0 || own[i] >= table->n) continue;
            if (table->many) __builtin_prefetch(table->keys + own[i]);
            if (table->alive) __builtin_prefetch(table->alive + own[i]);
        }
        for (int64_t i = 0; i < width && left > 0; i++) {
            if (own[i] < 0) continue;
            if (own[i] >= table->n) return -2;
            if (table->alive && !table->alive[own[i]]) continue;
            if (table->many && contains(table->excluded, table->many, tag | table->keys[own[i]])) continue;
            places[filled++] = line * width + i;
            left--;
        }
        if (left > 0) return -1;
    }
    return filled;
}

static PyObject *py_first(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer rows, keys, alive, requests, wanted, excluded, places;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*w*", &rows, &keys, &alive, &requests, &wanted, &excluded, &places))
        return NULL;
    int64_t lines = (int64_t)(requests.len / 8), width = lines ? (int64_t)(rows.len / 8) / lines : 0;
    if (rows.len != lines * width * 8 || wanted.len != requests.len || places.len != rows.len) {
        PyErr_SetString(PyExc_ValueError, "lines that do not fit each other");
        goto end;
    }
    Table table = {keys.buf, excluded.buf, alive.len ? alive.buf : NULL, (int64_t)(keys.len / 8),
                   (int64_t)(excluded.len / 8)};
    if (alive.len && alive.len < table.n) table.n = (int64_t)alive.len;
    int64_t filled = first_of(&table, rows.buf, lines, width, requests.buf, wanted.buf, places.buf);
    if (filled == -2) PyErr_SetString(PyExc_IndexError, "a row that the table does not have");
    else result = PyLong_FromLongLong(filled);
end:
    RELEASE(&rows, &keys, &alive, &requests, &wanted, &excluded, &places);
    return result;
}

typedef struct {
    uint64_t tag;
    int64_t place;
} Tagged;

#define VALUE Tagged
#define BY(value) (value).tag
#include "../sorting.h"

/* Fills places, bits and tags of each item of a request, in the order of the tags; `values` has room for 2n. Returns how
 * many they are; -1: equal tags have different rows.
 */
static int64_t once(const int64_t *requests, const int64_t *rows, const int64_t *bits, int64_t n, const uint64_t *keys,
                    Tagged *values, int64_t *places, int64_t *joined, uint64_t *tags) {
    for (int64_t i = 0; i < n; i++) __builtin_prefetch(keys + rows[i]);
    for (int64_t i = 0; i < n; i++)
        values[i] = (Tagged){(uint64_t)requests[i] << KEY_BITS | keys[rows[i]], i};
    values = sorted(values, values + n, n);
    int64_t filled = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t place = values[i].place;
        if (filled && tags[filled - 1] == values[i].tag) {
            if (rows[places[filled - 1]] != rows[place]) return -1;
            joined[filled - 1] |= bits[place];
            continue;
        }
        places[filled] = place, joined[filled] = bits[place], tags[filled] = values[i].tag;
        filled++;
    }
    return filled;
}

static PyObject *py_once(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer requests, rows, bits, keys, places, joined, tags;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*y*y*y*w*w*w*", &requests, &rows, &bits, &keys, &places, &joined, &tags)) return NULL;
    int64_t n = (int64_t)(rows.len / 8), there = (int64_t)(keys.len / 8);
    const int64_t *row = rows.buf;
    Tagged *room = NULL;
    if (requests.len != rows.len || bits.len != rows.len || places.len != rows.len || joined.len != rows.len ||
        tags.len != rows.len) {
        PyErr_SetString(PyExc_ValueError, "proposals that do not fit each other");
        goto end;
    }
    for (int64_t i = 0; i < n; i++) {
        if (row[i] < 0 || row[i] >= there) {
            PyErr_SetString(PyExc_IndexError, "a row that the table does not have");
            goto end;
        }
    }
    room = malloc(2 * sizeof(Tagged) * (size_t)n + 1);
    if (room == NULL) PyErr_NoMemory();
    else
        result = PyLong_FromLongLong(
            once(requests.buf, row, bits.buf, n, keys.buf, room, places.buf, joined.buf, tags.buf));
    free(room);
end:
    RELEASE(&requests, &rows, &bits, &keys, &places, &joined, &tags);
    return result;
}

/* Sets bit f of each row's bits, which are all clear, where mask f has the row. Returns 0 for a row that is in no mask. */
static int match(const char *const *masks, const int64_t *known, int64_t filters, const int64_t *rows, int64_t n,
                 uint8_t *bits) {
    int64_t width = (filters + 7) / 8;
    for (int64_t f = 0; f < filters; f++)
        for (int64_t i = 0; i < n; i++) {
            if (rows[i] < 0 || rows[i] >= known[f]) return 0;
            __builtin_prefetch(masks[f] + rows[i]);
        }
    for (int64_t f = 0; f < filters; f++)
        for (int64_t i = 0; i < n; i++) bits[i * width + f / 8] |= (uint8_t)((masks[f][rows[i]] != 0) << (f % 8));
    return 1;
}

static PyObject *py_match(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *given, *result = NULL;
    Py_buffer rows, bits;
    if (!PyArg_ParseTuple(args, "O!y*w*", &PyTuple_Type, &given, &rows, &bits)) return NULL;
    int64_t filters = (int64_t)PyTuple_Size(given), n = (int64_t)(rows.len / 8), read = 0;
    Py_buffer *buffers = calloc((size_t)filters + 1, sizeof *buffers);
    const char **masks = malloc(((size_t)filters + 1) * sizeof *masks);
    int64_t *known = malloc(((size_t)filters + 1) * sizeof *known);
    if (buffers == NULL || masks == NULL || known == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    for (; read < filters; read++) {
        if (PyObject_GetBuffer(PyTuple_GetItem(given, read), &buffers[read], PyBUF_SIMPLE)) goto end;
        masks[read] = buffers[read].buf, known[read] = (int64_t)buffers[read].len;
    }
    if (bits.len != n * ((filters + 7) / 8)) PyErr_SetString(PyExc_ValueError, "masks that do not fit their bits");
    else if (!match(masks, known, filters, rows.buf, n, bits.buf))
        PyErr_SetString(PyExc_IndexError, "a row that a mask does not have");
    else result = Py_NewRef(Py_None);
end:
    for (int64_t f = 0; f < read; f++) PyBuffer_Release(&buffers[f]);
    free(buffers);
    free(masks);
    free(known);
    RELEASE(&rows, &bits);
    return result;
}

static PyMethodDef methods[] = {
    {"match", py_match, METH_VARARGS, "match(masks, rows, bits)"},
    {"first", py_first, METH_VARARGS, "first(rows, keys, alive, requests, wanted, excluded, places) -> how many; -1: too few"},
    {"once", py_once, METH_VARARGS, "once(requests, rows, bits, keys, places, joined, tags) -> how many; -1: keys are shared"},
    {NULL, NULL, 0, NULL},
};

MODULE(choosing)
