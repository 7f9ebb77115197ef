/* Trees over a table of features, for `quickscorer.py`, which has the idea and does the same in numpy.
 *
 * A sum follows from a row's places among the thresholds alone. So one that is kept with its places is taken for every row
 * whose values lie between the same thresholds.
 */
#include "../module.h"

#include "forest.h"

typedef struct {
    Py_buffer features, starts, edges, masks, values, table;
    int width, instructions;
} Given;

static int fit(const Given *given, Forest *forest, int64_t rows) {
    int64_t trees = (int64_t)(given->values.len / 4 / LEAVES), thresholds = (int64_t)(given->edges.len / 4);
    *forest = (Forest){given->features.buf, given->starts.buf, given->edges.buf, given->masks.buf, given->values.buf,
                       (int64_t)(given->features.len / 8), trees, (trees + CHUNK - 1) / CHUNK * CHUNK, given->width};
    int good = given->width > 0 && trees > 0 && given->table.len >= rows * given->width * 4 &&
               given->starts.len == given->features.len + 8 && forest->starts[0] == 0 &&
               forest->starts[forest->lists] == thresholds &&
               given->masks.len == (thresholds + forest->lists) * forest->stride * 2;
    for (int64_t l = 0; good && l < forest->lists; l++)
        good = forest->starts[l] <= forest->starts[l + 1] && forest->features[l] >= 0 && forest->features[l] < given->width;
    return good;
}

static int make_room(const Forest *forest, Room *room) {
    room->places = malloc(sizeof(int32_t) * ROWS * (size_t)(forest->lists + 1));
    room->left = malloc(sizeof(uint16_t) * (size_t)forest->stride);
    room->words = malloc(sizeof(uint32_t) * ROWS * (size_t)forest->stride / 8);
    room->leaves = malloc(sizeof(float) * (size_t)forest->trees);
    return room->places && room->left && room->words && room->leaves;
}

static void let_go(Given *given, Room *room) {
    free(room->places);
    free(room->left);
    free(room->words);
    free(room->leaves);
    RELEASE(&given->features, &given->starts, &given->edges, &given->masks, &given->values, &given->table);
}

static PyObject *py_score(PyObject *self, PyObject *args) {
    (void)self;
    Given given;
    Py_buffer sums;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*iiw*", &given.features, &given.starts, &given.edges, &given.masks,
                          &given.values, &given.table, &given.width, &given.instructions, &sums))
        return NULL;
    PyObject *result = NULL;
    Forest forest;
    Room room = {NULL, NULL, NULL, NULL};
    Asked asked = {given.table.buf, NULL, (int64_t)(sums.len / 4), sums.buf, NULL};
    if (!fit(&given, &forest, asked.n) || given.table.len != asked.n * given.width * 4)
        PyErr_SetString(PyExc_ValueError, "arrays of trees that do not fit each other");
    else if (!make_room(&forest, &room)) PyErr_NoMemory();
    else {
        Py_BEGIN_ALLOW_THREADS;
        fastest(given.instructions)(&forest, &asked, &room);
        Py_END_ALLOW_THREADS;
        result = Py_NewRef(Py_None);
    }
    let_go(&given, &room);
    PyBuffer_Release(&sums);
    return result;
}

/* Sums that are kept, with the places of the rows that they are of; NaN: nothing is kept there yet. */
typedef struct {
    uint16_t *places; /* lists each */
    float *sums;
} Kept;

/* Whether all values lie at these places. Of those that are at no end of a list both neighbours are looked at. */
static inline int lies_at(const Forest *forest, const float *row, const uint16_t *places) {
    int alike = 1;
    for (int64_t l = 0; l < forest->lists; l++) {
        const float *edges = forest->edges + forest->starts[l];
        int64_t place = places[l], n = forest->starts[l + 1] - forest->starts[l];
        float value = row[forest->features[l]];
        if (place > n) return 0;
        alike &= (place == 0) | (edges[place - (place > 0)] < value);
        alike &= (place == n) | !(edges[place - (place == n)] < value);
    }
    return alike;
}

