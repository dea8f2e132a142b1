/* Where a URI reference leads. */
#ifndef MUGA_CONSTRAIN_URI_H
#define MUGA_CONSTRAIN_URI_H

#include "base/str.h"

/* Appends `ref` as seen from `base`; neither has a fragment. RFC 3986, 5.2.2. */
void uri_resolve(span base, span ref, str *out);
#endif
