/* The tokenizer's keys: which file tells the vocabulary, special tokens and their ids, what stands around a text, where
 * a turn ends, the chat template. */
#include "convert/hf_vocab.h"

#include <stdio.h>

#define SPACE "\xE2\x96\x81"
#define ADDED_SCORE (-1000.0f) /* of tokens that no merge makes */
#define NONE (-1)
#define UNSAID (-2)

typedef struct ids {
    int64_t bos, eos, unknown, padding, sep, cls, mask; /* NONE */
    int64_t first, last;                                /* around a text; NONE, or UNSAID */
    int64_t eot, eom;
} ids;

static void fail_nomem(hf_vocab *v) {
    if (!v->m->st)
        v->m->st = error_nomem(v->m->err, "the vocabulary");
}

static void put_text(hf_vocab *v, int64_t id, const char *p, size_t n, int32_t type) {
    if (n > HF_MAX_TOKEN_BYTES) {
        hf_fail(v->m, "the tokenizer: token %lld has %zu bytes (at most %u allowed)", (long long)id, n,
                HF_MAX_TOKEN_BYTES);
        return;
    }
    char *copy = arena_copy_bytes(&v->texts, p, n);
    if (!copy) {
        fail_nomem(v);
        return;
    }
    v->tokens[id] = span_of(copy, n);
    v->types[id] = type;
}

void hf_vocab_set(hf_vocab *v, int64_t id, const char *p, size_t n, int32_t type) {
    if (v->m->st)
        return;
    if (id < 0 || id >= v->n)
        hf_fail(v->m, "the tokenizer has a token %lld, but \"vocab_size\" in config.json is %u", (long long)id, v->n);
    else if (v->tokens[id].p)
        hf_fail(v->m, "the tokenizer has two tokens with the id %lld: \"%.40s\" and \"%.40s\"", (long long)id,
                v->tokens[id].p, p);
    else
        put_text(v, id, p, n, type);
}

/* SentencePiece's own user-defined tokens are matched in the text itself, where a space is a space. */
static char *with_spaces(hf_vocab *v, const char *text) {
    size_t w = 0;
    char *out = arena_copy_string(&v->texts, text);
    while (out && *text) {
        bool mark = !strncmp(text, SPACE, 3);
        out[w++] = mark ? ' ' : *text;
        text += mark ? 3 : 1;
    }
    if (out)
        out[w] = 0;
    return out;
}

void hf_vocab_add(hf_vocab *v, int64_t id, const char *text, bool special) {
    int32_t type = special ? HF_CONTROL : HF_USER_DEFINED;
    if (v->m->st)
        return;
    if (id < 0 || id > UINT32_MAX) {
        hf_fail(v->m, "the tokenizer's added token \"%.60s\" has no usable id", text);
        return;
    }
    if (id >= v->n) {
        v->n_ignored++;
        return;
    }
    if (v->tokens[id].p && (v->types[id] == HF_UNKNOWN || v->types[id] == HF_BYTE))
        type = v->types[id];
    const char *spelled = type == HF_USER_DEFINED && !strcmp(v->kind, "llama") ? with_spaces(v, text) : text;
    if (!spelled) {
        fail_nomem(v);
        return;
    }
    if (v->scores && !v->tokens[id].p)
        v->scores[id] = ADDED_SCORE;
    put_text(v, id, spelled, strlen(spelled), type);
}

/* "added_tokens_decoder" of tokenizer_config.json: {"32000": {"content": ..., "special": ...}}. */
static void read_added(hf_vocab *v, const json_t *config) {
    const char *key;
    json_t *t;
    json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, t) {
        char *end;
        long long id = strtoll(key, &end, 10);
        const char *text = json_get_string(t, "content");
        if (*end || end == key || !text)
            hf_fail(v->m, "tokenizer_config.json: added token \"%.40s\" has no id or no \"content\"", key);
        else
            hf_vocab_add(v, id, text, json_get_bool(t, "special", false));
    }
}

/* ---- ids ---- */

/* A word's piece in WordPiece has U+2581 before it, a special token among them where no file calls it added. */
static bool is_piece(const hf_vocab *v, span piece, const char *text) {
    if (!piece.p || span_equal_string(piece, text))
        return piece.p != NULL;
    return !strcmp(v->kind, "bert") && piece.n > 3 && !memcmp(piece.p, SPACE, 3) &&
           span_equal_string(span_of(piece.p + 3, piece.n - 3), text);
}

static int64_t find_text(const hf_vocab *v, const char *text) {
    for (uint32_t i = 0; text && i < v->n; i++)
        if (is_piece(v, v->tokens[i], text))
            return i;
    return NONE;
}

