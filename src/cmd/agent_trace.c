/* Where the time of a turn went, for `muga agent run --trace`: a table, or a line of JSON a step. */
#include "cmd/agent.h"

#define MIB 1048576.0

static void write_ms(char out[24], const json_t *v, int64_t total_us) {
    int64_t us = json_get_int(v, "us", 0);
    snprintf(out, 24, "%.2f (%.0f %%)", (double)us / 1000, total_us > 0 ? 100.0 * (double)us / (double)total_us : 0.0);
}

static void print_lines(const json_t *d) {
    const json_t *steps = json_object_get(d, "steps"), *sums = json_object_get(d, "sums");
    for (size_t i = 0; i < json_array_size(steps); i++)
        cmd_print_json(json_array_get(steps, i));
    json_t *turn = json_pack("{s:s, s:I, s:O*, s:O*}", "step", "turn", "us", (json_int_t)json_get_int(d, "total_us", 0),
                             "sums", sums, "kept", json_object_get(d, "kept"));
    if (turn)
        cmd_print_json(turn);
    json_decref(turn);
}

/* Steps in the order in which they ended; those of the journal only in the sums, since each is short and there are
 * many.
 * */
void agent_print_trace(const json_t *d, bool as_json) {
    const json_t *steps = json_object_get(d, "steps"), *sums = json_object_get(d, "sums");
    int64_t total_us = json_get_int(d, "total_us", 0);
    char ms[24];
    if (as_json) {
        print_lines(d);
        return;
    }
    printf("%-9s %-33s %7s %7s %7s   %s\n", "trace", "", "read", "cached", "written", "ms");
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *s = json_array_get(steps, i);
        const char *what = json_get_string(s, "what"), *step = json_get_string(s, "step");
        if (!strcmp(step, "journal") || !strcmp(step, "fsync"))
            continue;
        write_ms(ms, s, total_us);
        if (json_object_get(s, "read"))
            printf("%9s %-8s %-24.24s %7lld %7lld %7lld   %s\n", "", step, what ? what : "",
                   (long long)json_get_int(s, "read", 0), (long long)json_get_int(s, "cached", 0),
                   (long long)json_get_int(s, "written", 0), ms);
        else
            printf("%9s %-8s %-24.24s %7s %7s %7s   %s\n", "", step, what ? what : "", "", "", "", ms);
    }
    for (size_t i = 0; i < json_array_size(sums); i++) {
        const json_t *s = json_array_get(sums, i);
        const char *step = json_get_string(s, "step");
        if (strcmp(step, "journal") && strcmp(step, "fsync") && strcmp(step, "loop"))
            continue;
        write_ms(ms, s, total_us);
        printf("%9s %-8s %lldx%*s   %s\n", "", step, (long long)json_get_int(s, "times", 0), 45, "", ms);
    }
    printf("%9s %-8s %47s   %.2f\n", "", "turn", "", (double)total_us / 1000);
    const json_t *kept = json_object_get(d, "kept");
    if (kept)
        printf("%9s %-8s %.1f MiB of keys and values, of at most %.0f; %lld tokens taken, given up for room %lldx\n",
               "", "kept", (double)json_get_int(kept, "bytes", 0) / MIB,
               (double)json_get_int(kept, "max_bytes", 0) / MIB, (long long)json_get_int(kept, "taken", 0),
               (long long)json_get_int(kept, "evicted", 0));
}
