/* What the table of commands says to people: the usage text and the manual page. */
#include "base/buf.h"
#include "base/mem.h"
#include "cli/flags.h"

#include <string.h>

static void usage_flags(kfx_buf_t *buf, const char *title, const kfx_flag_t *flags)
{
    if (!flags || !flags->name)
        return;
    kfx_buf_addf(buf, "\n%s:\n", title);
    for (; flags->name; flags++) {
        char left[64];
        if (flags->letter)
            snprintf(left, sizeof left, "-%c, --%s%s%s", flags->letter, flags->name, flags->operand ? " " : "",
                     flags->operand ? flags->operand : "");
        else
            snprintf(left, sizeof left, "    --%s%s%s", flags->name, flags->operand ? " " : "",
                     flags->operand ? flags->operand : "");
        kfx_buf_addf(buf, "  %-32s %s\n", left, flags->help);
    }
}

char *kfx_usage(const kfx_command_t *command, const char *path)
{
    KFX_BUF kfx_buf_t buf = KFX_BUF_INIT(64 * 1024);
    kfx_buf_adds(&buf, "Usage:\n");
    if (command->run)
        kfx_buf_addf(&buf, "  %s%s%s [flags]\n", path, *command->operands ? " " : "", command->operands);
    if (command->below)
        kfx_buf_addf(&buf, "  %s COMMAND [flags]\n", path);
    if (command->below) {
        kfx_buf_adds(&buf, "\nCommands:\n");
        for (const kfx_command_t *c = command->below; c->name; c++)
            if (!c->hidden)
                kfx_buf_addf(&buf, "  %-14s %s\n", c->name, c->summary);
    }
    usage_flags(&buf, "Flags", command->flags);
    usage_flags(&buf, "Global flags", kfx_global_flags);
    if (command->details)
        kfx_buf_addf(&buf, "\n%s\n", command->details);
    return kfx_buf_steal(&buf, NULL);
}

/* ---- the manual page ---- */

/* Text in which no character means anything to roff. */
static void roff(kfx_buf_t *buf, const char *text)
{
    for (bool start = true; *text; text++) {
        if (start && (*text == '.' || *text == '\''))
            kfx_buf_adds(buf, "\\&");
        start = *text == '\n';
        if (*text == '\\')
            kfx_buf_adds(buf, "\\e");
        else if (*text == '-')
            kfx_buf_adds(buf, "\\-");
        else
            kfx_buf_add(buf, text, 1);
    }
}

static void manual_flags(kfx_buf_t *buf, const kfx_flag_t *flags)
{
    for (; flags && flags->name; flags++) {
        kfx_buf_adds(buf, ".TP\n\\fB");
        if (flags->letter)
            kfx_buf_addf(buf, "\\-%c\\fR, \\fB", flags->letter);
        roff(buf, "--");
        roff(buf, flags->name);
        kfx_buf_adds(buf, "\\fR");
        if (flags->operand) {
            kfx_buf_adds(buf, " \\fI");
            roff(buf, flags->operand);
            kfx_buf_adds(buf, "\\fR");
        }
        kfx_buf_adds(buf, "\n");
        roff(buf, flags->help);
        kfx_buf_adds(buf, "\n");
    }
}

static void manual_command(kfx_buf_t *buf, const kfx_command_t *command, const char *path)
{
    if (command->hidden)
        return;
    if (command->run) {
        kfx_buf_adds(buf, ".SS ");
        roff(buf, path);
        kfx_buf_adds(buf, " ");
        roff(buf, command->operands);
        kfx_buf_adds(buf, "\n");
        roff(buf, command->summary);
        kfx_buf_adds(buf, ".\n");
        if (command->details) {
            kfx_buf_adds(buf, ".PP\n");
            roff(buf, command->details);
            kfx_buf_adds(buf, "\n");
        }
        manual_flags(buf, command->flags);
    }
    for (const kfx_command_t *c = command->below; c && c->name; c++) {
        KFX_FREE char *deeper = kfx_xasprintf("%s %s", path, c->name);
        manual_command(buf, c, deeper);
    }
}

char *kfx_manual(const kfx_command_t *root, const char *version, const char *date)
{
    static const char *const files =
        "The kubeconfig: the file of --kubeconfig, else the files of $KUBECONFIG, else ~/.kube/config. The hosting "
        "cluster is the one that is stored in it (extension kubeflex), whatever the current context is.";
    KFX_BUF kfx_buf_t buf = KFX_BUF_INIT(256 * 1024);
    kfx_buf_addf(&buf, ".TH KFLEX 1 \"%s\" \"kflex %s\" \"KubeFlex\"\n.SH NAME\n", date, version);
    roff(&buf, root->name);
    kfx_buf_adds(&buf, " \\- ");
    roff(&buf, root->summary);
    kfx_buf_adds(&buf, "\n.SH SYNOPSIS\n\\fBkflex\\fR \\fICOMMAND\\fR [\\fIflags\\fR]\n.SH COMMANDS\n");
    for (const kfx_command_t *c = root->below; c->name; c++) {
        KFX_FREE char *path = kfx_xasprintf("%s %s", root->name, c->name);
        manual_command(&buf, c, path);
    }
    kfx_buf_adds(&buf, ".SH GLOBAL FLAGS\n");
    manual_flags(&buf, kfx_global_flags);
    kfx_buf_adds(&buf, ".SH FILES\n");
    roff(&buf, files);
    kfx_buf_adds(&buf, "\n.SH ENVIRONMENT\n");
    roff(&buf, "KUBECONFIG: see above. NO_COLOR: no colours, also on a terminal.");
    kfx_buf_adds(&buf, "\n.SH EXIT STATUS\n0: done. 1: failed; standard error says why and what to do.\n");
    return kfx_buf_steal(&buf, NULL);
}
