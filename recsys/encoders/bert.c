/* The layers of a BERT with weights of one byte, for `bert_layers.py`: token ids in, mean vectors of unit length out.
 *
 * A product takes each row of its input as bytes with a scale of its own, so a text's vector does not depend on the
 * texts beside it. Rows of all texts stand behind each other, without padding. Between products all is float32.
 *
 * Only where the processor multiplies bytes in words of 512 bits (AVX-512 VNNI); `supported` says whether it does.
 */
#include "../module.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MOST (1 << 20) /* of each number in a model's sizes, so that none of their products overflows */

typedef struct {
    int64_t words, positions, hidden, inner, heads, layers;
    float epsilon;
} Sizes;

typedef struct {
    const float *factors;  /* (k,) of the input */
    const int8_t *weights; /* a panel of 64 columns behind the other; in it 4 rows at a time, column by column */
    const int32_t *starts; /* (k / hidden, n) what takes back the 128 that is added to each byte of the input */
    const float *scales, *bias; /* (n,) */
    int64_t k, n;
} Product;

typedef struct {
    const float *scale, *shift; /* (hidden,) */
} Norm;

typedef struct {
    Product attend, project, widen, narrow;
    Norm first, second;
} Layer;

typedef struct {
    const uint16_t *words; /* (words, hidden) float16 */
    const float *positions;
    Norm norm;
    Layer *layers;
} Model;

static const char *taken(const char **at, int64_t bytes) {
    const char *here = *at;
    *at += bytes;
    return here;
}

static Product product_at(const char **at, int64_t k, int64_t n, int64_t hidden) {
    Product product = {.k = k, .n = n};
    product.factors = (const float *)taken(at, 4 * k);
    product.weights = (const int8_t *)taken(at, k * n);
    product.starts = (const int32_t *)taken(at, 4 * n * (k / hidden));
    product.scales = (const float *)taken(at, 4 * n);
    product.bias = (const float *)taken(at, 4 * n);
    return product;
}

static Norm norm_at(const char **at, int64_t hidden) {
    Norm norm = {(const float *)*at, (const float *)*at + hidden};
    *at += 8 * hidden;
    return norm;
}

/* The parts of a file. Returns where they end. */
static const char *open_model(const char *at, const Sizes *sizes, Model *model) {
    int64_t hidden = sizes->hidden, inner = sizes->inner;
    model->words = (const uint16_t *)taken(&at, 2 * sizes->words * hidden);
    model->positions = (const float *)taken(&at, 4 * sizes->positions * hidden);
    model->norm = norm_at(&at, hidden);
    for (int64_t i = 0; i < sizes->layers; i++) {
        Layer *layer = model->layers + i;
        layer->attend = product_at(&at, hidden, 3 * hidden, hidden);
        layer->project = product_at(&at, hidden, hidden, hidden);
        layer->first = norm_at(&at, hidden);
        layer->widen = product_at(&at, hidden, inner, hidden);
        layer->narrow = product_at(&at, inner, hidden, hidden);
        layer->second = norm_at(&at, hidden);
    }
    return at;
}

#if defined(__x86_64__) && defined(__GNUC__)
#include "byte_products.h"

#include "attention.h"

#define TOGETHER 96 /* rows that are widened at a time, so that they stay in a core's cache */

static VNNI void normalise(float *rows, int64_t count, int64_t hidden, const Norm *norm, float epsilon) {
    for (float *row = rows; row < rows + count * hidden; row += hidden) {
        __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
        for (int64_t i = 0; i < hidden; i += 16) sum = _mm512_add_ps(sum, _mm512_loadu_ps(row + i));
        __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / (float)hidden);
        for (int64_t i = 0; i < hidden; i += 16) {
            __m512 off = _mm512_sub_ps(_mm512_loadu_ps(row + i), mean);
            squares = _mm512_fmadd_ps(off, off, squares);
        }
        __m512 inverse = _mm512_set1_ps(1 / sqrtf(_mm512_reduce_add_ps(squares) / (float)hidden + epsilon));
        for (int64_t i = 0; i < hidden; i += 16) {
            __m512 off = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + i), mean), inverse);
            off = _mm512_fmadd_ps(off, _mm512_loadu_ps(norm->scale + i), _mm512_loadu_ps(norm->shift + i));
            _mm512_storeu_ps(row + i, off);
        }
    }
}

static VNNI void embed(const Model *model, const Sizes *sizes, const int32_t *ids, int64_t tokens, float *rows) {
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < sizes->hidden; i += 16) {
            __m512 word = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(model->words + ids[t] * sizes->hidden + i)));
            __m512 position = _mm512_loadu_ps(model->positions + t * sizes->hidden + i);
            _mm512_storeu_ps(rows + t * sizes->hidden + i, _mm512_add_ps(word, position));
        }
}

