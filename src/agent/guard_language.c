/* Which language is a text in (guard_internal.h)? Owns: the frequent words of the languages that are known, the
 * alphabets that tell others. Refuses to guess: a short text, or one that fits two languages, has none.
 *
 * Idea: most alphabets belong to one language or few. Among those that write in Latin letters, a word that is frequent
 * in one of them is worth a point, shared with the others in which it is frequent; so "de" says little and "nicht"
 * much. The words were written down by hand, for this. */
#include "agent/guard_internal.h"

#include <utf8proc.h>

#define WORD_MAX 24        /* bytes; none of the words below is longer */
#define LEAST_WORDS 4      /* a shorter text has no language */
#define LEAST_POINTS 1.5   /* that the best one must have */
#define LEAST_LEAD 1.6     /* times the points of another: that one is meant as little */
#define LEAST_SHARE 0.18   /* points a word of the text: else it is another language, unknown here */
#define LEAST_LETTERS 4    /* of another alphabet */
#define LEAST_HAN 8        /* of Chinese characters alone, which a short Japanese text may be, too */
#define LEAST_BULGARIAN 24 /* Cyrillic letters, one of them a hard sign and none that is Russian alone */
#define MOST_WORDS 1000    /* read of a long text */

/* Those below write in Latin letters; the others are told by their alphabets. Places are bits of guard_rules.languages.
 */
