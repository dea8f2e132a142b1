/* Windows of time for rules: hours, days, zone. The time itself comes from the clock seam, never from here. */
#include "agent/policy.h"

#include "base/mem.h"

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

bool policy_window_read(const char *hours, const json_t *days, policy_window *out, const char **what) {
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
    return true;
}

/* Seconds since 1970, rounded down. */
static int64_t seconds_of(int64_t now_ms) {
    return now_ms / 1000 - (now_ms % 1000 < 0);
}

bool policy_window_holds(const policy_window *w, int64_t now_ms) {
    zone_time now = zone_local(w->zone, seconds_of(now_ms));
    int32_t t = now.hour * 60 + now.minute;
    int weekday = (now.weekday + 6) % 7;
    bool over_midnight = w->to_min <= w->from_min;
    if (over_midnight && t < w->to_min) { /* what began yesterday */
        t += DAY_MIN;
        weekday = (weekday + 6) % 7;
    }
    return t >= w->from_min && t < w->to_min + (over_midnight ? DAY_MIN : 0) && (w->days >> weekday & 1);
}

int64_t policy_day_start(const zone *z, int64_t now_ms) {
    int64_t now_s = seconds_of(now_ms);
    zone_time now = zone_local(z, now_s);
    int64_t start_s = now_s - (now.hour * 60 + now.minute) * 60 - now.second;
    start_s += now.offset_s - zone_offset_s(z, start_s); /* the clock may have been changed since */
    return start_s * 1000;
}
