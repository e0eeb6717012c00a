/* kube/screen.c: see screen.h. Sources of the ranges: RFC 6890 and the IANA special-purpose address registries; of the
 * metadata addresses: the documentation of AWS, Azure, Google Cloud, Oracle Cloud and Alibaba Cloud. */
#include "kube/screen.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netdb.h>
#include <stdint.h>
#include <string.h>

static const struct {
    uint32_t net;
    int bits;
    const char *what;
} v4_ranges[] = {
    {0x00000000, 8, "the unspecified address"},
    {0x7f000000, 8, "a loopback address"},
    {0xa9fe0000, 16, "a link-local address, where clouds have their metadata"},
    {0xe0000000, 4, "a multicast address"},
    {0xf0000000, 4, "a reserved address"},
    {0xa83f8110, 32, "a cloud's metadata address"}, /* 168.63.129.16 */
    {0x646464c8, 32, "a cloud's metadata address"}, /* 100.100.100.200 */
    {0xc00000c0, 32, "a cloud's metadata address"}, /* 192.0.0.192 */
};

static const struct {
    const char *net;
    int bits;
    const char *what;
} v6_ranges[] = {
    {"::", 128, "the unspecified address"},
    {"::1", 128, "a loopback address"},
    {"fe80::", 10, "a link-local address"},
    {"ff00::", 8, "a multicast address"},
    {"fd00:ec2::254", 128, "a cloud's metadata address"},
    {"fd20:ce::254", 128, "a cloud's metadata address"},
};

/* IPv6 ranges that carry an IPv4 address, and where in it. */
static const struct {
    const char *net;
    int bits, at;
} v4_inside[] = {
    {"::ffff:0:0", 96, 12},
    {"::", 96, 12},
    {"64:ff9b::", 96, 12},
    {"2002::", 16, 2},
};

static bool starts_with(const unsigned char *address, const char *net, int bits)
{
    unsigned char raw[16];
    if (inet_pton(AF_INET6, net, raw) != 1 || memcmp(address, raw, (size_t)bits / 8) != 0)
        return false;
    int rest = bits % 8;
    return rest == 0 || (address[bits / 8] ^ raw[bits / 8]) >> (8 - rest) == 0;
}

static const char *v4_fault(uint32_t address)
{
    for (size_t i = 0; i < KFX_COUNT(v4_ranges); i++)
        if ((address ^ v4_ranges[i].net) >> (32 - v4_ranges[i].bits) == 0)
            return v4_ranges[i].what;
    return NULL;
}

static const char *v6_fault(const unsigned char *address)
{
    for (size_t i = 0; i < KFX_COUNT(v6_ranges); i++)
        if (starts_with(address, v6_ranges[i].net, v6_ranges[i].bits))
            return v6_ranges[i].what;
    for (size_t i = 0; i < KFX_COUNT(v4_inside); i++) {
        if (!starts_with(address, v4_inside[i].net, v4_inside[i].bits))
            continue;
        const unsigned char *v4 = address + v4_inside[i].at;
        return v4_fault((uint32_t)v4[0] << 24 | (uint32_t)v4[1] << 16 | (uint32_t)v4[2] << 8 | v4[3]);
    }
    return NULL;
}

int kfx_screen_address(const struct sockaddr *address, kfx_error_t *err)
{
    char text[INET6_ADDRSTRLEN] = "?";
    const char *fault = "no internet address";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        fault = v4_fault(ntohl(v4->sin_addr.s_addr));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)address;
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        fault = v6_fault(v6->sin6_addr.s6_addr);
    }
    if (!fault)
        return 0;
    return kfx_error_set(err, KFX_E_INVALID, "%s is %s, which is not dialled", text, fault);
}

static bool ends_with(const char *name, const char *tail)
{
    size_t len = strlen(name), cut = strlen(tail);
    return len > cut && strcasecmp(name + len - cut, tail) == 0;
}

static int screen_host(char *host, kfx_error_t *err)
{
    static const char *const names[] = {"localhost", "localhost.localdomain",    "ip6-localhost",
                                        "metadata",  "metadata.google.internal", "instance-data"};
    size_t len = strlen(host);
    if (host[0] == '[' && len > 2) { /* IPv6 */
        memmove(host, host + 1, len - 2);
        host[len - 2] = '\0';
    }
    for (len = strlen(host); len > 0 && host[len - 1] == '.'; len--)
        host[len - 1] = '\0';
    for (size_t i = 0; i < KFX_COUNT(names); i++)
        if (strcasecmp(host, names[i]) == 0 || ends_with(host, ".localhost"))
            return kfx_error_set(err, KFX_E_INVALID,
                                 "%s is a name of this machine or of a cloud's metadata service, "
                                 "which is not dialled",
                                 host);
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return 0; /* a name */
    int rc = kfx_screen_address(found->ai_addr, err);
    freeaddrinfo(found);
    return rc;
}

static char *part(CURLU *url, CURLUPart which)
{
    char *got = NULL;
    if (curl_url_get(url, which, &got, 0) != CURLUE_OK)
        return NULL;
    char *copy = kfx_xstrdup(got);
    curl_free(got);
    return copy;
}

static int screen_parts(CURLU *url, kfx_error_t *err)
{
    KFX_FREE char *scheme = part(url, CURLUPART_SCHEME);
    KFX_FREE char *host = part(url, CURLUPART_HOST);
    KFX_FREE char *user = part(url, CURLUPART_USER);
    KFX_FREE char *password = part(url, CURLUPART_PASSWORD);
    KFX_FREE char *query = part(url, CURLUPART_QUERY);
    KFX_FREE char *fragment = part(url, CURLUPART_FRAGMENT);
    if (!scheme || strcmp(scheme, "https") != 0)
        return kfx_error_set(err, KFX_E_INVALID, "it must start with https://, because credentials are sent");
    if (user || password)
        return kfx_error_set(err, KFX_E_INVALID, "it must not hold a user name or password");
    if (query || fragment)
        return kfx_error_set(err, KFX_E_INVALID, "it must not have a query (?) or a fragment (#)");
    if (!host || !*host)
        return kfx_error_set(err, KFX_E_INVALID, "it names no host");
    return screen_host(host, err);
}

int kfx_screen_url(const char *url, kfx_error_t *err)
{
    CURLU *parsed = curl_url();
    if (!parsed)
        return kfx_error_set(err, KFX_E_INTERNAL, "out of memory");
    int rc = curl_url_set(parsed, CURLUPART_URL, url ? url : "", 0) == CURLUE_OK
                 ? screen_parts(parsed, err)
                 : kfx_error_set(err, KFX_E_INVALID, "it is no URL: expected https://host:port");
    curl_url_cleanup(parsed);
    return rc;
}
