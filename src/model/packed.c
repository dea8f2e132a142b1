/* Reading and writing the packed file.
 *
 *   head   "MUGAPACK" | u32 version | u32 layout | u64 bytes of the file | u32 sources | u32 items | u32 path bytes
 *          | path | source... | item... | SHA-256 of the head up to here
 *   source u64 device, inode, size | i64 mtime, ctime in ns                   of each part of the model, in order
 *   item   char name[64] | u32 kind, type, parts, 0 | u64 rows, cols, offset, bytes
 *   data   each item's bytes, at a multiple of 64; zeros between
 *   end    SHA-256 of all before it
 *
 * Integers are little-endian, floats and panels as they lie in memory of a little-endian machine; others keep no packed
 * files (packed_map and packed_write refuse).
 *
 * Invariants of a mapped file: offsets ascend, stand behind the head, share no byte, and end before the digest. Its
 * sources are those of the model that is open, by device, inode, size and both times: renaming another file into the
 * model's place changes the inode, writing to it the times, and setting the times back the ctime. */
#include "model/packed.h"

#include "base/cursor.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>

#define MAGIC "MUGAPACK"
#define VERSION 1u
#define ALIGNMENT 64u
#define MAX_ITEMS (1u << 17) /* a tensor is one item at most, and there are 2^16 of those; then the tables */
#define MAX_SOURCES 1024u    /* parts of a split model */
#define MAX_PATH_BYTES 4096u
#define SOURCE_BYTES 40u
#define HUGE_BYTES ((uint64_t)2 << 20)
#define ITEM_BYTES (PACKED_NAME_BYTES + 16u + 32u)

typedef struct source_id {
    uint64_t device, inode, size;
    int64_t mtime_ns, ctime_ns;
} source_id;

struct packed_file {
    source_id *sources;
    uint32_t n_sources;
    os_map map;
    bool mapped, in_doubt, no_memory;
    packed_item *found; /* [n_found] in the mapped file; data into the mapping */
    uint32_t n_found, i_next;
    packed_item *items; /* [n_items] made here, for packed_write */
    uint32_t n_items, cap_items;
    arena vectors; /* their data: few have the model's life */
};

static bool is_little_endian(void) {
    const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 1;
}

muga_status packed_new(const gguf_file *file, packed_file **out, muga_error *err) {
    packed_file *p = mem_alloc_array(1, sizeof *p);
    *out = NULL;
    if (!p)
        return error_nomem(err, "the packed file");
    arena_init(&p->vectors, 0);
    p->n_sources = gguf_map_count(file);
    p->sources = mem_alloc_array(p->n_sources, sizeof *p->sources);
    if (!p->sources) {
        packed_free(p);
        return error_nomem(err, "the packed file");
    }
    for (uint32_t i = 0; i < p->n_sources; i++) {
        const os_stat *s = &gguf_map_at(file, i)->info;
        p->sources[i] = (source_id){s->device, s->inode, s->size, s->mtime_ns, s->ctime_ns};
    }
    *out = p;
    return MUGA_OK;
}

void packed_free(packed_file *p) {
    if (!p)
        return;
    if (p->mapped)
        os_map_close(&p->map);
    free(p->sources);
    free(p->found);
    free(p->items);
    arena_release(&p->vectors);
    free(p);
}

/* ---- reading ---- */

/* A head as it stands in a file; pointers into the mapping. */
typedef struct file_head {
    uint64_t bytes; /* of the head, its digest included */
    uint32_t n_sources, n_items;
    span path;
    const uint8_t *sources, *items;
} file_head;

static muga_status refuse(muga_error *err, const char *path, const char *what) {
    return error_set(err, MUGA_E_INPUT, "%.120s: %s", path, what);
}