/* The mean of the rows, of length 1. */
static VNNI void pool(const float *rows, int64_t tokens, int64_t hidden, float *out) {
    __m512 squares = _mm512_setzero_ps();
    for (int64_t i = 0; i < hidden; i += 16) {
        __m512 sum = _mm512_setzero_ps();
        for (int64_t t = 0; t < tokens; t++) sum = _mm512_add_ps(sum, _mm512_loadu_ps(rows + t * hidden + i));
        _mm512_storeu_ps(out + i, sum);
        squares = _mm512_fmadd_ps(sum, sum, squares);
    }
    __m512 inverse = _mm512_set1_ps(1 / fmaxf(sqrtf(_mm512_reduce_add_ps(squares)), FLT_MIN));
    for (int64_t i = 0; i < hidden; i += 16) _mm512_storeu_ps(out + i, _mm512_mul_ps(_mm512_loadu_ps(out + i), inverse));
}

typedef struct {
    float *rows, *qkv, *context, *inner, *peaks, *room, *scales;
    uint8_t *bytes;
} Memory;

static VNNI void run(const Model *model, const Sizes *sizes, const int32_t *ids, const int64_t *ends, int64_t texts,
                     const Memory *memory, float *out) {
    int64_t hidden = sizes->hidden, inner = sizes->inner, total = ends[texts - 1], parts = inner / hidden;
    float *rows = memory->rows, epsilon = sizes->epsilon, *scales = memory->scales;
    uint8_t *bytes = memory->bytes;
    for (int64_t text = 0, start = 0; text < texts; start = ends[text++])
        embed(model, sizes, ids + start, ends[text] - start, rows + start * hidden);
    normalise(rows, total, hidden, &model->norm, epsilon);
    for (const Layer *layer = model->layers; layer < model->layers + sizes->layers; layer++) {
        for (int64_t t = 0; t < total; t++)
            rounded(rows + t * hidden, layer->attend.factors, hidden, bytes + t * hidden, scales + t);
        multiply(&layer->attend, hidden, bytes, scales, total, (Fate){.kind = PLAIN}, memory->qkv);
        for (int64_t text = 0, start = 0; text < texts; start = ends[text++])
            attend(memory->qkv + start * 3 * hidden, ends[text] - start, hidden, hidden / sizes->heads, memory->room,
                   memory->context + start * hidden);
        for (int64_t t = 0; t < total; t++)
            rounded(memory->context + t * hidden, layer->project.factors, hidden, bytes + t * hidden, scales + t);
        multiply(&layer->project, hidden, bytes, scales, total, (Fate){.kind = ADDED}, rows);
        normalise(rows, total, hidden, &layer->first, epsilon);
        for (int64_t start = 0; start < total; start += TOGETHER) {
            int64_t count = total - start < TOGETHER ? total - start : TOGETHER;
            float *some = rows + start * hidden;
            for (int64_t t = 0; t < count; t++)
                rounded(some + t * hidden, layer->widen.factors, hidden, bytes + t * hidden, scales + t);
            memset(memory->peaks, 0, sizeof(float) * (size_t)(count * parts * 16));
            Fate widened = {GELU, layer->narrow.factors, memory->peaks};
            multiply(&layer->widen, hidden, bytes, scales, count, widened, memory->inner);
            for (int64_t t = 0; t < count; t++)
                rounded_parts(memory->inner + t * inner, memory->peaks + t * parts * 16, inner, hidden, bytes + t * inner,
                              scales + t * parts);
            multiply(&layer->narrow, hidden, bytes, scales, count, (Fate){.kind = ADDED}, some);
        }
        normalise(rows, total, hidden, &layer->second, epsilon);
    }
    for (int64_t text = 0, start = 0; text < texts; start = ends[text++])
        pool(rows + start * hidden, ends[text] - start, hidden, out + text * hidden);
}

