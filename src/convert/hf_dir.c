/* Opening a model's folder (hf_dir.h).
 *
 * The index of a model in several files and the files themselves must agree, tensor by tensor: a shard that is missing,
 * from another download, or holds more than the index says is refused by name. */
#include "convert/hf_dir.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdio.h>

#define MAX_JSON_BYTES JSON_MAX_BYTES
#define MAX_MODEL_BYTES ((size_t)64 << 20) /* tokenizer.model */
#define MAX_TEMPLATE_BYTES ((size_t)4 << 20)
#define MAX_SHARDS 1000u
#define INDEX "model.safetensors.index.json"
#define SINGLE "model.safetensors"

static char *join(const char *dir, const char *name) {
    str s = STR_INIT;
    str_printf(&s, "%s/%s", dir, name);
    return str_take(&s);
}

/* A name from a file's text that stays in the folder: no slash, not ".." and the like. */
static bool is_plain_name(const char *name) {
    return *name && strlen(name) <= 255 && !strchr(name, '/') && *name != '.';
}

/* Where a file of the folder lies; *path NULL: there is none. To be freed. */
static muga_status locate(const hf_dir *d, const char *name, char **path, muga_error *err) {
    os_stat at = {.type = OS_TYPE_NONE};
    *path = NULL;
    char *full = join(d->path, name);
    if (!full)
        return error_nomem(err, name);
    if (!d->named) {
        muga_status st = d->files->stat(d->files->self, full, &at, err);
        if (!st && at.type != OS_TYPE_NONE)
            *path = full;
        else
            free(full);
        return st;
    }
    const char *lies = json_get_string(d->named, full + d->n_top + 1);
    free(full);
    if (lies && !(*path = mem_copy_string(lies)))
        return error_nomem(err, name);
    return MUGA_OK;
}

/* Of files that are named: where they lie is nobody's business. */
static muga_status say_name(const hf_dir *d, const char *name, const char *path, muga_status st, muga_error *err) {
    char full[400];
    snprintf(full, sizeof full, "%.100s/%.255s", d->path, name);
    if (st && d->named)
        error_call_path(err, path, full);
    return st;
}

/* The bytes of a file that need not be there: *there false. */
static muga_status read_optional(const hf_dir *d, const char *name, size_t max, str *out, bool *there,
                                 muga_error *err) {
    char *path;
    muga_status st = locate(d, name, &path, err);
    *there = path != NULL;
    if (path)
        st = say_name(d, name, path, os_read_file(d->files, path, max, out, err), err);
    free(path);
    return st;
}

/* One JSON object, NULL where the file isn't there. */
static muga_status read_json(const hf_dir *d, const char *name, json_t **out, muga_error *err) {
    str text = STR_INIT;
    bool there;
    muga_status st = read_optional(d, name, MAX_JSON_BYTES, &text, &there, err);
    if (!st && there)
        st = json_parse(str_get(&text), text.len, name, out, err);
    if (!st && *out && !json_is_object(*out))
        st = error_set(err, MUGA_E_INPUT, "%s: it is no JSON object; fetch it again", name);
    str_release(&text);
    return st;
}

static muga_status need(const json_t *v, const hf_dir *d, const char *name, muga_error *err) {
    return v ? MUGA_OK
             : error_set(err, MUGA_E_NOT_FOUND, "%.150s: no %s in it; %s", d->path, name,
                         d->named ? "a Hugging Face model has one" : "DIR is the folder of a Hugging Face model");
}

/* ---- sentence-transformers: modules.json lists what a text goes through ---- */

static bool is_module(const char *type, const char *name) {
    size_t n = type ? strlen(type) : 0, n_name = strlen(name);
    return n > n_name && type[n - n_name - 1] == '.' && !strcmp(type + n - n_name, name);
}

