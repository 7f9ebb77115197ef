/* Products of rows with weights of one byte, for `bert.c`, which defines `Product`, and functions of their sums. */
#include <immintrin.h>

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define WIDTH 64   /* columns of a panel */
#define ROWS 6     /* of a tile: its 24 sums, 4 weights and an input are the registers */

enum { PLAIN, GELU, ADDED };

static VNNI __m512 exponential(__m512 x) {
    x = _mm512_max_ps(x, _mm512_set1_ps(-87));
    __m512 whole = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
    x = _mm512_fnmadd_ps(whole, _mm512_set1_ps(0.693359375f), x);
    x = _mm512_fnmadd_ps(whole, _mm512_set1_ps(-2.12194440e-4f), x);
    __m512 sum = _mm512_set1_ps(1.9875691500e-4f);
    sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(1.3981999507e-3f));
    sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(8.3334519073e-3f));
    sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(4.1665795894e-2f));
    sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(1.6666665459e-1f));
    sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(5.0000001201e-1f));
    sum = _mm512_fmadd_ps(sum, _mm512_mul_ps(x, x), _mm512_add_ps(x, _mm512_set1_ps(1)));
    return _mm512_scalef_ps(sum, whole);
}

/* GELU(x), x times the normal distribution's share below x, is max(x, 0) and a function of |x| that goes to 0: here a
 * parabola for each 16th of it, [(i - 1/2) / STEPS, (i + 1/2) / STEPS], with the least largest error (Lawson's weights),
 * 8e-5. What comes of it is rounded to bytes.
 */
#define STEPS 3.6904762f /* in which |x| is counted: 15.5 of them are 4.2, beyond which the function is under 6e-5 */
static const float parabolas[3][16] = {
    {0, -8.7262376e-4f, -1.4192014e-2f, -6.1114904e-2f, -1.5061244e-1f, -2.6545888e-1f, -3.6880076e-1f, -4.2518646e-1f,
     -4.1937327e-1f, -3.6091679e-1f, -2.7466872e-1f, -1.8661496e-1f, -1.1399177e-1f, -6.2937357e-2f, -3.1539321e-2f,
     -1.4392356e-2f},
    {-4.9988705e-1f, -4.9000210e-1f, -4.2663872e-1f, -2.8904799e-1f, -1.0006355e-1f, 8.9323930e-2f, 2.2924018e-1f,
     2.9428858e-1f, 2.8918898e-1f, 2.3866764e-1f, 1.7164612e-1f, 1.0962617e-1f, 6.2878117e-2f, 3.2625370e-2f,
     1.5391514e-2f, 6.6264356e-3f},
    {3.9698294e-1f, 3.6916509e-1f, 2.9320723e-1f, 1.9201797e-1f, 9.2085160e-2f, 1.3930283e-2f, -3.3457603e-2f,
     -5.2223135e-2f, -5.1121250e-2f, -4.0202666e-2f, -2.7179481e-2f, -1.6256666e-2f, -8.7325247e-3f, -4.2503397e-3f,
     -1.8852539e-3f, -7.6503830e-4f},
};

static VNNI __m512 gelu(__m512 x) {
    __m512 off = _mm512_min_ps(_mm512_abs_ps(x), _mm512_set1_ps(15.49f / STEPS));
    /* the last four bits of a number this large are those of the nearest step */
    __m512i step = _mm512_castps_si512(_mm512_fmadd_ps(off, _mm512_set1_ps(STEPS), _mm512_set1_ps(8388608)));
    __m512 sum = _mm512_permutexvar_ps(step, _mm512_loadu_ps(parabolas[2]));
    sum = _mm512_fmadd_ps(sum, off, _mm512_permutexvar_ps(step, _mm512_loadu_ps(parabolas[1])));
    sum = _mm512_fmadd_ps(sum, off, _mm512_permutexvar_ps(step, _mm512_loadu_ps(parabolas[0])));
    return _mm512_add_ps(_mm512_max_ps(x, _mm512_setzero_ps()), sum);
}