static const struct {
    const char *code, *words; /* each between spaces */
} latin[] = {
    {"en", " the and is are was were you your i my me it this that what where when how have has had do does did"
           " not can will would with for from of to in on at be an if they we he she his her there please want"
           " need know get about just been am why could should which order or but so out up like "},
    {"de", " der die das und ist sind war ich mein meine mich mir du sie wir ihr nicht ein eine einen einem wo"
           " wann wie was warum mit f\xc3\xbcr von zu zum zur auf im in den dem des es kann k\xc3\xb6nnen haben"
           " habe hat wird werden bitte auch aber oder noch nur wenn dass schon bei nach \xc3\xbc"
           "ber keine"
           " mehr m\xc3\xb6"
           "chte wurde sich als "},
    {"fr", " le la les un une des et est sont \xc3\xa9tait je mon ma mes me tu vous votre nous il elle ce cette"
           " que qui quoi o\xc3\xb9 quand comment pourquoi ne pas avec pour de du dans sur au aux en peut pouvez"
           " avoir ai avez \xc3\xaatre \xc3\xa9t\xc3\xa9 plus mais ou donc s'il pla\xc3\xaet bien tr\xc3\xa8s"
           " tout fait vos c'est j'ai n'est l'ai suis merci quel quelle "},
    {"es", " el la los las un una y es son era yo mi mis me tu t\xc3\xba usted su sus que qu\xc3\xa9"
           " qui\xc3\xa9n d\xc3\xb3nde cu\xc3\xa1ndo c\xc3\xb3mo por para con sin de del en al no se lo le puede"
           " puedo tengo tiene hay est\xc3\xa1 est\xc3\xa1n estoy pero m\xc3\xa1s muy ya cuando porque como si"
           " gracias favor quiero hola ha he fue tambi\xc3\xa9n esto este esta mucho "},
    {"it", " il lo la i gli le un una e \xc3\xa8 sono era io mio mia miei mi tu lei voi che chi dove quando come"
           " perch\xc3\xa9 non con per di del della dei da dal in nel nella su al alla ho ha hai abbiamo"
           " pu\xc3\xb2 posso grazie vorrei questo questa ma pi\xc3\xb9 molto anche se si ci ne cosa quanto"
           " stato ancora gi\xc3\xa0 tutto "},
    {"pt", " o a os as um uma e \xc3\xa9 s\xc3\xa3o era eu meu minha meus me voc\xc3\xaa voc\xc3\xaas seu sua"
           " que quem onde quando como por para com sem de do da dos das em no na nos nas n\xc3\xa3o se ao"
           " \xc3\xa0 pode posso tenho tem h\xc3\xa1 est\xc3\xa1 est\xc3\xa3o estou mas mais muito j\xc3\xa1"
           " porque obrigado obrigada favor quero foi isso este esta tamb\xc3\xa9m at\xc3\xa9 "},
    {"nl", " de het een en is zijn was waren ik mijn mij je jij jouw u uw wij we hij zij dat dit wat waar"
           " wanneer hoe waarom niet geen met voor van naar op in aan te er kan kunt heb heeft hebben wordt"
           " worden graag ook maar of nog als bij om uit alstublieft al wel deze die ben zou moet wil mag "},
    {"pl", " i w na nie si\xc4\x99 jest s\xc4\x85 by\xc5\x82 by\xc5\x82"
           "a ja m\xc3\xb3j moja moje mi mnie ty"
           " pan pani czy \xc5\xbc"
           "e co gdzie kiedy jak dlaczego z za do od po przez dla o ale lub mam ma"
           " mie\xc4\x87 mo\xc5\xbc"
           "e mog\xc4\x99 prosz\xc4\x99 dzi\xc4\x99kuj\xc4\x99 tak ju\xc5\xbc jeszcze"
           " tylko ten ta to by\xc4\x87 bardzo chc\xc4\x99 zosta\xc5\x82 kt\xc3\xb3re kt\xc3\xb3ry jestem swoje"
           " przed "},
    {"sv", " och \xc3\xa4r var jag min mitt mina mig du ni vi han hon det den detta vad n\xc3\xa4r hur"
           " varf\xc3\xb6r inte en ett med f\xc3\xb6r fr\xc3\xa5n till p\xc3\xa5 i av att kan har hade vill ska"
           " skulle som om men eller tack ocks\xc3\xa5 mycket bara s\xc3\xa5 vara blir f\xc3\xa5 finns"
           " n\xc3\xa5gon inga h\xc3\xa4r d\xc3\xa4r er era ert \xc3\xa4nnu redan "},
    {"da", " og er var jeg min mit mine mig du de vi han hun det den dette hvad hvor hvorn\xc3\xa5r hvordan"
           " hvorfor ikke en et med for fra til p\xc3\xa5 i af at kan har havde vil skal som om men eller tak"
           " ogs\xc3\xa5 meget bare s\xc3\xa5 v\xc3\xa6re blive f\xc3\xa5 findes nogen ingen her der jeres endnu"
           " allerede hvilken hvis kunne gerne "},
    {"no", " og er var jeg min mitt mine meg du dere vi han hun det den dette hva hvor n\xc3\xa5r hvordan"
           " hvorfor ikke en et ei med for fra til p\xc3\xa5 i av \xc3\xa5 kan har hadde vil skal som om men"
           " eller takk ogs\xc3\xa5 mye bare s\xc3\xa5 v\xc3\xa6re bli f\xc3\xa5 finnes noen ingen her der deres"
           " enn\xc3\xa5 allerede hvilken hvis kunne gjerne "},
    {"fi", " ja on ei ole olen oli min\xc3\xa4 minun minulle sin\xc3\xa4 sinun te teid\xc3\xa4n me h\xc3\xa4n se"
           " t\xc3\xa4m\xc3\xa4 mik\xc3\xa4 mit\xc3\xa4 miss\xc3\xa4 milloin miten miksi kun jos mutta tai"
           " my\xc3\xb6s vain niin kuin ett\xc3\xa4 voi voin voitte haluan kiitos jo viel\xc3\xa4 nyt sitten"
           " kaikki hyvin paljon ovat olla onko joka jonka ennen kanssa mist\xc3\xa4 minne tilaus "},
    {"cs", " a je jsou byl byla j\xc3\xa1 m\xc5\xafj moje mi m\xc4\x9b ty vy v\xc3\xa1\xc5\xa1 va\xc5\xa1"
           "e my"
           " on ona to ten ta co kde kdy jak pro\xc4\x8d ne nen\xc3\xad nejsem s se si z za do od po pro na v o"
           " \xc5\xbe"
           "e ale nebo m\xc3\xa1m m\xc3\xa1 m\xc3\xadt m\xc5\xaf\xc5\xbe"
           "e mohu"
           " m\xc5\xaf\xc5\xbe"
           "ete pros\xc3\xadm d\xc4\x9bkuji u\xc5\xbe je\xc5\xa1t\xc4\x9b jen tak\xc3\xa9"
           " velmi chci jsem jste b\xc3\xbdt bude kter\xc3\xbd kter\xc3\xa1 kdy\xc5\xbe a\xc5\xbe "},
    {"ro", " \xc8\x99i este sunt era eu meu mea mei \xc3\xaemi m\xc4\x83 tu dumneavoastr\xc4\x83 noi el ea ce"
           " cine unde c\xc3\xa2nd cum de nu cu pentru f\xc4\x83r\xc4\x83 din la \xc3\xaen pe un o al ale a am"
           " are ai avem poate pot pute\xc8\x9bi v\xc4\x83 rog mul\xc8\x9bumesc mai foarte doar dar sau"
           " dac\xc4\x83 c\xc4\x83 s\xc4\x83 fi fost acest aceast\xc4\x83 care vreau deja \xc3\xaenc\xc4\x83 "},
    {"hu", " a az \xc3\xa9s van vagyok volt \xc3\xa9n eny\xc3\xa9m nekem te \xc3\xb6n \xc3\xb6n\xc3\xb6k mi"
           " \xc5\x91k ez hol mikor hogyan mi\xc3\xa9rt mit nem is hogy egy meg m\xc3\xa1r m\xc3\xa9g csak de"
           " vagy ha ki lehet tudok szeretn\xc3\xa9k k\xc3\xa9rem k\xc3\xb6sz\xc3\xb6n\xc3\xb6m kell lesz nagyon"
           " minden sem fel be el le ezt azt nincs "},
    {"tr", " ve bir bu \xc5\x9fu o ben benim bana sen senin siz sizin biz ne nerede nas\xc4\xb1l neden"
           " ni\xc3\xa7in mi m\xc4\xb1 mu m\xc3\xbc de\xc4\x9fil var yok i\xc3\xa7in ile gibi daha \xc3\xa7ok"
           " ama veya e\xc4\x9f"
           "er ki de da kadar l\xc3\xbctfen te\xc5\x9f"
           "ekk\xc3\xbcrler"
           " te\xc5\x9f"
           "ekk\xc3\xbcr istiyorum olarak olan oldu her \xc5\x9f"
           "ey sonra \xc3\xb6nce zaman hangi"
           " kim i\xc3\xa7inde "},
    {"id", " yang dan di ke dari ini itu saya aku kamu anda kami kita dia mereka apa siapa mana kapan bagaimana"
           " mengapa kenapa tidak bukan ada adalah dengan untuk pada oleh akan sudah belum bisa dapat harus mau"
           " ingin tolong terima kasih juga tapi atau jika karena lebih sangat semua pesanan "},
    {"vi", " v\xc3\xa0 l\xc3\xa0 c\xe1\xbb\xa7"
           "a t\xc3\xb4i b\xe1\xba\xa1n kh\xc3\xb4ng c\xc3\xb3"
           " \xc4\x91\xc6\xb0\xe1\xbb\xa3"
           "c cho v\xe1\xbb\x9bi n\xc3\xa0y \xc4\x91\xc3\xb3 g\xc3\xac"
           " \xe1\xbb\x9f \xc4\x91\xc3\xa2u khi n\xc3\xa0o nh\xc6\xb0 th\xe1\xba\xbf sao m\xe1\xbb\x99t"
           " c\xc3\xa1"
           "c nh\xe1\xbb\xafng ng\xc6\xb0\xe1\xbb\x9di \xc4\x91\xc3\xa3 \xc4\x91"
           "ang s\xe1\xba\xbd"
           " th\xc3\xac m\xc3\xa0 nh\xc6\xb0ng ho\xe1\xba\xb7"
           "c n\xe1\xba\xbfu v\xc3\xac r\xe1\xba\xa5t"
           " c\xc5\xa9ng mu\xe1\xbb\x91n xin c\xe1\xba\xa3m \xc6\xa1n vui l\xc3\xb2ng l\xc3\xa0m t\xe1\xba\xa1i"
           " trong ra v\xc3\xa0o \xc4\x91\xe1\xba\xbfn t\xe1\xbb\xab h\xc3\xa0ng \xc4\x91\xc6\xa1n "}};