/* Returns whether there was memory. */
static int encode(const Model *model, const Sizes *sizes, const int32_t *ids, const int64_t *ends, int64_t texts,
                  int64_t longest, float *out) {
    int64_t hidden = sizes->hidden, total = ends[texts - 1], parts = sizes->inner / hidden;
    int64_t most = ((total > TOGETHER * parts ? total : TOGETHER * parts) + 15) / 16 * 16;
    int64_t attending = (hidden / sizes->heads + QUERIES) * ((longest + 15) / 16 * 16);
    size_t floats = (size_t)(total * 5 * hidden + TOGETHER * (sizes->inner + 16 * parts) + attending + most);
    float *room = aligned_alloc(64, sizeof(float) * floats + (size_t)(most * hidden));
    if (room == NULL) return 0;
    Memory memory = {.rows = room};
    memory.qkv = memory.rows + total * hidden;
    memory.context = memory.qkv + 3 * total * hidden;
    memory.inner = memory.context + total * hidden;
    memory.peaks = memory.inner + TOGETHER * sizes->inner;
    memory.room = memory.peaks + TOGETHER * 16 * parts;
    memory.scales = memory.room + attending;
    memory.bytes = (uint8_t *)(memory.scales + most);
    run(model, sizes, ids, ends, texts, &memory, out);
    free(room);
    return 1;
}

static int supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}
#else
static int encode(const Model *model, const Sizes *sizes, const int32_t *ids, const int64_t *ends, int64_t texts,
                  int64_t longest, float *out) {
    (void)model, (void)sizes, (void)ids, (void)ends, (void)texts, (void)longest, (void)out;
    return 0;
}
static int supported(void) { return 0; }
#endif

static PyObject *py_supported(PyObject *self, PyObject *none) {
    (void)self, (void)none;
    return PyBool_FromLong(supported());
}

/* Sets an error and returns 0 where the arrays do not fit each other. `longest`: the most tokens of a text. */
static int fit(const Sizes *sizes, const Py_buffer *ids, const Py_buffer *ends, const Py_buffer *out, int64_t *longest) {
    const int64_t *end = ends->buf;
    const int32_t *id = ids->buf;
    int64_t texts = (int64_t)(ends->len / 8), tokens = (int64_t)(ids->len / 4);
    *longest = 0;
    for (int64_t i = 0; i < texts; i++) {
        int64_t start = i ? end[i - 1] : 0, length = end[i] > start ? end[i] - start : 0;
        if (length < 1 || length > sizes->positions || end[i] > tokens) {
            PyErr_SetString(PyExc_ValueError, "texts that are empty or too long");
            return 0;
        }
        if (length > *longest) *longest = length;
    }
    if (!texts || end[texts - 1] != tokens || out->len != texts * sizes->hidden * 4) {
        PyErr_SetString(PyExc_ValueError, "texts that do not fit their tokens or vectors");
        return 0;
    }
    for (int64_t i = 0; i < tokens; i++) {
        if (id[i] < 0 || id[i] >= sizes->words) {
            PyErr_SetString(PyExc_IndexError, "a token that the model does not have");
            return 0;
        }
    }
    return 1;
}

static PyObject *py_encode(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer file, ids, ends, out;
    long long words, positions, hidden, inner, heads, layers;
    float epsilon;
    PyObject *result = NULL;
    Model model = {.layers = NULL};
    if (!PyArg_ParseTuple(args, "y*(LLLLLL)fy*y*w*", &file, &words, &positions, &hidden, &inner, &heads, &layers, &epsilon,
                          &ids, &ends, &out))
        return NULL;
    Sizes sizes = {words, positions, hidden, inner, heads, layers, epsilon};
    int64_t longest;
    if (!supported() || hidden < 64 || hidden % 64 || inner < hidden || inner % hidden || heads < 1 || hidden % heads ||
        hidden / heads % 16 || layers < 1 || words > MOST || positions > MOST || inner > MOST || layers > MOST) {
        PyErr_SetString(PyExc_ValueError, "a model, or a processor, that this code is not for");
        goto end;
    }
    if (!fit(&sizes, &ids, &ends, &out, &longest)) goto end;
    model.layers = malloc(sizeof(Layer) * (size_t)layers);
    if (model.layers == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    if (open_model(file.buf, &sizes, &model) != (const char *)file.buf + file.len) {
        PyErr_SetString(PyExc_ValueError, "a file of another size than its model");
        goto end;
    }
    int done;
    Py_BEGIN_ALLOW_THREADS
    done = encode(&model, &sizes, ids.buf, ends.buf, (int64_t)(ends.len / 8), longest, out.buf);
    Py_END_ALLOW_THREADS
    if (done) result = Py_NewRef(Py_None);
    else PyErr_NoMemory();
end:
    free(model.layers);
    RELEASE(&file, &ids, &ends, &out);
    return result;
}

static PyMethodDef methods[] = {
    {"supported", py_supported, METH_NOARGS, "supported() -> whether this processor can run it"},
    {"encode", py_encode, METH_VARARGS,
     "encode(file, (words, positions, hidden, inner, heads, layers), epsilon, ids, ends, out)"},
    {NULL, NULL, 0, NULL},
};

MODULE(bert)