static muga_status use_module(hf_dir *d, const char *top, const json_t *module, muga_error *err) {
    const char *type = json_get_string(module, "type"), *path = json_get_string(module, "path");
    bool is_transformer = is_module(type, "Transformer"), is_pooling = is_module(type, "Pooling");
    if (!type || !path || (*path && !is_plain_name(path)))
        return error_set(err, MUGA_E_INPUT, "modules.json: a module without type, or with a path out of the folder");
    if (!is_transformer && !is_pooling && !is_module(type, "Normalize"))
        return error_set(err, MUGA_E_INPUT,
                         "modules.json: a module of type \"%.80s\", which this version doesn't follow; it knows "
                         "Transformer, Pooling and Normalize",
                         type);
    if (is_transformer && *path) {
        char *inner = join(top, path);
        if (!inner)
            return error_nomem(err, path);
        free(d->path);
        d->path = inner;
    }
    if (is_pooling) {
        char *name = join(path, "config.json"), *here = d->path, *base = mem_copy_string(top);
        muga_status st = name && base ? MUGA_OK : error_nomem(err, path);
        d->path = base;
        if (!st)
            st = read_json(d, name, &d->pooling, err);
        if (!st)
            st = need(d->pooling, d, name, err);
        free(base);
        free(name);
        d->path = here;
        return st;
    }
    return MUGA_OK;
}

static muga_status read_modules(hf_dir *d, muga_error *err) {
    str text = STR_INIT;
    json_t *modules = NULL;
    bool there;
    char *top = mem_copy_string(d->path);
    muga_status st = top ? read_optional(d, "modules.json", 1 << 20, &text, &there, err) : error_nomem(err, d->path);
    if (!st && there)
        st = json_parse(str_get(&text), text.len, "modules.json", &modules, err);
    if (!st && there && !json_is_array(modules))
        st = error_set(err, MUGA_E_INPUT, "modules.json: it is no list; fetch it again");
    for (size_t i = 0; !st && there && i < json_array_size(modules); i++)
        st = use_module(d, top, json_array_get(modules, i), err);
    json_decref(modules);
    str_release(&text);
    free(top);
    return st;
}

/* ---- weights ---- */

static muga_status open_shard(hf_dir *d, const char *name, muga_error *err) {
    char *path;
    muga_status st = locate(d, name, &path, err);
    if (!st && !path)
        return error_set(err, MUGA_E_NOT_FOUND, "%.80s: the file \"%.100s\" that %s names is missing; fetch it",
                         d->path, name, INDEX);
    if (!st)
        st = say_name(d, name, path, safetensors_open(path, &d->shards[d->n_shards], err), err);
    d->n_shards += !st;
    free(path);
    return st;
}

static int by_name(const void *a, const void *b) {
    const hf_weight *x = a, *y = b;
    return strcmp(x->t->name, y->t->name);
}

int64_t hf_dir_find(const hf_dir *d, const char *name) {
    const safetensors_tensor key = {.name = name};
    const hf_weight wanted = {.t = &key};
    const hf_weight *w = d->n_weights ? bsearch(&wanted, d->weights, d->n_weights, sizeof wanted, by_name) : NULL;
    return w ? w - d->weights : -1;
}

/* All tensors of all shards under one roof. */
static muga_status gather(hf_dir *d, muga_error *err) {
    size_t n = 0;
    for (uint32_t i = 0; i < d->n_shards; i++)
        n += safetensors_count(d->shards[i]);
    if (n > SAFETENSORS_MAX_TENSORS)
        return error_set(err, MUGA_E_LIMIT, "the model has %zu tensors (at most %u allowed)", n,
                         SAFETENSORS_MAX_TENSORS);
    d->weights = mem_alloc_array(n, sizeof *d->weights);
    if (!d->weights)
        return error_nomem(err, "the model's tensors");
    for (uint32_t i = 0; i < d->n_shards; i++)
        for (uint32_t k = 0; k < safetensors_count(d->shards[i]); k++)
            d->weights[d->n_weights++] = (hf_weight){safetensors_at(d->shards[i], k), i};
    qsort(d->weights, d->n_weights, sizeof *d->weights, by_name);
    for (uint32_t i = 0; i + 1 < d->n_weights; i++)
        if (!by_name(&d->weights[i], &d->weights[i + 1]))
            return error_set(err, MUGA_E_INPUT, "tensor \"%.100s\" is in two of the model's files",
                             d->weights[i].t->name);
    return MUGA_OK;
}