#define N_LATIN ARRAY_LEN(latin)

static const char *const others[] = {"ru", "uk", "bg", "el", "he", "ar", "fa",
                                     "hi", "bn", "ta", "th", "zh", "ja", "ko"};
enum { RU, UK, BG, EL, HE, AR, FA, HI, BN, TA, TH, ZH, JA, KO };

_Static_assert(N_LATIN + ARRAY_LEN(others) == GUARD_N_LANGUAGES, "every language has a bit");

int guard_language_of_code(const char *code) {
    for (int i = 0; i < GUARD_N_LANGUAGES; i++) {
        if (strcmp(guard_language_code(i), code) == 0) {
            return i;
        }
    }
    return -1;
}

const char *guard_language_code(int language) {
    size_t i = (size_t)language;
    return i < N_LATIN ? latin[i].code : others[i - N_LATIN];
}

/* ---- alphabets ---- */

static bool in(uint32_t cp, uint32_t from, uint32_t to) {
    return cp >= from && cp <= to;
}

/* An alphabet that one language here writes in: its place in others; else -1. */
static int only_language(uint32_t cp) {
    static const struct {
        uint32_t from, to;
        int language;
    } ranges[] = {{0x0370, 0x03FF, EL}, {0x1F00, 0x1FFF, EL}, {0x0590, 0x05FF, HE},
                  {0x0900, 0x097F, HI}, {0x0980, 0x09FF, BN}, {0x0B80, 0x0BFF, TA},
                  {0x0E00, 0x0E7F, TH}, {0xAC00, 0xD7A3, KO}, {0x1100, 0x11FF, KO}};
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        if (in(cp, ranges[i].from, ranges[i].to)) {
            return ranges[i].language;
        }
    }
    return -1;
}

