/* Private to store/: the claims of one store (store.h). */
#ifndef MUGA_STORE_CLAIMS_H
#define MUGA_STORE_CLAIMS_H

#include "store/store.h"

typedef struct claims claims;
/* `path`: the database. MUGA_E_ENV: its folder can't be written. */
MUGA_MUST_USE muga_status claims_open(const char *path, claims **out, muga_error *err);
/* What was taken stays taken until its own release. NULL is fine. */
void claims_close(claims *c);
MUGA_MUST_USE muga_status claims_take(claims *c, const char *name, store_claim **out, muga_error *err);

#endif