/* The largest of 16 magnitudes as the scale of bytes. */
static VNNI float scale_of(__m512 peaks) { return _mm512_reduce_max_ps(_mm512_max_ps(peaks, _mm512_set1_ps(FLT_MIN))) / 127; }

static VNNI void to_bytes(__m512 value, uint8_t *bytes) {
    __m128i eight = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(value));
    _mm_storeu_si128((__m128i *)bytes, _mm_xor_si128(eight, _mm_set1_epi8((char)0x80)));
}

/* A row times its factors as bytes, 128 for 0, and their scale. */
static VNNI void rounded(const float *row, const float *factors, int64_t k, uint8_t *bytes, float *scale) {
    __m512 peaks = _mm512_setzero_ps();
    for (int64_t i = 0; i < k; i += 16)
        peaks = _mm512_max_ps(peaks, _mm512_abs_ps(_mm512_mul_ps(_mm512_loadu_ps(row + i), _mm512_loadu_ps(factors + i))));
    *scale = scale_of(peaks);
    __m512 inverse = _mm512_set1_ps(1 / *scale);
    for (int64_t i = 0; i < k; i += 16)
        to_bytes(_mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(row + i), _mm512_loadu_ps(factors + i)), inverse), bytes + i);
}

/* The same of a row that GELU has left times its factors, with a scale for each `part` of it and `peaks` for that. */
static VNNI void rounded_parts(const float *row, const float *peaks, int64_t k, int64_t part, uint8_t *bytes, float *scales) {
    for (int64_t start = 0; start < k; start += part, peaks += 16, scales++) {
        *scales = scale_of(_mm512_loadu_ps(peaks));
        __m512 inverse = _mm512_set1_ps(1 / *scales);
        for (int64_t i = start; i < start + part; i += 16) to_bytes(_mm512_mul_ps(_mm512_loadu_ps(row + i), inverse), bytes + i);
    }
}

/* The sums have names, for compilers keep no array in registers. */
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define START(r) __m512i a##r = s0, b##r = s1, c##r = s2, d##r = s3;
#define ADD(r)                                                                                \
    if (rows > r) {                                                                           \
        int32_t four;                                                                         \
        memcpy(&four, bytes + r * k + i, 4);                                                  \
        __m512i x = _mm512_set1_epi32(four);                                                  \
        a##r = _mm512_dpbusd_epi32(a##r, x, w0), b##r = _mm512_dpbusd_epi32(b##r, x, w1);     \
        c##r = _mm512_dpbusd_epi32(c##r, x, w2), d##r = _mm512_dpbusd_epi32(d##r, x, w3);     \
    }
#define KEEP(r)                                                                               \
    if (rows > r) sums[4 * r] = a##r, sums[4 * r + 1] = b##r, sums[4 * r + 2] = c##r, sums[4 * r + 3] = d##r;

/* Products of `rows` rows with the weights of a panel, of which there are four for each four of the `part` bytes.
 * A function of its own: what else is done with the sums must take no register from them.
 */
#define MULTIPLY(count)                                                                                       \
    static __attribute__((noinline)) VNNI void multiply_##count(const uint8_t *bytes, int64_t k, const int8_t *weights, \
                                                               int64_t part, const int32_t *starts, __m512i *sums) { \
        const int rows = count;                                                                               \
        __m512i s0 = _mm512_loadu_si512(starts), s1 = _mm512_loadu_si512(starts + 16);                        \
        __m512i s2 = _mm512_loadu_si512(starts + 32), s3 = _mm512_loadu_si512(starts + 48);                   \
        EACH(START)                                                                                           \
        for (int64_t i = 0; i < part; i += 4, weights += 4 * WIDTH) {                                         \
            __m512i w0 = _mm512_loadu_si512(weights), w1 = _mm512_loadu_si512(weights + 64);                  \
            __m512i w2 = _mm512_loadu_si512(weights + 128), w3 = _mm512_loadu_si512(weights + 192);           \
            EACH(ADD)                                                                                         \
        }                                                                                                     \
        EACH(KEEP)                                                                                            \
    }