typedef struct counts {
    size_t latin, cyrillic, arabic, han, kana, ukrainian, russian, hard_sign, persian, n;
    size_t one[ARRAY_LEN(others)];
} counts;

static counts count_letters(const guard_text *t) {
    counts c = {.n = 0};
    for (size_t i = 0; i < t->n_cp; i++) {
        uint32_t cp = t->cp[i];
        int one = only_language(cp);
        if (!guard_is_letter(t, i)) {
            continue;
        }
        c.n++;
        c.latin += cp < 0x250 || in(cp, 0x1E00, 0x1EFF);
        c.cyrillic += in(cp, 0x0400, 0x052F);
        c.arabic += in(cp, 0x0600, 0x06FF) || in(cp, 0xFB50, 0xFDFF) || in(cp, 0xFE70, 0xFEFC);
        c.han += in(cp, 0x3400, 0x9FFF) || in(cp, 0x20000, 0x3FFFF);
        c.kana += in(cp, 0x3040, 0x30FF);
        c.ukrainian += cp == 0x456 || cp == 0x457 || cp == 0x454 || cp == 0x491 || cp == 0x406 || cp == 0x407 ||
                       cp == 0x404;
        c.russian += cp == 0x44B || cp == 0x44D || cp == 0x451 || cp == 0x42D;
        c.hard_sign += cp == 0x44A || cp == 0x42A;
        c.persian += cp == 0x67E || cp == 0x686 || cp == 0x698 || cp == 0x6AF || cp == 0x6CC || cp == 0x6A9;
        if (one >= 0) {
            c.one[one]++;
        }
    }
    return c;
}

