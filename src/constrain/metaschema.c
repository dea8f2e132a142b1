/* The schemas of schemas, so that a reference to them works without a network. Owns: the texts, in our own words: the
 * keywords and their types as the two drafts define them. */
#include "constrain/schema_index.h"

#define TEXT "{\"type\":\"string\"}"
#define FLAG "{\"type\":\"boolean\"}"
#define NUMBER "{\"type\":\"number\"}"
#define URI_TEXT "{\"type\":\"string\",\"format\":\"uri\"}"
#define URI_REFERENCE "{\"type\":\"string\",\"format\":\"uri-reference\"}"
#define SIZES(ITEM)                                                                                                    \
    "\"maxLength\":" ITEM ",\"minLength\":" ITEM ",\"maxItems\":" ITEM ",\"minItems\":" ITEM                           \
    ",\"maxProperties\":" ITEM ",\"minProperties\":" ITEM ","
#define COMMON                                                                                                         \
    "\"$comment\":" TEXT ",\"title\":" TEXT ",\"description\":" TEXT ",\"default\":true,\"const\":true,"               \
    "\"readOnly\":" FLAG ",\"writeOnly\":" FLAG ",\"examples\":{\"type\":\"array\"},\"uniqueItems\":" FLAG ","         \
    "\"multipleOf\":{\"type\":\"number\",\"exclusiveMinimum\":0},\"maximum\":" NUMBER ",\"minimum\":" NUMBER ","       \
    "\"exclusiveMaximum\":" NUMBER ",\"exclusiveMinimum\":" NUMBER ",\"format\":" TEXT ","                             \
    "\"pattern\":{\"type\":\"string\",\"format\":\"regex\"},\"contentMediaType\":" TEXT ",\"contentEncoding\":" TEXT   \
    ","
#define TYPES "{\"enum\":[\"array\",\"boolean\",\"integer\",\"null\",\"number\",\"object\",\"string\"]}"
#define TYPE_KEYWORD                                                                                                   \
    "\"type\":{\"anyOf\":[" TYPES ",{\"type\":\"array\",\"items\":" TYPES ",\"minItems\":1,\"uniqueItems\":true}]},"
#define NAMES "{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"uniqueItems\":true}"
#define MAP(S) "{\"type\":\"object\",\"additionalProperties\":" S "}"
#define PATTERN_MAP(S) "{\"type\":\"object\",\"additionalProperties\":" S ",\"propertyNames\":{\"format\":\"regex\"}}"
#define LIST(S) "{\"type\":\"array\",\"minItems\":1,\"items\":" S "}"
#define COUNT "{\"type\":\"integer\",\"minimum\":0}"
#define APPLICATORS(S)                                                                                                 \
    "\"additionalProperties\":" S ",\"propertyNames\":" S ",\"contains\":" S ",\"not\":" S ",\"if\":" S ",\"then\":" S \
    ",\"else\":" S ",\"properties\":" MAP(S) ",\"patternProperties\":" PATTERN_MAP(S)
#define COMBINERS(S)                                                                                                   \
    ",\"definitions\":" MAP(S) ",\"allOf\":" LIST(S) ",\"anyOf\":" LIST(S) ",\"oneOf\":" LIST(                         \
        S) ",\"required\":" NAMES ",\"dependencies\":" MAP("{\"anyOf\":[" S "," NAMES "]}") ","
#define KEYWORDS(S)                                                                                                    \
    COMMON SIZES(COUNT)                                                                                                \
    TYPE_KEYWORD APPLICATORS(S) COMBINERS(S)
#define S7 "{\"$ref\":\"#\"}"
#define S2020 "{\"$dynamicRef\":\"#meta\"}"
#define ANCHOR "{\"type\":\"string\",\"pattern\":\"^[A-Za-z_][-A-Za-z0-9._]*$\"}"

static const struct {
    const char *uri, *text;
} metaschemas[] = {
    {"http://json-schema.org/draft-07/schema",
     "{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"$id\":\"http://json-schema.org/draft-07/schema#\","
     "\"type\":[\"object\",\"boolean\"],\"properties\":{" KEYWORDS(
         S7) "\"$id\":" URI_REFERENCE ",\"$schema\":" URI_TEXT ",\"$ref\":" URI_REFERENCE ",\"additionalItems\":" S7 ","
             "\"items\":{\"anyOf\":[" S7 "," LIST(S7) "]},\"enum\":{\"type\":\"array\"}}}"},
    {"https://json-schema.org/draft/2020-12/schema",
     "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
     "\"$id\":\"https://json-schema.org/draft/2020-12/schema\",\"$dynamicAnchor\":\"meta\","
     "\"type\":[\"object\",\"boolean\"],\"properties\":{" KEYWORDS(
         S2020) "\"$id\":{\"type\":\"string\",\"format\":\"uri-reference\",\"pattern\":\"^[^#]*#?$\"},"
                "\"$schema\":" URI_TEXT ",\"$ref\":" URI_REFERENCE ",\"$dynamicRef\":" URI_REFERENCE ","
                "\"$anchor\":" ANCHOR ",\"$dynamicAnchor\":" ANCHOR
                ",\"$vocabulary\":" MAP(FLAG) ",\"$defs\":" MAP(S2020) ",\"prefixItems\":" LIST(
                    S2020) ",\"items\":" S2020 ",\"unevaluatedItems\":" S2020 ",\"unevaluatedProperties\":" S2020
                           ",\"contentSchema\":" S2020
                           ",\"dependentSchemas\":" MAP(S2020) ",\"dependentRequired\":" MAP(
                               NAMES) ",\"minContains\":" COUNT ",\"maxContains\":" COUNT ",\"deprecated\":" FLAG
                                      ",\"enum\":{\"type\":\"array\"}}}"}};

const char *metaschema_text(const char *uri) {
    for (size_t i = 0; i < ARRAY_LEN(metaschemas); i++)
        if (strcmp(metaschemas[i].uri, uri) == 0)
            return metaschemas[i].text;
    return NULL;
}
