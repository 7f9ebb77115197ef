/* What the C files of this room share: where the candidates of each request stand, and their order by score. */
#include <stdint.h>
#include <string.h>

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

/* The places from `start` to before `end`, the best score first and equal ones in their order; they are the lower halves
 * of what is returned, which stands in `room`, of twice as many.
 */
static const uint64_t *by_score(const float *scores, int64_t start, int64_t end, uint64_t *room, int64_t most) {
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
