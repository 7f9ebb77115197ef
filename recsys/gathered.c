/* Rows of an array, and strings of a column, copied for `gathering.py`.
 *
 * What a search answers lies anywhere in columns that no cache holds. The next rows are asked for while one is copied;
 * numpy waits for each.
 */
#include "module.h"

#include <stdint.h>
#include <string.h>

#define LINE 64
#define AHEAD 4           /* rows that are asked for before one is copied */
#define ALONE (1 << 15)   /* bytes from which on other threads of Python may run meanwhile */

static void copy(const char *from, char *to, int64_t size, const int64_t *rows, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n) {
            const char *next = from + rows[i + AHEAD] * size;
            for (int64_t at = 0; at < size; at += LINE) __builtin_prefetch(next + at);
        }
        memcpy(to + i * size, from + rows[i] * size, size);
    }
}

static PyObject *py_rows(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer from, rows, to;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*y*w*", &from, &rows, &to)) return NULL;
    const int64_t *row = rows.buf, n = (int64_t)(rows.len / 8), size = n ? (int64_t)(to.len / n) : 0;
    if (size * n != to.len) {
        PyErr_SetString(PyExc_ValueError, "the array to be filled has another number of rows");
        goto end;
    }
    int64_t there = size ? (int64_t)(from.len / size) : INT64_MAX;
    for (int64_t i = 0; i < n; i++) {
        if (row[i] < 0 || row[i] >= there) {
            PyErr_SetString(PyExc_IndexError, "a row that the array does not have");
            goto end;
        }
    }
    if (to.len >= ALONE) {
        Py_BEGIN_ALLOW_THREADS;
        copy(from.buf, to.buf, size, row, n);
        Py_END_ALLOW_THREADS;
    } else {
        copy(from.buf, to.buf, size, row, n);
    }
    result = Py_NewRef(Py_None);
end:
    RELEASE(&from, &rows, &to);
    return result;
}

static PyObject *py_strings(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer blob, offsets, rows, ends;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*y*y*w*", &blob, &offsets, &rows, &ends)) return NULL;
    const int64_t *offset = offsets.buf, *row = rows.buf, n = (int64_t)(rows.len / 8);
    const int64_t there = (int64_t)(offsets.len / 8) - 1;
    int64_t *end = ends.buf, total = 0;
    if (ends.len != (n + 1) * 8) {
        PyErr_SetString(PyExc_ValueError, "the offsets to be filled are one more than the rows");
        goto end;
    }
    for (int64_t i = 0; i < n; i++) {
        if (row[i] < 0 || row[i] >= there) {
            PyErr_SetString(PyExc_IndexError, "a row that the column does not have");
            goto end;
        }
        __builtin_prefetch(offset + row[i]);
    }
    end[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t first = offset[row[i]], last = offset[row[i] + 1];
        if (first < 0 || last < first || last > blob.len) {
            PyErr_SetString(PyExc_ValueError, "offsets that do not fit the strings");
            goto end;
        }
        __builtin_prefetch((const char *)blob.buf + first);
        end[i + 1] = total += last - first;
    }
    if (!(result = PyBytes_FromStringAndSize(NULL, total))) goto end;
    char *to = PyBytes_AsString(result);
    for (int64_t i = 0; i < n; i++)
        memcpy(to + end[i], (const char *)blob.buf + offset[row[i]], end[i + 1] - end[i]);
end:
    RELEASE(&blob, &offsets, &rows, &ends);
    return result;
}

static PyMethodDef methods[] = {
    {"rows", py_rows, METH_VARARGS, "rows(array, rows, filled)"},
    {"strings", py_strings, METH_VARARGS, "strings(blob, offsets, rows, offsets to be filled) -> bytes"},
    {NULL, NULL, 0, NULL},
};

MODULE(gathered)
