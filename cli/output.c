#include "cli/output.h"

#include "base/mem.h"

#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>

#define KFX_GREEN "\033[32m"
#define KFX_CYAN "\033[36m"
#define KFX_YELLOW "\033[33m"
#define KFX_RED "\033[31m"
#define KFX_PLAIN "\033[0m"

void kfx_out_init(kfx_out_t *out, bool chatty)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    bool may = !(no_color && *no_color) && !(term && strcmp(term, "dumb") == 0);
    memset(out, 0, sizeof *out);
    out->out = stdout;
    out->err = stderr;
    out->color = may && isatty(STDOUT_FILENO);
    out->err_color = may && isatty(STDERR_FILENO);
    out->spin = chatty && isatty(STDOUT_FILENO) && !(term && strcmp(term, "dumb") == 0);
}

char *kfx_clean(const char *text)
{
    char *out = kfx_xcalloc(1, 2 * strlen(text) + 1), *p = out;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\n') {
            if (text[1])
                *p++ = ';';
            *p++ = ' ';
        } else
            *p++ = c < 0x20 || c == 0x7f ? ' ' : *text;
    }
    return out;
}

static char *format(const char *fmt, va_list args)
{
    char *raw = NULL;
    if (vasprintf(&raw, fmt, args) < 0)
        abort();
    char *clean = kfx_clean(raw);
    free(raw);
    return clean;
}

void kfx_out_spin_clear(kfx_out_t *out)
{
    if (!out->spinning)
        return;
    fputs("\r\033[K", out->out);
    fflush(out->out);
    out->spinning = false;
}

void kfx_out_spin(kfx_out_t *out, int64_t since_ms, const char *fmt, ...)
{
    static const char *const frames[] = {"◐", "◓", "◑", "◒"};
    if (!out->spin)
        return;
    va_list args;
    va_start(args, fmt);
    KFX_FREE char *text = format(fmt, args);
    va_end(args);
    struct winsize size = {0};
    int width = ioctl(fileno(out->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col - 12 : 68;
    fprintf(out->out, "\r\033[K%s%s%s %.*s (%llds)", out->color ? KFX_CYAN : "", frames[out->frame++ % 4],
            out->color ? KFX_PLAIN : "", width, text, (long long)(since_ms / 1000));
    fflush(out->out);
    out->spinning = true;
}

void kfx_out_step(kfx_out_t *out, int64_t since_ms, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    KFX_FREE char *text = format(fmt, args);
    va_end(args);
    kfx_out_spin_clear(out);
    fprintf(out->out, "%s✔%s %s", out->color ? KFX_GREEN : "", out->color ? KFX_PLAIN : "", text);
    if (since_ms >= 0)
        fprintf(out->out, " (%lld.%llds)", (long long)(since_ms / 1000), (long long)(since_ms % 1000 / 100));
    fputc('\n', out->out);
    fflush(out->out);
}

void kfx_out_check(kfx_out_t *out, int verdict, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    KFX_FREE char *text = format(fmt, args);
    va_end(args);
    const char *mark = verdict > 0 ? "✔" : verdict < 0 ? "✘" : "!";
    const char *color = verdict > 0 ? KFX_GREEN : verdict < 0 ? KFX_RED : KFX_YELLOW;
    kfx_out_spin_clear(out);
    fprintf(out->out, "%s%s%s %s\n", out->color ? color : "", mark, out->color ? KFX_PLAIN : "", text);
    fflush(out->out);
}

void kfx_out_line(kfx_out_t *out, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    KFX_FREE char *text = format(fmt, args);
    va_end(args);
    kfx_out_spin_clear(out);
    fprintf(out->out, "%s\n", text);
    fflush(out->out);
}

void kfx_out_warn(kfx_out_t *out, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    KFX_FREE char *text = format(fmt, args);
    va_end(args);
    kfx_out_spin_clear(out);
    fprintf(out->err, "%sWarning:%s %s\n", out->err_color ? KFX_YELLOW : "", out->err_color ? KFX_PLAIN : "", text);
}

void kfx_out_error(kfx_out_t *out, const char *text)
{
    KFX_FREE char *clean = kfx_clean(text);
    kfx_out_spin_clear(out);
    fprintf(out->err, "%sError:%s %s\n", out->err_color ? KFX_RED : "", out->err_color ? KFX_PLAIN : "", clean);
}

void kfx_out_note(kfx_out_t *out, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    KFX_FREE char *text = format(fmt, args);
    va_end(args);
    kfx_out_spin_clear(out);
    fprintf(out->err, "%s\n", text);
}

bool kfx_out_ask(kfx_out_t *out, const char *fmt, ...)
{
    char answer[16] = "";
    va_list args;
    va_start(args, fmt);
    vfprintf(out->err, fmt, args);
    va_end(args);
    fprintf(out->err, " (y/N) ");
    fflush(out->err);
    if (!fgets(answer, sizeof answer, stdin))
        return false;
    answer[strcspn(answer, "\r\n")] = '\0';
    return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

const char *kfx_age(char buf[KFX_AGE_SIZE], int64_t seconds)
{
    if (seconds < 0)
        seconds = 0;
    long long h = seconds / 3600, m = seconds % 3600 / 60, s = seconds % 60;
    if (h)
        snprintf(buf, KFX_AGE_SIZE, "%lldh%lldm%llds", h, m, s);
    else if (m)
        snprintf(buf, KFX_AGE_SIZE, "%lldm%llds", m, s);
    else
        snprintf(buf, KFX_AGE_SIZE, "%llds", s);
    return buf;
}
