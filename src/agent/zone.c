/* Zones as offsets over time. Owns: the calendar, rules as POSIX writes them, TZif files. Refuses: a rule without days,
 * files with leap seconds (they count other seconds than everyone else), offsets past 26 hours, whatever is cut off.
 *
 * A place's file lists the moments at which its offset changed, and ends with a rule for the time after the last one;
 * so the moment decides which of the two is asked. */
#include "agent/zone.h"

#include "base/cursor.h"
#include "base/mem.h"

#include <stdio.h>

#define FOLDER "/usr/share/zoneinfo"
#define FILE_MAX_BYTES ((size_t)1 << 20)
#define OFFSET_MAX_S (26 * 3600)
#define DAY_S 86400

typedef enum { DAY_OF_WEEK, DAY_JULIAN, DAY_OF_YEAR } day_form;
typedef struct rule_day { /* when a rule changes over */
    day_form form;
    int month, week, day; /* Mm.w.d; else day: Jn from 1 without February 29, n from 0 with it */
    int32_t at_s;         /* of local time, may lie on another day */
} rule_day;

typedef struct rule {
    bool known, summer; /* known: there is one; summer: its offset changes through the year */
    int32_t standard_s, summer_s;
    rule_day from, to;
} rule;

typedef struct change {
    int64_t utc_s;
    int32_t offset_s; /* from then on */
} change;

struct zone {
    rule rule;
    int32_t first_s; /* before the first change */
    change *changes; /* ascending */
    size_t n_changes;
};

/* ---- the calendar (proleptic Gregorian) ---- */

static bool is_leap(int64_t year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days from 1970-01-01 to the first of January. */
static int64_t days_to_year(int64_t year) {
    int64_t before = year - 1; /* whole years since year 0; years here lie far above it */
    return before * 365 + before / 4 - before / 100 + before / 400 - 719162;
}

static int days_in_month(int64_t year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year));
}

static int64_t days_to_month(int64_t year, int month) {
    int64_t days = days_to_year(year);
    for (int m = 1; m < month; m++) {
        days += days_in_month(year, m);
    }
    return days;
}

static int64_t floor_days(int64_t s) {
    return s >= 0 ? s / DAY_S : -((-s + DAY_S - 1) / DAY_S);
}

static int64_t year_of_days(int64_t days) {
    int64_t year = 1970 + days / 366;
    while (days_to_year(year + 1) <= days) {
        year++;
    }
    while (days_to_year(year) > days) {
        year--;
    }
    return year;
}

static int weekday_of_days(int64_t days) {
    return (int)(((days + 4) % 7 + 7) % 7); /* 1970 began on a Thursday */
}

/* ---- rules ---- */

/* The moment of a change-over in `year`, in seconds of that local time. */
static int64_t moment(const rule_day *d, int64_t year) {
    int64_t days = days_to_year(year);
    if (d->form == DAY_OF_YEAR) {
        days += d->day;
    } else if (d->form == DAY_JULIAN) {
        days += d->day - 1 + (d->day > 59 && is_leap(year));
    } else {
        days = days_to_month(year, d->month);
        int past = (d->day - weekday_of_days(days) + 7) % 7 + 7 * (d->week - 1);
        while (past >= days_in_month(year, d->month)) {
            past -= 7; /* the fifth: the last */
        }
        days += past;
    }
    return days * DAY_S + d->at_s;
}

static int32_t rule_offset(const rule *r, int64_t utc_s) {
    if (!r->summer) {
        return r->standard_s;
    }
    int64_t year = year_of_days(floor_days(utc_s + r->standard_s));
    int64_t from = moment(&r->from, year) - r->standard_s, to = moment(&r->to, year) - r->summer_s;
    bool summer = from < to ? utc_s >= from && utc_s < to : utc_s >= from || utc_s < to;
    return summer ? r->summer_s : r->standard_s;
}

/* ---- reading a rule ---- */

static bool take_number(const char **at, int most, int *out) {
    int value = 0, n = 0;
    for (; **at >= '0' && **at <= '9' && n < 3; n++, (*at)++) {
        value = value * 10 + (**at - '0');
    }
    *out = value;
    return n > 0 && value <= most;
}

static bool take_char(const char **at, char c) {
    bool is = **at == c;
    *at += is;
    return is;
}

/* [+-]h[:m[:s]] in seconds */
static bool take_time(const char **at, int most_hours, int32_t *out) {
    bool negative = take_char(at, '-');
    int hours, minutes = 0, seconds = 0;
    if (!negative) {
        (void)take_char(at, '+');
    }
    bool ok = take_number(at, most_hours, &hours);
    ok = ok && (!take_char(at, ':') ||
                (take_number(at, 59, &minutes) && (!take_char(at, ':') || take_number(at, 59, &seconds))));
    *out = (hours * 3600 + minutes * 60 + seconds) * (negative ? -1 : 1);
    return ok;
}

