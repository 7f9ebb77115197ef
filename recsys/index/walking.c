/* The walk of faiss' HNSW graph over vectors of one byte a component, for `walks.py`.
 *
 * It takes the same steps as faiss 1.15 (`HNSW::search` with a bounded queue), in the same order, and gives the same
 * nodes and products to the last bit. What differs is when memory is read. Nearly all of the time of a walk goes into
 * waiting for vectors: faiss asks for the next one when it is done with the last one. Here the next vectors of a step are
 * asked for before the first one is multiplied. Where the links of a node are is asked for when it becomes a candidate, and
 * the links themselves when the step is done.
 *
 * `ef` may be smaller than `k`, which it never is in faiss: the k best of all vectors that a walk came by are given.
 */
#include "../module.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define X86 1
#include <immintrin.h>
#endif

#define LINE 64
#define AHEAD 8       /* vectors that are asked for before one is multiplied */
#define MOST_LEVELS 32
#define MOST_THREADS 64
#define TABLES 16     /* tables of visited nodes that are kept */

/* Products are sums of whole numbers. `codes` are components + 128, so a product is that of the stored byte less 128
 * times the query's sum. */
typedef int32_t (*Product)(const uint8_t *code, const int8_t *query, int dimension);

static int32_t product_plain(const uint8_t *code, const int8_t *query, int dimension) {
    int32_t sum = 0;
    for (int i = 0; i < dimension; i++) sum += (int32_t)code[i] * (int32_t)query[i];
    return sum;
}

#ifdef X86
__attribute__((target("avx2"))) static int32_t product_avx2(const uint8_t *code, const int8_t *query, int dimension) {
    __m256i sums = _mm256_setzero_si256();
    int i = 0;
    for (; i + 16 <= dimension; i += 16) {
        __m256i c = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(code + i)));
        __m256i q = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(query + i)));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(c, q));
    }
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
    return _mm_cvtsi128_si32(half) + product_plain(code + i, query + i, dimension - i);
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) static int32_t product_vnni(const uint8_t *code,
                                                                                     const int8_t *query,
                                                                                     int dimension) {
    __m512i even = _mm512_setzero_si512(), odd = _mm512_setzero_si512();
    int i = 0;
    for (; i + 128 <= dimension; i += 128) {
        even = _mm512_dpbusd_epi32(even, _mm512_loadu_si512(code + i), _mm512_loadu_si512(query + i));
        odd = _mm512_dpbusd_epi32(odd, _mm512_loadu_si512(code + i + 64), _mm512_loadu_si512(query + i + 64));
    }
    for (; i < dimension; i += 64) {
        __mmask64 mask = dimension - i >= 64 ? ~(__mmask64)0 : (((__mmask64)1) << (dimension - i)) - 1;
        even = _mm512_dpbusd_epi32(even, _mm512_maskz_loadu_epi8(mask, code + i), _mm512_maskz_loadu_epi8(mask, query + i));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(even, odd));
}
#endif

/* Where the greatest value of an entry that has an id (not -1) is, the last one of several; at least one entry has. */
typedef int (*Nearest)(const float *values, const int32_t *ids, int size);

static int nearest_plain(const float *values, const int32_t *ids, int size) {
    int at = -1;
    for (int i = 0; i < size; i++)
        if (ids[i] >= 0 && (at < 0 || values[i] >= values[at])) at = i;
    return at;
}

#ifdef X86
__attribute__((target("avx512f"))) static int nearest_avx512(const float *values, const int32_t *ids, int size) {
    __m512 most = _mm512_set1_ps(-FLT_MAX);
    __m512i none = _mm512_setzero_si512();
    for (int i = 0; i < size; i += 16) {
        __mmask16 there = size - i >= 16 ? 0xFFFF : (__mmask16)((1 << (size - i)) - 1);
        there = _mm512_mask_cmpge_epi32_mask(there, _mm512_maskz_loadu_epi32(there, ids + i), none);
        most = _mm512_mask_max_ps(most, there, most, _mm512_maskz_loadu_ps(there, values + i));
    }
    __m512 value = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (int i = (size - 1) / 16 * 16;; i -= 16) {
        __mmask16 there = size - i >= 16 ? 0xFFFF : (__mmask16)((1 << (size - i)) - 1);
        there = _mm512_mask_cmpge_epi32_mask(there, _mm512_maskz_loadu_epi32(there, ids + i), none);
        there = _mm512_mask_cmpeq_ps_mask(there, _mm512_maskz_loadu_ps(there, values + i), value);
        if (there) return i + 31 - __builtin_clz(there);
    }
}
#endif

