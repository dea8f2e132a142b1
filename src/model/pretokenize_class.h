/* Classes of characters, as the patterns of pre-tokenizers and WordPiece's normalising know them. Private to
 * model/tokenizer*.c and model/pretokenize*.c. */
#ifndef MUGA_MODEL_PRETOKENIZE_CLASS_H
#define MUGA_MODEL_PRETOKENIZE_CLASS_H

#include <stdint.h>

enum {
    CLASS_LETTER = 1,
    CLASS_NUMBER = 2,
    CLASS_MARK = 4,
    CLASS_PUNCT = 8,
    CLASS_SYMBOL = 16,
    CLASS_SPACE = 32,   /* White_Space of the Unicode character database: \s in patterns */
    CLASS_NEWLINE = 64, /* \r \n */
    CLASS_UPPER = 128,  /* Lu Lt */
    CLASS_LOWER = 256,  /* Ll */
    CLASS_CONTROL = 512 /* Cc Cf Co Cs */
};

extern const uint16_t class_of_ascii[128];
/* The classes of any code point, by table where it is ASCII. */
uint16_t class_of(uint32_t cp);
#endif
