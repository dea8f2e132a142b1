/* Tokenizer: the face over the vocabulary and the kinds of encoding. Owns the choice of kind, the cutting out of
 * special tokens, and decoding. Refuses: kinds and pre-tokenizers that aren't here, by name; special ids out of range.
 *
 * Text -> stretches between special tokens -> words (pretokenize) -> pieces (tokenizer_bpe). Where two special tokens
 * could begin at a place the longest is taken; the search goes left to right, as the reference tokenizers do. */
#define _GNU_SOURCE /* memmem */
#include "model/tokenizer_internal.h"

#include "base/utf8.h"

#define MAX_TEXT_BYTES ((size_t)1 << 30)

/* ---- lists ---- */

bool token_list_push(token_list *l, int32_t id) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        int32_t *more = mem_resize_array(l->ids, cap, sizeof more[0]);
        if (!more)
            return false;
        l->ids = more;
        l->cap = cap;
    }
    l->ids[l->n++] = id;
    return true;
}

void token_list_release(token_list *l) {
    free(l->ids);
    *l = (token_list)TOKEN_LIST_INIT;
}

/* ---- opening ---- */

typedef struct kind_row {
    const char *name; /* tokenizer.ggml.model */
    tokenizer_kind_id kind;
    vocab_spelling spelling;
    const char *pre; /* where the file names none; NULL: the kind has no pre-tokenizers */
    bool add_bos;    /* where the file doesn't say; so the rest */
    bool space_prefix;
    int32_t bos, eos, unknown;
} kind_row;

static const kind_row kinds[] = {
    {"gpt2", TOKENIZER_BPE, VOCAB_SPELLING_BYTES, "default", false, false, VOCAB_NONE, VOCAB_NONE, VOCAB_NONE},
    {"gemma4", TOKENIZER_GEMMA4, VOCAB_SPELLING_SPACE, "gemma4", true, false, VOCAB_NONE, VOCAB_NONE, VOCAB_NONE},
    {"llama", TOKENIZER_SPM, VOCAB_SPELLING_SPACE, NULL, true, true, 1, 2, 0},
    {"t5", TOKENIZER_UNIGRAM, VOCAB_SPELLING_SPACE, NULL, false, true, VOCAB_NONE, 1, 2},
    {"bert", TOKENIZER_WPM, VOCAB_SPELLING_SPACE, NULL, true, false, 101, VOCAB_NONE, 100},
};

static const kind_row *find_kind(span name) {
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (span_equal_string(name, kinds[i].name))
            return &kinds[i];
    }
    return NULL;
}

/* Kind and pre-tokenizer of the file. */
static muga_status choose_kind(const gguf_file *file, const kind_row **kind, const pretokenizer **pre,
                               muga_error *err) {
    span name, pre_name;
    muga_status st = gguf_get_string(file, "tokenizer.ggml.model", &name, err);
    if (st == MUGA_E_NOT_FOUND)
        return error_set(err, MUGA_E_INPUT,
                         "key \"tokenizer.ggml.model\" is missing; the file has no tokenizer: use another");
    if (st)
        return st;
    *kind = find_kind(name);
    if (!*kind)
        return error_set(
            err, MUGA_E_INPUT,
            "tokenizer \"%.*s\" is not supported (gpt2, gemma4, llama, t5 and bert are); use another model",
            (int)MIN(name.n, (size_t)40), name.p);
    *pre = NULL;
    if (!(*kind)->pre)
        return MUGA_OK;
    st = gguf_get_string(file, "tokenizer.ggml.pre", &pre_name, err);
    if (st && st != MUGA_E_NOT_FOUND)
        return st;
    if (st || pre_name.n == 0)
        pre_name = span_of_string((*kind)->pre);
    *pre = pretokenize_find(pre_name.p, pre_name.n);
    if (!*pre)
        return error_set(err, MUGA_E_INPUT,
                         "pre-tokenizer \"%.*s\" (key \"tokenizer.ggml.pre\") is not known; use a model with another",
                         (int)MIN(pre_name.n, (size_t)40), pre_name.p);
    return MUGA_OK;
}