/* "bos_token" and the like: a text, or an object with one. */
static const char *special_text(const json_t *config, const char *key) {
    const json_t *t = json_object_get(config, key);
    return json_is_string(t) ? json_string_value(t) : json_get_string(t, "content");
}

static int64_t first_id(const json_t *config, const char *key) {
    const json_t *id = json_object_get(config, key);
    id = json_is_array(id) ? json_array_get(id, 0) : id;
    return json_is_integer(id) ? json_integer_value(id) : NONE;
}

/* By text where a file says it, else by the id in config.json ("bos_token_id"). */
static int64_t special_id(const hf_vocab *v, const char *key) {
    const hf_dir *d = v->m->dir;
    const char *text = special_text(d->tokenizer_config, key);
    char id_key[40];
    int64_t id = find_text(v, text ? text : special_text(d->special_tokens, key));
    snprintf(id_key, sizeof id_key, "%s_id", key);
    id = id == NONE ? first_id(d->generation, id_key) : id;
    id = id == NONE ? first_id(v->m->config, id_key) : id;
    return id >= 0 && id < v->n ? id : NONE;
}

/* ---- what stands around a text ---- */

/* One side of a template: no token or one. */
static void frame_token(hf_vocab *v, int64_t *side, const char *text) {
    int64_t id = find_text(v, text);
    if (id == NONE || *side >= 0)
        hf_fail(v->m, "tokenizer.json: the post-processor puts \"%.40s\" around a text, %s", text ? text : "",
                id == NONE ? "which is no token" : "beside another token; only one is followed");
    *side = id;
}

static void read_template(hf_vocab *v, const json_t *processor, ids *out) {
    const json_t *single = json_object_get(processor, "single");
    bool after = false;
    out->first = out->last = NONE;
    for (size_t i = 0; i < json_array_size(single) && !v->m->st; i++) {
        const json_t *part = json_array_get(single, i), *token = json_object_get(part, "SpecialToken");
        if (json_object_get(part, "Sequence"))
            after = true;
        else
            frame_token(v, after ? &out->last : &out->first, json_get_string(token, "id"));
    }
}

static void read_processor(hf_vocab *v, const json_t *processor, ids *out) {
    const char *type = json_get_string(processor, "type");
    const json_t *list = json_object_get(processor, "processors");
    if (!type || !strcmp(type, "ByteLevel"))
        return;
    if (!strcmp(type, "Sequence")) {
        for (size_t i = 0; i < json_array_size(list) && !v->m->st; i++)
            read_processor(v, json_array_get(list, i), out); /* as deep as the JSON, which has a limit */
    } else if (!strcmp(type, "TemplateProcessing")) {
        read_template(v, processor, out);
    } else if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing")) {
        out->first = out->last = NONE;
        frame_token(v, &out->first, json_string_value(json_array_get(json_object_get(processor, "cls"), 0)));
        frame_token(v, &out->last, json_string_value(json_array_get(json_object_get(processor, "sep"), 0)));
    } else {
        hf_fail(v->m, "tokenizer.json: the post-processor \"%.60s\" is not known", type);
    }
}

/* Classes that make their own post-processor of two settings, whatever tokenizer.json says. */
static bool frames_itself(const json_t *config) {
    static const char *const classes[] = {"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"};
    const char *name = json_get_string(config, "tokenizer_class");
    for (size_t i = 0; name && i < ARRAY_LEN(classes); i++)
        if (!strncmp(name, classes[i], strlen(classes[i])))
            return true;
    return false;
}

static void read_frame(hf_vocab *v, ids *out) {
    const hf_dir *d = v->m->dir;
    out->first = out->last = UNSAID;
    if (d->tokenizer)
        read_processor(v, json_object_get(d->tokenizer, "post_processor"), out);
    bool says_bos = json_is_boolean(json_object_get(d->tokenizer_config, "add_bos_token"));
    if (frames_itself(d->tokenizer_config) && (says_bos || out->first == UNSAID)) {
        out->first = json_get_bool(d->tokenizer_config, "add_bos_token", true) ? out->bos : NONE;
        out->last = json_get_bool(d->tokenizer_config, "add_eos_token", false) ? out->eos : NONE;
    }
    if (out->first == UNSAID && !d->tokenizer)
        out->first = json_get_bool(d->tokenizer_config, "add_bos_token", true) ? out->bos : NONE;
    if (out->last == UNSAID && !d->tokenizer)
        out->last = json_get_bool(d->tokenizer_config, "add_eos_token", false) ? out->eos : NONE;
}

