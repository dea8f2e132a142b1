/* Finding what tells of a person in a text: by its form, and where there is one by its checksum. Private to agent/.
 *
 * Texts are ASCII bytes here; mask.h folds any text to that. Letters may have either case. */
#ifndef MUGA_AGENT_PERSONAL_H
#define MUGA_AGENT_PERSONAL_H

#include "base/error.h"

enum { /* kinds, as bits */
       PERSONAL_EMAIL = 1,
       PERSONAL_PHONE = 2,
       PERSONAL_IBAN = 4,
       PERSONAL_CARD = 8,
       PERSONAL_NATIONAL_ID = 16,
       PERSONAL_IP = 32
};
#define PERSONAL_LETTER ((char)0x80) /* in a text: a letter or digit that is not ASCII */

/* Length of a card number at p: 13 to 19 digits in groups parted by single spaces or dashes, with a valid check digit
 * (ISO/IEC 7812-1); the longest there is, ending where no letter or digit follows. 0 for none. */
size_t personal_card_at(const char *p, size_t n);
/* Length of an IBAN at p: two letters, two digits, 11 to 30 letters or digits, in groups of four parted by spaces or
 * dashes or not at all, with ISO 7064 mod 97 = 1; likewise. */
size_t personal_iban_at(const char *p, size_t n);
/* Length of a national identification number at p whose check digits and, where it holds one, date of birth are right;
 * personal_ids.c lists the countries. *common: the checks say little, since one number in ten passes them;
 * personal_find takes such a one only in its usual groups, or beside a word that says what it is. */
size_t personal_id_at(const char *p, size_t n, bool *common);

typedef struct personal_found {
    size_t from, to;
    unsigned kind;
} personal_found;
/* The first of `kinds` in p[at, n), the longest of those that begin at one place; false: none. */
bool personal_find(const char *p, size_t n, size_t at, unsigned kinds, personal_found *out);
#endif
