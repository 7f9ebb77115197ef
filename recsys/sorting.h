/* A stable sort by runs and merges, of one kind of value a file: it defines VALUE, its type, and BY(value), which orders.
 *
 * `spare` has the same room as `values`. Returns where the result is, which is one of the two.
 */
#include <stdint.h>

#define RUN 16 /* values that are put in order by insertion */

static VALUE *sorted(VALUE *values, VALUE *spare, int64_t n) {
    for (int64_t start = 0; start < n; start += RUN) {
        int64_t end = start + RUN < n ? start + RUN : n;
        for (int64_t i = start + 1; i < end; i++) {
            VALUE value = values[i];
            int64_t at = i;
            for (; at > start && BY(values[at - 1]) > BY(value); at--) values[at] = values[at - 1];
            values[at] = value;
        }
    }
    for (int64_t width = RUN; width < n; width *= 2) {
        for (int64_t start = 0; start < n; start += 2 * width) {
            int64_t middle = start + width < n ? start + width : n, end = start + 2 * width < n ? start + 2 * width : n;
            int64_t left = start, right = middle;
            for (int64_t at = start; at < end; at++)
                spare[at] = left < middle && (right >= end || BY(values[left]) <= BY(values[right])) ? values[left++]
                                                                                                       : values[right++];
        }
        VALUE *other = values;
        values = spare;
        spare = other;
    }
    return values;
}
