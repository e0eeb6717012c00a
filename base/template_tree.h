/* base/template_tree.h: between the files of base/template.h: what a template is parsed into, and its functions. */
#ifndef KFX_TEMPLATE_TREE_H
#define KFX_TEMPLATE_TREE_H

#include "base/template.h"

#include <stdint.h>

#define KFX_TEMPLATE_DEPTH 64
#define KFX_TEMPLATE_BYTES (1024 * 1024) /* of text, and of output */

typedef enum {
    OPERAND_DOT,
    OPERAND_FIELD,
    OPERAND_VARIABLE,
    OPERAND_VALUE,
    OPERAND_PIPE,
    OPERAND_FUNCTION
} operand_kind_t;

typedef struct kfx_template_pipe kfx_template_pipe_t;
typedef struct kfx_template_function kfx_template_function_t;

typedef struct operand {
    struct operand *next;
    operand_kind_t kind;
    const char *name;    /* of a variable, without "$" */
    const char **fields; /* ended by NULL: .a.b; may be NULL */
    json_t *value;       /* of a literal; owned by the template */
    const kfx_template_pipe_t *pipe;
    const kfx_template_function_t *function;
} operand_t;

typedef struct command {
    struct command *next;
    operand_t *operands;
} command_t;

struct kfx_template_pipe {
    const char *names[2]; /* variables it sets; two only in range */
    size_t name_count;
    bool assigns; /* "=", not ":=" */
    command_t *commands;
    unsigned line;
};

typedef enum { NODE_TEXT, NODE_ACTION, NODE_IF, NODE_WITH, NODE_RANGE, NODE_BREAK, NODE_CONTINUE } node_kind_t;

typedef struct node {
    struct node *next;
    node_kind_t kind;
    const char *text;
    kfx_template_pipe_t *pipe;
    struct node *body, *otherwise;
} node_t;

typedef struct chunk {
    struct chunk *next;
    json_t *value; /* a literal */
    max_align_t data[];
} chunk_t;

struct kfx_template {
    node_t *nodes;
    chunk_t *chunks; /* all memory of the tree */
};

/* A value while a template runs. json NULL: `missing` has none. */
typedef struct {
    json_t *json; /* owned */
    const char *missing;
} operand_value_t;

struct kfx_template_function {
    const char *name;
    size_t least, most;
    bool takes_missing; /* else a missing argument is an error before it is called */
    /* Fresh result into out->json. -1 with err. */
    int (*call)(const operand_value_t *args, size_t count, operand_value_t *out, kfx_error_t *err);
};

#define KFX_TEMPLATE_ARGS 16

const kfx_template_function_t *kfx_template_function(const char *name); /* NULL: there is none */
bool kfx_template_true(const operand_value_t *value);
/* How a value prints. Fresh; NULL when it is too long. */
char *kfx_template_text(const json_t *value);

#endif
