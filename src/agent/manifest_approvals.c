/* The manifest's `approvals:` section: what docs/schema/agent.schema.json says of it. approvers.c reads it. */
#include "agent/approvers.h"

const char approvals_schema[] =
    "    \"approvals\": {\n"
    "      \"type\": \"object\", \"additionalProperties\": false, \"description\": \"who says yes to held calls\",\n"
    "      \"properties\": {\n"
    "        \"by\": {\"type\": \"array\", \"minItems\": 1, \"maxItems\": 16, \"items\": {\"type\": \"string\", \"min"
    "Length\": 1, \"maxLength\": 64}, \"description\": \"roles, of which one is needed where a tool names none\"},\n"
    "        \"not\": {\"enum\": [\"requester\"], \"description\": \"who began the session can't approve in it\"}\n"
    "      }\n"
    "    },\n";
