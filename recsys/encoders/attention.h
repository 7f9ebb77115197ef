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

/* The same for QUERIES rows of shares, `width` behind each other: their values are read once. */
static VNNI void mixed_together(const float *shares, int64_t width, const float *values, int64_t stride, int64_t tokens,
                                __m512 *out) {
    __m512 sums[4 * QUERIES];
    for (int i = 0; i < 4 * QUERIES; i++) sums[i] = _mm512_setzero_ps();
    int64_t j = 0;
    for (; j + 4 <= tokens; j += 4, values += 4 * stride)
        for (int n = 0; n < 4; n++) {
            __m512 value = _mm512_loadu_ps(values + n * stride);
            for (int q = 0; q < QUERIES; q++)
                sums[4 * q + n] = _mm512_fmadd_ps(_mm512_set1_ps(shares[q * width + j + n]), value, sums[4 * q + n]);
        }
    for (; j < tokens; j++, values += stride)
        for (int q = 0; q < QUERIES; q++)
            sums[4 * q] = _mm512_fmadd_ps(_mm512_set1_ps(shares[q * width + j]), _mm512_loadu_ps(values), sums[4 * q]);
    for (int q = 0; q < QUERIES; q++)
        out[q] = _mm512_add_ps(_mm512_add_ps(sums[4 * q], sums[4 * q + 1]), _mm512_add_ps(sums[4 * q + 2], sums[4 * q + 3]));
}

/* 16 numbers of each of `count` rows, `stride` behind each other, as columns: 16 rows of `width`. Zeros behind them. */
static VNNI void turned(const float *rows, int64_t stride, int64_t count, float *out, int64_t width) {
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i++) a[i] = i < count ? _mm512_loadu_ps(rows + i * stride) : _mm512_setzero_ps();
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int n = 0; n < 2; n++) {
            __m512d low = _mm512_castps_pd(b[i + n]), high = _mm512_castps_pd(b[i + n + 2]);
            a[i + 2 * n] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            a[i + 2 * n + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    /* a[4 g + n]: column n of each quarter, of the rows of group g */
    for (int n = 0; n < 4; n++) {
        __m512 first = _mm512_shuffle_f32x4(a[n], a[4 + n], 0x88), second = _mm512_shuffle_f32x4(a[n], a[4 + n], 0xDD);
        __m512 third = _mm512_shuffle_f32x4(a[8 + n], a[12 + n], 0x88), fourth = _mm512_shuffle_f32x4(a[8 + n], a[12 + n], 0xDD);
        _mm512_storeu_ps(out + n * width, _mm512_shuffle_f32x4(first, third, 0x88));
        _mm512_storeu_ps(out + (4 + n) * width, _mm512_shuffle_f32x4(second, fourth, 0x88));
        _mm512_storeu_ps(out + (8 + n) * width, _mm512_shuffle_f32x4(first, third, 0xDD));
        _mm512_storeu_ps(out + (12 + n) * width, _mm512_shuffle_f32x4(second, fourth, 0xDD));
    }
}

/* What each of `tokens` rows takes from the others of its text, one head after another. `qkv`: (tokens, 3 hidden).
 * `room` is for (head + QUERIES) rows of the tokens, rounded up to 16.
 */
static VNNI void attend(const float *qkv, int64_t tokens, int64_t hidden, int64_t head, float *room, float *out) {
    int64_t width = (tokens + 15) / 16 * 16, stride = 3 * hidden;
    float *keys = room, *shares = room + head * width;
    for (int64_t at = 0; at < hidden; at += head) {
        for (int64_t j = 0; j < width; j += 16)
            for (int64_t d = 0; d < head; d += 16)
                turned(qkv + j * stride + hidden + at + d, stride, tokens - j, keys + d * width + j, width);
        for (int64_t i = 0; i < tokens; i += QUERIES) {
            const float *query[QUERIES];
            for (int q = 0; q < QUERIES; q++) query[q] = qkv + (i + q < tokens ? i + q : i) * stride + at;
            for (int64_t j = 0; j < width; j += 16) likeness(query, keys + j, width, head, shares + j);
            int some = tokens - i < QUERIES ? (int)(tokens - i) : QUERIES;
            __m512 inverse[QUERIES], values[QUERIES];
            for (int q = 0; q < some; q++) inverse[q] = _mm512_set1_ps(1 / softened(shares + q * width, tokens));
            for (int64_t d = 0; d < head; d += 16) {
                const float *first = qkv + 2 * hidden + at + d;
                if (some == QUERIES) mixed_together(shares, width, first, stride, tokens, values);
                else
                    for (int q = 0; q < some; q++) values[q] = mixed(shares + q * width, first, stride, tokens);
                for (int q = 0; q < some; q++)
                    _mm512_storeu_ps(out + (i + q) * hidden + at + d, _mm512_mul_ps(inverse[q], values[q]));
            }
        }
    }
}