/* CET or <+03>: three characters at least */
static bool take_name(const char **at) {
    bool quoted = take_char(at, '<');
    const char *from = *at;
    for (;; (*at)++) {
        char c = **at;
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool other = (c >= '0' && c <= '9') || c == '+' || c == '-';
        if (!letter && !(quoted && other)) {
            break;
        }
    }
    return *at - from >= 3 && (!quoted || take_char(at, '>'));
}

static bool take_day(const char **at, rule_day *d) {
    d->at_s = 2 * 3600;
    bool ok;
    if (take_char(at, 'M')) {
        d->form = DAY_OF_WEEK;
        ok = take_number(at, 12, &d->month) && d->month > 0 && take_char(at, '.') && take_number(at, 5, &d->week) &&
             d->week > 0 && take_char(at, '.') && take_number(at, 6, &d->day);
    } else if (take_char(at, 'J')) {
        d->form = DAY_JULIAN;
        ok = take_number(at, 365, &d->day) && d->day > 0;
    } else {
        d->form = DAY_OF_YEAR;
        ok = take_number(at, 365, &d->day);
    }
    return ok && (!take_char(at, '/') || take_time(at, 167, &d->at_s));
}

static bool read_rule(const char *text, rule *out) {
    int32_t west = 0;
    *out = (rule){.known = true};
    bool ok = take_name(&text) && take_time(&text, 24, &west);
    out->standard_s = -west;
    if (ok && *text) {
        out->summer = true;
        out->summer_s = out->standard_s + 3600;
        ok = take_name(&text);
        if (ok && *text != ',') {
            ok = take_time(&text, 24, &west);
            out->summer_s = -west;
        }
        ok = ok && take_char(&text, ',') && take_day(&text, &out->from) && take_char(&text, ',') &&
             take_day(&text, &out->to);
    }
    return ok && !*text;
}

/* ---- reading a place's file ---- */

static bool take_big(cursor *c, size_t n, int64_t *out) {
    const uint8_t *p;
    if (!cursor_take(c, n, &p)) {
        return false;
    }
    uint64_t v = p[0] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = 0; i < n; i++) {
        v = v << 8 | p[i];
    }
    *out = (int64_t)v;
    return true;
}

typedef struct tzif_counts {
    int64_t isut, isstd, leap, time, type, chars;
    char version;
} tzif_counts;

static bool take_header(cursor *c, tzif_counts *n) {
    const uint8_t *p;
    if (!cursor_take(c, 20, &p) || memcmp(p, "TZif", 4) != 0) {
        return false;
    }
    n->version = (char)p[4];
    int64_t *all[] = {&n->isut, &n->isstd, &n->leap, &n->time, &n->type, &n->chars};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (!take_big(c, 4, all[i]) || *all[i] < 0 || *all[i] > (int64_t)FILE_MAX_BYTES) {
            return false;
        }
    }
    return n->type > 0 && n->type <= 256;
}

static bool skip(cursor *c, int64_t bytes) {
    const uint8_t *p;
    return cursor_take(c, (uint64_t)bytes, &p);
}

static bool take_types(cursor *c, int64_t n, int32_t offsets[256]) {
    for (int64_t i = 0; i < n; i++) {
        int64_t offset;
        if (!take_big(c, 4, &offset) || offset < -OFFSET_MAX_S || offset > OFFSET_MAX_S || !skip(c, 2)) {
            return false;
        }
        offsets[i] = (int32_t)offset;
    }
    return true;
}

/* Times, the type of each, the types. z->changes has room. */
static bool take_changes(cursor *c, const tzif_counts *n, zone *z) {
    int32_t offsets[256];
    const uint8_t *types;
    for (int64_t i = 0; i < n->time; i++) {
        change *x = &z->changes[i];
        if (!take_big(c, 8, &x->utc_s) || (i > 0 && x->utc_s <= x[-1].utc_s)) {
            return false;
        }
    }
    if (!cursor_take(c, (uint64_t)n->time, &types) || !take_types(c, n->type, offsets)) {
        return false;
    }
    for (int64_t i = 0; i < n->time; i++) {
        if (types[i] >= n->type) {
            return false;
        }
        z->changes[i].offset_s = offsets[types[i]];
    }
    z->first_s = offsets[0];
    z->n_changes = (size_t)n->time;
    return true;
}

/* "\nRULE\n"; an empty rule says nothing about the time after the last change. */
static bool take_footer(cursor *c, zone *z) {
    char text[128];
    size_t n = (size_t)cursor_left(c);
    const uint8_t *p;
    if (n < 2 || n > sizeof text || !cursor_take(c, n, &p) || p[0] != '\n' || p[n - 1] != '\n') {
        return false;
    }
    memcpy(text, p + 1, n - 2);
    text[n - 2] = '\0';
    return strlen(text) == n - 2 && (n == 2 || read_rule(text, &z->rule));
}