/* Adds to the scores of the table's rows what the trees give. `own`: room for as many rows, their sums and places. */
static void correct(const Forest *forest, Asked own, int64_t rows, const int64_t *at, const int64_t *to, Kept kept,
                    int64_t *lacking, int instructions, Room *room, float *scores) {
    int64_t lists = forest->lists;
    for (int64_t row = 0; row < rows; row++) {
        float sum = kept.sums[at[row]];
        if (sum == sum && lies_at(forest, own.table + row * forest->width, kept.places + at[row] * lists))
            scores[to[row]] += sum;
        else lacking[own.n++] = row;
    }
    if (own.n) fastest(instructions)(forest, &own, room);
    for (int64_t i = 0; i < own.n; i++) {
        int64_t row = lacking[i];
        scores[to[row]] += own.sums[i];
        kept.sums[at[row]] = own.sums[i];
        memcpy(kept.places + at[row] * lists, own.places + i * lists, (size_t)lists * sizeof(uint16_t));
    }
}

static int within(const int64_t *places, int64_t n, int64_t end) {
    for (int64_t i = 0; i < n; i++)
        if (places[i] < 0 || places[i] >= end) return 0;
    return 1;
}

static PyObject *py_correct(PyObject *self, PyObject *args) {
    (void)self;
    Given given;
    Py_buffer at, to, places, sums, scores;
    long long rows;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*iiLy*y*w*w*w*", &given.features, &given.starts, &given.edges, &given.masks,
                          &given.values, &given.table, &given.width, &given.instructions, &rows, &at, &to, &places,
                          &sums, &scores))
        return NULL;
    PyObject *result = NULL;
    Forest forest;
    Room room = {NULL, NULL, NULL, NULL};
    int64_t *lacking = NULL;
    Asked own = {given.table.buf, NULL, 0, NULL, NULL};
    int good = rows >= 0 && rows <= at.len / 8 && rows <= to.len / 8 && fit(&given, &forest, rows) &&
               places.len == sums.len / 4 * forest.lists * 2 && within(at.buf, rows, (int64_t)(sums.len / 4)) &&
               within(to.buf, rows, (int64_t)(scores.len / 4));
    for (int64_t l = 0; good && l < forest.lists; l++)
        good = forest.starts[l + 1] - forest.starts[l] > 0 && forest.starts[l + 1] - forest.starts[l] < UINT16_MAX;
    if (!good) {
        PyErr_SetString(PyExc_ValueError, "arrays of trees that do not fit each other");
        goto end;
    }
    own.rows = lacking = malloc(sizeof(int64_t) * (size_t)(rows + 1));
    own.sums = malloc(sizeof(float) * (size_t)(rows + 1));
    own.places = malloc(sizeof(uint16_t) * (size_t)(rows * forest.lists + 1));
    if (lacking && own.sums && own.places && make_room(&forest, &room)) {
        correct(&forest, own, rows, at.buf, to.buf, (Kept){places.buf, sums.buf}, lacking, given.instructions, &room,
                scores.buf);
        result = Py_NewRef(Py_None);
    } else PyErr_NoMemory();
end:
    free(lacking);
    free(own.sums);
    free(own.places);
    let_go(&given, &room);
    RELEASE(&at, &to, &places, &sums, &scores);
    return result;
}

static PyMethodDef methods[] = {
    {"correct", py_correct, METH_VARARGS,
     "correct(features, starts, edges, masks, values, table, width, instructions, rows, at, to, places, sums, scores)"},
    {"score", py_score, METH_VARARGS,
     "score(features, starts, edges, masks, values, table, width, instructions, sums)"},
    {NULL, NULL, 0, NULL},
};

MODULE(scoring)
