/* Local time: what a clock on the wall shows, for a zone named in a manifest. No global state (tzset) is touched.
 *
 * A zone is one of
 *   UTC
 *   +02:00                            a fixed offset
 *   CET-1CEST,M3.5.0,M10.5.0/3        a rule, as POSIX writes it in TZ (IEEE 1003.1, 8.3), with its days
 *   Europe/Berlin                     a place, read from the system's files (TZif, RFC 8536) */
#ifndef MUGA_AGENT_ZONE_H
#define MUGA_AGENT_ZONE_H

#include "os/os.h"

typedef struct zone zone;

/* MUGA_E_INPUT: no zone; MUGA_E_NOT_FOUND: a place that the system's files don't know. */
MUGA_MUST_USE muga_status zone_open(const os_files *files, const char *name, zone **out, muga_error *err);
/* A place's file. Hostile bytes give MUGA_E_INPUT. */
MUGA_MUST_USE muga_status zone_read(const void *p, size_t n, zone **out, muga_error *err);
void zone_free(zone *z);
/* Seconds east of UTC at a moment, in seconds since 1970. */
int32_t zone_offset_s(const zone *z, int64_t utc_s);

typedef struct zone_time {
    int year, month, day, hour, minute, second, weekday; /* month, day from 1; weekday 0 = Sunday */
    int32_t offset_s;
} zone_time;
zone_time zone_local(const zone *z, int64_t utc_s);
/* 2026-11-26T09:03:00+01:00; Z for an offset of 0. Appends. */
void zone_write(const zone_time *t, str *out);
#endif
