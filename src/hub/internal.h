/* Private to hub/: names, manifests and blobs as files. */
#ifndef MUGA_HUB_INTERNAL_H
#define MUGA_HUB_INTERNAL_H

#include "gguf/gguf.h"
#include "hub/hub.h"

#define HUB_MAX_MANIFEST ((size_t)64 << 10)
#define HUB_MAX_TEXT ((size_t)4 << 20) /* a text of a model: system message, template, licence, messages */
#define HUB_MAX_PARTS 128
#define HUB_DIGEST_BYTES 72 /* "sha256:", 64 digits, the end */

/* What a model has beside its weights, in the order in which its digest has them. */
typedef enum {
    HUB_PART_ADAPTER,
    HUB_PART_PARAMETERS,
    HUB_PART_SYSTEM,
    HUB_PART_TEMPLATE,
    HUB_PART_LICENSE,
    HUB_PART_MESSAGES
} hub_part_kind;
const char *hub_part_name(hub_part_kind kind);
/* false: there is no such kind. */
bool hub_part_find(const char *name, hub_part_kind *out);

/* ---- names and manifests (manifest.c) ---- */
typedef struct hub_name {
    char name[128], tag[128];
} hub_name;
bool hub_name_is_part(const char *p, size_t n); /* before the colon, or behind it */
muga_status hub_name_parse(const char *model, hub_name *out, muga_error *err);
/* The manifest as it lies there, whole: a model's has a "blob" and, where it has parts, valid ones; else it is an
 * alias. New reference. E_NOT_FOUND; E_INPUT: it is damaged, or a newer muga's. */
muga_status hub_manifest_read(const hub *h, const hub_name *n, json_t **out, os_stat *info, muga_error *err);
/* The same, past aliases: *n becomes the model's own name. */
muga_status hub_manifest_follow(const hub *h, hub_name *n, json_t **out, os_stat *info, muga_error *err);
/* m gets "name" and "tag". What the name was before is there until this is. */
muga_status hub_manifest_write(const hub *h, const hub_name *n, json_t *m, muga_error *err);
/* The same; blobs of what the name was before go where nobody else needs them. */
muga_status hub_manifest_replace(const hub *h, const hub_name *n, json_t *m, muga_error *err);
muga_status hub_manifest_remove(const hub *h, const hub_name *n, muga_error *err);
/* Calls visit for each digest that the manifest names, until it says something else than MUGA_OK. */
muga_status hub_manifest_digests(const json_t *m, muga_status (*visit)(void *ctx, const char *digest), void *ctx);
/* What a manifest no longer there named, and no other names, is removed. NULL: nothing was there. */
muga_status hub_drop_unused(const hub *h, const json_t *m, muga_error *err);

/* ---- blobs (blobs.c) ---- */
/* digest is valid. */
muga_status hub_blob_path(const hub *h, const char *digest, str *out, muga_error *err);
/* All of it at once. *there: it was in the store already (and is now, too). */
muga_status hub_put_bytes(const hub *h, const void *p, size_t n, char digest[HUB_DIGEST_BYTES], bool *there,
                          muga_error *err);
/* A file from elsewhere. */
muga_status hub_put_file(const hub *h, const char *path, char digest[HUB_DIGEST_BYTES], uint64_t *bytes, bool *there,
                         muga_error *err);

/* ---- what a file says of its model (details.c) ---- */
void hub_details_of(const gguf_file *f, hub_details *out);
json_t *hub_details_write(const hub_details *d); /* NULL: out of memory */
/* false: they aren't all there. */
bool hub_details_read(const json_t *v, hub_details *out);

#endif
