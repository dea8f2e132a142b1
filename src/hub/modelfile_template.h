/* Private to hub/: TEMPLATE is Jinja. */
#ifndef MUGA_HUB_MODELFILE_TEMPLATE_H
#define MUGA_HUB_MODELFILE_TEMPLATE_H

#include "base/error.h"

/* MUGA_OK, or E_INPUT with "LINE: TEMPLATE: what is wrong": line is that of the text's beginning, 0 leaves it out. A
 * template in Go's language is told what to write instead. "" stands for none. */
muga_status modelfile_check_template(const char *text, uint32_t line, muga_error *err);

#endif