static muga_status read_head(const os_map *map, const char *path, file_head *h, muga_error *err) {
    cursor c = cursor_of(map->data, map->size);
    const uint8_t *magic, *digest;
    uint32_t version, layout, n_path;
    uint64_t bytes;
    uint8_t sum[SHA256_BYTES];
    if (!cursor_take(&c, 8, &magic) || memcmp(magic, MAGIC, 8) != 0 || !cursor_take_u32(&c, &version) ||
        !cursor_take_u32(&c, &layout))
        return refuse(err, path, "not a packed file");
    if (version != VERSION || layout != kernel_panel_layout())
        return refuse(err, path, "packed by another version");
    if (!cursor_take_u64(&c, &bytes) || bytes != map->size || !cursor_take_u32(&c, &h->n_sources) ||
        !cursor_take_u32(&c, &h->n_items) || !cursor_take_u32(&c, &n_path) || h->n_sources > MAX_SOURCES ||
        h->n_items > MAX_ITEMS || n_path > MAX_PATH_BYTES || !cursor_take_string(&c, n_path, &h->path) ||
        !cursor_take(&c, (uint64_t)h->n_sources * SOURCE_BYTES, &h->sources) ||
        !cursor_take(&c, (uint64_t)h->n_items * ITEM_BYTES, &h->items) || cursor_left(&c) < 2 * SHA256_BYTES)
        return refuse(err, path, "damaged, or cut short");
    sha256_of(map->data, (size_t)c.at, sum);
    (void)cursor_take(&c, SHA256_BYTES, &digest);
    if (memcmp(sum, digest, sizeof sum) != 0)
        return refuse(err, path, "damaged: its head is not its digest");
    h->bytes = c.at;
    return MUGA_OK;
}

static source_id read_source(const uint8_t *p) {
    source_id s;
    cursor c = cursor_of(p, SOURCE_BYTES);
    uint64_t times[2] = {0};
    (void)cursor_take_u64(&c, &s.device);
    (void)cursor_take_u64(&c, &s.inode);
    (void)cursor_take_u64(&c, &s.size);
    (void)cursor_take_u64(&c, &times[0]);
    (void)cursor_take_u64(&c, &times[1]);
    s.mtime_ns = (int64_t)times[0];
    s.ctime_ns = (int64_t)times[1];
    return s;
}

static bool same_source(const source_id *a, const source_id *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns;
}

/* *at: where the item before it ends. False: out of bounds, of order or of shape. */
static bool read_item(const os_map *map, const uint8_t *p, uint64_t *at, packed_item *out) {
    cursor c = cursor_of(p, ITEM_BYTES);
    const uint8_t *name;
    uint32_t kind, nothing;
    uint64_t offset, end = map->size - SHA256_BYTES;
    (void)cursor_take(&c, PACKED_NAME_BYTES, &name);
    (void)cursor_take_u32(&c, &kind);
    (void)cursor_take_u32(&c, &out->type);
    (void)cursor_take_u32(&c, &out->n_parts);
    (void)cursor_take_u32(&c, &nothing);
    (void)cursor_take_u64(&c, &out->rows);
    (void)cursor_take_u64(&c, &out->cols);
    (void)cursor_take_u64(&c, &offset);
    (void)cursor_take_u64(&c, &out->bytes);
    if (kind >= PACKED_KINDS || nothing != 0 || name[PACKED_NAME_BYTES - 1] != 0 || offset % ALIGNMENT != 0 ||
        offset < *at || offset > end || out->bytes > end - offset)
        return false;
    memcpy(out->name, name, PACKED_NAME_BYTES);
    out->kind = (packed_kind)kind;
    out->data = map->data + offset;
    *at = offset + out->bytes;
    return true;
}

static muga_status read_all(packed_file *p, const os_map *map, const char *path, muga_error *err) {
    file_head h;
    muga_status st = read_head(map, path, &h, err);
    if (st)
        return st;
    if (h.n_sources != p->n_sources)
        return refuse(err, path, "made of another model");
    for (uint32_t i = 0; i < h.n_sources; i++) {
        source_id s = read_source(h.sources + (size_t)i * SOURCE_BYTES);
        if (!same_source(&s, &p->sources[i]))
            return refuse(err, path, "the model's file is another one, or was written to since");
    }
    packed_item *found = mem_alloc_array(h.n_items, sizeof *found);
    if (!found)
        return error_nomem(err, "the packed file");
    uint64_t at = h.bytes;
    for (uint32_t i = 0; i < h.n_items; i++)
        if (!read_item(map, h.items + (size_t)i * ITEM_BYTES, &at, &found[i])) {
            free(found);
            return refuse(err, path, "damaged: an item is out of bounds");
        }
    p->found = found;
    p->n_found = h.n_items;
    return MUGA_OK;
}

muga_status packed_map(packed_file *p, const char *path, muga_error *err) {
    os_map map;
    if (!is_little_endian())
        return error_set(err, MUGA_E_ENV, "packed files are for little-endian machines");
    muga_status st = os_map_open(path, &map, err);
    if (st)
        return st;
    if ((st = read_all(p, &map, path, err))) {
        os_map_close(&map);
        return st;
    }
    os_map_will_need(&map);
    p->map = map;
    p->mapped = true;
    return MUGA_OK;
}