/* Puts the file before the message where it isn't there yet: errors of gguf/ begin with it. */
static muga_status name_file(const gguf_file *file, muga_status st, muga_error *err) {
    const char *path = gguf_path(file);
    if (!st || !err || strncmp(err->message, path, strlen(path)) == 0)
        return st;
    return error_prefix(err, st, "%s", path);
}

bool tokenizer_is_supported(const gguf_file *file, muga_error *err) {
    const kind_row *kind;
    const pretokenizer *pre;
    return name_file(file, choose_kind(file, &kind, &pre, err), err) == MUGA_OK;
}

/* *id keeps its value when the key is missing. */
static muga_status read_id(const tokenizer *t, const gguf_file *file, const char *key, int32_t *out, muga_error *err) {
    uint32_t id;
    muga_status st = gguf_get_u32(file, key, &id, err);
    if (st)
        return st == MUGA_E_NOT_FOUND ? MUGA_OK : st;
    if (id >= t->vocab.n && id != UINT32_MAX)
        return error_set(err, MUGA_E_INPUT,
                         "key \"%s\" is %u, but the vocabulary has %u tokens; the file is damaged: fetch it again", key,
                         id, t->vocab.n);
    *out = (int32_t)id; /* some converters write 2^32 - 1 for none, which is VOCAB_NONE */
    return MUGA_OK;
}

static bool in_range(const tokenizer *t, int32_t id) {
    return id >= 0 && (uint32_t)id < t->vocab.n;
}

static void add_end(tokenizer *t, int32_t id) {
    if (id >= 0 && !tokenizer_is_end(t, id) && t->n_ends < TOKENIZER_MAX_ENDS)
        t->ends[t->n_ends++] = id;
}

/* Names that end a turn, in order of preference, then those that end a text or a message. */
static const char *const end_names[] = {"<|eot_id|>",
                                        "<|im_end|>",
                                        "<|end|>",
                                        "<end_of_turn>",
                                        "<turn|>",
                                        "<|endoftext|>",
                                        "<|end_of_text|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "<｜end▁of▁sentence｜>",
                                        "<end_of_utterance>",
                                        "</s>",
                                        "<|eom_id|>",
                                        "<eos>",
                                        "[EOS]",
                                        "<|return|>",
                                        "<|call|>",
                                        "<|tool_response>"};
enum { N_TURN_NAMES = 12, END_MESSAGE = 2, END_S = 12, END_RETURN = 16, END_CALL = 17, END_TOOL_RESPONSE = 18 };

/* The token of each well-known name, or VOCAB_NONE. They are control tokens whatever the file's types say (converters
 * often leave them normal), two cases excepted. */
static void find_ends(tokenizer *t, int32_t found[ARRAY_LEN(end_names)]) {
    for (size_t i = 0; i < ARRAY_LEN(end_names); i++)
        found[i] = VOCAB_NONE;
    for (uint32_t id = 0; id < t->vocab.n; id++) {
        span piece = vocab_piece(&t->vocab, id);
        if (piece.n < 4 || (piece.p[0] != '<' && piece.p[0] != '[' && piece.p[0] != '_'))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(end_names); i++) {
            if (span_equal_string(piece, end_names[i]))
                found[i] = (int32_t)id;
        }
    }
    /* In o200k's chat format "<|end|>" only closes one message of a turn. */
    if (found[END_RETURN] >= 0 && found[END_CALL] >= 0)
        found[END_MESSAGE] = VOCAB_NONE;
    /* In Gemma 4 "</s>" is markup like any other. */
    if (found[END_TOOL_RESPONSE] >= 0)
        found[END_S] = VOCAB_NONE;
    for (size_t i = 0; i < ARRAY_LEN(end_names); i++) {
        if (found[i] >= 0)
            t->vocab.types[found[i]] = VOCAB_CONTROL;
    }
}

