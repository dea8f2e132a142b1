/* Lets gcc compute loops over elements several at a time in the rest of the file, as clang does by itself at -O2. No
 * sum's order is changed by it. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
