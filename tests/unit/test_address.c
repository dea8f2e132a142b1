/* If this failed, a tool that may ask the internet would reach the printer, the router or a cloud's metadata behind it,
 * by an address that does not look like theirs. */
#include "support/support.h"

#include "base/mem.h"
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static bool is_public(const char *text) {
    struct sockaddr_storage a = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;
    char back[ADDRESS_TEXT_SIZE];
    bool is_v6 = strchr(text, ':') != NULL;
    a.ss_family = is_v6 ? AF_INET6 : AF_INET;
    if (inet_pton(a.ss_family, text, is_v6 ? (void *)&v6->sin6_addr : (void *)&v4->sin_addr) != 1) {
        fail_msg("%s is no address", text);
    }
    size_t n = is_v6 ? sizeof *v6 : sizeof *v4;
    address_write((struct sockaddr *)&a, n, back);
    assert_string_equal(back, text);
    assert_false(address_is_public((struct sockaddr *)&a, n - 1)); /* cut off */
    return address_is_public((struct sockaddr *)&a, n);
}

static void the_internet_s_addresses_are_public(void **state) {
    (void)state;
    static const char *const all[] = {
        "1.1.1.1",         "8.8.8.8",        "9.255.255.255",    "11.0.0.0",        "100.63.0.1",      "100.128.0.0",
        "126.255.255.255", "128.0.0.1",      "169.253.0.1",      "172.15.255.255",  "172.32.0.0",      "192.0.1.1",
        "192.169.0.1",     "198.17.0.1",     "198.20.0.0",       "223.255.255.255", "2606:4700::1111", "2a00:1450::1",
        "2001:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (!is_public(all[i])) {
            fail_msg("%s is public", all[i]);
        }
    }
}

static void no_other_address_is(void **state) {
    (void)state;
    static const char *const all[] = {"0.0.0.0",
                                      "0.1.2.3",
                                      "10.0.0.1",
                                      "100.64.0.1",
                                      "100.127.255.255",
                                      "127.0.0.1",
                                      "127.255.255.254",
                                      "169.254.169.254",
                                      "172.16.0.1",
                                      "172.31.255.255",
                                      "192.0.0.8",
                                      "192.0.2.1",
                                      "192.168.1.1",
                                      "198.18.0.1",
                                      "198.19.255.255",
                                      "198.51.100.7",
                                      "203.0.113.9",
                                      "224.0.0.1",
                                      "239.255.255.250",
                                      "240.0.0.1",
                                      "255.255.255.255",
                                      "::",
                                      "::1",
                                      "::ffff:127.0.0.1",
                                      "::ffff:10.0.0.1",
                                      "::ffff:169.254.169.254",
                                      "64:ff9b::a00:1",
                                      "64:ff9b:1::1",
                                      "100::1",
                                      "2001::1",
                                      "2001:db8::1",
                                      "2002:a00:1::1",
                                      "2002:7f00:1::1",
                                      "2002:c0a8:101::1",
                                      "3fff::1",
                                      "fc00::1",
                                      "fd12:3456::1",
                                      "fe80::1",
                                      "fec0::1",
                                      "ff02::1",
                                      "4000::1"};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (is_public(all[i])) {
            fail_msg("%s is not public", all[i]);
        }
    }
    struct sockaddr a = {.sa_family = AF_UNIX};
    assert_false(address_is_public(&a, sizeof a));
    assert_false(address_is_public(&a, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_internet_s_addresses_are_public),
        cmocka_unit_test(no_other_address_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