/* ---- where a turn ends ---- */

static bool is_one_of(const hf_vocab *v, int64_t id, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (span_equal_string(v->tokens[id], list[i]))
            return true;
    return false;
}

/* generation_config.json may list several ends. Of those that aren't the tokenizer's own and don't end a whole text,
 * the first ends a turn. */
static void read_ends(hf_vocab *v, ids *out) {
    static const char *const texts[] = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"};
    static const char *const messages[] = {"<|eom_id|>"};
    const json_t *list = json_object_get(v->m->dir->generation, "eos_token_id");
    out->eot = out->eom = NONE;
    for (size_t i = 0; i < json_array_size(list); i++) {
        int64_t id = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || id < 0 || id >= v->n || !v->tokens[id].p || id == out->eos)
            continue;
        if (is_one_of(v, id, messages, ARRAY_LEN(messages)))
            out->eom = id;
        else if (out->eot == NONE && !is_one_of(v, id, texts, ARRAY_LEN(texts)))
            out->eot = id;
    }
}

static void read_ids(hf_vocab *v, ids *out) {
    *out = (ids){.bos = special_id(v, "bos_token"),
                 .eos = special_id(v, "eos_token"),
                 .unknown = special_id(v, "unk_token"),
                 .padding = special_id(v, "pad_token"),
                 .sep = special_id(v, "sep_token"),
                 .cls = special_id(v, "cls_token"),
                 .mask = special_id(v, "mask_token")};
    for (uint32_t i = 0; i < v->n && out->unknown == NONE; i++)
        if (v->tokens[i].p && v->types[i] == HF_UNKNOWN)
            out->unknown = i;
    read_frame(v, out);
    read_ends(v, out);
}

/* ---- writing ---- */

static void put_id(hf_vocab *v, const char *key, int64_t id) {
    if (id >= 0)
        gguf_writer_add_u32(v->m->w, key, (uint32_t)id);
}

static void put_frame(hf_vocab *v, const ids *i) {
    gguf_writer *w = v->m->w;
    bool bert = !strcmp(v->kind, "bert");
    int64_t bos = i->first >= 0 ? i->first : bert ? i->cls : i->bos, end = bert ? i->sep : i->eos;
    if (i->last >= 0 && i->last != end && i->last != i->sep)
        hf_fail(v->m, "the tokenizer ends a text with \"%.40s\", which is not its end token", v->tokens[i->last].p);
    if (i->last >= 0 && !bert)
        end = i->last;
    put_id(v, "tokenizer.ggml.bos_token_id", bos);
    put_id(v, "tokenizer.ggml.eos_token_id", bert ? i->eos : end);
    if (i->first != UNSAID || !bert)
        gguf_writer_add_bool(w, "tokenizer.ggml.add_bos_token", i->first >= 0);
    if (bert)
        gguf_writer_add_bool(w, "tokenizer.ggml.add_sep_token", i->last >= 0);
    else
        gguf_writer_add_bool(w, "tokenizer.ggml.add_eos_token", i->last >= 0);
}

static void put_pieces(hf_vocab *v) {
    gguf_writer *w = v->m->w;
    for (uint32_t i = 0; i < v->n; i++) {
        if (v->tokens[i].p)
            continue;
        char *text = arena_printf(&v->texts, "[PAD%u]", i); /* rows of the embedding that no token has */
        if (!text) {
            fail_nomem(v);
            return;
        }
        v->tokens[i] = span_of_string(text);
        v->types[i] = HF_UNUSED;
        if (v->scores)
            v->scores[i] = ADDED_SCORE;
    }
    gguf_writer_add_string(w, "tokenizer.ggml.model", v->kind);
    gguf_writer_add_string(w, "tokenizer.ggml.pre", v->pre ? v->pre : "default");
    gguf_writer_add_strings(w, "tokenizer.ggml.tokens", v->tokens, v->n);
    if (v->scores)
        gguf_writer_add_f32s(w, "tokenizer.ggml.scores", v->scores, v->n);
    gguf_writer_add_i32s(w, "tokenizer.ggml.token_type", v->types, v->n);
    if (v->merges)
        gguf_writer_add_strings(w, "tokenizer.ggml.merges", v->merges, v->n_merges);
}