/* Where generation ends: what the keys say, and the well-known names. */
static muga_status read_ends(tokenizer *t, const gguf_file *file, muga_error *err) {
    int32_t found[ARRAY_LEN(end_names)], eom = VOCAB_NONE;
    find_ends(t, found);
    muga_status st;
    if ((st = read_id(t, file, "tokenizer.ggml.eos_token_id", &t->eos, err)) ||
        (st = read_id(t, file, "tokenizer.ggml.eot_token_id", &t->eot, err)) ||
        (st = read_id(t, file, "tokenizer.ggml.eom_token_id", &eom, err)))
        return st;
    add_end(t, t->eos);
    add_end(t, t->eot);
    add_end(t, eom);
    for (size_t i = 0; i < ARRAY_LEN(end_names); i++) {
        if (t->eot < 0 && i < N_TURN_NAMES)
            t->eot = found[i];
        add_end(t, found[i]);
    }
    return MUGA_OK;
}

static muga_status read_bool(const gguf_file *file, const char *key, bool *value, muga_error *err) {
    muga_status st = gguf_get_bool(file, key, value, err);
    return st == MUGA_E_NOT_FOUND ? MUGA_OK : st;
}

/* What add_special puts around the text. */
static muga_status read_frame(tokenizer *t, const gguf_file *file, const kind_row *kind, muga_error *err) {
    bool add_bos = kind->add_bos || (t->pre && t->pre->add_bos), add_eos = t->kind == TOKENIZER_UNIGRAM,
         add_sep = t->kind == TOKENIZER_WPM;
    int32_t sep = t->kind == TOKENIZER_WPM ? 102 : VOCAB_NONE;
    muga_status st;
    if ((st = read_bool(file, "tokenizer.ggml.add_bos_token", &add_bos, err)) ||
        (st = read_bool(file, "tokenizer.ggml.add_eos_token", &add_eos, err)) ||
        (st = read_bool(file, "tokenizer.ggml.add_sep_token", &add_sep, err)) ||
        (st = read_id(t, file, "tokenizer.ggml.seperator_token_id", &sep, err))) /* spelled so in the format */
        return st;
    t->first = add_bos ? t->bos : VOCAB_NONE;
    t->last = add_eos ? t->eos : add_sep ? sep : VOCAB_NONE;
    if (add_bos && !in_range(t, t->first))
        return error_set(
            err, MUGA_E_INPUT,
            "the tokenizer asks for a beginning-of-text token, but \"tokenizer.ggml.bos_token_id\" is missing; "
            "use another file of this model");
    if ((add_eos || add_sep) && !in_range(t, t->last))
        return error_set(err, MUGA_E_INPUT,
                         "the tokenizer asks for an end-of-text token, but \"tokenizer.ggml.eos_token_id\" is missing; "
                         "use another file of this model");
    return MUGA_OK;
}

static int32_t find_piece(const tokenizer *t, const char *text) {
    int32_t id = vocab_find(&t->vocab, text, strlen(text));
    return in_range(t, id) ? id : VOCAB_NONE;
}

static bool holds_phi3(span name) {
    for (size_t i = 0; i + 4 <= name.n; i++) {
        const char *p = name.p + i;
        bool is_phi = (p[0] | 0x20) == 'p' && (p[1] | 0x20) == 'h' && (p[2] | 0x20) == 'i';
        if (is_phi && (p[3] == '3' || (p[3] == '-' && i + 5 <= name.n && p[4] == '3')))
            return true;
    }
    return false;
}

/* Files don't say which special tokens take the white space around them; models that need it are known by name. */
static muga_status read_stripping(tokenizer *t, const gguf_file *file, muga_error *err) {
    span name = {"", 0}, arch = {"", 0};
    muga_status st = gguf_get_string(file, "general.name", &name, err);
    if (!st || st == MUGA_E_NOT_FOUND)
        st = gguf_get_string(file, "general.architecture", &arch, err);
    if (st && st != MUGA_E_NOT_FOUND)
        return st;
    t->strips_after = t->kind == TOKENIZER_SPM && holds_phi3(name);
    t->keeps_after[0] = find_piece(t, "<unk>");
    t->keeps_after[1] = find_piece(t, "<s>");
    t->keeps_after[2] = find_piece(t, "<|endoftext|>");
    bool masks = span_equal_string(arch, "nomic-bert-moe") || span_equal_string(arch, "jina-bert-v3");
    t->strips_before = masks ? find_piece(t, "<mask>") : VOCAB_NONE;
    return MUGA_OK;
}

