/* base/template.c: from the text of a template to its tree. */
#include "base/template.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/template_tree.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef enum { T_END, T_DOT, T_FIELD, T_VARIABLE, T_WORD, T_VALUE, T_PUNCTUATION } token_kind_t;

typedef struct {
    token_kind_t kind;
    bool spaced; /* white space stood before it */
    char mark;   /* PUNCTUATION: | ( ) , = and ':' for ":=" */
    const char *text;
    size_t len;
    json_t *value; /* of the template's literals */
} token_t;

typedef struct {
    kfx_template_t *tmpl;
    const char *at, *start;
    bool inside; /* an action */
    bool trim_next;
    token_t token;
    unsigned depth, loops;
    kfx_error_t *err;
    const char *scope[256]; /* names of variables that are known here */
    size_t known;
} parser_t;

static void *take(kfx_template_t *tmpl, size_t size)
{
    chunk_t *chunk = kfx_xcalloc(1, offsetof(chunk_t, data) + size);
    chunk->next = tmpl->chunks;
    tmpl->chunks = chunk;
    return chunk->data;
}

static const char *take_text(kfx_template_t *tmpl, const char *text, size_t len)
{
    char *copy = take(tmpl, len + 1);
    memcpy(copy, text, len);
    return copy;
}

static json_t *take_value(kfx_template_t *tmpl, json_t *value)
{
    take(tmpl, 0);
    tmpl->chunks->value = value;
    return value;
}

static unsigned line_of(const parser_t *p)
{
    unsigned line = 1;
    for (const char *c = p->start; c < p->at; c++)
        line += *c == '\n';
    return line;
}

#define refuse(p, ...) (kfx_error_set((p)->err, KFX_E_INVALID, __VA_ARGS__), refused(p))

static int refused(const parser_t *p)
{
    return kfx_error_wrap(p->err, "template line %u", line_of(p));
}

/* ---- tokens of an action ---------------------------------------------------------------------------------------- */

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (c & 0x80);
}

static size_t word_length(const char *text)
{
    size_t n = 0;
    while (is_word(text[n]))
        n++;
    return n;
}

static int unescape(parser_t *p, const char **from, kfx_buf_t *out)
{
    static const char plain[] = "abfnrtv\\\"'", meant[] = "\a\b\f\n\r\t\v\\\"'";
    char c = *(*from)++;
    const char *found = c ? strchr(plain, c) : NULL;
    if (!found)
        return refuse(p, "\"\\%c\" in a quoted text is not supported: write it between backquotes", c ? c : ' ');
    kfx_buf_add(out, &meant[found - plain], 1);
    return 0;
}

static int read_quoted(parser_t *p)
{
    KFX_BUF kfx_buf_t out = KFX_BUF_INIT(KFX_TEMPLATE_BYTES);
    const char *c = p->at + 1;
    while (*c != '"') {
        if (*c == '\0' || *c == '\n')
            return refuse(p, "a quoted text does not end");
        if (*c == '\\') {
            c++;
            if (unescape(p, &c, &out))
                return -1;
        } else {
            kfx_buf_add(&out, c++, 1);
        }
    }
    p->at = c + 1;
    json_t *value = json_string(out.data ? out.data : "");
    if (!value)
        return refuse(p, "a quoted text is no UTF-8");
    p->token.kind = T_VALUE;
    p->token.value = take_value(p->tmpl, value);
    return 0;
}

static int read_raw(parser_t *p)
{
    const char *end = strchr(p->at + 1, '`');
    if (!end)
        return refuse(p, "a text between backquotes does not end");
    json_t *value = json_stringn(p->at + 1, (size_t)(end - p->at - 1));
    p->at = end + 1;
    if (!value)
        return refuse(p, "a text between backquotes is no UTF-8");
    p->token.kind = T_VALUE;
    p->token.value = take_value(p->tmpl, value);
    return 0;
}

static int read_number(parser_t *p)
{
    char *end;
    errno = 0;
    long long number = strtoll(p->at, &end, 0);
    if (errno || is_word(*end) || *end == '.')
        return refuse(p, "only whole numbers of 64 bits are supported");
    p->at = end;
    p->token.kind = T_VALUE;
    p->token.value = take_value(p->tmpl, json_integer(number));
    return 0;
}

