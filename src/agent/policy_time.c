/* Windows of time for rules: hours, days, zone. The time itself comes from the clock seam, never from here. */
#include "agent/policy.h"

#include "base/mem.h"

#define MINUTE_MS INT64_C(60000)
#define DAY_MIN 1440

/* Two digits at `p`; -1: none. */
static int two_digits(const char *p) {
    return p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9' ? (p[0] - '0') * 10 + (p[1] - '0') : -1;
}

/* "HH:MM" as minutes of the day; 24:00 is its end. */
static bool read_clock(const char *p, int32_t *out) {
    if (strnlen(p, 5) < 5 || p[2] != ':') {
        return false;
    }
    int h = two_digits(p), m = two_digits(p + 3);
    *out = h * 60 + m;
    return h >= 0 && m >= 0 && m < 60 && *out <= DAY_MIN;
}

static bool read_hours(const char *text, policy_window *out) {
    return strlen(text) == 11 && text[5] == '-' && read_clock(text, &out->from_min) &&
           read_clock(text + 6, &out->to_min) && out->from_min != out->to_min && out->from_min < DAY_MIN;
}

static bool read_zone(const char *text, int32_t *out) {
    int32_t minutes;
    if (strcmp(text, "UTC") == 0 || strcmp(text, "Z") == 0) {
        *out = 0;
        return true;
    }
    if (strlen(text) != 6 || (text[0] != '+' && text[0] != '-') || !read_clock(text + 1, &minutes) ||
        minutes > 14 * 60) {
        return false;
    }
    *out = text[0] == '-' ? -minutes : minutes;
    return true;
}

static bool read_day(const char *text, uint8_t *days) {
    static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *days |= (uint8_t)(1u << i);
            return true;
        }
    }
    return false;
}

bool policy_window_read(const char *hours, const json_t *days, const char *zone, policy_window *out,
                        const char **what) {
    *out = (policy_window){.to_min = DAY_MIN, .days = days ? 0 : 0x7F};
    *what = hours;
    if (hours && !read_hours(hours, out)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(days); i++) {
        *what = json_string_value(json_array_get(days, i));
        if (!*what || !read_day(*what, &out->days)) {
            return false;
        }
    }
    *what = zone;
    return !zone || read_zone(zone, &out->zone_min);
}

bool policy_window_holds(const policy_window *w, int64_t now_ms) {
    int64_t minutes = now_ms / MINUTE_MS - (now_ms % MINUTE_MS < 0) + w->zone_min;
    int64_t day = minutes / DAY_MIN - (minutes % DAY_MIN < 0);
    int64_t t = minutes - day * DAY_MIN;
    bool over_midnight = w->to_min <= w->from_min;
    if (over_midnight && t < w->to_min) { /* what began yesterday */
        t += DAY_MIN;
        day--;
    }
    int64_t weekday = ((day + 3) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
    return t >= w->from_min && t < w->to_min + (over_midnight ? DAY_MIN : 0) && (w->days >> weekday & 1);
}
