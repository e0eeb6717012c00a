/* tests/bus/lossy.c: a bad wire between two network namespaces: what `tc netem loss … delay …` does, for kernels
 * without it. One TUN device in each; IP packets go from one to the other after a while, or never, by a seeded dice.
 *
 *   lossy NS1 ADDRESS1 NS2 ADDRESS2 DELAY-MS LOSS-PERCENT SEED
 *
 * The namespaces are those of ip-netns(8), the addresses IPv4 ("10.77.0.1"), both in one /24. Says READY, ends with
 * stdin. */
#include "base/clock.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET_MAX 2048
#define WAITING_MAX 16384 /* packets on the wire, each way; more are dropped, as by any router */

typedef struct {
    int64_t due;
    size_t size;
    uint8_t bytes[PACKET_MAX];
} packet_t;

typedef struct {
    int from, to;
    packet_t *ring; /* the delay is the same for all, so they leave in order */
    size_t first, count;
} way_t;

static uint32_t seed;

static uint32_t roll(uint32_t sides)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % sides;
}

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static void set_address(int sock, struct ifreq *request, unsigned long number, const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
        give_up(text);
    memcpy(&request->ifr_addr, &address, sizeof(address));
    if (ioctl(sock, number, request) != 0)
        give_up("cannot set the address");
}

/* A TUN device in the namespace, up and with its address. */
static int open_tun(const char *ns, const char *address)
{
    KFX_FREE char *path = kfx_xasprintf("/run/netns/%s", ns);
    int in = open(path, O_RDONLY | O_CLOEXEC);
    if (in < 0 || setns(in, CLONE_NEWNET) != 0)
        give_up(path);
    close(in);
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    kfx_copy(request.ifr_name, sizeof(request.ifr_name), "lossy0");
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0)
        give_up("/dev/net/tun");
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    set_address(sock, &request, SIOCSIFADDR, address);
    set_address(sock, &request, SIOCSIFNETMASK, "255.255.255.0");
    if (ioctl(sock, SIOCGIFFLAGS, &request) != 0)
        give_up("flags");
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(sock, SIOCSIFFLAGS, &request) != 0)
        give_up("cannot set the device up");
    close(sock);
    return fd;
}

static void take(way_t *way, int64_t now, int64_t delay, uint32_t loss)
{
    static packet_t spare; /* what is read only to be dropped */
    for (;;) {
        bool room = way->count < WAITING_MAX;
        packet_t *packet = room ? &way->ring[(way->first + way->count) % WAITING_MAX] : &spare;
        ssize_t n = read(way->from, packet->bytes, sizeof(packet->bytes));
        if (n <= 0)
            return;
        if (!room || roll(100) < loss)
            continue;
        packet->size = (size_t)n;
        packet->due = now + delay;
        way->count++;
    }
}

static int64_t give(way_t *way, int64_t now, int64_t next)
{
    while (way->count > 0 && way->ring[way->first].due <= now) {
        packet_t *packet = &way->ring[way->first];
        if (write(way->to, packet->bytes, packet->size) < 0)
            break; /* lost: it is that kind of wire */
        way->first = (way->first + 1) % WAITING_MAX;
        way->count--;
    }
    if (way->count == 0)
        return next;
    int64_t due = way->ring[way->first].due;
    return due < next ? due : next;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 8)
        return 2;
    int one = open_tun(argv[1], argv[2]), two = open_tun(argv[3], argv[4]);
    int64_t delay = atoi(argv[5]);
    uint32_t loss = (uint32_t)atoi(argv[6]);
    seed = (uint32_t)strtoul(argv[7], NULL, 10) * 2654435761u + 1;
    way_t ways[] = {{.from = one, .to = two}, {.from = two, .to = one}};
    for (size_t i = 0; i < KFX_COUNT(ways); i++)
        ways[i].ring = kfx_xcalloc(WAITING_MAX, sizeof(packet_t));
    puts("READY");
    for (;;) {
        int64_t now = kfx_now_ms(), next = now + 1000;
        for (size_t i = 0; i < KFX_COUNT(ways); i++)
            next = give(&ways[i], now, next);
        struct pollfd polled[] = {{one, POLLIN, 0}, {two, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
        poll(polled, KFX_COUNT(polled), (int)(next - now > 0 ? next - now : 1));
        char byte;
        if (polled[2].revents && read(STDIN_FILENO, &byte, 1) <= 0)
            break;
        now = kfx_now_ms();
        for (size_t i = 0; i < KFX_COUNT(ways); i++)
            take(&ways[i], now, delay, loss);
    }
    free(ways[0].ring);
    free(ways[1].ring);
    return 0;
}