static muga_status read_specials(tokenizer *t, const gguf_file *file, const kind_row *kind, muga_error *err) {
    muga_status st;
    t->bos = (uint32_t)kind->bos < t->vocab.n ? kind->bos : VOCAB_NONE;
    t->eos = (uint32_t)kind->eos < t->vocab.n ? kind->eos : VOCAB_NONE;
    t->unknown = (uint32_t)kind->unknown < t->vocab.n ? kind->unknown : VOCAB_NONE;
    t->eot = VOCAB_NONE;
    t->space_prefix = kind->space_prefix;
    t->lowercase = true;
    if ((st = read_id(t, file, "tokenizer.ggml.bos_token_id", &t->bos, err)) ||
        (st = read_id(t, file, "tokenizer.ggml.unknown_token_id", &t->unknown, err)) ||
        (st = read_ends(t, file, err)) || (st = read_frame(t, file, kind, err)) ||
        (st = read_stripping(t, file, err)) ||
        (st = read_bool(file, "tokenizer.ggml.add_space_prefix", &t->space_prefix, err)) ||
        (st = read_bool(file, "tokenizer.ggml.remove_extra_whitespaces", &t->merge_spaces, err)) ||
        (st = read_bool(file, "tokenizer.ggml.normalizer.lowercase", &t->lowercase, err)))
        return st;
    t->strip_accents = t->lowercase;
    if ((t->kind == TOKENIZER_WPM || t->kind == TOKENIZER_UNIGRAM) && t->unknown < 0)
        return error_set(err, MUGA_E_INPUT,
                         "key \"tokenizer.ggml.unknown_token_id\" is missing; use another file of this model");
    return read_bool(file, "tokenizer.ggml.normalizer.strip_accents", &t->strip_accents, err);
}

/* Pieces, their table and the merges: from the packed file, or made and told to it. */
static muga_status read_tables(tokenizer *t, const gguf_file *file, packed_file *p, muga_error *err) {
    bool merges = t->kind != TOKENIZER_WPM && t->kind != TOKENIZER_UNIGRAM;
    muga_status st = merges ? bpe_init(t, file, err) : MUGA_OK;
    if (!st && merges && p && packed_is_mapped(p)) {
        if (tokenizer_packed_find(t, p))
            return MUGA_OK;
        packed_doubt(p);
        return error_set(err, MUGA_E_INPUT, "the packed file's tables are not this vocabulary's");
    }
    if (!st)
        st = vocab_read(&t->vocab, file, err);
    if (!st && merges)
        st = bpe_read(t, file, err);
    if (!st && merges && p)
        tokenizer_packed_add(t, p);
    return st;
}

static muga_status open_kind(tokenizer *t, const gguf_file *file, packed_file *p, muga_error *err) {
    const kind_row *kind;
    muga_status st = choose_kind(file, &kind, &t->pre, err);
    if (st)
        return st;
    t->kind = kind->kind;
    t->kind_name = kind->name;
    if ((st = vocab_init(&t->vocab, file, kind->spelling, err)) || (st = read_tables(t, file, p, err)))
        return st;
    bool tries_lengths = t->kind == TOKENIZER_WPM || t->kind == TOKENIZER_UNIGRAM;
    if (tries_lengths && t->vocab.longest > TOKENIZER_MAX_MATCH_BYTES)
        return error_set(err, MUGA_E_INPUT, "a token has %u bytes; in a \"%s\" vocabulary at most %d are allowed",
                         t->vocab.longest, t->kind_name, TOKENIZER_MAX_MATCH_BYTES);
    if (t->kind == TOKENIZER_UNIGRAM)
        st = unigram_init(t, file, err);
    else if (t->kind == TOKENIZER_WPM)
        st = wpm_init(t, err);
    if (st)
        return st;
    if ((st = read_specials(t, file, kind, err)))
        return st;
    return vocab_finish(&t->vocab, err);
}

muga_status tokenizer_open(const gguf_file *file, tokenizer **out, muga_error *err) {
    return tokenizer_open_packed(file, NULL, out, err);
}

