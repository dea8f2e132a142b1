/* Private to store/: the migrations, oldest first. schema.c says what each table is for. */
#ifndef MUGA_STORE_SCHEMA_H
#define MUGA_STORE_SCHEMA_H

#include <stddef.h>

#define STORE_APPLICATION_ID 0x6d756761 /* "muga", in the file's header */

extern const char *const store_migrations[]; /* [i] brings user_version from i to i + 1 */
extern const size_t store_n_migrations;

#endif