bool packed_is_mapped(const packed_file *p) {
    return p->mapped;
}
bool packed_in_doubt(const packed_file *p) {
    return p->in_doubt;
}
void packed_doubt(packed_file *p) {
    p->in_doubt = true;
}

static bool is_wanted(const packed_item *want, const packed_item *found) {
    uint64_t bytes;
    if (want->kind != found->kind || want->type != found->type || want->n_parts != found->n_parts ||
        want->rows != found->rows || strcmp(want->name, found->name) != 0)
        return false;
    if (want->kind == PACKED_TABLE)
        return u64_mul(found->cols, found->type, &bytes) && bytes == found->bytes;
    return want->cols == found->cols && want->bytes == found->bytes;
}

bool packed_find(packed_file *p, packed_item *item) {
    if (!p->mapped || p->in_doubt)
        return false;
    if (p->i_next == p->n_found || !is_wanted(item, &p->found[p->i_next])) {
        p->in_doubt = true;
        return false;
    }
    *item = p->found[p->i_next++];
    return true;
}

/* ---- writing ---- */

void packed_add(packed_file *p, const packed_item *item) {
    if (p->n_items == p->cap_items) {
        uint32_t cap = p->cap_items ? 2 * p->cap_items : 256;
        packed_item *more = mem_resize_array(p->items, cap, sizeof *more);
        p->no_memory = p->no_memory || !more;
        if (!more)
            return;
        p->items = more;
        p->cap_items = cap;
    }
    packed_item *kept = &p->items[p->n_items++];
    *kept = *item;
    if (item->kind == PACKED_VECTOR) {
        kept->data = arena_copy_bytes(&p->vectors, item->data, (size_t)item->bytes);
        p->no_memory = p->no_memory || !kept->data;
    }
}

static void put_u32(str *out, uint32_t v) {
    str_append(out, (const char *)&v, sizeof v);
}
static void put_u64(str *out, uint64_t v) {
    str_append(out, (const char *)&v, sizeof v);
}

