/* Trees over rows of a table, for `scoring.c`.
 *
 * A row's masks are combined and its leaves added up before the next row is looked at, so nothing leaves the cache; with
 * AVX-512 sixteen rows are added up side by side, for a register holds the leaves of a tree. Leaves are added in numpy's
 * order (pairwise, in blocks of up to 128), so that sums are the same to the last bit.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define X86
#endif

#define LEAVES 16
#define BLOCK 128
#define ROWS 16  /* that are added up side by side */
#define CHUNK 32 /* trees whose masks fill a register */

typedef struct {
    const int64_t *features; /* columns of the table, one for each list of thresholds */
    const int64_t *starts;   /* where each list begins among the thresholds; its masks begin as many rows later as */
    const float *edges;      /* there are lists before it, for a list has a row more than thresholds */
    const uint16_t *masks;   /* `stride` a row */
    const float *values; /* LEAVES for each tree */
    int64_t lists, trees, stride, width;
} Forest;

/* Rows of a table that are scored. */
typedef struct {
    const float *table;
    const int64_t *rows; /* NULL: the first n */
    int64_t n;
    float *sums;      /* n */
    uint16_t *places; /* n x lists, where the values lie among their thresholds; NULL: nobody asks */
} Asked;

static inline const float *row_of(const Forest *forest, const Asked *asked, int64_t i) {
    return asked->table + (asked->rows == NULL ? i : asked->rows[i]) * forest->width;
}

/* Room for what is known of rows before they are added up. */
typedef struct {
    int32_t *places; /* lists x ROWS: row of masks */
    uint16_t *left;  /* stride: leaves that a row may still have */
    uint32_t *words; /* stride / 8 x ROWS: the leaf of each tree, in four bits */
    float *leaves;   /* trees */
} Room;

static float added(const float *values, int64_t n) {
    if (n < 8) {
        float sum = 0.0f;
        for (int64_t i = 0; i < n; i++) sum += values[i];
        return sum;
    }
    if (n <= BLOCK) {
        float part[8];
        int64_t i;
        for (i = 0; i < 8; i++) part[i] = values[i];
        for (; i + 8 <= n; i += 8)
            for (int j = 0; j < 8; j++) part[j] += values[i + j];
        float sum = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
        for (; i < n; i++) sum += values[i];
        return sum;
    }
    int64_t half = n / 2;
    half -= half % 8;
    return added(values, half) + added(values + half, n - half);
}

/* Thresholds under the value: their number is the row of masks. No step is guessed, for half of the guesses would be
 * wrong.
 */
static inline int64_t passed(const float *edges, int64_t n, float value) {
    if (n == 0) return 0;
    const float *at = edges;
    for (; n > 1; n -= n / 2) at += n / 2 * (at[n / 2 - 1] < value);
    return at - edges + (*at < value);
}

static inline __attribute__((always_inline)) void score_rows(const Forest *forest, const Asked *asked, Room *room) {
    int64_t trees = forest->trees;
    uint16_t *left = room->left;
    float *leaves = room->leaves;
    for (int64_t row = 0; row < asked->n; row++) {
        const float *table = row_of(forest, asked, row);
        for (int64_t t = 0; t < trees; t++) left[t] = 0xFFFF;
        for (int64_t l = 0; l < forest->lists; l++) {
            int64_t start = forest->starts[l];
            int64_t place = passed(forest->edges + start, forest->starts[l + 1] - start, table[forest->features[l]]);
            const uint16_t *masks = forest->masks + (start + l + place) * forest->stride;
            for (int64_t t = 0; t < trees; t++) left[t] &= masks[t];
            if (asked->places != NULL) asked->places[row * forest->lists + l] = (uint16_t)place;
        }
        for (int64_t t = 0; t < trees; t++) leaves[t] = forest->values[t * LEAVES + __builtin_ctz(left[t] | 0x10000u) % LEAVES];
        asked->sums[row] = added(leaves, trees);
    }
}

static void score_plain(const Forest *forest, const Asked *asked, Room *room) {
    score_rows(forest, asked, room);
}

#ifdef X86
__attribute__((target("avx2,bmi"))) static void score_avx2(const Forest *forest, const Asked *asked, Room *room) {
    score_rows(forest, asked, room);
}

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bitalg")))

