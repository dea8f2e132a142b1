/* Names of control tokens that families of models write tool calls and reasoning with, for tests of vocabularies. */
#ifndef TESTS_SPECIAL_TOKENS_H
#define TESTS_SPECIAL_TOKENS_H

#define DS(name) "<\xEF\xBD\x9Ctool\xE2\x96\x81" name "\xEF\xBD\x9C>"

/* clang-format off */
#define SPECIAL_TOKENS \
    "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "<|tool_call|>", "<|/tool_call|>", \
    "<TOOLCALL>", "</TOOLCALL>", "<tool_calls>", "</tool_calls>", "<|tools_prefix|>", "<|tools_suffix|>", \
    "<think>", "</think>", DS("calls\xE2\x96\x81" "begin"), DS("calls\xE2\x96\x81" "end"), \
    DS("call\xE2\x96\x81" "begin"), DS("call\xE2\x96\x81" "end"), DS("sep")
/* clang-format on */

#endif