/* A heap whose first entry is the least; of equal values the least id. Both of faiss' heaps are this one. */
typedef struct {
    float *values;
    int32_t *ids;
    int size;
} Heap;

static inline int before(float a, int32_t i, float b, int32_t j) { return a < b || (a == b && i < j); }

/* Put an entry into the place of the first one of `size`. */
static inline void sink(const Heap *heap, int size, float value, int32_t id) {
    float *values = heap->values - 1;
    int32_t *ids = heap->ids - 1;
    int at = 1;
    for (int child; (child = 2 * at) <= size; at = child) {
        if (child < size && !before(values[child], ids[child], values[child + 1], ids[child + 1])) child++;
        if (before(value, id, values[child], ids[child])) break;
        values[at] = values[child];
        ids[at] = ids[child];
    }
    values[at] = value;
    ids[at] = id;
}

static inline void rise(Heap *heap, float value, int32_t id) {
    float *values = heap->values - 1;
    int32_t *ids = heap->ids - 1;
    int at = ++heap->size;
    for (; at > 1 && before(value, id, values[at / 2], ids[at / 2]); at /= 2) {
        values[at] = values[at / 2];
        ids[at] = ids[at / 2];
    }
    values[at] = value;
    ids[at] = id;
}

typedef struct {
    const uint8_t *codes;
    const int32_t *links;
    const uint64_t *offsets; /* of a node's links */
    const uint8_t *allowed;  /* bits of nodes; NULL: all are */
    int64_t nodes, allowed_nodes;
    int levels, starts[MOST_LEVELS + 1]; /* where a level's links begin behind a node's offset */
    int32_t entry;
    int dimension, k, ef;
    Product product;
    Nearest nearest;
} Graph;

/* What the processor has of these instructions and those before them; all give the same. */
static void choose(Graph *graph, int instructions) {
    graph->product = product_plain;
    graph->nearest = nearest_plain;
#ifdef X86
    if (instructions >= 1 && __builtin_cpu_supports("avx2")) graph->product = product_avx2;
    if (instructions >= 2 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw")) {
        graph->product = product_vnni;
        graph->nearest = nearest_avx512;
    }
#endif
    (void)instructions;
}

typedef struct {
    uint8_t *marks; /* by node: the walk that saw it last */
    int64_t nodes;
    uint8_t walk;
} Visited;

static Visited tables[TABLES];
static int tables_free = 0;
static pthread_mutex_t tables_lock = PTHREAD_MUTEX_INITIALIZER;

static int take_table(Visited *table, int64_t nodes) {
    Visited none = {NULL, 0, 0};
    pthread_mutex_lock(&tables_lock);
    *table = tables_free ? tables[--tables_free] : none;
    pthread_mutex_unlock(&tables_lock);
    if (table->nodes >= nodes) return 1;
    free(table->marks);
    table->nodes = nodes + nodes / 8;
    table->marks = calloc(table->nodes, 1);
    table->walk = 0;
    return table->marks != NULL;
}

static void give_table(Visited *table) {
    pthread_mutex_lock(&tables_lock);
    int room = tables_free < TABLES;
    if (room) tables[tables_free++] = *table;
    pthread_mutex_unlock(&tables_lock);
    if (!room) free(table->marks);
}

static inline void ask_for(const Graph *graph, int32_t node) {
    const uint8_t *code = graph->codes + (int64_t)node * graph->dimension;
    for (int i = 0; i < graph->dimension; i += LINE) __builtin_prefetch(code + i);
    __builtin_prefetch(code + graph->dimension - 1);
}

static inline float score(const Graph *graph, const int8_t *query, int32_t less, int32_t node) {
    return (float)(graph->product(graph->codes + (int64_t)node * graph->dimension, query, graph->dimension) - less);
}

static inline int returned(const Graph *graph, int32_t node) {
    return !graph->allowed || (node < graph->allowed_nodes && (graph->allowed[node >> 3] >> (node & 7) & 1));
}

static inline const int32_t *links_of(const Graph *graph, int32_t node, int level, int *count) {
    *count = graph->starts[level + 1] - graph->starts[level];
    return graph->links + graph->offsets[node] + graph->starts[level];
}

typedef struct {
    Heap near, kept;
    int left; /* entries of `near` that were not followed; the others have the id -1 */
    int32_t *fresh;
} Room;