static void put_rules(hf_vocab *v) {
    gguf_writer *w = v->m->w;
    if (v->has_space_prefix)
        gguf_writer_add_bool(w, "tokenizer.ggml.add_space_prefix", v->space_prefix);
    if (v->has_merge_spaces && !strcmp(v->kind, "t5"))
        gguf_writer_add_bool(w, "tokenizer.ggml.remove_extra_whitespaces", v->merge_spaces);
    else if (v->merge_spaces)
        hf_fail(v->m, "tokenizer.model: it takes several spaces as one, which the \"llama\" tokenizer doesn't");
    if (v->has_lowercase) {
        gguf_writer_add_bool(w, "tokenizer.ggml.normalizer.lowercase", v->lowercase);
        gguf_writer_add_bool(w, "tokenizer.ggml.normalizer.strip_accents", v->strip_accents);
    }
    if (!strcmp(v->kind, "t5") && v->n_charsmap)
        gguf_writer_add_bytes(w, "tokenizer.ggml.precompiled_charsmap", v->charsmap, v->n_charsmap);
    if (v->m->arch->id == HF_BERT && v->m->p.n_types)
        gguf_writer_add_u32(w, "tokenizer.ggml.token_type_count", v->m->p.n_types);
}

static void put_named_template(hf_model *m, const char *name, const char *text) {
    str key = STR_INIT;
    str_printf(&key, "tokenizer.chat_template.%s", name);
    if (str_status(&key, m->err, "a chat template's name"))
        m->st = MUGA_E_NOMEM;
    else
        gguf_writer_add_string(m->w, str_get(&key), text);
    str_release(&key);
}

/* chat_template.jinja goes before tokenizer_config.json, where there may be several under names. */
static void put_templates(hf_model *m) {
    const json_t *t = json_object_get(m->dir->tokenizer_config, "chat_template");
    const char *text = m->dir->chat_template ? m->dir->chat_template : json_string_value(t);
    for (size_t i = 0; i < json_array_size(t) && !m->st; i++) {
        const char *name = json_get_string(json_array_get(t, i), "name");
        const char *named = json_get_string(json_array_get(t, i), "template");
        for (size_t k = 0; k < i && name; k++)
            if (!strcmp(json_get_string(json_array_get(t, k), "name"), name))
                hf_fail(m, "tokenizer_config.json: two chat templates are called \"%.60s\"", name);
        if (m->st)
            return;
        if (!name || !named || !*name || strlen(name) > 60)
            hf_fail(m, "tokenizer_config.json: chat template %zu has no name or no text", i);
        else if (strcmp(name, "default") != 0)
            put_named_template(m, name, named);
        else if (!text)
            text = named;
    }
    if (text && !m->st)
        gguf_writer_add_string(m->w, "tokenizer.chat_template", text);
}

static void read_pieces(hf_vocab *v) {
    const hf_dir *d = v->m->dir;
    bool from_model = d->sentencepiece.len > 0 && (!d->tokenizer || hf_is_sentencepiece(d->tokenizer));
    if (from_model)
        hf_read_sentencepiece(v, str_get(&d->sentencepiece), d->sentencepiece.len);
    if (d->tokenizer)
        hf_read_tokenizer_json(v, d->tokenizer, !from_model);
    if (!d->tokenizer && !from_model && !v->m->st)
        v->m->st = error_set(v->m->err, MUGA_E_NOT_FOUND,
                             "%.120s: no tokenizer.json, no tokenizer.model, no vocab.json with merges.txt in it",
                             d->path);
    if (!v->m->st)
        read_added(v, d->tokenizer_config);
}

void hf_write_tokenizer(hf_model *m) {
    hf_vocab v = {.m = m, .n = m->p.n_vocab, .kind = ""};
    ids i;
    if (m->st)
        return;
    arena_init(&v.texts, 0);
    v.tokens = mem_alloc_array(v.n, sizeof *v.tokens);
    v.types = mem_alloc_array(v.n, sizeof *v.types);
    if (v.tokens && v.types)
        read_pieces(&v);
    else
        fail_nomem(&v);
    if (!m->st) {
        read_ids(&v, &i);
        put_pieces(&v);
    }
    if (!m->st) {
        put_frame(&v, &i);
        put_id(&v, "tokenizer.ggml.unknown_token_id", i.unknown);
        put_id(&v, "tokenizer.ggml.padding_token_id", i.padding);
        put_id(&v, "tokenizer.ggml.seperator_token_id", i.sep); /* spelled so in the format */
        put_id(&v, "tokenizer.ggml.cls_token_id", i.cls);
        put_id(&v, "tokenizer.ggml.mask_token_id", i.mask);
        put_id(&v, "tokenizer.ggml.eot_token_id", i.eot);
        put_id(&v, "tokenizer.ggml.eom_token_id", i.eom);
        put_rules(&v);
        put_templates(m);
    }
    arena_release(&v.texts);
    free(v.tokens);
    free(v.types);
    free(v.scores);
    free(v.merges);
}
