/* Sums of sparse rows for `neighbour_rows.py` and `keywords.py`.
 *
 * They are those of scipy's product of two sparse matrices to the last bit: the same products, added in the same order.
 * scipy makes whole rows of the result, of which a batch wants the cells of its candidates alone, and takes longer to
 * make the matrices than to multiply them.
 */
#include "../module.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LEAST 1e-3f /* a smaller weight counts nothing, as in `Likes.faded` */
#define AHEAD 2     /* rows that are asked for before one is added */

typedef struct {
    const int32_t *ends;    /* a row's cells end where the next one's begin */
    const int32_t *columns;
    const float *values;
    int64_t rows, cells;
    const int64_t *offsets; /* likes of request b: offsets[b] to offsets[b + 1], in the order of their rows */
    const int64_t *likes;   /* rows */
    const float *weights;
    int64_t requests;
} Sum;

/* A row's cells; 0 where `ends` is not what it should be. */
static int span(const Sum *sum, int64_t like, int32_t *start, int32_t *stop) {
    *start = sum->ends[sum->likes[like]];
    *stop = sum->ends[sum->likes[like] + 1];
    return *start >= 0 && *start <= *stop && *stop <= sum->cells;
}

static void ask(const Sum *sum, int64_t like) {
    int32_t start = sum->ends[sum->likes[like]];
    for (int64_t at = 0; at < 64; at += 16) {
        __builtin_prefetch(sum->columns + start + at);
        __builtin_prefetch(sum->values + start + at);
    }
}

/* Slots of a request's candidates: an open hash table of places + 1, at most a quarter full. */
typedef struct {
    uint32_t *places;
    int64_t *slots;
    int bits;
} Table;

static uint32_t first(const Table *table, int64_t slot) {
    return (uint32_t)(((uint64_t)slot * 0x9E3779B97F4A7C15u) >> (64 - table->bits));
}

static uint32_t find(const Table *table, int64_t slot) {
    uint32_t at = first(table, slot), mask = (1u << table->bits) - 1;
    while (table->places[at] && table->slots[at] != slot) at = (at + 1) & mask;
    return at;
}

static void cells_of(const Sum *sum, int64_t request, const int64_t *slots, int64_t count, Table *table, float *sums,
                     char *out, int64_t step) {
    for (table->bits = 6; (1ll << table->bits) < 4 * count; table->bits++) {}
    memset(table->places, 0, sizeof(uint32_t) << table->bits);
    memset(sums, 0, sizeof(float) * (size_t)count);
    for (int64_t c = 0; c < count; c++) {
        if (slots[c] < 0) continue;
        uint32_t at = find(table, slots[c]);
        if (!table->places[at]) table->places[at] = (uint32_t)c + 1, table->slots[at] = slots[c];
    }
    int64_t end = sum->offsets[request + 1];
    for (int64_t like = sum->offsets[request]; like < end; like++) {
        if (like + AHEAD < end) ask(sum, like + AHEAD);
        float weight = sum->weights[like];
        if (!(weight > LEAST)) continue;
        int32_t start, stop;
        if (!span(sum, like, &start, &stop)) continue;
        for (int32_t cell = start; cell < stop; cell++) {
            uint32_t place = table->places[find(table, sum->columns[cell])];
            if (place) sums[place - 1] += weight * sum->values[cell];
        }
    }
    for (int64_t c = 0; c < count; c++)
        *(float *)(out + c * step) = slots[c] < 0 ? 0.0f : sums[table->places[find(table, slots[c])] - 1];
}

static int fits(const Sum *sum, const Py_buffer *ends, const Py_buffer *columns, const Py_buffer *values,
                const Py_buffer *likes, const Py_buffer *weights) {
    int64_t many = (int64_t)(likes->len / 8);
    if (sum->rows < 0 || sum->requests < 0 || values->len != columns->len || weights->len / 4 != many) return 0;
    if (((const int32_t *)ends->buf)[sum->rows] != sum->cells || sum->offsets[0] != 0 || sum->offsets[sum->requests] != many)
        return 0;
    for (int64_t b = 0; b < sum->requests; b++)
        if (sum->offsets[b] > sum->offsets[b + 1]) return 0;
    for (int64_t at = 0; at < many; at++)
        if (sum->likes[at] < 0 || sum->likes[at] >= sum->rows) return 0;
    return 1;
}