static void walk(const Graph *graph, const int8_t *query, Visited *table, Room *room, float *scores, int64_t *found) {
    Heap *near = &room->near, *kept = &room->kept;
    int32_t less = 0, nearest = graph->entry;
    for (int i = 0; i < graph->dimension; i++) less += query[i];
    less *= 128;
    float best = score(graph, query, less, nearest);
    for (int level = graph->levels - 1; level >= 1; level--) {
        for (int32_t from = -1; from != nearest;) {
            int count;
            const int32_t *links = links_of(graph, from = nearest, level, &count);
            for (int i = 0; i < count && links[i] >= 0; i++) ask_for(graph, links[i]);
            for (int i = 0; i < count && links[i] >= 0; i++) {
                float value = score(graph, query, less, links[i]);
                if (best < value) best = value, nearest = links[i];
            }
        }
    }
    if (++table->walk == 0) {
        memset(table->marks, 0, table->nodes);
        table->walk = 1;
    }
    uint8_t *marks = table->marks, mark = table->walk;
    near->size = 0;
    kept->size = graph->k;
    for (int i = 0; i < graph->k; i++) kept->values[i] = -FLT_MAX, kept->ids[i] = -1;
    rise(near, best, nearest);
    room->left = 1;
    marks[nearest] = mark;
    if (returned(graph, nearest)) sink(kept, graph->k, best, nearest);
    while (room->left) {
        int at = graph->nearest(near->values, near->ids, near->size);
        int32_t node = near->ids[at];
        near->ids[at] = -1;
        room->left--;
        int count, fresh = 0, entered = 0;
        const int32_t *links = links_of(graph, node, 0, &count);
        for (int i = 0; i < count && links[i] >= 0; i++) __builtin_prefetch(marks + links[i]);
        for (int i = 0; i < count && links[i] >= 0; i++) {
            room->fresh[fresh] = links[i];
            fresh += marks[links[i]] != mark;
            marks[links[i]] = mark;
        }
        for (int i = 0; i < fresh && i < AHEAD; i++) ask_for(graph, room->fresh[i]);
        for (int i = 0; i < fresh; i++) {
            if (i + AHEAD < fresh) ask_for(graph, room->fresh[i + AHEAD]);
            int32_t other = room->fresh[i];
            float product = score(graph, query, less, other);
            if (kept->values[0] < product && returned(graph, other)) sink(kept, graph->k, product, other);
            if (near->size == graph->ef) {
                if (!(near->values[0] < product)) continue;
                room->left -= near->ids[0] != -1;
                near->size--;
                sink(near, near->size, near->values[near->size], near->ids[near->size]);
            }
            rise(near, product, other);
            room->left++;
            __builtin_prefetch(graph->offsets + other);
            room->fresh[entered++] = other;
        }
        for (int i = 0; i < entered; i++) {
            const int32_t *next = graph->links + graph->offsets[room->fresh[i]];
            __builtin_prefetch(next);
            __builtin_prefetch(next + 16);
        }
    }
    for (int i = graph->k - 1; i >= 0; i--) {
        scores[i] = kept->values[0];
        found[i] = kept->ids[0];
        sink(kept, i, kept->values[i], kept->ids[i]);
    }
}

typedef struct {
    const Graph *graph;
    const float *queries;
    int64_t from, to;
    float *scores;
    int64_t *nodes;
    int failed;
} Part;

static void *walk_part(void *given) {
    Part *part = given;
    const Graph *graph = part->graph;
    int ef = graph->ef, k = graph->k, d = graph->dimension, wide = graph->starts[1];
    Visited table = {NULL, 0, 0};
    char *memory = malloc((size_t)(ef + k) * 8 + (size_t)wide * 4 + d);
    if (!memory || !take_table(&table, graph->nodes)) {
        free(memory);
        part->failed = 1;
        return NULL;
    }
    Room room;
    room.near.values = (float *)memory;
    room.near.ids = (int32_t *)(room.near.values + ef);
    room.kept.values = (float *)(room.near.ids + ef);
    room.kept.ids = (int32_t *)(room.kept.values + k);
    room.fresh = room.kept.ids + k;
    int8_t *query = (int8_t *)(room.fresh + wide);
    for (int64_t i = part->from; i < part->to; i++) {
        for (int j = 0; j < d; j++) query[j] = (int8_t)part->queries[i * d + j];
        walk(graph, query, &table, &room, part->scores + i * k, part->nodes + i * k);
    }
    give_table(&table);
    free(memory);
    return NULL;
}