static int read_word(parser_t *p)
{
    token_t *t = &p->token;
    t->text = p->at;
    t->len = word_length(p->at);
    p->at += t->len;
    t->kind = T_WORD;
    bool yes = t->len == 4 && memcmp(t->text, "true", 4) == 0;
    if (yes || (t->len == 5 && memcmp(t->text, "false", 5) == 0)) {
        t->kind = T_VALUE;
        t->value = yes ? json_true() : json_false();
    }
    return 0;
}

static int read_name(parser_t *p, token_kind_t kind, token_kind_t alone)
{
    token_t *t = &p->token;
    t->text = p->at + 1;
    t->len = word_length(t->text);
    t->kind = t->len ? kind : alone;
    p->at = t->text + t->len;
    return 0;
}

/* "}}", or "-}}" after white space. */
static bool at_end(parser_t *p, bool spaced)
{
    bool trims = spaced && strncmp(p->at, "-}}", 3) == 0;
    if (!trims && strncmp(p->at, "}}", 2) != 0)
        return false;
    p->at += trims ? 3 : 2;
    p->trim_next = trims;
    p->inside = false;
    return true;
}

static int next_token(parser_t *p)
{
    p->token = (token_t){.kind = T_END};
    size_t spaces = strspn(p->at, " \t\r\n");
    p->at += spaces;
    p->token.spaced = spaces > 0;
    if (!p->inside || at_end(p, spaces > 0))
        return 0;
    char c = *p->at;
    if (c == '"')
        return read_quoted(p);
    if (c == '`')
        return read_raw(p);
    if (c == '.')
        return read_name(p, T_FIELD, T_DOT);
    if (c == '$')
        return read_name(p, T_VARIABLE, T_VARIABLE);
    if (isdigit((unsigned char)c) || ((c == '-' || c == '+') && isdigit((unsigned char)p->at[1])))
        return read_number(p);
    if (is_word(c))
        return read_word(p);
    bool declares = c == ':' && p->at[1] == '=';
    if (!declares && (!c || !strchr("|(),=", c)))
        return c ? refuse(p, "'%c' is not supported here", isprint((unsigned char)c) ? c : '?')
                 : refuse(p, "an action does not end: }} is missing");
    p->token.kind = T_PUNCTUATION;
    p->token.mark = c;
    p->at += declares ? 2 : 1;
    return 0;
}

static bool is_mark(const parser_t *p, char mark)
{
    return p->token.kind == T_PUNCTUATION && p->token.mark == mark;
}

static bool is_keyword(const parser_t *p, const char *word)
{
    return p->token.kind == T_WORD && p->token.len == strlen(word) && memcmp(p->token.text, word, p->token.len) == 0;
}

/* ---- pipelines -------------------------------------------------------------------------------------------------- */

static kfx_template_pipe_t *parse_pipe(parser_t *p, bool loop);

static int read_fields(parser_t *p, operand_t *operand, bool first)
{
    size_t count = 0, max = 8;
    operand->fields = take(p->tmpl, (max + 1) * sizeof(char *));
    while (p->token.kind == T_FIELD && (first || !p->token.spaced)) {
        if (count == max)
            return refuse(p, "at most %zu names may follow each other", max);
        operand->fields[count++] = take_text(p->tmpl, p->token.text, p->token.len);
        first = false;
        if (next_token(p))
            return -1;
    }
    return 0;
}

static int read_variable(parser_t *p, operand_t *operand)
{
    const char *name = take_text(p->tmpl, p->token.text, p->token.len);
    bool known = !*name;
    for (size_t i = 0; i < p->known && !known; i++)
        known = strcmp(p->scope[i], name) == 0;
    if (!known)
        return refuse(p, "variable $%s is not defined", name);
    operand->kind = OPERAND_VARIABLE;
    operand->name = name;
    return next_token(p) ? -1 : read_fields(p, operand, false);
}

static int read_function(parser_t *p, operand_t *operand)
{
    const char *name = take_text(p->tmpl, p->token.text, p->token.len);
    operand->kind = OPERAND_FUNCTION;
    operand->function = kfx_template_function(name);
    if (!operand->function)
        return refuse(p, "\"%s\" is not supported; docs/users.md lists the functions that are", name);
    return next_token(p);
}