muga_status tokenizer_open_packed(const gguf_file *file, packed_file *p, tokenizer **out, muga_error *err) {
    *out = NULL;
    tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return error_nomem(err, "tokenizer");
    muga_status st = open_kind(t, file, p, err);
    if (st) {
        tokenizer_free(t);
        return name_file(file, st, err);
    }
    *out = t;
    return MUGA_OK;
}

void tokenizer_free(tokenizer *t) {
    if (!t)
        return;
    bpe_release(t);
    unigram_release(t);
    free(t->wpm_reach);
    vocab_release(&t->vocab);
    free(t);
}

/* ---- encoding ---- */

/* One call of tokenizer_encode. */
typedef struct encoding {
    const tokenizer *t;
    const char *text;
    tokenizer_flags flags;
    token_list *out;
    uint64_t work;
    muga_error *err;
} encoding;

/* In the kinds whose pieces write a space as U+2581 the two are the same character to the model; and a stretch begins
 * the text or follows a special token, where the prefix is due. */
static muga_status encode_spaced(encoding *e, const char *text, size_t n, size_t offset) {
    const tokenizer *t = e->t;
    char *spaced = malloc(n + 1);
    if (!spaced)
        return error_nomem(e->err, "text");
    size_t prefix = t->space_prefix, n_spaced = 0;
    spaced[0] = ' ';
    (void)vocab_spell(VOCAB_SPELLING_SPACE, text, n, spaced + prefix, &n_spaced);
    muga_status st =
        bpe_encode(t, span_of(spaced, prefix + n_spaced), offset, e->flags.lossy, e->out, &e->work, e->err);
    free(spaced);
    return st;
}

static muga_status encode_stretch(encoding *e, size_t from, size_t to) {
    const tokenizer *t = e->t;
    const char *p = e->text + from;
    size_t n = to - from;
    if (n == 0)
        return MUGA_OK;
    if (t->kind == TOKENIZER_WPM)
        return wpm_encode(t, p, n, e->out, &e->work, e->err);
    if (t->kind == TOKENIZER_UNIGRAM)
        return unigram_encode(t, span_of(p, n), e->out, &e->work, e->err);
    if (t->vocab.spelling == VOCAB_SPELLING_SPACE && (t->space_prefix || memmem(p, n, "\xE2\x96\x81", 3)))
        return encode_spaced(e, p, n, from);
    return bpe_encode(t, span_of(p, n), from, e->flags.lossy, e->out, &e->work, e->err);
}

static bool strips_after(const tokenizer *t, int32_t id) {
    const int32_t *keeps = t->keeps_after;
    return t->strips_after && id != keeps[0] && id != keeps[1] && id != keeps[2];
}

static bool is_ascii_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The text between special tokens goes through the encoder of the kind. */
static muga_status encode_text(encoding *e, size_t n) {
    const tokenizer *t = e->t;
    const char *text = e->text;
    const vocab_names *names = e->flags.parse_special ? &t->vocab.special : &t->vocab.user;
    size_t from = 0;
    for (size_t at = 0; at < n && names->n > 0;) {
        int32_t id;
        bool possible = names->first[(uint8_t)text[at]];
        size_t len = possible ? vocab_match_name(&t->vocab, names, text + at, n - at, &id, &e->work) : 0;
        if (len == 0) {
            at++;
            continue;
        }
        size_t to = at;
        while (to > from && id == t->strips_before && is_ascii_space(text[to - 1]))
            to--;
        muga_status st = encode_stretch(e, from, to);
        if (st)
            return st;
        if (!token_list_push(e->out, id))
            return error_nomem(e->err, "token ids");
        at += len;
        while (at < n && strips_after(t, id) && is_ascii_space(text[at]))
            at++;
        from = at;
    }
    return encode_stretch(e, from, n);
}