static int walk_all(const Graph *graph, const float *queries, int64_t m, float *scores, int64_t *nodes, int threads) {
    Part parts[MOST_THREADS];
    pthread_t started[MOST_THREADS];
    int several[MOST_THREADS], failed = 0;
    if (threads > m) threads = (int)m;
    for (int t = 0; t < threads; t++) {
        Part part = {graph, queries, m * t / threads, m * (t + 1) / threads, scores, nodes, 0};
        parts[t] = part;
        several[t] = t > 0 && pthread_create(&started[t], NULL, walk_part, &parts[t]) == 0;
    }
    for (int t = 0; t < threads; t++) {
        if (several[t]) pthread_join(started[t], NULL);
        else walk_part(&parts[t]);
        failed |= parts[t].failed;
    }
    return !failed;
}

static PyObject *py_walk(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer codes, links, offsets, starts, queries, scores, nodes, allowed = {0};
    PyObject *bits, *result = NULL;
    int entry, k, ef, threads, instructions;
    if (!PyArg_ParseTuple(args, "y*y*y*y*iy*iiiiOw*w*", &codes, &links, &offsets, &starts, &entry, &queries, &k, &ef,
                          &threads, &instructions, &bits, &scores, &nodes))
        return NULL;
    Graph graph = {0};
    graph.levels = (int)(starts.len / 4) - 1;
    graph.nodes = (int64_t)(offsets.len / 8) - 1;
    graph.dimension = graph.nodes > 0 ? (int)(codes.len / graph.nodes) : 0;
    int64_t m = graph.dimension ? (int64_t)(queries.len / 4 / graph.dimension) : 0;
    int fits = graph.levels >= 1 && graph.levels <= MOST_LEVELS && graph.dimension > 0 && k > 0 && ef > 0 && threads > 0 &&
               threads <= MOST_THREADS && entry >= 0 && entry < graph.nodes &&
               codes.len == graph.nodes * graph.dimension && queries.len == m * graph.dimension * 4 &&
               scores.len == m * k * 4 && nodes.len == m * k * 8 &&
               ((const uint64_t *)offsets.buf)[graph.nodes] == (uint64_t)(links.len / 4);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "arrays of a walk that do not fit each other");
        goto end;
    }
    if (bits != Py_None) {
        if (PyObject_GetBuffer(bits, &allowed, PyBUF_SIMPLE)) goto end;
        graph.allowed = allowed.buf;
        graph.allowed_nodes = (int64_t)allowed.len * 8;
    }
    graph.codes = codes.buf;
    graph.links = links.buf;
    graph.offsets = offsets.buf;
    memcpy(graph.starts, starts.buf, starts.len);
    graph.entry = entry;
    graph.k = k;
    graph.ef = ef;
    choose(&graph, instructions);
    int done;
    Py_BEGIN_ALLOW_THREADS;
    done = walk_all(&graph, queries.buf, m, scores.buf, nodes.buf, threads);
    Py_END_ALLOW_THREADS;
    if (done) {
        int64_t missing = 0;
        for (int64_t i = 0; i < m * k; i++) missing += ((const int64_t *)nodes.buf)[i] < 0;
        result = PyLong_FromLongLong(missing);
    } else {
        PyErr_NoMemory();
    }
end:
    RELEASE(&codes, &links, &offsets, &starts, &queries, &scores, &nodes, &allowed);
    return result;
}

/* Queries as `Rounding.questions` rounds them, in one call. */
static PyObject *py_round(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer queries, codes, longer;
    float least, scale;
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*ffw*w*", &queries, &least, &scale, &codes, &longer)) return NULL;
    int64_t m = (int64_t)(longer.len / 4), d = m ? (int64_t)(queries.len / 4 / m) : 0;
    if (queries.len != m * d * 4 || codes.len != queries.len) {
        PyErr_SetString(PyExc_ValueError, "arrays of questions that do not fit each other");
        goto end;
    }
    for (int64_t i = 0; i < m; i++) {
        const float *query = (const float *)queries.buf + i * d;
        float *code = (float *)codes.buf + i * d, largest = least;
        for (int64_t j = 0; j < d; j++) largest = fabsf(query[j]) > largest ? fabsf(query[j]) : largest;
        float fits = 127.0f / largest;
        for (int64_t j = 0; j < d; j++) code[j] = rintf(query[j] * fits);
        ((float *)longer.buf)[i] = fits / scale;
    }
    result = Py_NewRef(Py_None);
end:
    RELEASE(&queries, &codes, &longer);
    return result;
}

static PyMethodDef methods[] = {
    {"round", py_round, METH_VARARGS, "round(queries, least, scale, codes, longer)"},
    {"walk", py_walk, METH_VARARGS,
     "walk(codes, links, offsets, starts, entry, queries, k, ef, threads, instructions, allowed, scores, nodes) -> nodes missing"},
    {NULL, NULL, 0, NULL},
};

MODULE(walking)
