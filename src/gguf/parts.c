/* Split models: NAME-00001-of-0000N.gguf and the N - 1 files beside it.
 *
 * The first part says how many there are (split.count, u16) and holds all keys; each says which one it is (split.no,
 * from 0) and brings tensors of its own. Refuses: a part alone that is not the first, a part that is missing, of
 * another number or of another model's count, a tensor in two parts, fewer or more tensors than split.tensors.count.
 * Source: the split.* keys of llama.cpp's gguf-split. */
#include "gguf/internal.h"

#include <stdio.h>

#define MAX_PARTS 999u
#define SUFFIX_BYTES 20 /* "-00001-of-00003.gguf" */

static muga_status get_number(const gguf_file *f, const char *key, uint64_t *out, muga_error *err) {
    muga_status st = gguf_get_u64(f, key, out, err);
    return st != MUGA_E_NOT_FOUND ? st
                                  : error_set(err, MUGA_E_INPUT,
                                              "%s: a part of a split model without \"%s\"; split it "
                                              "again, or fetch it again",
                                              f->path, key);
}

/* The path of part i (from 0) of n; NULL: the first part's path doesn't end as parts do. Owned by the caller. */
static char *part_path(const char *first, uint64_t i, uint64_t n) {
    size_t len = strlen(first);
    char suffix[64];
    snprintf(suffix, sizeof suffix, "-00001-of-%05u.gguf", (unsigned)n);
    if (len <= SUFFIX_BYTES || strcmp(first + len - SUFFIX_BYTES, suffix) != 0)
        return NULL;
    char *path = mem_copy_string(first);
    if (path)
        snprintf(path + len - SUFFIX_BYTES, SUFFIX_BYTES + 1, "-%05u-of-%05u.gguf", (unsigned)(i + 1), (unsigned)n);
    return path;
}

static muga_status open_part(gguf_file *f, const char *first, uint64_t i, uint64_t n, muga_error *err) {
    char *path = part_path(first, i, n);
    uint64_t no, count;
    os_map map;
    gguf_file *part = NULL;
    if (!path)
        return error_nomem(err, "a part's path");
    muga_status st = os_map_open(path, &map, err);
    if (!st)
        st = gguf_open_map(path, map, true, &part, err);
    free(path);
    if (st)
        return error_prefix(err, st, "part %u of %u", (unsigned)(i + 1), (unsigned)n);
    f->parts[f->n_parts++] = part;
    if (!(st = get_number(part, "split.no", &no, err)) && !(st = get_number(part, "split.count", &count, err)) &&
        (no != i || count != n))
        st = error_set(err, MUGA_E_INPUT,
                       "%s: says that it is part %u of %u, its name says %u of %u; fetch the model again", part->path,
                       (unsigned)MIN(no + 1, 99999u), (unsigned)MIN(count, 99999u), (unsigned)(i + 1), (unsigned)n);
    return st;
}

/* One table of all parts' tensors. Names stay the parts'. */
static muga_status join_tensors(gguf_file *f, muga_error *err) {
    uint64_t n = f->n_tensors, at = n, said;
    for (uint32_t i = 0; i < f->n_parts; i++)
        n += f->parts[i]->n_tensors;
    muga_status st = get_number(f, "split.tensors.count", &said, err);
    if (st)
        return st;
    if (said != n)
        return error_set(err, MUGA_E_INPUT, "%s: its parts hold %llu tensors, %llu belong to the model; fetch it again",
                         f->path, (unsigned long long)n, (unsigned long long)said);
    gguf_tensor *tensors = mem_alloc_array((size_t)n, sizeof *tensors);
    name_index *index = mem_alloc_array((size_t)n, sizeof *index);
    if (!tensors || !index) {
        free(tensors);
        free(index);
        return error_nomem(err, "tables of the model file");
    }
    if (f->n_tensors)
        memcpy(tensors, f->tensors, f->n_tensors * sizeof *tensors);
    for (uint32_t i = 0; i < f->n_parts; at += f->parts[i++]->n_tensors)
        if (f->parts[i]->n_tensors)
            memcpy(tensors + at, f->parts[i]->tensors, f->parts[i]->n_tensors * sizeof *tensors);
    for (uint64_t i = 0; i < n; i++)
        index[i] = (name_index){tensors[i].name, (uint32_t)i};
    free(f->tensors);
    free(f->tensor_index);
    f->tensors = tensors;
    f->tensor_index = index;
    f->n_tensors = n;
    return gguf_sort_index(f, index, n, "tensor", err);
}

muga_status parts_open(gguf_file *f, const char *path, muga_error *err) {
    uint64_t count, no;
    muga_status st = gguf_get_u64(f, "split.count", &count, err);
    if (st == MUGA_E_NOT_FOUND || (!st && count <= 1))
        return MUGA_OK;
    if (!st)
        st = get_number(f, "split.no", &no, err);
    if (st)
        return st;
    if (count > MAX_PARTS)
        return error_set(err, MUGA_E_INPUT, "%s: a model in %llu parts; at most %u are taken", f->path,
                         (unsigned long long)count, MAX_PARTS);
    char *first = part_path(path, 0, count);
    free(first);
    if (no != 0 || !first)
        return error_set(err, MUGA_E_INPUT,
                         "%s: a part of a model split in %u; name the first, NAME-00001-of-%05u.gguf, with the others "
                         "beside it",
                         f->path, (unsigned)count, (unsigned)count);
    f->parts = mem_alloc_array((size_t)count - 1, sizeof(gguf_file *));
    if (!f->parts)
        return error_nomem(err, "parts of the model");
    for (uint64_t i = 1; i < count && !st; i++)
        st = open_part(f, path, i, count, err);
    return st ? st : join_tensors(f, err);
}

/* ---- the mappings ---- */

uint32_t gguf_map_count(const gguf_file *f) {
    return f->mapped ? 1 + f->n_parts : 0;
}

const os_map *gguf_map_at(const gguf_file *f, uint32_t i) {
    return i >= gguf_map_count(f) ? NULL : i == 0 ? &f->map : &f->parts[i - 1]->map;
}

muga_status gguf_check_unchanged(const gguf_file *f, const char *path, muga_error *err) {
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < gguf_map_count(f) && !st; i++)
        st = os_map_check(gguf_map_at(f, i), i == 0 ? path : f->parts[i - 1]->path, err);
    return st;
}

void gguf_forget(const gguf_file *f, const gguf_tensor *t) {
    for (uint32_t i = 0; i < gguf_map_count(f); i++) {
        const os_map *m = gguf_map_at(f, i);
        uintptr_t base = (uintptr_t)m->data, at = (uintptr_t)t->data;
        if (at >= base && at - base < m->size)
            os_map_forget(m, at - base, t->bytes);
    }
}

void gguf_digest(const gguf_file *f, char hex[SHA256_HEX]) {
    uint8_t bytes[SHA256_BYTES];
    sha256 h;
    sha256_init(&h);
    for (uint32_t i = 0; i < gguf_map_count(f); i++) {
        const os_map *map = gguf_map_at(f, i);
        for (uint64_t at = 0, step = (uint64_t)4 << 20; at < map->size; at += step) {
            uint64_t n = MIN(step, map->size - at);
            sha256_update(&h, map->data + at, n);
            os_map_forget(map, at, n);
        }
    }
    sha256_final(&h, bytes);
    hex_write(bytes, sizeof bytes, hex);
}
