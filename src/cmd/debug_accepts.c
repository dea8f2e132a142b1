/* muga debug accepts: can exactly this text leave a constraint? Byte by byte, or through a model's token masks; then
 * re-validation, where the constraint asks for it. */
#include "cmd/debug_schema.h"
#include "gguf/gguf.h"
#include "model/tokenizer.h"

typedef struct accept_job {
    tokenizer *tok; /* NULL: bytes */
    constrain_trie *trie;
    uint64_t *mask;
    json_t *documents; /* NULL: none */
    bool formats;      /* asserted, where a line doesn't say */
} accept_job;

static muga_status compile(const accept_job *job, const json_t *in, constrain_grammar **out, muga_error *err) {
    const json_t *schema = json_object_get(in, "schema"), *gbnf = json_object_get(in, "gbnf");
    const char *regex = json_get_string(in, "regex");
    constrain_options options = {.note_formats = !json_get_bool(in, "formats", job->formats)};
    *out = NULL;
    if ((schema != NULL) + (gbnf != NULL) + (json_object_get(in, "regex") != NULL) != 1)
        return error_set(err, MUGA_E_INPUT, "a line needs one of \"schema\", \"gbnf\" and \"regex\"");
    if (regex)
        return constrain_compile_regex(regex, out, err);
    if (json_is_string(gbnf))
        return constrain_compile_gbnf(json_string_value(gbnf), json_string_length(gbnf), out, err);
    if (!schema)
        return error_set(err, MUGA_E_INPUT, "\"gbnf\" and \"regex\" must be strings");
    muga_status st = debug_schema_options(in, job->documents, &options.draft, &options.documents, err);
    return st == MUGA_OK ? constrain_compile_schema(schema, &options, out, err) : st;
}

static muga_status accept_bytes(const constrain_grammar *g, const char *p, size_t n, bool *yes, muga_error *err) {
    constrain_state *s;
    muga_status st = constrain_state_new(g, &s, err);
    if (st != MUGA_OK)
        return st;
    st = constrain_advance(s, p, n, yes, err);
    *yes = *yes && constrain_is_complete(s);
    constrain_state_free(s);
    return st;
}

/* The text's own segmentation; where that has other bytes (a tokenizer that puts a space in front), the longest pieces
 * from the left. MUGA_E_INPUT: the vocabulary can't spell it. */
static muga_status segment(const accept_job *job, const char *p, size_t n, token_list *ids, muga_error *err) {
    size_t at = 0;
    bool same = true;
    muga_status st = tokenizer_encode(job->tok, p, n, (tokenizer_flags){0}, ids, err);
    for (size_t i = 0; i < ids->n && same; i++) {
        span piece = tokenizer_piece(job->tok, ids->ids[i]);
        same = piece.n <= n - at && memcmp(piece.p, p + at, piece.n) == 0;
        at += same ? piece.n : 0;
    }
    if (st != MUGA_OK || (same && at == n))
        return st;
    const span *pieces = tokenizer_text_pieces(job->tok);
    ids->n = 0;
    for (at = 0; at < n;) {
        int32_t longest = -1;
        for (int32_t i = 0; i < tokenizer_count(job->tok); i++)
            if (pieces[i].n > (longest < 0 ? 0 : pieces[longest].n) && pieces[i].n <= n - at &&
                memcmp(pieces[i].p, p + at, pieces[i].n) == 0)
                longest = i;
        if (longest < 0)
            return error_set(err, MUGA_E_INPUT, "the vocabulary can't spell byte %zu of the text", at);
        if (!token_list_push(ids, longest))
            return error_nomem(err, "ids");
        at += pieces[longest].n;
    }
    return MUGA_OK;
}

