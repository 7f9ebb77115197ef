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

/* x times the normal distribution's share below x, to 2e-7 (Abramowitz and Stegun, 7.1.26). */
static VNNI __m512 gelu(__m512 x) {
    __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678f));
    __m512 t = _mm512_div_ps(_mm512_set1_ps(1), _mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f), _mm512_set1_ps(1)));
    __m512 sum = _mm512_set1_ps(1.061405429f);
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(-1.453152027f));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(1.421413741f));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(-0.284496736f));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(0.254829592f));
    /* half of what lies beyond |x| */
    __m512 tail = _mm512_mul_ps(_mm512_mul_ps(sum, t), exponential(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(z, z))));
    tail = _mm512_mul_ps(tail, _mm512_set1_ps(0.5f));
    __mmask16 above = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
    return _mm512_mul_ps(x, _mm512_mask_sub_ps(tail, above, _mm512_set1_ps(1), tail));
}

/* A row as bytes, 128 for 0, with a scale for each `part` of it. */
static VNNI void rounded(const float *row, const float *factors, int64_t k, int64_t part, uint8_t *bytes, float *scales) {
    for (int64_t start = 0; start < k; start += part) {
        __m512 most = _mm512_set1_ps(FLT_MIN);
        for (int64_t i = start; i < start + part; i += 16)
            most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_mul_ps(_mm512_loadu_ps(row + i), _mm512_loadu_ps(factors + i))));
        float scale = _mm512_reduce_max_ps(most) / 127;
        scales[start / part] = scale;
        __m512 inverse = _mm512_set1_ps(1 / scale);
        for (int64_t i = start; i < start + part; i += 16) {
            __m512 value = _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(row + i), _mm512_loadu_ps(factors + i)), inverse);
            __m128i eight = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(value));
            _mm_storeu_si128((__m128i *)(bytes + i), _mm_xor_si128(eight, _mm_set1_epi8((char)0x80)));
        }
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

/* A panel of `rows` rows. */
static VNNI void tile(const Product *product, int64_t part, int64_t panel, const uint8_t *bytes, const float *scales,
                      int rows, int kind, float *out) {
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
    for (int i = 0; i < 4 * rows; i++) {
        int64_t column = panel * WIDTH + i % 4 * 16;
        float *here = out + i / 4 * n + column;
        __m512 value = _mm512_fmadd_ps(total[i], _mm512_loadu_ps(product->scales + column),
                                       _mm512_loadu_ps(product->bias + column));
        if (kind == GELU) value = gelu(value);
        if (kind == ADDED) value = _mm512_add_ps(value, _mm512_loadu_ps(here));
        _mm512_storeu_ps(here, value);
    }
}

/* (rows, n): GELU of the product, or the product ADDED to what is there. */
static VNNI void multiply(const Product *product, int64_t part, const uint8_t *bytes, const float *scales, int64_t rows,
                          int kind, float *out) {
    int64_t parts = product->k / part;
    for (int64_t panel = 0; panel < product->n / WIDTH; panel++) {
        for (int64_t row = 0, taken; row < rows; row += taken) {
            taken = most_rows[rows - row < ROWS ? rows - row : ROWS];
            tile(product, part, panel, bytes + row * product->k, scales + row * parts, (int)taken, kind,
                 out + row * product->n);
        }
    }
}
