/* What the tokens of a text take from each other, for `bert.c`. */
#define QUERIES 4 /* whose sums wait for each other's additions */

/* Products of each query with 16 keys, which lie side by side in each of `head` rows. */
static VNNI void likeness(const float *const *query, const float *keys, int64_t width, int64_t head, float *out) {
    const float *q0 = query[0], *q1 = query[1], *q2 = query[2], *q3 = query[3];
    __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    for (int64_t i = 0; i < head; i += 2, keys += 2 * width) {
        __m512 even = _mm512_loadu_ps(keys), odd = _mm512_loadu_ps(keys + width);
        a = _mm512_fmadd_ps(_mm512_set1_ps(q0[i]), even, a), b = _mm512_fmadd_ps(_mm512_set1_ps(q0[i + 1]), odd, b);
        c = _mm512_fmadd_ps(_mm512_set1_ps(q1[i]), even, c), d = _mm512_fmadd_ps(_mm512_set1_ps(q1[i + 1]), odd, d);
        e = _mm512_fmadd_ps(_mm512_set1_ps(q2[i]), even, e), f = _mm512_fmadd_ps(_mm512_set1_ps(q2[i + 1]), odd, f);
        g = _mm512_fmadd_ps(_mm512_set1_ps(q3[i]), even, g), h = _mm512_fmadd_ps(_mm512_set1_ps(q3[i + 1]), odd, h);
    }
    _mm512_storeu_ps(out, _mm512_add_ps(a, b)), _mm512_storeu_ps(out + width, _mm512_add_ps(c, d));
    _mm512_storeu_ps(out + 2 * width, _mm512_add_ps(e, f)), _mm512_storeu_ps(out + 3 * width, _mm512_add_ps(g, h));
}

/* The first `tokens` numbers as powers of e, less the largest; 0 up to the next 16th. Returns their sum. */
static VNNI float softened(float *numbers, int64_t tokens) {
    __m512 most = _mm512_set1_ps(-FLT_MAX), sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < tokens; j += 16) {
        __mmask16 here = tokens - j < 16 ? (__mmask16)((1 << (tokens - j)) - 1) : 0xFFFF;
        most = _mm512_mask_max_ps(most, here, most, _mm512_loadu_ps(numbers + j));
    }
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (int64_t j = 0; j < tokens; j += 16) {
        __mmask16 here = tokens - j < 16 ? (__mmask16)((1 << (tokens - j)) - 1) : 0xFFFF;
        __m512 power = _mm512_maskz_mov_ps(here, exponential(_mm512_sub_ps(_mm512_loadu_ps(numbers + j), most)));
        sum = _mm512_add_ps(sum, power);
        _mm512_storeu_ps(numbers + j, power);
    }
    return _mm512_reduce_add_ps(sum);
}

/* 16 columns of the values, each row times its share. */
static VNNI __m512 mixed(const float *shares, const float *values, int64_t stride, int64_t tokens) {
    __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
    int64_t j = 0;
    for (; j + 4 <= tokens; j += 4, values += 4 * stride) {
        a = _mm512_fmadd_ps(_mm512_set1_ps(shares[j]), _mm512_loadu_ps(values), a);
        b = _mm512_fmadd_ps(_mm512_set1_ps(shares[j + 1]), _mm512_loadu_ps(values + stride), b);
        c = _mm512_fmadd_ps(_mm512_set1_ps(shares[j + 2]), _mm512_loadu_ps(values + 2 * stride), c);
        d = _mm512_fmadd_ps(_mm512_set1_ps(shares[j + 3]), _mm512_loadu_ps(values + 3 * stride), d);
    }
    for (; j < tokens; j++, values += stride) a = _mm512_fmadd_ps(_mm512_set1_ps(shares[j]), _mm512_loadu_ps(values), a);
    return _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d));
}

/* What each of `tokens` rows takes from the others of its text, one head after another. `qkv`: (tokens, 3 hidden).
 * `room` is for (head + QUERIES) rows of the tokens, rounded up to 16.
 */
static VNNI void attend(const float *qkv, int64_t tokens, int64_t hidden, int64_t head, float *room, float *out) {
    int64_t width = (tokens + 15) / 16 * 16, stride = 3 * hidden;
    float *keys = room, *shares = room + head * width;
    __mmask16 last = (__mmask16)(0xFFFF >> (width - tokens));
    __m512i lines = _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                                       _mm512_set1_epi32((int)stride));
    for (int64_t at = 0; at < hidden; at += head) {
        for (int64_t j = 0; j < width; j += 16) {
            __mmask16 here = j + 16 < width ? 0xFFFF : last;
            const float *first = qkv + j * stride + hidden + at;
            for (int64_t d = 0; d < head; d++)
                _mm512_storeu_ps(keys + d * width + j,
                                 _mm512_mask_i32gather_ps(_mm512_setzero_ps(), here, lines, first + d, 4));
        }
        for (int64_t i = 0; i < tokens; i += QUERIES) {
            const float *query[QUERIES];
            for (int q = 0; q < QUERIES; q++) query[q] = qkv + (i + q < tokens ? i + q : i) * stride + at;
            for (int64_t j = 0; j < width; j += 16) likeness(query, keys + j, width, head, shares + j);
            for (int q = 0; q < QUERIES && i + q < tokens; q++) {
                float *own = shares + q * width, *target = out + (i + q) * hidden + at;
                __m512 inverse = _mm512_set1_ps(1 / softened(own, tokens));
                for (int64_t d = 0; d < head; d += 16)
                    _mm512_storeu_ps(target + d, _mm512_mul_ps(inverse, mixed(own, qkv + 2 * hidden + at + d, stride, tokens)));
            }
        }
    }
}
