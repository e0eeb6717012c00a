#include "cli/complete.h"

#include "base/mem.h"

#include <string.h>

typedef struct {
    const kfx_command_t *command;
    size_t args; /* operands before the word */
    kfx_candidates_t *out;
    void (*source)(void *ctx, const char *what, kfx_candidates_t *out);
    void *ctx;
} completion_t;

void kfx_candidates_add(kfx_candidates_t *self, const char *word, const char *about)
{
    if (strncmp(word, self->prefix, strlen(self->prefix)) != 0 || strpbrk(word, "\n\r\t"))
        return;
    kfx_buf_addf(&self->text, "%s%s", self->lead, word);
    if (about && self->descriptions)
        kfx_buf_addf(&self->text, "\t%s", about);
    kfx_buf_adds(&self->text, "\n");
}

static int add_values(const completion_t *self, const char *values)
{
    if (!values)
        return KFX_COMPLETE_NO_FILES;
    if (strcmp(values, "@file") == 0)
        return KFX_COMPLETE_DEFAULT;
    if (strcmp(values, "@dir") == 0)
        return KFX_COMPLETE_FOLDERS;
    if (*values == '@') {
        self->source(self->ctx, values, self->out);
        return KFX_COMPLETE_NO_FILES;
    }
    KFX_FREE char *copy = kfx_xstrdup(values);
    char *rest = copy;
    for (char *word; (word = strsep(&rest, " "));)
        kfx_candidates_add(self->out, word, NULL);
    return KFX_COMPLETE_NO_FILES;
}

static const kfx_flag_t *find_flag(const kfx_command_t *command, const char *name, size_t len, char letter)
{
    const kfx_flag_t *const lists[] = {command->flags, kfx_global_flags};
    for (size_t i = 0; i < KFX_COUNT(lists); i++)
        for (const kfx_flag_t *flag = lists[i]; flag && flag->name; flag++)
            if (name ? strlen(flag->name) == len && strncmp(flag->name, name, len) == 0 : flag->letter == letter)
                return flag;
    return NULL;
}

/* The flag whose operand is the next word: "--type", or "-t" (also at the end of "-st"). */
static const kfx_flag_t *awaits_operand(const kfx_command_t *command, const char *word)
{
    size_t len = strlen(word);
    if (len < 2 || word[0] != '-' || strchr(word, '='))
        return NULL;
    const kfx_flag_t *flag = NULL;
    if (word[1] == '-')
        flag = find_flag(command, word + 2, len - 2, 0);
    for (size_t i = 1; word[1] != '-' && i < len; i++) {
        flag = find_flag(command, NULL, 0, word[i]);
        if (flag && flag->kind != KFX_FLAG_BOOL && i + 1 < len)
            return NULL; /* the rest of the word is its operand */
    }
    return flag && flag->kind != KFX_FLAG_BOOL ? flag : NULL;
}

static void add_flags(kfx_candidates_t *out, const kfx_flag_t *flags)
{
    for (; flags && flags->name; flags++) {
        KFX_FREE char *word = kfx_xasprintf("--%s", flags->name);
        kfx_candidates_add(out, word, flags->help);
    }
}

/* "--output=js": the values after the sign. */
static int complete_after_sign(const completion_t *self, const char *word)
{
    const char *sign = strchr(word, '=');
    const kfx_flag_t *flag = find_flag(self->command, word + 2, (size_t)(sign - word - 2), 0);
    KFX_FREE char *lead = kfx_xasprintf("%.*s=", (int)(sign - word), word);
    self->out->lead = lead;
    self->out->prefix = sign + 1;
    int directive =
        flag ? add_values(self, flag->kind == KFX_FLAG_BOOL ? "true false" : flag->values) : KFX_COMPLETE_NO_FILES;
    self->out->lead = "";
    return directive;
}

static int complete_word(const completion_t *self)
{
    const kfx_command_t *command = self->command;
    for (const kfx_command_t *c = command->below; self->args == 0 && c && c->name; c++)
        if (!c->hidden)
            kfx_candidates_add(self->out, c->name, c->summary);
    if (!command->run || self->args >= command->max_args)
        return KFX_COMPLETE_NO_FILES;
    return add_values(self, command->values);
}

int kfx_complete(const kfx_command_t *root, char **words, size_t count, kfx_candidates_t *out,
                 void (*source)(void *ctx, const char *what, kfx_candidates_t *out), void *ctx)
{
    const char *word = count ? words[count - 1] : "";
    out->prefix = word;
    out->lead = "";
    KFX_FREE char **argv = kfx_xcalloc(count + 2, sizeof *argv);
    KFX_FREE char *name = kfx_xstrdup(root->name);
    argv[0] = name;
    int argc = 1;
    for (size_t i = 0; i + 1 < count; i++)
        argv[argc++] = words[i];
    const kfx_flag_t *open = NULL;
    char path[128];
    completion_t self = {.command = root, .out = out, .source = source, .ctx = ctx};
    if (kfx_flags_find(root, &argc, argv, &self.command, path, NULL) < 0)
        return KFX_COMPLETE_NO_FILES;
    bool flags = true;
    for (int i = 1; i < argc; i++) {
        if (open)
            open = NULL;
        else if (flags && strcmp(argv[i], "--") == 0)
            flags = false;
        else if (flags && argv[i][0] == '-' && argv[i][1])
            open = awaits_operand(self.command, argv[i]);
        else
            self.args++;
    }
    if (open)
        return add_values(&self, open->values);
    if (flags && strncmp(word, "--", 2) == 0 && strchr(word, '='))
        return complete_after_sign(&self, word);
    if (flags && *word == '-') {
        add_flags(out, self.command->flags);
        add_flags(out, kfx_global_flags);
        return KFX_COMPLETE_NO_FILES;
    }
    return complete_word(&self);
}
