/* What the C files of this room share: where the candidates of each request stand, and their order by score. */
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define RANKED 256 /* values at the most that are put in order by counting for each how many are before it */
#endif

/* A float as a number that is the smaller the better the score; all NaN are the same, and the last. */
static uint32_t place_of(float score) {
    uint32_t bits;
    if (score != score) return UINT32_MAX;
    if (score == 0.0f) score = 0.0f; /* -0.0 is no worse than 0.0 */
    memcpy(&bits, &score, 4);
    return bits & 0x80000000u ? bits : ~bits & 0x7FFFFFFFu;
}

#define VALUE uint64_t
#define BY(value) (value)
#include "../sorting.h"

#ifdef RANKED
/* Puts the numbers 0 to n - 1 in the order of their values, equal ones in their own. Without a branch that has to be
 * guessed, which is what a sort of so few waits for.
 */
__attribute__((target("avx512f"))) static void rank(const uint32_t *values, int64_t n, uint64_t first, uint64_t *order) {
    const __m512i one = _mm512_set1_epi32(1);
    for (int64_t start = 0; start < n; start += 16) {
        __mmask16 there = n - start < 16 ? (__mmask16)((1u << (n - start)) - 1) : 0xFFFF;
        __m512i own = _mm512_maskz_loadu_epi32(there, values + start), before = _mm512_setzero_si512();
        for (int64_t i = 0; i < n; i++) {
            __m512i other = _mm512_set1_epi32((int)values[i]);
            int64_t at = i - start;
            __mmask16 behind = at < 0 ? 0xFFFF : at < 16 ? (__mmask16)(0xFFFEu << at) : 0;
            __mmask16 mask = _mm512_cmplt_epu32_mask(other, own) | _mm512_mask_cmpeq_epu32_mask(behind, other, own);
            before = _mm512_mask_add_epi32(before, mask, before, one);
        }
        uint32_t places[16];
        _mm512_storeu_si512(places, before);
        for (int64_t i = 0; i < 16 && start + i < n; i++) order[places[i]] = first + (uint64_t)(start + i);
    }
}
#endif

/* The places from `start` to before `end`, the best score first and equal ones in their order; they are the lower halves
 * of what is returned, which stands in `room`, of twice as many.
 */
static const uint64_t *by_score(const float *scores, int64_t start, int64_t end, uint64_t *room, int64_t most) {
#ifdef RANKED
    if (end - start <= RANKED && __builtin_cpu_supports("avx512f")) {
        uint32_t values[RANKED];
        for (int64_t i = start; i < end; i++) values[i - start] = place_of(scores[i]);
        rank(values, end - start, (uint64_t)start, room);
        return room;
    }
#endif
    for (int64_t i = start; i < end; i++) room[i - start] = (uint64_t)place_of(scores[i]) << 32 | (uint64_t)i;
    return sorted(room, room + most, end - start);
}

/* Whether `offsets` are those of parts of n, one behind another. */
static int bounded(const int64_t *offsets, int64_t parts, int64_t n) {
    if (parts < 0 || offsets[0] != 0 || offsets[parts] != n || n >= INT32_MAX) return 0;
    for (int64_t part = 0; part < parts; part++)
        if (offsets[part] > offsets[part + 1]) return 0;
    return 1;
}

/* The most that a part has. */
static int64_t largest(const int64_t *offsets, int64_t parts) {
    int64_t most = 0;
    for (int64_t part = 0; part < parts; part++)
        if (offsets[part + 1] - offsets[part] > most) most = offsets[part + 1] - offsets[part];
    return most;
}
