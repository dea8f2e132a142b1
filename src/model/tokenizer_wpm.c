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

/* Longest piece first, to the end of the word; all of it, or the unknown token. */
static void end_word(wpm *w) {
    const vocab *v = &w->t->vocab;
    size_t n_before = w->out->n;
    const char *p = str_get(&w->word);
    for (size_t at = 0; at < w->word.len && w->word.len > 1;) {
        size_t len = MIN(w->word.len - at, (size_t)v->longest);
        int32_t id = VOCAB_NONE;
        while (len > 0 && (id = vocab_find(v, p + at, len)) < 0)
            len--;
        w->work += MIN(w->word.len - at, (size_t)v->longest) - len + 1;
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
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 32, UTF8PROC_DECOMPOSE, NULL);
    return n > 0 && n <= 32 ? (uint32_t)parts[0] : cp;
}

muga_status wpm_encode(const tokenizer *t, const char *text, size_t n, token_list *out, uint64_t *work,
                       muga_error *err) {
    wpm w = {.t = t, .out = out};
    str_append_c(&w.word, ' ');
    for (size_t at = 0; at < n && !w.failed;) {
        uint32_t cp;
        size_t len = utf8_decode(text + at, n - at, &cp);
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