static Sum of(const Py_buffer *ends, const Py_buffer *columns, const Py_buffer *values, const Py_buffer *offsets,
              const Py_buffer *likes, const Py_buffer *weights) {
    Sum sum = {ends->buf, columns->buf, values->buf, (int64_t)(ends->len / 4) - 1,
               (int64_t)(columns->len / 4), offsets->buf, likes->buf, weights->buf, (int64_t)(offsets->len / 8) - 1};
    return sum;
}

static PyObject *py_cells(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer ends, columns, values, offsets, likes, weights, bounds, slots, out;
    int width, column;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*y*y*w*ii", &ends, &columns, &values, &offsets, &likes, &weights, &bounds,
                          &slots, &out, &width, &column))
        return NULL;
    PyObject *result = NULL;
    Table table = {0};
    float *sums = NULL;
    Sum sum = of(&ends, &columns, &values, &offsets, &likes, &weights);
    const int64_t *starts = bounds.buf;
    int64_t many = (int64_t)(slots.len / 8), most = 0, size = 64;
    int good = fits(&sum, &ends, &columns, &values, &likes, &weights) && width > 0 && column >= 0 && column < width &&
               bounds.len == offsets.len && out.len == many * width * 4 && starts[0] == 0 && starts[sum.requests] == many;
    for (int64_t b = 0; good && b < sum.requests; b++) {
        good = starts[b] <= starts[b + 1];
        if (starts[b + 1] - starts[b] > most) most = starts[b + 1] - starts[b];
    }
    if (!good) {
        PyErr_SetString(PyExc_ValueError, "arrays of a sum that do not fit each other");
        goto end;
    }
    while (size < 4 * most) size *= 2;
    table.places = malloc(sizeof(uint32_t) * (size_t)size);
    table.slots = malloc(sizeof(int64_t) * (size_t)size);
    sums = malloc(sizeof(float) * (size_t)(most + 1));
    if (!table.places || !table.slots || !sums) {
        PyErr_NoMemory();
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS;
    for (int64_t b = 0; b < sum.requests; b++)
        cells_of(&sum, b, (const int64_t *)slots.buf + starts[b], starts[b + 1] - starts[b], &table, sums,
                 (char *)out.buf + (starts[b] * width + column) * 4, (int64_t)width * 4);
    Py_END_ALLOW_THREADS;
    result = Py_NewRef(Py_None);
end:
    free(table.places);
    free(table.slots);
    free(sums);
    RELEASE(&ends, &columns, &values, &offsets, &likes, &weights, &bounds, &slots, &out);
    return result;
}

static PyObject *py_rows(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer ends, columns, values, offsets, likes, weights, out;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*w*", &ends, &columns, &values, &offsets, &likes, &weights, &out))
        return NULL;
    PyObject *result = NULL;
    Sum sum = of(&ends, &columns, &values, &offsets, &likes, &weights);
    int64_t width = sum.requests > 0 ? (int64_t)(out.len / 4) / sum.requests : 0;
    int good = fits(&sum, &ends, &columns, &values, &likes, &weights) && out.len == width * sum.requests * 4;
    if (!good) {
        PyErr_SetString(PyExc_ValueError, "arrays of a sum that do not fit each other");
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS;
    for (int64_t b = 0; b < sum.requests; b++) {
        float *row = (float *)out.buf + b * width;
        memset(row, 0, sizeof(float) * (size_t)width);
        for (int64_t like = sum.offsets[b]; like < sum.offsets[b + 1]; like++) {
            float weight = sum.weights[like];
            if (!(weight > LEAST)) continue;
            int32_t start, stop;
            if (!span(&sum, like, &start, &stop)) continue;
            for (int32_t cell = start; cell < stop; cell++)
                if ((uint32_t)sum.columns[cell] < width) row[sum.columns[cell]] += weight * sum.values[cell];
        }
    }
    Py_END_ALLOW_THREADS;
    result = Py_NewRef(Py_None);
end:
    RELEASE(&ends, &columns, &values, &offsets, &likes, &weights, &out);
    return result;
}

static PyMethodDef methods[] = {
    {"cells", py_cells, METH_VARARGS,
     "cells(ends, columns, values, offsets, likes, weights, bounds, slots, out, width, column)"},
    {"rows", py_rows, METH_VARARGS, "rows(ends, columns, values, offsets, likes, weights, out)"},
    {NULL, NULL, 0, NULL},
};

MODULE(summing)
