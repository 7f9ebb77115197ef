/* New links for nodes that link to dead ones, for `mended_links.py`, which says what they are and has the same in numpy. */
#include "../module.h"

#include <stdint.h>

#define MOST_LINKS 256  /* of a node in a level */
#define MOST_DEAD 64    /* dead nodes that are looked through for one list, as in `mended_links.py` */

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define EACH_PROCESSOR __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define EACH_PROCESSOR
#endif

/* Bytes are components + 128. */
EACH_PROCESSOR static int32_t product(const uint8_t *a, const uint8_t *b, int dimension) {
    int32_t sum = 0;
    for (int i = 0; i < dimension; i++) sum += ((int16_t)a[i] - 128) * ((int16_t)b[i] - 128);
    return sum;
}

typedef struct {
    const uint8_t *codes;
    const int32_t *links;
    const uint64_t *offsets;
    const int32_t *starts; /* where a level's links begin behind a node's offset */
    const uint8_t *dead;   /* by node */
    int64_t nodes;
    int dimension;
} Graph;

static const int32_t *links_of(const Graph *graph, int32_t node, int level, int *count) {
    const int32_t *links = graph->links + graph->offsets[node] + graph->starts[level];
    int room = graph->starts[level + 1] - graph->starts[level], n = 0;
    while (n < room && links[n] >= 0) n++;
    *count = n;
    return links;
}

static int among(const int32_t *some, int count, int32_t node) {
    for (int i = 0; i < count; i++)
        if (some[i] == node) return 1;
    return 0;
}

static int32_t likeness(const Graph *graph, int32_t a, int32_t b) {
    return product(graph->codes + (int64_t)a * graph->dimension, graph->codes + (int64_t)b * graph->dimension,
                   graph->dimension);
}

static void mend(const Graph *graph, int32_t node, int level, int32_t *list, int width) {
    int32_t passed[MOST_DEAD];
    int32_t others[2 * MOST_LINKS], scores[2 * MOST_LINKS]; /* less than a list before the last dead node */
    int room = graph->starts[level + 1] - graph->starts[level], count, kept = 0, dead = 0, found = 0;
    const int32_t *links = links_of(graph, node, level, &count);
    for (int i = 0; i < count; i++) {
        if (!graph->dead[links[i]]) list[kept++] = links[i];
        else if (dead < MOST_DEAD) passed[dead++] = links[i];
    }
    for (int at = 0; at < dead && found < room; at++) {
        links = links_of(graph, passed[at], level, &count);
        for (int i = 0; i < count; i++) {
            int32_t other = links[i];
            if (graph->dead[other]) {
                if (dead < MOST_DEAD && !among(passed, dead, other)) passed[dead++] = other;
            } else if (other != node && !among(list, kept, other) && !among(others, found, other)) {
                int32_t score = likeness(graph, node, other);
                int place = found++;
                for (; place && (scores[place - 1] < score || (scores[place - 1] == score && others[place - 1] > other)); place--)
                    scores[place] = scores[place - 1], others[place] = others[place - 1];
                scores[place] = score, others[place] = other;
            }
        }
    }
    for (int i = 0; i < found && kept < room; i++) {
        int nearer = 0;
        for (int j = 0; j < kept && !nearer; j++) nearer = likeness(graph, others[i], list[j]) > scores[i];
        if (!nearer) list[kept++] = others[i];
    }
    while (kept < width) list[kept++] = -1;
}

static PyObject *py_mend(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer codes, links, offsets, starts, dead, nodes, levels, lists;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*y*w*", &codes, &links, &offsets, &starts, &dead, &nodes, &levels, &lists))
        return NULL;
    int64_t wanted = nodes.len / 4, all = offsets.len / 8 - 1, top = starts.len / 4 - 1;
    Graph graph = {codes.buf, links.buf, offsets.buf, starts.buf, dead.buf, all, all > 0 ? (int)(codes.len / all) : 0};
    int width = wanted ? (int)(lists.len / 4 / wanted) : 0;
    int fits = all > 0 && top >= 1 && codes.len == all * graph.dimension && dead.len >= all && levels.len == nodes.len &&
               lists.len == wanted * width * 4 && graph.offsets[all] == (uint64_t)(links.len / 4);
    for (int64_t i = 0; fits && i < top; i++) {
        int room = graph.starts[i + 1] - graph.starts[i];
        fits = room > 0 && room <= MOST_LINKS && (!wanted || room <= width);
    }
    for (int64_t i = 0; fits && i < wanted; i++) {
        int32_t node = ((const int32_t *)nodes.buf)[i], level = ((const int32_t *)levels.buf)[i];
        fits = node >= 0 && node < all && level >= 0 && level < top &&
               graph.offsets[node] + graph.starts[level + 1] <= graph.offsets[node + 1];
    }
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "arrays of links that do not fit each other");
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS;
    for (int64_t i = 0; i < wanted; i++)
        mend(&graph, ((const int32_t *)nodes.buf)[i], ((const int32_t *)levels.buf)[i], (int32_t *)lists.buf + i * width, width);
    Py_END_ALLOW_THREADS;
    result = Py_NewRef(Py_None);
end:
    RELEASE(&codes, &links, &offsets, &starts, &dead, &nodes, &levels, &lists);
    return result;
}

static PyMethodDef methods[] = {
    {"mend", py_mend, METH_VARARGS, "mend(codes, links, offsets, starts, dead, nodes, levels, lists)"},
    {NULL, NULL, 0, NULL},
};

MODULE(mending)