muga_status zone_read(const void *p, size_t n, zone **out, muga_error *err) {
    cursor c = cursor_of(p, n);
    tzif_counts old, now;
    *out = NULL;
    bool ok = take_header(&c, &old) && old.version >= '2' &&
              skip(&c, old.time * 5 + old.type * 6 + old.chars + old.leap * 8 + old.isstd + old.isut) &&
              take_header(&c, &now) && now.leap == 0 && (uint64_t)now.time * 9 <= cursor_left(&c);
    if (!ok) {
        return error_set(err, MUGA_E_INPUT, "is no zone file (TZif 2 or later, without leap seconds)");
    }
    zone *z = calloc(1, sizeof *z);
    change *changes = mem_alloc_array((size_t)now.time, sizeof *changes);
    if (!z || !changes) {
        free(z);
        free(changes);
        return error_nomem(err, "a zone");
    }
    z->changes = changes;
    if (!take_changes(&c, &now, z) || !skip(&c, now.chars + now.isstd + now.isut) || !take_footer(&c, z)) {
        zone_free(z);
        return error_set(err, MUGA_E_INPUT, "is a damaged zone file");
    }
    *out = z;
    return MUGA_OK;
}

/* ---- opening ---- */

static bool is_place(const char *name) {
    size_t n = strlen(name);
    return n > 0 && n <= 64 && name[0] != '/' && !strstr(name, "..") && strncmp(name, "right/", 6) != 0 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") == n;
}

static muga_status open_place(const os_files *files, const char *name, zone **out, muga_error *err) {
    char path[128];
    str bytes = STR_INIT;
    muga_error why;
    os_stat info;
    snprintf(path, sizeof path, FOLDER "/%s", name);
    muga_status st = files->stat(files->self, path, &info, err);
    if (st == MUGA_OK && info.type != OS_TYPE_FILE) {
        return error_set(err, MUGA_E_NOT_FOUND,
                         "'%s' is no place that " FOLDER " knows; install tzdata, or write an offset (+02:00) or a "
                         "rule (CET-1CEST,M3.5.0,M10.5.0/3)",
                         name);
    }
    if (st == MUGA_OK) {
        st = os_read_file(files, path, FILE_MAX_BYTES, &bytes, err);
    }
    if (st == MUGA_OK) {
        st = zone_read(str_get(&bytes), bytes.len, out, &why);
        st = st == MUGA_OK ? st : error_set(err, st, "%s %.180s", path, why.message);
    }
    str_release(&bytes);
    return st;
}

/* +hh:mm */
static bool read_offset(const char *name, int32_t *out) {
    const char *at = name;
    return (name[0] == '+' || name[0] == '-') && strlen(name) == 6 && name[3] == ':' && take_time(&at, 23, out) && !*at;
}

muga_status zone_open(const os_files *files, const char *name, zone **out, muga_error *err) {
    int32_t offset = 0;
    rule r = {.known = true};
    *out = NULL;
    if (strcmp(name, "UTC") != 0 && !read_offset(name, &offset)) {
        if (!strchr(name, ',') && is_place(name)) {
            return open_place(files, name, out, err);
        }
        if (!read_rule(name, &r) || !r.summer) {
            return error_set(err, MUGA_E_INPUT,
                             "'%.60s' is no zone; write UTC, +02:00, Europe/Berlin, or CET-1CEST,M3.5.0,M10.5.0/3",
                             name);
        }
    } else {
        r.standard_s = offset;
    }
    zone *z = calloc(1, sizeof *z);
    if (!z) {
        return error_nomem(err, "a zone");
    }
    z->rule = r;
    *out = z;
    return MUGA_OK;
}

void zone_free(zone *z) {
    if (z) {
        free(z->changes);
        free(z);
    }
}

/* ---- asking ---- */

int32_t zone_offset_s(const zone *z, int64_t utc_s) {
    size_t from = 0, to = z->n_changes; /* the first change after the moment */
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (z->changes[mid].utc_s <= utc_s) {
            from = mid + 1;
        } else {
            to = mid;
        }
    }
    if (from == z->n_changes && z->rule.known) {
        return rule_offset(&z->rule, utc_s);
    }
    return from == 0 ? z->first_s : z->changes[from - 1].offset_s;
}

zone_time zone_local(const zone *z, int64_t utc_s) {
    zone_time t = {.offset_s = zone_offset_s(z, utc_s)};
    int64_t local = utc_s + t.offset_s, days = floor_days(local), year = year_of_days(days);
    int rest = (int)(local - days * DAY_S), day = (int)(days - days_to_year(year)), month = 1;
    for (; day >= days_in_month(year, month); month++) {
        day -= days_in_month(year, month);
    }
    t.year = (int)year;
    t.month = month;
    t.day = day + 1;
    t.hour = rest / 3600;
    t.minute = rest / 60 % 60;
    t.second = rest % 60;
    t.weekday = weekday_of_days(days);
    return t;
}

void zone_write(const zone_time *t, str *out) {
    int32_t east = t->offset_s < 0 ? -t->offset_s : t->offset_s;
    str_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d", t->year, t->month, t->day, t->hour, t->minute, t->second);
    if (east == 0) {
        str_append_c(out, 'Z');
        return;
    }
    str_printf(out, "%c%02d:%02d", t->offset_s < 0 ? '-' : '+', east / 3600, east / 60 % 60);
    if (east % 60) {
        str_printf(out, ":%02d", east % 60); /* some offsets before 1972 */
    }
}