/* `passed` of ROWS rows from `first` on, of which `there` are and the others are as the last one. */
AVX512 static void place_512(const Forest *forest, const Asked *asked, int64_t first, int64_t there, int32_t *places) {
    const float *rows[ROWS];
    float values[ROWS];
    for (int64_t row = 0; row < ROWS; row++) rows[row] = row_of(forest, asked, first + (row < there ? row : there - 1));
    for (int64_t l = 0; l < forest->lists; l++) {
        for (int64_t row = 0; row < ROWS; row++) values[row] = rows[row][forest->features[l]];
        __m512 value = _mm512_loadu_ps(values);
        __m512i place = _mm512_set1_epi32((int32_t)(forest->starts[l] + l)), one = _mm512_set1_epi32(1);
        for (int64_t e = forest->starts[l]; e < forest->starts[l + 1]; e++)
            place = _mm512_mask_add_epi32(
                place, _mm512_cmp_ps_mask(_mm512_set1_ps(forest->edges[e]), value, _CMP_LT_OQ), place, one);
        _mm512_storeu_si512(places + l * ROWS, place);
    }
}

/* The leaves of one of the rows, eight trees a word. */
AVX512 static void find_512(const Forest *forest, const int32_t *places, int64_t row, uint32_t *words) {
    __m512i ones = _mm512_set1_epi16(-1), pairs = _mm512_set1_epi32(1 | LEAVES << 16);
    for (int64_t t = 0; t < forest->stride; t += CHUNK) {
        __m512i left = ones;
        for (int64_t l = 0; l < forest->lists; l++)
            left = _mm512_and_si512(
                left, _mm512_loadu_si512(forest->masks + places[l * ROWS + row] * forest->stride + t));
        __m512i leaves = _mm512_popcnt_epi16(_mm512_andnot_si512(left, _mm512_add_epi16(left, ones)));
        uint32_t four[4];
        _mm_storeu_si128((__m128i *)four, _mm512_cvtepi32_epi8(_mm512_madd_epi16(leaves, pairs)));
        for (int64_t word = 0; word < 4; word++) words[(t / 8 + word) * ROWS + row] = four[word];
    }
}

AVX512 static inline __m512 values_512(const float *values, __m512i word, int tree) {
    return _mm512_permutexvar_ps(_mm512_srli_epi32(word, 4 * tree), _mm512_loadu_ps(values + tree * LEAVES));
}

/* `added` of ROWS rows, of the trees from a multiple of eight on. */
AVX512 static __m512 added_512(const float *values, const uint32_t *words, int64_t n) {
    if (n > BLOCK) {
        int64_t half = n / 2;
        half -= half % 8;
        return _mm512_add_ps(added_512(values, words, half),
                             added_512(values + half * LEAVES, words + half / 8 * ROWS, n - half));
    }
    __m512 sum = _mm512_setzero_ps(), part[8];
    int64_t i = 0;
    if (n >= 8) {
        __m512i word = _mm512_loadu_si512(words);
        for (int j = 0; j < 8; j++) part[j] = values_512(values, word, j);
        for (i = 8; i + 8 <= n; i += 8) {
            word = _mm512_loadu_si512(words + i / 8 * ROWS);
            for (int j = 0; j < 8; j++) part[j] = _mm512_add_ps(part[j], values_512(values + i * LEAVES, word, j));
        }
        sum = _mm512_add_ps(
            _mm512_add_ps(_mm512_add_ps(part[0], part[1]), _mm512_add_ps(part[2], part[3])),
            _mm512_add_ps(_mm512_add_ps(part[4], part[5]), _mm512_add_ps(part[6], part[7])));
    }
    for (int j = 0; i + j < n; j++)
        sum = _mm512_add_ps(sum, values_512(values + i * LEAVES, _mm512_loadu_si512(words + i / 8 * ROWS), j));
    return sum;
}

AVX512 static void score_512(const Forest *forest, const Asked *asked, Room *room) {
    for (int64_t first = 0; first < asked->n; first += ROWS) {
        int64_t there = asked->n - first < ROWS ? asked->n - first : ROWS;
        place_512(forest, asked, first, there, room->places);
        for (int64_t row = 0; row < there; row++) find_512(forest, room->places, row, room->words);
        _mm512_mask_storeu_ps(asked->sums + first, (__mmask16)((1u << there) - 1),
                              added_512(forest->values, room->words, forest->trees));
        for (int64_t l = 0; asked->places != NULL && l < forest->lists; l++)
            for (int64_t row = 0; row < there; row++)
                asked->places[(first + row) * forest->lists + l] =
                    (uint16_t)(room->places[l * ROWS + row] - forest->starts[l] - l);
    }
}
#endif

typedef void (*Score)(const Forest *, const Asked *, Room *);

/* `instructions`: 0, plain ones; 1, at the most AVX2; 2, at the most AVX-512. */
static Score fastest(int instructions) {
#ifdef X86
    if (instructions >= 2 && __builtin_cpu_supports("avx512bitalg") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return score_512;
    if (instructions >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi")) return score_avx2;
#endif
    (void)instructions;
    return score_plain;
}
