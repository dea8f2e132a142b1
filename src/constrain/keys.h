/* Which keys the objects of a JSON text have had so far, so that none is written twice (RFC 8259 wants them unique,
 * our reader insists). Needed only where a schema leaves keys open; declared keys can't repeat by construction. */
#ifndef MUGA_CONSTRAIN_KEYS_H
#define MUGA_CONSTRAIN_KEYS_H

#include "base/str.h"

#define KEYS_MAX_DEPTH 130

typedef struct keys {
    uint8_t mode; /* keys.c */
    bool key_next;
    uint16_t depth;
    struct {
        bool object;
        uint32_t first_key; /* index of the object's first key */
    } level[KEYS_MAX_DEPTH];
    char *bytes; /* finished keys one after another, then the one being written */
    uint32_t n_bytes, cap_bytes;
    uint32_t *ends; /* [n_keys] end of each finished key in bytes */
    uint32_t n_keys, cap_keys;
} keys;

void keys_release(keys *k);
/* to becomes a copy; its own memory is reused. false: out of memory. */
MUGA_MUST_USE bool keys_copy(keys *to, const keys *from);
typedef enum { KEYS_FINE, KEYS_TWICE, KEYS_NOMEM } keys_verdict;
/* The text goes on with p[0, n), which the grammar accepts. */
MUGA_MUST_USE keys_verdict keys_feed(keys *k, const char *p, size_t n);

/* The same keys, and the text at the same kind of place: the same hash. */
uint64_t keys_hash(const keys *k);
/* Reading on without keys: what a text does before it first touches them (begins one, or opens or closes a container).
 * false: the keys stand within one already. */
typedef struct keys_reader {
    bool in_string, escaped, key_next, object; /* object: the innermost container is one */
} keys_reader;
bool keys_reader_begin(keys_reader *r, const keys *k);
bool keys_read(keys_reader *r, char c);   /* false: c touches keys */
bool keys_read_end(const keys_reader *r); /* a comma was written, so a key must come */
bool keys_inside(const keys *k);          /* a key is being written */
bool keys_awaited(const keys *k);         /* a comma was written, so a key must come */
/* The finished keys of the innermost object, i < keys_count, and the one being written: as written, without quotes. */
uint32_t keys_count(const keys *k);
span keys_finished(const keys *k, uint32_t i);
span keys_current(const keys *k);
/* Some finished key of the innermost object begins with p. */
bool keys_begin_with(const keys *k, span p);
/* Some finished key of the innermost object is p. */
bool keys_have(const keys *k, span p);

#endif