muga_status tokenizer_encode(const tokenizer *t, const char *text, size_t n, tokenizer_flags flags, token_list *out,
                             muga_error *err) {
    if (n > MAX_TEXT_BYTES)
        return error_set(err, MUGA_E_LIMIT, "the text has %zu bytes; at most %zu are tokenized at once", n,
                         MAX_TEXT_BYTES);
    encoding e = {t, text, flags, out, 0, err};
    size_t n_before = out->n;
    muga_status st = MUGA_OK;
    if (flags.add_special && t->first >= 0 && !token_list_push(out, t->first))
        st = error_nomem(err, "token ids");
    if (!st && n > 0)
        st = encode_text(&e, n);
    if (!st && flags.add_special && t->last >= 0 && !token_list_push(out, t->last))
        st = error_nomem(err, "token ids");
    if (st)
        out->n = n_before;
    if (flags.work)
        *flags.work += e.work;
    return st;
}

/* ---- facts ---- */

int32_t tokenizer_count(const tokenizer *t) {
    return (int32_t)t->vocab.n;
}
span tokenizer_piece(const tokenizer *t, int32_t id) {
    return in_range(t, id) ? vocab_piece(&t->vocab, (uint32_t)id) : span_of("", 0);
}
const span *tokenizer_text_pieces(const tokenizer *t) {
    return t->vocab.text_pieces;
}

bool tokenizer_is_text(const tokenizer *t, int32_t id) {
    if (!in_range(t, id))
        return false;
    uint8_t type = t->vocab.types[id];
    return type == VOCAB_NORMAL || type == VOCAB_USER_DEFINED || type == VOCAB_BYTE;
}

bool tokenizer_is_control(const tokenizer *t, int32_t id) {
    return in_range(t, id) && (t->vocab.types[id] == VOCAB_CONTROL || t->vocab.types[id] == VOCAB_UNKNOWN);
}

int32_t tokenizer_find_special(const tokenizer *t, const char *text, size_t n) {
    return vocab_find_name(&t->vocab, &t->vocab.special, text, n);
}

int32_t tokenizer_bos(const tokenizer *t) {
    return t->bos;
}
int32_t tokenizer_eos(const tokenizer *t) {
    return t->eos;
}
int32_t tokenizer_eot(const tokenizer *t) {
    return t->eot;
}

bool tokenizer_is_end(const tokenizer *t, int32_t id) {
    for (int i = 0; i < t->n_ends; i++) {
        if (t->ends[i] == id)
            return true;
    }
    return false;
}

const char *tokenizer_kind(const tokenizer *t) {
    return t->kind_name;
}
const char *tokenizer_pre(const tokenizer *t) {
    return t->pre ? t->pre->name : "";
}

/* ---- decoding ---- */

static bool shows(const tokenizer *t, int32_t id, bool control) {
    return tokenizer_is_text(t, id) || (control && tokenizer_is_control(t, id));
}

void tokenizer_stream_push(tokenizer_stream *s, const tokenizer *t, int32_t id, str *out) {
    if (!shows(t, id, s->control))
        return;
    span piece = tokenizer_piece(t, id);
    /* What is held is at most 3 bytes: with the first bytes of the piece it is complete or proves ill-formed. */
    while (s->n_held > 0 && piece.n > 0) {
        s->held[s->n_held++] = *piece.p++;
        piece.n--;
        if (utf8_incomplete_tail(s->held, s->n_held) == s->n_held)
            continue;
        size_t tail = utf8_incomplete_tail(s->held, s->n_held);
        str_append(out, s->held, s->n_held - tail);
        memmove(s->held, s->held + s->n_held - tail, tail);
        s->n_held = (uint8_t)tail;
    }
    if (piece.n == 0)
        return;
    size_t tail = utf8_incomplete_tail(piece.p, piece.n);
    str_append(out, piece.p, piece.n - tail);
    memcpy(s->held, piece.p + piece.n - tail, tail);
    s->n_held = (uint8_t)tail;
}

void tokenizer_stream_flush(tokenizer_stream *s, str *out) {
    str_append(out, s->held, s->n_held);
    s->n_held = 0;
}

void tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t n, bool control, str *out) {
    for (size_t i = 0; i < n; i++) {
        if (!shows(t, ids[i], control))
            continue;
        span piece = tokenizer_piece(t, ids[i]);
        str_append(out, piece.p, piece.n);
    }
}