static uint64_t aligned(uint64_t at) {
    return (at + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_items(const packed_file *p, uint64_t at, str *out) {
    for (uint32_t i = 0; i < p->n_items; i++) {
        const packed_item *item = &p->items[i];
        at = aligned(at);
        str_append(out, item->name, PACKED_NAME_BYTES);
        put_u32(out, (uint32_t)item->kind);
        put_u32(out, item->type);
        put_u32(out, item->n_parts);
        put_u32(out, 0);
        put_u64(out, item->rows);
        put_u64(out, item->cols);
        put_u64(out, at);
        put_u64(out, item->bytes);
        at += item->bytes;
    }
}

static muga_status make_head(const packed_file *p, span path, str *out, muga_error *err) {
    uint64_t head_bytes = 8 + 8 + 8 + 12 + path.n + (uint64_t)p->n_sources * SOURCE_BYTES +
                          (uint64_t)p->n_items * ITEM_BYTES;
    uint64_t end = head_bytes + SHA256_BYTES;
    uint8_t sum[SHA256_BYTES];
    for (uint32_t i = 0; i < p->n_items; i++)
        end = aligned(end) + p->items[i].bytes;
    str_append(out, MAGIC, 8);
    put_u32(out, VERSION);
    put_u32(out, kernel_panel_layout());
    put_u64(out, end + SHA256_BYTES);
    put_u32(out, p->n_sources);
    put_u32(out, p->n_items);
    put_u32(out, (uint32_t)path.n);
    str_append(out, path.p, path.n);
    for (uint32_t i = 0; i < p->n_sources; i++) {
        const source_id *s = &p->sources[i];
        put_u64(out, s->device);
        put_u64(out, s->inode);
        put_u64(out, s->size);
        put_u64(out, (uint64_t)s->mtime_ns);
        put_u64(out, (uint64_t)s->ctime_ns);
    }
    put_items(p, head_bytes + SHA256_BYTES, out);
    muga_status st = str_status(out, err, "the packed file");
    if (st)
        return st;
    sha256_of(str_get(out), out->len, sum);
    str_append(out, (const char *)sum, sizeof sum);
    return str_status(out, err, "the packed file");
}

/* An output that knows what it wrote, and writes it in stretches of a huge page: systems that keep files in large pages
 * choose them by the write, and a start then maps the whole file with a page table of a few entries. */
typedef struct summed {
    os_output out;
    sha256 sum;
    uint64_t at;
    uint8_t *page; /* [HUGE_BYTES], the first at % HUGE_BYTES not yet written */
} summed;

static muga_status put(summed *s, const void *p, uint64_t n, muga_error *err) {
    const uint8_t *from = p;
    muga_status st = MUGA_OK;
    sha256_update(&s->sum, p, (size_t)n);
    while (n > 0 && !st) {
        size_t used = (size_t)(s->at % HUGE_BYTES), step = (size_t)MIN(n, HUGE_BYTES - used);
        memcpy(s->page + used, from, step);
        s->at += step;
        from += step;
        n -= step;
        if (s->at % HUGE_BYTES == 0)
            st = os_output_write(&s->out, s->page, HUGE_BYTES, err);
    }
    return st;
}

static muga_status put_all(const packed_file *p, const str *head, summed *s, muga_error *err) {
    static const uint8_t zeros[ALIGNMENT];
    uint8_t sum[SHA256_BYTES];
    muga_status st = put(s, str_get(head), head->len, err);
    for (uint32_t i = 0; i < p->n_items && !st; i++) {
        st = put(s, zeros, aligned(s->at) - s->at, err);
        if (!st)
            st = put(s, p->items[i].data, p->items[i].bytes, err);
    }
    if (st)
        return st;
    sha256 all = s->sum;
    sha256_final(&all, sum);
    st = put(s, sum, sizeof sum, err);
    return st ? st : os_output_write(&s->out, s->page, (size_t)(s->at % HUGE_BYTES), err);
}

static muga_status make_folder(const os_files *files, const char *path, muga_error *err) {
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return MUGA_OK;
    char *folder = mem_copy_bytes(path, (size_t)(slash - path));
    muga_status st = folder ? files->mkdirs(files->self, folder, err) : error_nomem(err, path);
    free(folder);
    return st;
}

muga_status packed_write(const packed_file *p, const os_files *files, const char *path, const char *source,
                         muga_error *err) {
    str head = STR_INIT;
    summed s = {.at = 0};
    span from = span_of_string(source);
    if (!is_little_endian())
        return error_set(err, MUGA_E_ENV, "packed files are for little-endian machines");
    if (p->n_sources > MAX_SOURCES || p->n_items > MAX_ITEMS || from.n > MAX_PATH_BYTES)
        return error_set(err, MUGA_E_LIMIT, "this model is not one that a packed file is made of");
    if (p->no_memory)
        return error_nomem(err, "the packed file");
    s.page = malloc(HUGE_BYTES);
    if (!s.page)
        return error_nomem(err, "the packed file");
    sha256_init(&s.sum);
    muga_status st = make_head(p, from, &head, err);
    if (!st)
        st = make_folder(files, path, err);
    if (!st)
        st = os_output_open(files, path, &s.out, err);
    if (!st)
        st = put_all(p, &head, &s, err);
    if (!st)
        st = os_output_commit(&s.out, err);
    os_output_close(&s.out);
    str_release(&head);
    free(s.page);
    return st;
}

/* ---- keeping house ---- */

muga_status packed_check(const char *path, muga_error *err) {
    os_map map;
    file_head h;
    uint8_t sum[SHA256_BYTES];
    muga_status st = os_map_open(path, &map, err);
    if (st)
        return st;
    st = read_head(&map, path, &h, err);
    if (!st) {
        sha256_of(map.data, (size_t)(map.size - SHA256_BYTES), sum);
        if (memcmp(sum, map.data + map.size - SHA256_BYTES, sizeof sum) != 0)
            st = refuse(err, path, "damaged: its content is not its digest");
    }
    os_map_close(&map);
    return st;
}

muga_status packed_check_source(const os_files *files, const char *path, muga_error *err) {
    os_map map;
    file_head h;
    os_stat now;
    muga_status st = os_map_open(path, &map, err);
    if (st)
        return st;
    st = read_head(&map, path, &h, err);
    char *from = st ? NULL : mem_copy_bytes(h.path.p, h.path.n);
    if (!st && !from)
        st = error_nomem(err, "a path");
    if (!st)
        st = files->stat(files->self, from, &now, err);
    if (!st) {
        source_id was = {0}, is = {now.device, now.inode, now.size, now.mtime_ns, now.ctime_ns};
        if (h.n_sources > 0)
            was = read_source(h.sources);
        if (!same_source(&was, &is))
            st = error_set(err, MUGA_E_NOT_FOUND, "%.120s: its model is gone or another one (%.100s)", path, from);
    }
    free(from);
    os_map_close(&map);
    return st;
}