/* Every token of the segmentation must be in the mask where it comes. */
static muga_status accept_tokens(accept_job *job, const constrain_grammar *g, const char *p, size_t n, bool *yes,
                                 muga_error *err) {
    token_list ids = TOKEN_LIST_INIT;
    constrain_state *s = NULL;
    bool may_end = false;
    *yes = false;
    muga_status st = segment(job, p, n, &ids, err);
    if (st == MUGA_OK)
        st = constrain_state_new(g, &s, err);
    bool fits = true;
    for (size_t i = 0; i <= ids.n && st == MUGA_OK && fits; i++) {
        st = constrain_mask(s, job->trie, UINT32_MAX, job->mask, &may_end, err);
        if (st != MUGA_OK || i == ids.n)
            break;
        uint32_t id = (uint32_t)ids.ids[i];
        fits = job->mask[id / 64] >> id % 64 & 1;
        if (fits) {
            span piece = tokenizer_piece(job->tok, ids.ids[i]);
            st = constrain_advance(s, piece.p, piece.n, &fits, err);
        }
    }
    *yes = st == MUGA_OK && fits && may_end;
    constrain_state_free(s);
    token_list_release(&ids);
    return st;
}

static muga_status handle(void *ctx, const json_t *in, json_t **out, muga_error *err) {
    accept_job *job = ctx;
    const json_t *text = json_object_get(in, "text");
    constrain_grammar *g;
    bool yes = false;
    if (!json_is_string(text))
        return error_set(err, MUGA_E_INPUT, "a line needs \"text\", a string");
    muga_status st = compile(job, in, &g, err);
    if (st != MUGA_OK)
        return st;
    const char *p = json_string_value(text);
    size_t n = json_string_length(text);
    st = job->tok ? accept_tokens(job, g, p, n, &yes, err) : accept_bytes(g, p, n, &yes, err);
    if (st == MUGA_OK && yes) {
        st = constrain_recheck(g, p, n, err);
        yes = st == MUGA_OK;
        st = st == MUGA_E_NEGATIVE ? MUGA_OK : st;
    }
    constrain_grammar_free(g);
    *out = st == MUGA_OK ? json_boolean(yes) : NULL;
    return st;
}

static muga_status open_model(const char *name, accept_job *job, muga_error *err) {
    char *path = NULL;
    gguf_file *f = NULL;
    muga_status st = cmd_resolve(name, &path, err);
    if (st == MUGA_OK)
        st = gguf_open(path, &f, err);
    if (st == MUGA_OK)
        st = tokenizer_open(f, &job->tok, err);
    gguf_close(f);
    free(path);
    if (st != MUGA_OK)
        return st;
    constrain_vocab vocab = {.n = (uint32_t)tokenizer_count(job->tok), .pieces = tokenizer_text_pieces(job->tok)};
    job->mask = mem_alloc_array(vocab.n / 64 + 1, sizeof *job->mask);
    return job->mask ? constrain_trie_new(&vocab, &job->trie, err) : error_nomem(err, "a vocabulary");
}

int cmd_debug_accepts(int argc, char **argv) {
    const char *remotes = NULL, *formats = NULL;
    const cmd_option options[] = {DEBUG_SCHEMA_REMOTES(&remotes), DEBUG_SCHEMA_FORMATS(&formats)};
    cmd_positional p = {.max = 1};
    accept_job job = {.formats = true};
    muga_error err = {0};
    int code = cmd_parse("debug accepts", options, ARRAY_LEN(options), argc, argv, &p);
    if (code >= 0)
        return code;
    muga_status st = debug_schema_formats(formats, &job.formats, &err);
    if (st == MUGA_OK)
        st = debug_schema_load(remotes, &job.documents, &err);
    if (st == MUGA_OK && p.n == 1)
        st = open_model(p.v[0], &job, &err);
    code = st == MUGA_OK ? cmd_jsonl(handle, &job) : cmd_fail(&err);
    json_decref(job.documents);
    constrain_trie_free(job.trie);
    tokenizer_free(job.tok);
    free(job.mask);
    return code;
}
