#include "base/proc_metrics.h"

#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define STAT_MAX 4096 /* bytes of /proc/self/stat */

typedef struct {
    double cpu, started; /* seconds */
    int64_t resident;    /* bytes */
} stat_t;

/* proc(5): fields are counted from the name's closing parenthesis, since the name may hold anything. */
static bool read_stat(stat_t *out)
{
    KFX_FREE char *text = kfx_file_read("/proc/self/stat", STAT_MAX, NULL, NULL);
    const char *rest = text ? strrchr(text, ')') : NULL;
    unsigned long user, system;
    unsigned long long start;
    long pages;
    struct timespec wall, boot;
    if (!rest ||
        sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %llu %*u %ld",
               &user, &system, &start, &pages) != 4)
        return false;
    double ticks = (double)sysconf(_SC_CLK_TCK);
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    double booted = (double)(wall.tv_sec - boot.tv_sec) + (double)(wall.tv_nsec - boot.tv_nsec) / 1e9;
    *out = (stat_t){.cpu = (double)(user + system) / ticks,
                    .started = booted + (double)start / ticks,
                    .resident = (int64_t)pages * sysconf(_SC_PAGESIZE)};
    return true;
}

static int64_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int64_t count = -1; /* the one that we read with */
    if (!dir)
        return -1;
    for (const struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

void kfx_proc_metrics(kfx_buf_t *out)
{
    stat_t stat;
    int64_t fds = count_fds();
    if (read_stat(&stat))
        kfx_buf_addf(out,
                     "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n"
                     "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %.2f\n"
                     "# HELP process_resident_memory_bytes Resident memory size in bytes.\n"
                     "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %" PRId64 "\n"
                     "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.\n"
                     "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.2f\n",
                     stat.cpu, stat.resident, stat.started);
    if (fds >= 0)
        kfx_buf_addf(out,
                     "# HELP process_open_fds Number of open file descriptors.\n"
                     "# TYPE process_open_fds gauge\nprocess_open_fds %" PRId64 "\n",
                     fds);
}
