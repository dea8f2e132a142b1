/* Formats as patterns. Owns: the table. Refuses nothing itself: a defined format without a pattern (idn-hostname,
 * regex) is the validator's alone.
 * Idea: written once as whole-match patterns; sources: RFC 3339 (dates), 8601 duration as in RFC 3339 A, 5321 (mail),
 * 1123 (host), 2673/4291 (addresses), 3986/3987 (URI, IRI), 6570 (template), 6901 (pointer), 4122 (uuid). */
#include "constrain/format.h"

#include "base/mem.h"

#define LEAP_YEAR "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
#define DATE                                                                                                           \
    "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"               \
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))|" LEAP_YEAR "-02-29)"
#define CLOCK "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
#define FRACTION "(?:\\.[0-9]+)?"
/* A leap second is the last of a day in UTC. Here: at offsets of whole quarters of an hour, as all in use are; the
 * validator takes others too (format_normalise). H: the hour of the text; then the one behind it, and 23 - H. */
#define LEAP_MINUTE(MINUTE, EAST, WEST) MINUTE ":60" FRACTION "(?:\\+" EAST "|-" WEST ")"
#define LEAP_HOUR(H, NEXT, REST)                                                                                       \
    "|" H ":(?:" LEAP_MINUTE("14", H ":15", REST ":45") "|" LEAP_MINUTE("29", H ":30", REST ":30") "|" LEAP_MINUTE(    \
        "44", H ":45", REST ":15") "|" LEAP_MINUTE("59", NEXT ":00", REST ":00") ")"
#define LEAP_00 LEAP_HOUR("00", "01", "23") LEAP_HOUR("01", "02", "22") LEAP_HOUR("02", "03", "21")
#define LEAP_03 LEAP_HOUR("03", "04", "20") LEAP_HOUR("04", "05", "19") LEAP_HOUR("05", "06", "18")
#define LEAP_06 LEAP_HOUR("06", "07", "17") LEAP_HOUR("07", "08", "16") LEAP_HOUR("08", "09", "15")
#define LEAP_09 LEAP_HOUR("09", "10", "14") LEAP_HOUR("10", "11", "13") LEAP_HOUR("11", "12", "12")
#define LEAP_12 LEAP_HOUR("12", "13", "11") LEAP_HOUR("13", "14", "10") LEAP_HOUR("14", "15", "09")
#define LEAP_15 LEAP_HOUR("15", "16", "08") LEAP_HOUR("16", "17", "07") LEAP_HOUR("17", "18", "06")
#define LEAP_18 LEAP_HOUR("18", "19", "05") LEAP_HOUR("19", "20", "04") LEAP_HOUR("20", "21", "03")
#define LEAP_21 LEAP_HOUR("21", "22", "02") LEAP_HOUR("22", "23", "01") LEAP_HOUR("23", "00", "00")
#define LEAP LEAP_00 LEAP_03 LEAP_06 LEAP_09 LEAP_12 LEAP_15 LEAP_18 LEAP_21
#define TIME "(?:" CLOCK ":[0-5][0-9]" FRACTION "(?:[zZ]|[+-]" CLOCK ")|23:59:60" FRACTION "[zZ]" LEAP ")"
#define CLOCK_SPAN "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
#define DURATION                                                                                                       \
    "P(?:[0-9]+W|(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)(?:" CLOCK_SPAN ")?|" CLOCK_SPAN ")"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HOST LABEL "(?:\\." LABEL ")*"
