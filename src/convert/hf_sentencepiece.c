/* tokenizer.model: SentencePiece's own file, a protobuf message. Read with the bounded cursor; only what a vocabulary
 * needs is looked at, other fields are stepped over.
 *
 *   message     1: piece (repeated)   2: trainer   3: normaliser
 *   piece       1: text   2: score (float)   3: type
 *   trainer     3: model type (1 Unigram, 2 BPE, 3 words, 4 characters)
 *   normaliser  2: character map   3: a space before the text   4: several spaces become one
 *
 * Source: sentencepiece_model.proto (Google, SentencePiece); Protocol Buffers, "Encoding". */
#include "convert/hf_vocab.h"

#include "base/cursor.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

typedef struct field {
    uint64_t number;
    unsigned wire;
    uint64_t value; /* VARINT */
    cursor bytes;   /* BYTES; FIXED32 and FIXED64 as their bytes */
} field;

static bool take_varint(cursor *c, uint64_t *out) {
    uint64_t v = 0;
    uint8_t byte;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (!cursor_take_u8(c, &byte) || (shift == 63 && byte > 1))
            return false;
        v |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) {
            *out = v;
            return true;
        }
    }
    return false;
}

static bool take_field(cursor *c, field *f) {
    uint64_t tag, n = 0;
    const uint8_t *p;
    if (!take_varint(c, &tag) || tag >> 3 == 0)
        return false;
    *f = (field){.number = tag >> 3, .wire = tag & 7};
    switch (f->wire) {
    case VARINT: return take_varint(c, &f->value);
    case FIXED64: n = 8; break;
    case FIXED32: n = 4; break;
    case BYTES:
        if (!take_varint(c, &n))
            return false;
        break;
    default: return false;
    }
    if (!cursor_take(c, n, &p))
        return false;
    f->bytes = cursor_of(p, n);
    return true;
}

static void damaged(hf_vocab *v, const char *what) {
    hf_fail(v->m, "tokenizer.model: %s; fetch it again", what);
}

static float float_of(cursor c) {
    uint32_t bits = 0;
    float f;
    if (!cursor_take_u32(&c, &bits))
        return 0;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void read_piece(hf_vocab *v, cursor c, uint32_t id) {
    span text = span_of("", 0);
    uint64_t type = HF_NORMAL;
    float score = 0;
    while (cursor_left(&c) > 0 && !v->m->st) {
        field f;
        if (!take_field(&c, &f))
            damaged(v, "a piece is cut short");
        else if (f.number == 1 && f.wire == BYTES)
            text = span_of((const char *)f.bytes.base, (size_t)f.bytes.size);
        else if (f.number == 2 && f.wire == FIXED32)
            score = float_of(f.bytes);
        else if (f.number == 3 && f.wire == VARINT)
            type = f.value;
    }
    if (type < HF_NORMAL || type > HF_BYTE)
        damaged(v, "a piece has an unknown type");
    if (!(score > -1e30f && score < 1e30f))
        damaged(v, "a score is no number");
    hf_vocab_set(v, id, text.p, text.n, (int32_t)type);
    if (!v->m->st && id < v->n)
        v->scores[id] = score;
}

static void read_trainer(hf_vocab *v, cursor c) {
    while (cursor_left(&c) > 0 && !v->m->st) {
        field f;
        if (!take_field(&c, &f))
            damaged(v, "the trainer's part is cut short");
        else if (f.number == 3 && f.wire == VARINT)
            v->kind = f.value == 1 ? "t5" : f.value == 2 ? "llama" : "";
    }
}

static void read_normaliser(hf_vocab *v, cursor c) {
    while (cursor_left(&c) > 0 && !v->m->st) {
        field f;
        if (!take_field(&c, &f)) {
            damaged(v, "the normaliser's part is cut short");
        } else if (f.number == 2 && f.wire == BYTES) {
            v->charsmap = f.bytes.base;
            v->n_charsmap = (size_t)f.bytes.size;
        } else if (f.number == 3 && f.wire == VARINT) {
            v->space_prefix = f.value != 0;
        } else if (f.number == 4 && f.wire == VARINT) {
            v->merge_spaces = f.value != 0;
        }
    }
}

void hf_read_sentencepiece(hf_vocab *v, const void *p, size_t n) {
    cursor c = cursor_of(p, n);
    uint32_t id = 0;
    v->kind = "t5"; /* defaults of the message */
    v->space_prefix = v->has_space_prefix = v->merge_spaces = v->has_merge_spaces = true;
    v->scores = mem_alloc_array(v->n, sizeof *v->scores);
    if (!v->scores && !v->m->st)
        v->m->st = error_nomem(v->m->err, "the vocabulary's scores");
    while (cursor_left(&c) > 0 && !v->m->st) {
        field f;
        if (!take_field(&c, &f))
            damaged(v, "it is cut short, or no SentencePiece model");
        else if (f.number == 1 && f.wire == BYTES)
            read_piece(v, f.bytes, id++);
        else if (f.number == 2 && f.wire == BYTES)
            read_trainer(v, f.bytes);
        else if (f.number == 3 && f.wire == BYTES)
            read_normaliser(v, f.bytes);
    }
    if (!v->m->st && id == 0)
        damaged(v, "it has no pieces");
    if (!v->m->st && !*v->kind)
        hf_fail(v->m, "tokenizer.model: it cuts text into whole words or characters, which no tokenizer here does");
}
