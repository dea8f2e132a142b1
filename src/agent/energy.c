/* Energy by RAPL (energy.h). Owns: which zones are summed: processor packages (intel-rapl:N named package-N, which is
 * what AMD's processors are listed as, too), not their parts, which would count twice. Refuses: to guess; what can't be
 * read is said. */
#include "agent/energy.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static bool read_text(const os_files *f, const char *dir, const char *name, char out[64], muga_error *err) {
    str text = STR_INIT;
    char path[224];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    bool ok = os_read_file(f, path, 4096, &text, err) == MUGA_OK && text.len > 0;
    snprintf(out, 64, "%s", ok ? str_get(&text) : "");
    str_release(&text);
    return ok;
}

static bool read_counter(const os_files *f, const char *dir, const char *name, uint64_t *out, muga_error *err) {
    char text[64], *end;
    if (!read_text(f, dir, name, text, err)) {
        return false;
    }
    *out = strtoull(text, &end, 10);
    return end != text;
}

typedef struct search {
    energy *e;
    const os_files *files;
    const char *place;
    muga_error *err; /* of what was there but couldn't be read */
} search;

static muga_status visit(void *ctx, const char *name) {
    search *s = ctx;
    energy *e = s->e;
    energy_zone *z = &e->zones[e->n_zones];
    char label[64];
    const char *colon = strchr(name, ':');
    if (e->n_zones == ENERGY_MAX_ZONES || !colon || strchr(colon + 1, ':')) {
        return MUGA_OK;
    }
    int n = snprintf(z->path, sizeof z->path, "%s/%s", s->place, name);
    if (n < 0 || (size_t)n >= sizeof z->path || !read_text(s->files, z->path, "name", label, NULL) ||
        strncmp(label, "package", 7) != 0) {
        return MUGA_OK;
    }
    if (!read_counter(s->files, z->path, "max_energy_range_uj", &z->wraps_uj, NULL)) {
        z->wraps_uj = 0;
    }
    e->n_zones += read_counter(s->files, z->path, "energy_uj", &z->last_uj, s->err);
    return MUGA_OK;
}

void energy_begin(energy *e, const os_files *files, const char *place) {
    *e = (energy){.n_zones = 0};
    muga_error err = {.status = MUGA_OK};
    search s = {e, files, place, &err};
    muga_status st = files->list(files->self, place, visit, &s, NULL);
    if (e->n_zones == 0 && st == MUGA_OK && err.message[0]) {
        snprintf(e->why, sizeof e->why, "%.190s", err.message);
    } else if (e->n_zones == 0) {
        snprintf(e->why, sizeof e->why, "this machine has no energy counters (RAPL) in %.120s", place);
    }
}

void energy_sample(energy *e, const os_files *files) {
    for (size_t i = 0; i < e->n_zones; i++) {
        energy_zone *z = &e->zones[i];
        uint64_t now;
        if (!read_counter(files, z->path, "energy_uj", &now, NULL) || (now < z->last_uj && z->wraps_uj == 0)) {
            snprintf(e->why, sizeof e->why, "%.150s/energy_uj could not be read on", z->path);
            e->n_zones = 0;
            return;
        }
        e->total_uj += now >= z->last_uj ? now - z->last_uj : now + (z->wraps_uj - z->last_uj);
        z->last_uj = now;
    }
}