MULTIPLY(6)
MULTIPLY(3)
MULTIPLY(2)
MULTIPLY(1)

typedef void (*Multiply)(const uint8_t *, int64_t, const int8_t *, int64_t, const int32_t *, __m512i *);

static const Multiply multiply_bytes[] = {NULL, multiply_1, multiply_2, multiply_3, NULL, NULL, multiply_6};
static const int most_rows[] = {0, 1, 2, 3, 3, 3, 6};
/* Of so many rows that are left, those that the next tile takes. */

/* What becomes of a product's sums: they are put in the place of what is there, or ADDED to it, or their GELU times the
 * `factors` of the next product is, with 16 magnitudes in `peaks` for each row and part of it that are no smaller.
 */
typedef struct {
    int kind;
    const float *factors;
    float *peaks;
} Fate;

/* A panel of `rows` rows. */
static inline __attribute__((always_inline)) VNNI void tile(const Product *product, int64_t part, int64_t panel,
                                                            const uint8_t *bytes, const float *scales, int rows,
                                                            Fate fate, float *out) {
    int64_t k = product->k, n = product->n, parts = k / part;
    const int8_t *weights = product->weights + panel * WIDTH * k;
    __m512i sums[4 * ROWS];
    __m512 total[4 * ROWS];
    for (int64_t at = 0; at < parts; at++) {
        multiply_bytes[rows](bytes + at * part, k, weights + at * part * WIDTH, part,
                             product->starts + at * n + panel * WIDTH, sums);
        for (int i = 0; i < 4 * rows; i++) {
            __m512 some = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[i]), _mm512_set1_ps(scales[i / 4 * parts + at]));
            total[i] = at ? _mm512_add_ps(total[i], some) : some;
        }
    }
    for (int row = 0; row < rows; row++) {
        float *peaks = fate.kind == GELU ? fate.peaks + (row * (n / part) + panel * WIDTH / part) * 16 : NULL;
        __m512 most = peaks ? _mm512_loadu_ps(peaks) : _mm512_setzero_ps();
        for (int i = 0; i < 4; i++) {
            int64_t column = panel * WIDTH + 16 * i;
            float *here = out + row * n + column;
            __m512 value = _mm512_fmadd_ps(total[4 * row + i], _mm512_loadu_ps(product->scales + column),
                                           _mm512_loadu_ps(product->bias + column));
            if (fate.kind == ADDED) value = _mm512_add_ps(value, _mm512_loadu_ps(here));
            if (fate.kind == GELU) {
                value = _mm512_mul_ps(gelu(value), _mm512_loadu_ps(fate.factors + column));
                most = _mm512_max_ps(most, _mm512_abs_ps(value));
            }
            _mm512_storeu_ps(here, value);
        }
        if (peaks) _mm512_storeu_ps(peaks, most);
    }
}

/* (rows, n) `out`. */
static VNNI void multiply(const Product *product, int64_t part, const uint8_t *bytes, const float *scales, int64_t rows,
                          Fate fate, float *out) {
    int64_t parts = product->k / part;
    for (int64_t panel = 0; panel < product->n / WIDTH; panel++) {
        Fate here = fate;
        for (int64_t row = 0, taken; row < rows; row += taken) {
            taken = most_rows[rows - row < ROWS ? rows - row : ROWS];
            if (fate.kind == GELU) here.peaks = fate.peaks + row * (product->n / part) * 16;
            tile(product, part, panel, bytes + row * product->k, scales + row * parts, (int)taken, here,
                 out + row * product->n);
        }
    }
}