/* Each file once, in the order in which the index first names it; i_shard[i] is that of the i-th entry. */
static muga_status open_named(hf_dir *d, const json_t *map, uint32_t *i_shard, muga_error *err) {
    const char *tensor, *names[MAX_SHARDS];
    json_t *value;
    uint32_t i = 0;
    json_object_foreach(json_borrow(map), tensor, value) {
        const char *name = json_string_value(value);
        if (!name || !is_plain_name(name))
            return error_set(err, MUGA_E_INPUT, "%s: \"%.100s\" is in no file of this folder", INDEX, tensor);
        uint32_t k = 0;
        while (k < d->n_shards && strcmp(names[k], name) != 0)
            k++;
        if (k == d->n_shards) {
            if (k == MAX_SHARDS)
                return error_set(err, MUGA_E_LIMIT, "%s: more than %u files", INDEX, MAX_SHARDS);
            names[k] = name;
            muga_status st = open_shard(d, name, err);
            if (st)
                return st;
        }
        i_shard[i++] = k;
    }
    return MUGA_OK;
}

static muga_status check_index(const hf_dir *d, const json_t *map, const uint32_t *i_shard, muga_error *err) {
    const char *tensor;
    json_t *value;
    uint32_t i = 0;
    json_object_foreach(json_borrow(map), tensor, value) {
        int64_t at = hf_dir_find(d, tensor);
        if (at < 0 || d->weights[at].i_shard != i_shard[i++])
            return error_set(err, MUGA_E_INPUT, "%s: \"%.90s\" is not in %.90s; the files don't belong together", INDEX,
                             tensor, json_string_value(value));
    }
    for (uint32_t k = 0; k < d->n_weights; k++)
        if (!json_object_get(map, d->weights[k].t->name))
            return error_set(err, MUGA_E_INPUT, "tensor \"%.100s\" isn't in %s; the files don't belong together",
                             d->weights[k].t->name, INDEX);
    return MUGA_OK;
}

static muga_status open_indexed(hf_dir *d, const json_t *index, muga_error *err) {
    const json_t *map = json_object_get(index, "weight_map");
    size_t n = json_object_size(map);
    if (!json_is_object(map) || n == 0 || n > SAFETENSORS_MAX_TENSORS)
        return error_set(err, MUGA_E_INPUT, "%s: \"weight_map\" is missing, empty or too large", INDEX);
    uint32_t *i_shard = mem_alloc_array(n, sizeof *i_shard);
    d->shards = mem_alloc_array(MIN(n, (size_t)MAX_SHARDS), sizeof *d->shards);
    muga_status st = i_shard && d->shards ? MUGA_OK : error_nomem(err, "the model's files");
    if (!st)
        st = open_named(d, map, i_shard, err);
    if (!st)
        st = gather(d, err);
    if (!st)
        st = check_index(d, map, i_shard, err);
    free(i_shard);
    return st;
}

static muga_status open_weights(hf_dir *d, muga_error *err) {
    json_t *index = NULL;
    char *single;
    muga_status st = locate(d, SINGLE, &single, err);
    free(single);
    if (single) {
        d->shards = mem_alloc_array(1, sizeof *d->shards);
        st = d->shards ? open_shard(d, SINGLE, err) : error_nomem(err, "the model's files");
        return st ? st : gather(d, err);
    }
    if (!st)
        st = read_json(d, INDEX, &index, err);
    if (!st && !index)
        st = error_set(err, MUGA_E_NOT_FOUND, "%.100s: neither %s nor %s in it; only safetensors are read", d->path,
                       SINGLE, INDEX);
    if (!st)
        st = open_indexed(d, index, err);
    json_decref(index);
    return st;
}

