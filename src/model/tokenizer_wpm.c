/* WordPiece, as BERT models have it. Owns the normalising and the greedy matching. Refuses nothing: a word that no
 * pieces make up is the vocabulary's unknown token.
 *
 * Text is decomposed, accents and capitals dropped (where the file doesn't say otherwise), cut at white space, and
 * every punctuation mark and Chinese character is a word by itself. Word beginnings are spelled with a space before
 * them. Then the longest piece that begins the rest of the word is taken, again and again. Source: Devlin et al. 2018;
 * the BERT tokenizer's normalisation. */
#include "model/tokenizer_internal.h"

#include "base/utf8.h"
#include "model/pretokenize_class.h"

#include <utf8proc.h>

typedef struct wpm {
    const tokenizer *t;
    str word; /* the word so far, a space before it */
    token_list *out;
    uint64_t work;
    bool failed;
} wpm;

static void push(wpm *w, int32_t id) {
    w->failed |= !token_list_push(w->out, id);
}

/* ---- how long a piece can be ---- */

static uint32_t reach_of(const char *p) {
    uint32_t three = (uint32_t)(uint8_t)p[0] << 16 | (uint32_t)(uint8_t)p[1] << 8 | (uint8_t)p[2];
    return three * 2654435761u >> (32 - WPM_REACH_BITS); /* Knuth's multiplicative hash */
}

muga_status wpm_init(tokenizer *t, muga_error *err) {
    const vocab *v = &t->vocab;
    t->wpm_reach = calloc((size_t)1 << WPM_REACH_BITS, sizeof t->wpm_reach[0]);
    if (!t->wpm_reach)
        return error_nomem(err, "vocabulary");
    for (uint32_t i = 0; i < v->n_symbols; i++) {
        span piece = vocab_piece(v, i);
        if (piece.n < 3 || piece.n > TOKENIZER_MAX_MATCH_BYTES)
            continue; /* a special token's name may be longer; it isn't found as a piece */
        uint16_t *reach = &t->wpm_reach[reach_of(piece.p)];
        *reach = (uint16_t)MAX(*reach, piece.n);
    }
    return MUGA_OK;
}

/* Bytes of the longest piece that may begin at p, n bytes before the word's end. */
static size_t longest_at(const tokenizer *t, const char *p, size_t n) {
    size_t reach = n < 3 ? n : MAX((size_t)t->wpm_reach[reach_of(p)], (size_t)2);
    return MIN(MIN(n, reach), (size_t)t->vocab.longest);
}

/* Longest piece first, to the end of the word; all of it, or the unknown token. */
static void end_word(wpm *w) {
    const vocab *v = &w->t->vocab;
    size_t n_before = w->out->n;
    const char *p = str_get(&w->word);
    for (size_t at = 0; at < w->word.len && w->word.len > 1;) {
        size_t longest = longest_at(w->t, p + at, w->word.len - at), len = longest;
        int32_t id = VOCAB_NONE;
        while (len > 0 && (id = vocab_find(v, p + at, len)) < 0)
            len--;
        w->work += longest - len + 1;
        if (len == 0) {
            w->out->n = n_before;
            push(w, w->t->unknown);
            break;
        }
        push(w, id);
        at += len;
    }
    w->failed |= w->word.failed;
    str_truncate(&w->word, 1);
}

/* Letters and digits of ASCII, which are their own decomposition and the most of most texts: the run that begins here.
 */
static size_t add_plain(wpm *w, const char *p, size_t n) {
    size_t i = 0;
    while (i < n && (uint8_t)p[i] < 128 && (class_of_ascii[(uint8_t)p[i]] & (CLASS_LETTER | CLASS_NUMBER)))
        i++;
    if (i == 0)
        return 0;
    str_append(&w->word, p, i);
    if (w->t->lowercase && !w->word.failed) {
        for (char *c = w->word.data + w->word.len - i; c < w->word.data + w->word.len; c++)
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
    }
    return i;
}

static bool is_chinese(uint32_t cp) {
    return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) || (cp >= 0x20000 && cp <= 0x2A6DF) ||
           (cp >= 0x2A700 && cp <= 0x2B73F) || (cp >= 0x2B740 && cp <= 0x2B81F) || (cp >= 0x2B920 && cp <= 0x2CEAF) ||
           (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x2F800 && cp <= 0x2FA1F);
}

static void add_character(wpm *w, uint32_t cp) {
    uint16_t cls = class_of(cp);
    char bytes[4];
    if (cls & CLASS_SPACE) {
        end_word(w);
        return;
    }
    if (cp == 0 || cp == 0xFFFD || (cls & CLASS_CONTROL) || (w->t->strip_accents && (cls & CLASS_MARK)))
        return;
    if (w->t->lowercase)
        cp = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    bool alone = (cls & CLASS_PUNCT) || (cp < 0x7F && (cls & CLASS_SYMBOL)) || is_chinese(cp);
    if (alone)
        end_word(w);
    str_append(&w->word, bytes, utf8_encode(cp == 0x2581 ? ' ' : cp, bytes)); /* pieces write a space as U+2581 */
    if (alone)
        end_word(w);
}

/* The first code point of the canonical decomposition; what follows it are the marks to be dropped. (Hangul syllables
 * lose their vowels so: they do in the run times these files are made for, and the ids are theirs.) */
static uint32_t base_of(uint32_t cp) {
    utf8proc_int32_t parts[32];
    if (cp < 128)
        return cp;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 32, UTF8PROC_DECOMPOSE, NULL);
    return n > 0 && n <= 32 ? (uint32_t)parts[0] : cp;
}

muga_status wpm_encode(const tokenizer *t, const char *text, size_t n, token_list *out, uint64_t *work,
                       muga_error *err) {
    wpm w = {.t = t, .out = out};
    str_append_c(&w.word, ' ');
    for (size_t at = 0; at < n && !w.failed;) {
        uint32_t cp;
        size_t len = add_plain(&w, text + at, n - at);
        if (len > 0) {
            at += len;
            continue;
        }
        len = utf8_decode(text + at, n - at, &cp);
        if (len == 0) {
            str_append_c(&w.word, text[at++]); /* no piece has it, so the word becomes the unknown token */
            continue;
        }
        at += len;
        add_character(&w, t->strip_accents ? base_of(cp) : cp);
    }
    end_word(&w);
    str_release(&w.word);
    *work += w.work;
    return w.failed ? error_nomem(err, "token ids") : MUGA_OK;
}