/* Of an alphabet that most of the letters are in; -1: Latin, or mixed. */
static int by_alphabet(const counts *c) {
    size_t half = c->n / 2;
    if (c->kana * 5 > c->n && c->kana + c->han > half) {
        return JA;
    }
    if (c->han + c->kana > half) {
        return c->han >= LEAST_HAN ? ZH : -1;
    }
    if (c->arabic > half) {
        return c->persian > 0 ? FA : AR;
    }
    if (c->cyrillic > half) {
        return c->ukrainian > c->russian                                        ? UK
               : c->hard_sign > 0 && c->russian == 0 && c->n >= LEAST_BULGARIAN ? BG
                                                                                : RU;
    }
    for (size_t i = 0; i < ARRAY_LEN(c->one); i++) {
        if (c->one[i] > half) {
            return (int)i;
        }
    }
    return -1;
}

/* ---- words ---- */

static bool is_apostrophe(uint32_t cp) {
    return cp == '\'' || cp == 0x2019;
}

/* The next word of Latin letters in small ones: " word ", NUL after it. False: no more. *n counts words, known or not.
 */
static bool next_word(const guard_text *t, size_t *i, char out[WORD_MAX + 8]) {
    while (*i < t->n_cp && !guard_is_letter(t, *i)) {
        (*i)++;
    }
    size_t n = 0, from = *i;
    out[n++] = ' ';
    bool fits = true, any = *i < t->n_cp;
    for (; *i < t->n_cp && guard_is_letter(t, *i); (*i)++) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t k = utf8proc_encode_char(utf8proc_tolower((utf8proc_int32_t)t->cp[*i]), bytes);
        fits = fits && n + (size_t)k <= WORD_MAX;
        for (utf8proc_ssize_t j = 0; fits && j < k; j++) {
            out[n++] = (char)bytes[j];
        }
    }
    bool cut = n == 2 && ((from > 0 && is_apostrophe(t->cp[from - 1])) || (*i < t->n_cp && is_apostrophe(t->cp[*i])));
    out[n] = ' ';
    out[n + 1] = '\0';
    if (!fits || cut) { /* the s of "car's", the l of "l'auto" */
        out[1] = '\0';
    }
    return any;
}

static uint64_t by_words(const guard_text *t) {
    double points[N_LATIN] = {0};
    size_t n_words = 0;
    char word[WORD_MAX + 8];
    for (size_t i = 0; n_words < MOST_WORDS && next_word(t, &i, word);) {
        bool has[N_LATIN];
        size_t n_have = 0;
        n_words++;
        for (size_t k = 0; k < N_LATIN; k++) {
            has[k] = word[1] && strstr(latin[k].words, word) != NULL;
            n_have += has[k];
        }
        for (size_t k = 0; k < N_LATIN; k++) {
            points[k] += has[k] ? 1.0 / (double)n_have : 0;
        }
    }
    size_t best = 0;
    uint64_t may_be = 0;
    for (size_t k = 1; k < N_LATIN; k++) {
        best = points[k] > points[best] ? k : best;
    }
    for (size_t k = 0; k < N_LATIN; k++) {
        may_be |= points[k] * LEAST_LEAD > points[best] ? UINT64_C(1) << k : 0;
    }
    bool plain = n_words >= LEAST_WORDS && points[best] >= LEAST_POINTS &&
                 points[best] >= LEAST_SHARE * (double)n_words;
    return plain ? may_be : 0;
}

uint64_t guard_languages(const guard_text *t) {
    counts c = count_letters(t);
    int other = c.n >= LEAST_LETTERS ? by_alphabet(&c) : -1;
    if (other >= 0) {
        return UINT64_C(1) << (N_LATIN + (size_t)other);
    }
    return c.latin > c.n / 2 ? by_words(t) : 0;
}