static int read_nested(parser_t *p, operand_t *operand)
{
    if (next_token(p))
        return -1;
    if (++p->depth > KFX_TEMPLATE_DEPTH)
        return refuse(p, "nested too deeply");
    operand->kind = OPERAND_PIPE;
    operand->pipe = parse_pipe(p, false);
    p->depth--;
    if (!operand->pipe)
        return -1;
    if (!is_mark(p, ')'))
        return refuse(p, "a ) is missing");
    if (next_token(p))
        return -1;
    return p->token.kind == T_FIELD && !p->token.spaced ? refuse(p, "a name after ) is not supported") : 0;
}

/* 1: no operand stands here. */
static int read_operand(parser_t *p, operand_t *operand)
{
    switch (p->token.kind) {
    case T_DOT: operand->kind = OPERAND_DOT; return next_token(p);
    case T_FIELD: operand->kind = OPERAND_FIELD; return read_fields(p, operand, true);
    case T_VARIABLE: return read_variable(p, operand);
    case T_WORD: return read_function(p, operand);
    case T_VALUE:
        operand->kind = OPERAND_VALUE;
        operand->value = p->token.value;
        return next_token(p);
    default: return is_mark(p, '(') ? read_nested(p, operand) : 1;
    }
}

/* Only a function takes arguments; its count is checked here, so that a mistake shows before anything is applied. */
static int check_command(parser_t *p, const command_t *command, bool piped)
{
    const operand_t *first = command->operands;
    size_t args = piped ? 1 : 0;
    for (const operand_t *o = first->next; o; o = o->next)
        args++;
    if (first->kind != OPERAND_FUNCTION)
        return args ? refuse(p, "only a function takes arguments") : 0;
    const kfx_template_function_t *f = first->function;
    if (args < f->least || args > f->most)
        return refuse(p, "%s takes %s%zu arguments, here it is given %zu", f->name,
                      f->least == f->most ? "" : "at least ", args < f->least ? f->least : f->most, args);
    return 0;
}

static command_t *parse_command(parser_t *p, bool piped)
{
    command_t *command = take(p->tmpl, sizeof *command);
    operand_t **at = &command->operands;
    size_t count = 0;
    for (;;) {
        operand_t *operand = take(p->tmpl, sizeof *operand);
        int rc = read_operand(p, operand);
        if (rc < 0)
            return NULL;
        if (rc > 0)
            break;
        if (++count > KFX_TEMPLATE_ARGS) {
            refuse(p, "at most %d arguments", KFX_TEMPLATE_ARGS - 1);
            return NULL;
        }
        *at = operand;
        at = &operand->next;
    }
    if (!command->operands) {
        refuse(p, "a value is missing");
        return NULL;
    }
    for (const operand_t *o = command->operands->next; o; o = o->next)
        if (o->kind == OPERAND_FUNCTION && o->function->least > 0) {
            refuse(p, "put ( ) around %s and its arguments", o->function->name);
            return NULL;
        }
    return check_command(p, command, piped) ? NULL : command;
}

static int declare(parser_t *p, kfx_template_pipe_t *pipe, const char *name)
{
    if (!*name)
        return refuse(p, "$ alone cannot be set");
    pipe->names[pipe->name_count++] = name;
    return 0;
}

/* "$x :=", "$x =", in range also "$k, $v :=". Looks ahead, as "$x" may also be the value itself. */
static int parse_names(parser_t *p, kfx_template_pipe_t *pipe, bool loop)
{
    const char *at = p->at;
    token_t token = p->token;
    while (p->token.kind == T_VARIABLE && pipe->name_count < 2) {
        if (declare(p, pipe, take_text(p->tmpl, p->token.text, p->token.len))) {
            pipe->name_count = 0;
            break;
        }
        if (next_token(p))
            return -1;
        if (is_mark(p, ':') || is_mark(p, '=')) {
            pipe->assigns = p->token.mark == '=';
            if (pipe->assigns && loop)
                return refuse(p, "range sets its variables with :=");
            return next_token(p);
        }
        if (!loop || !is_mark(p, ',') || next_token(p))
            break;
    }
    pipe->name_count = 0;
    p->at = at;
    p->token = token;
    p->inside = true;
    return 0;
}