#define OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 OCTET "(?:\\." OCTET "){3}"
#define H16 "[0-9A-Fa-f]{1,4}"
#define LS32 "(?:" H16 ":" H16 "|" IPV4 ")"
#define IPV6                                                                                                           \
    "(?:(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32 "|(?:(?:" H16            \
    ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32 "|(?:(?:" H16 ":){0,2}" H16 ")?::(?:" H16 ":){2}" LS32 "|(?:(?:" H16      \
    ":){0,3}" H16 ")?::" H16 ":" LS32 "|(?:(?:" H16 ":){0,4}" H16 ")?::" LS32 "|(?:(?:" H16 ":){0,5}" H16 ")?::" H16   \
    "|(?:(?:" H16 ":){0,6}" H16 ")?::)"
#define ATEXT "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define QUOTED "\"(?:[ !#-\\[\\]-~]|\\\\[ -~])*\""
#define EMAIL "(?:" ATEXT "(?:\\." ATEXT ")*|" QUOTED ")@(?:" HOST "|\\[" IPV4 "\\]|\\[IPv6:" IPV6 "\\])"
#define IDN_ATEXT "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\\u0080-\\u{10FFFF}-]+"
#define IDN_LABEL "[A-Za-z0-9\\u0080-\\u{10FFFF}](?:[A-Za-z0-9\\u0080-\\u{10FFFF}-]*[A-Za-z0-9\\u0080-\\u{10FFFF}])?"
#define IDN_QUOTED "\"(?:[ !#-\\[\\]-~\\u0080-\\u{10FFFF}]|\\\\[ -~\\u0080-\\u{10FFFF}])*\""
#define IDN_EMAIL "(?:" IDN_ATEXT "(?:\\." IDN_ATEXT ")*|" IDN_QUOTED ")@" IDN_LABEL "(?:\\." IDN_LABEL ")*"
/* U: further characters that an IRI may hold. */
#define UCS "\\u00A0-\\uD7FF\\uF900-\\uFDCF\\uFDF0-\\uFFEF\\u{10000}-\\u{EFFFD}"
#define PCT "%[0-9A-Fa-f]{2}"
#define PCHAR(U) "(?:[A-Za-z0-9._~!$&'()*+,;=:@" U "-]|" PCT ")"
#define QUERY(U) "(?:[A-Za-z0-9._~!$&'()*+,;=:@/?" U "-]|" PCT ")*"
#define AUTHORITY(U)                                                                                                   \
    "(?:(?:[A-Za-z0-9._~!$&'()*+,;=:" U "-]|" PCT ")*@)?(?:\\[(?:" IPV6                                                \
    "|[vV][0-9A-Fa-f]+\\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\\]|(?:[A-Za-z0-9._~!$&'()*+,;=" U "-]|" PCT ")*)(?::[0-9]*)?"
#define ABEMPTY(U) "(?:/" PCHAR(U) "*)*"
#define HIER(U) "(?://" AUTHORITY(U) ABEMPTY(U) "|/(?:" PCHAR(U) "+" ABEMPTY(U) ")?|" PCHAR(U) "+" ABEMPTY(U) ")?"
#define TAIL(U, P) "(?:\\?" QUERY(U P) ")?(?:#" QUERY(U) ")?"
#define PRIVATE "\\uE000-\\uF8FF\\u{F0000}-\\u{FFFFD}\\u{100000}-\\u{10FFFD}" /* in the query of an IRI */
#define URI(U, P) "[A-Za-z][A-Za-z0-9+.-]*:" HIER(U) TAIL(U, P)
#define NO_COLON(U) "(?:[A-Za-z0-9._~!$&'()*+,;=@" U "-]|" PCT ")+"
#define RELATIVE(U, P)                                                                                                 \
    "(?://" AUTHORITY(U) ABEMPTY(U) "|/(?:" PCHAR(U) "+" ABEMPTY(U) ")?|" NO_COLON(U) ABEMPTY(U) ")?" TAIL(U, P)
#define VARNAME "(?:[A-Za-z0-9_]|" PCT ")(?:\\.?(?:[A-Za-z0-9_]|" PCT "))*"
#define VARSPEC VARNAME "(?::[1-9][0-9]{0,3}|\\*)?"
#define TEMPLATE "(?:[!#$&-;=?-\\[\\]_a-z~" UCS "]|" PCT "|\\{[+#./;?&=,!@|]?" VARSPEC "(?:," VARSPEC ")*\\})*"
#define POINTER "(?:/(?:[^~/]|~[01])*)*"
#define UUID "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"

static const struct {
    const char *name, *pattern;
} formats[] = {{"date-time", DATE "[Tt]" TIME},
               {"date", DATE},
               {"time", TIME},
               {"duration", DURATION},
               {"email", EMAIL},
               {"idn-email", IDN_EMAIL},
               {"hostname", HOST},
               {"idn-hostname", NULL},
               {"ipv4", IPV4},
               {"ipv6", IPV6},
               {"uri", URI("", "")},
               {"uri-reference", "(?:" URI("", "") "|" RELATIVE("", "") ")"},
               {"iri", URI(UCS, PRIVATE)},
               {"iri-reference", "(?:" URI(UCS, PRIVATE) "|" RELATIVE(UCS, PRIVATE) ")"},
               {"uuid", UUID},
               {"uri-template", TEMPLATE},
               {"json-pointer", POINTER},
               {"relative-json-pointer", "(?:0|[1-9][0-9]*)(?:#|" POINTER ")"},
               {"regex", NULL}};

const char *format_pattern(const char *name, bool *known) {
    *known = false;
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (strcmp(name, formats[i].name) == 0) {
            *known = true;
            return formats[i].pattern;
        }
    return NULL;
}

const char *format_unsure(const char *name) {
    return strcmp(name, "hostname") == 0 ? "(?:^|\\.)[xX][nN]--" : NULL;
}

size_t format_max_bytes(const char *name) {
    return strcmp(name, "hostname") == 0 ? 253 : SIZE_MAX;
}

static int two_digits(const char *p) {
    return p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9' ? (p[0] - '0') * 10 + p[1] - '0' : -1;
}

void format_normalise(const char *name, const char *p, size_t n, str *out) {
    size_t at = out->len;
    str_append(out, p, n);
    if ((strcmp(name, "time") != 0 && strcmp(name, "date-time") != 0) || out->failed)
        return;
    size_t clock = strcmp(name, "time") == 0 ? 0 : 11;
    if (n < clock + 14 || memcmp(p + clock + 5, ":60", 3) != 0)
        return;
    char sign = p[n - 6];
    int h = two_digits(p + clock), m = two_digits(p + clock + 3), oh = two_digits(p + n - 5),
        om = two_digits(p + n - 2);
    if ((sign != '+' && sign != '-') || h < 0 || m < 0 || oh < 0 || om < 0 || p[n - 3] != ':')
        return;
    int offset = (oh * 60 + om) * (sign == '-' ? 1 : -1);
    if ((h * 60 + m + offset + 2 * 1440) % 1440 == 1439) /* 23:59 in UTC: a leap second can stand here */
        out->data[at + clock + 6] = '5', out->data[at + clock + 7] = '9';
}