/* ---- the folder ---- */

/* What folders have that are older than tokenizer.json. */
static muga_status read_vocab_files(hf_dir *d, muga_error *err) {
    json_t *vocab = NULL, *added = NULL;
    str merges = STR_INIT;
    bool there = false;
    muga_status st = read_json(d, "vocab.json", &vocab, err);
    if (!st && vocab)
        st = read_optional(d, "merges.txt", MAX_JSON_BYTES, &merges, &there, err);
    if (!st && there && !utf8_valid(str_get(&merges), merges.len))
        st = error_set(err, MUGA_E_INPUT, "merges.txt: it is no UTF-8; fetch it again");
    if (!st && there)
        st = read_json(d, "added_tokens.json", &added, err);
    if (!st && there)
        st = hf_tokenizer_of_files(d, vocab, &merges, added, &d->tokenizer, err);
    json_decref(vocab);
    json_decref(added);
    str_release(&merges);
    return st;
}

static muga_status read_texts(hf_dir *d, muga_error *err) {
    str text = STR_INIT;
    bool there;
    muga_status st = read_json(d, "config.json", &d->config, err);
    if (!st)
        st = need(d->config, d, "config.json", err);
    if (!st)
        st = read_json(d, "generation_config.json", &d->generation, err);
    if (!st)
        st = read_json(d, "tokenizer_config.json", &d->tokenizer_config, err);
    if (!st)
        st = read_json(d, "special_tokens_map.json", &d->special_tokens, err);
    if (!st)
        st = read_json(d, "tokenizer.json", &d->tokenizer, err);
    if (!st)
        st = read_optional(d, "tokenizer.model", MAX_MODEL_BYTES, &d->sentencepiece, &there, err);
    if (!st && !d->tokenizer && !there)
        st = read_vocab_files(d, err);
    if (!st)
        st = read_optional(d, "chat_template.jinja", MAX_TEMPLATE_BYTES, &text, &there, err);
    if (!st && there && memchr(str_get(&text), 0, text.len))
        st = error_set(err, MUGA_E_INPUT, "chat_template.jinja: it holds a NUL byte; fetch it again");
    if (!st && there && !(d->chat_template = str_take(&text)))
        st = error_nomem(err, "chat_template.jinja");
    str_release(&text);
    return st;
}

muga_status hf_dir_open(const os_files *files, const char *path, const json_t *named, hf_dir *out, muga_error *err) {
    os_stat at = {.type = OS_TYPE_DIR};
    *out = (hf_dir){.files = files, .named = named, .path = mem_copy_string(path), .n_top = strlen(path)};
    if (!out->path)
        return error_nomem(err, path);
    muga_status st = named ? MUGA_OK : files->stat(files->self, path, &at, err);
    if (!st && at.type != OS_TYPE_DIR)
        st = error_set(err, MUGA_E_NOT_FOUND, "no such folder as '%.150s'; DIR is the folder of a Hugging Face model",
                       path);
    if (!st)
        st = read_modules(out, err);
    if (!st)
        st = read_texts(out, err);
    if (!st)
        st = open_weights(out, err);
    return st;
}

void hf_dir_release(hf_dir *d) {
    json_decref(d->config);
    json_decref(d->generation);
    json_decref(d->tokenizer);
    json_decref(d->tokenizer_config);
    json_decref(d->special_tokens);
    json_decref(d->pooling);
    free(d->chat_template);
    str_release(&d->sentencepiece);
    for (uint32_t i = 0; i < d->n_shards; i++)
        safetensors_close(d->shards[i]);
    free(d->shards);
    free(d->weights);
    free(d->path);
    *d = (hf_dir){0};
}