static int enter_names(parser_t *p, const kfx_template_pipe_t *pipe)
{
    for (size_t i = 0; i < pipe->name_count; i++) {
        bool known = false;
        for (size_t k = 0; k < p->known && !known; k++)
            known = strcmp(p->scope[k], pipe->names[i]) == 0;
        if (pipe->assigns && !known)
            return refuse(p, "variable $%s is not defined", pipe->names[i]);
        if (pipe->assigns)
            continue;
        if (p->known == sizeof p->scope / sizeof p->scope[0])
            return refuse(p, "too many variables");
        p->scope[p->known++] = pipe->names[i];
    }
    return 0;
}

static kfx_template_pipe_t *parse_pipe(parser_t *p, bool loop)
{
    kfx_template_pipe_t *pipe = take(p->tmpl, sizeof *pipe);
    pipe->line = line_of(p);
    if (parse_names(p, pipe, loop))
        return NULL;
    command_t **at = &pipe->commands;
    for (;;) {
        *at = parse_command(p, pipe->commands != NULL);
        if (!*at)
            return NULL;
        at = &(*at)->next;
        if (!is_mark(p, '|'))
            break;
        if (next_token(p))
            return NULL;
    }
    return enter_names(p, pipe) ? NULL : pipe;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------ */

typedef enum { ENDS_TEXT, ENDS_END, ENDS_ELSE } ends_t;

static int parse_list(parser_t *p, node_t **at, ends_t *ends);

static int close_action(parser_t *p, const char *what)
{
    return p->token.kind == T_END ? 0 : refuse(p, "unexpected text in %s", what);
}

static node_t *new_node(parser_t *p, node_kind_t kind)
{
    node_t *node = take(p->tmpl, sizeof *node);
    node->kind = kind;
    return node;
}

static node_t *parse_block(parser_t *p, node_kind_t kind);

/* After "else": the rest of the action, and what belongs to it. */
static int parse_else(parser_t *p, node_t *node)
{
    ends_t ends;
    node_kind_t kind = is_keyword(p, "if") ? NODE_IF : is_keyword(p, "with") ? NODE_WITH : NODE_TEXT;
    if (kind == NODE_TEXT) {
        if (close_action(p, "else") || parse_list(p, &node->otherwise, &ends))
            return -1;
        return ends == ENDS_END ? 0 : refuse(p, "an {{end}} is missing");
    }
    if (node->kind != kind)
        return refuse(p, "\"else %s\" belongs to %s", kind == NODE_IF ? "if" : "with", kind == NODE_IF ? "if" : "with");
    if (next_token(p))
        return -1;
    node->otherwise = parse_block(p, kind); /* has its own way to the one {{end}} */
    return node->otherwise ? 0 : -1;
}

static node_t *parse_block(parser_t *p, node_kind_t kind)
{
    node_t *node = new_node(p, kind);
    ends_t ends;
    size_t known = p->known;
    if (++p->depth > KFX_TEMPLATE_DEPTH) {
        refuse(p, "nested too deeply");
        return NULL;
    }
    node->pipe = parse_pipe(p, kind == NODE_RANGE);
    if (!node->pipe || close_action(p, "a condition"))
        return NULL;
    size_t own = p->known;
    p->loops += kind == NODE_RANGE;
    int rc = parse_list(p, &node->body, &ends);
    p->loops -= kind == NODE_RANGE;
    p->known = own;
    if (rc)
        return NULL;
    if (ends == ENDS_TEXT) {
        refuse(p, "an {{end}} is missing");
        return NULL;
    }
    if (ends == ENDS_ELSE && parse_else(p, node))
        return NULL;
    p->known = known;
    p->depth--;
    return node;
}

static node_t *parse_jump(parser_t *p, node_kind_t kind)
{
    if (p->loops == 0) {
        refuse(p, "break and continue belong into range");
        return NULL;
    }
    if (next_token(p) || close_action(p, "break or continue"))
        return NULL;
    return new_node(p, kind);
}

/* NULL with ends set to END or ELSE where the list ends here; NULL with TEXT: an error. */
static node_t *parse_action(parser_t *p, ends_t *ends)
{
    static const struct {
        const char *word;
        node_kind_t kind;
    } blocks[] = {{"if", NODE_IF}, {"with", NODE_WITH}, {"range", NODE_RANGE}};
    *ends = ENDS_TEXT;
    for (size_t i = 0; i < KFX_COUNT(blocks); i++)
        if (is_keyword(p, blocks[i].word))
            return next_token(p) ? NULL : parse_block(p, blocks[i].kind);
    if (is_keyword(p, "break"))
        return parse_jump(p, NODE_BREAK);
    if (is_keyword(p, "continue"))
        return parse_jump(p, NODE_CONTINUE);
    if (is_keyword(p, "end") || is_keyword(p, "else")) {
        bool end = is_keyword(p, "end");
        if (next_token(p) == 0 && (!end || close_action(p, "end") == 0))
            *ends = end ? ENDS_END : ENDS_ELSE;
        return NULL;
    }
    static const char *const refused_words[] = {"define", "template", "block"};
    for (size_t i = 0; i < KFX_COUNT(refused_words); i++)
        if (is_keyword(p, refused_words[i])) {
            refuse(p, "{{%s}} is not supported: write what it stands for in its place", refused_words[i]);
            return NULL;
        }
    node_t *node = new_node(p, NODE_ACTION);
    node->pipe = parse_pipe(p, false);
    return node->pipe && close_action(p, "an action") == 0 ? node : NULL;
}

/* Text up to the next action, which is entered. */
static node_t *parse_text(parser_t *p)
{
    const char *from = p->at, *open = strstr(from, "{{");
    const char *to = open ? open : from + strlen(from);
    bool trims = open && open[2] == '-' && open[3] && strchr(" \t\r\n", open[3]);
    p->at = open ? open + (trims ? 3 : 2) : to;
    p->inside = open != NULL;
    if (p->trim_next)
        from += strspn(from, " \t\r\n");
    from = from < to ? from : to;
    while (trims && to > from && strchr(" \t\r\n", to[-1]))
        to--;
    p->trim_next = false;
    node_t *node = new_node(p, NODE_TEXT);
    node->text = take_text(p->tmpl, from, (size_t)(to - from));
    return node;
}

/* 1: a comment was passed over. */
static int skip_comment(parser_t *p)
{
    const char *at = p->at + strspn(p->at, " \t\r\n");
    if (strncmp(at, "/*", 2) != 0)
        return 0;
    const char *end = strstr(at + 2, "*/");
    if (!end)
        return refuse(p, "a comment does not end");
    p->at = end + 2;
    if (next_token(p))
        return -1;
    return close_action(p, "a comment") ? -1 : 1;
}

static int parse_list(parser_t *p, node_t **at, ends_t *ends)
{
    for (;;) {
        *at = parse_text(p);
        at = &(*at)->next;
        *ends = ENDS_TEXT;
        if (!p->inside)
            return 0;
        int rc = skip_comment(p);
        if (rc > 0)
            continue;
        if (rc < 0 || next_token(p))
            return -1;
        *at = parse_action(p, ends);
        if (*ends != ENDS_TEXT)
            return 0;
        if (!*at)
            return -1;
        at = &(*at)->next;
    }
}

kfx_template_t *kfx_template_parse(const char *text, kfx_error_t *err)
{
    kfx_error_t local = KFX_ERROR_INIT;
    kfx_template_t *self = kfx_xcalloc(1, sizeof *self);
    parser_t p = {.tmpl = self, .at = text, .start = text, .err = err ? err : &local};
    ends_t ends = ENDS_TEXT;
    int rc = strlen(text) > KFX_TEMPLATE_BYTES ? refuse(&p, "longer than 1 MiB") : parse_list(&p, &self->nodes, &ends);
    if (rc == 0 && ends != ENDS_TEXT)
        rc = refuse(&p, "{{%s}} without a beginning", ends == ENDS_END ? "end" : "else");
    if (rc)
        kfx_template_destroy(&self);
    return self;
}

void kfx_template_destroy(kfx_template_t **self_p)
{
    kfx_template_t *self = *self_p;
    if (!self)
        return;
    *self_p = NULL;
    while (self->chunks) {
        chunk_t *next = self->chunks->next;
        json_decref(self->chunks->value);
        free(self->chunks);
        self->chunks = next;
    }
    free(self);
}
